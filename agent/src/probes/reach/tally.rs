//! For how long nobody answered. Pure: times are milliseconds since the watch began.

use drydock_types::reach::ReachView;

/// What was answered up to now.
#[derive(Debug, Default)]
pub(super) struct Tally {
    asked: u64,
    answered: u64,
    longest_ms: u64,
    /// When the gap that goes on began: at the first question that was not answered.
    since: Option<u64>,
}

impl Tally {
    /// A question, when it was asked, and whether it was answered. Told in the order in which they were asked.
    pub(super) fn note(&mut self, asked_ms: u64, well: bool) {
        self.asked = self.asked.saturating_add(1);
        if !well {
            self.since.get_or_insert(asked_ms);
            return;
        }
        self.answered = self.answered.saturating_add(1);
        if let Some(since) = self.since.take() {
            self.longest_ms = self.longest_ms.max(asked_ms.saturating_sub(since));
        }
    }

    /// What is seen by now, the gap that goes on included.
    pub(super) fn view(&self, now_ms: u64) -> ReachView {
        let open = self.since.map_or(0, |since| now_ms.saturating_sub(since));
        ReachView {
            for_ms: now_ms,
            asked: self.asked,
            answered: self.answered,
            longest_ms: self.longest_ms.max(open),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One question every 100 ms; `-` was not answered.
    fn longest(answers: &str, now_ms: u64) -> u64 {
        let mut tally = Tally::default();
        for (i, answer) in answers.chars().enumerate() {
            tally.note(i as u64 * 100, answer == '+');
        }
        let view = tally.view(now_ms);
        assert_eq!((view.asked, view.for_ms), (answers.len() as u64, now_ms));
        view.longest_ms
    }

    #[test]
    fn a_gap_goes_from_the_first_question_without_an_answer_to_the_first_with_one() {
        assert_eq!(longest("++++", 400), 0);
        assert_eq!(longest("+---+-+", 700), 300);
        assert_eq!(longest("--+", 300), 200, "also one that was there from the beginning");
        assert_eq!(longest("+--", 1000), 900, "also one that goes on");
        assert_eq!(longest("+---+-", 600), 300, "the one that goes on is shorter");
        assert_eq!(longest("", 700), 0);
    }
}
