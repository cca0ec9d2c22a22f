//! When somebody answered, and for how long nobody did. Pure: times are milliseconds since it began.

use drydock_core::observe::Gap;

/// So many gaps of one endpoint are told apart. Past that the last one is taken to have gone on, which says rather too long
/// a gap than too short a one.
const MOST_GAPS: usize = 4096;

/// What one endpoint answered.
#[derive(Debug, Default)]
pub(super) struct Tally {
    asked: u64,
    answered: u64,
    /// When each gap began and ended, by when the questions were asked: the first that was not answered well, and the
    /// first that was again.
    gaps: Vec<(u64, u64)>,
    /// When the one that goes on began.
    since: Option<u64>,
}

impl Tally {
    /// A question, when it was asked, and whether it was answered well. Told in the order in which they were asked.
    pub(super) fn note(&mut self, asked_ms: u64, well: bool) {
        self.asked = self.asked.saturating_add(1);
        if !well {
            self.since.get_or_insert(asked_ms);
            return;
        }
        self.answered = self.answered.saturating_add(1);
        let Some(since) = self.since.take() else { return };
        let full = self.gaps.len() >= MOST_GAPS;
        match self.gaps.last_mut() {
            Some(last) if full => last.1 = asked_ms,
            _ => self.gaps.push((since, asked_ms)),
        }
    }

    /// All gaps up to now.
    fn until(&self, now_ms: u64) -> Vec<(u64, u64)> {
        let open = self.since.map(|since| (since, now_ms.max(since)));
        self.gaps.iter().copied().chain(open).collect()
    }

    /// What is seen of it by now.
    pub(super) fn gap(&self, now_ms: u64) -> Gap {
        Gap { longest_ms: longest(&self.until(now_ms)), asked: self.asked, answered: self.answered }
    }
}

/// For how long nobody of them answered at all. `None` where nobody has been asked.
pub(super) fn together(tallies: &[Tally], now_ms: u64) -> Option<Gap> {
    let (first, others) = tallies.split_first()?;
    let common = others.iter().fold(first.until(now_ms), |common, of| overlap(&common, &of.until(now_ms)));
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum();
    let (asked, answered) = (sum(|of| of.asked), sum(|of| of.answered));
    (asked > 0).then_some(Gap { longest_ms: longest(&common), asked, answered })
}

fn longest(gaps: &[(u64, u64)]) -> u64 {
    gaps.iter().map(|(from, to)| to.saturating_sub(*from)).max().unwrap_or_default()
}

/// The times that lie in both; each list is in order and does not overlap itself.
fn overlap(mine: &[(u64, u64)], theirs: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let (mut common, mut a, mut b) = (Vec::new(), 0, 0);
    while let (Some(one), Some(other)) = (mine.get(a), theirs.get(b)) {
        let (from, to) = (one.0.max(other.0), one.1.min(other.1));
        if from < to {
            common.push((from, to));
        }
        if one.1 <= other.1 { a += 1 } else { b += 1 }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One question every 100 ms; `-` was not answered well.
    fn tally(answers: &str) -> Tally {
        let mut tally = Tally::default();
        for (i, answer) in answers.chars().enumerate() {
            tally.note(i as u64 * 100, answer == '+');
        }
        tally
    }

    #[test]
    fn a_gap_goes_from_the_first_question_without_an_answer_to_the_first_with_one() {
        assert_eq!(tally("++++").gap(400), Gap { longest_ms: 0, asked: 4, answered: 4 });
        assert_eq!(tally("+---+-+").gap(700), Gap { longest_ms: 300, asked: 7, answered: 3 });
        assert_eq!(tally("--+").gap(300).longest_ms, 200, "also one that was there from the beginning");
        assert_eq!(tally("+--").gap(1000).longest_ms, 900, "also one that goes on");
    }

    #[test]
    fn together_they_are_away_only_while_all_of_them_are() {
        let whole = |answers: &[&str]| {
            let tallies: Vec<Tally> = answers.iter().map(|answers| tally(answers)).collect();
            together(&tallies, answers[0].len() as u64 * 100).map(|gap| gap.longest_ms)
        };
        assert_eq!(whole(&["+---++++", "++++---+"]), Some(0));
        assert_eq!(whole(&["+---++++", "++----++"]), Some(200));
        assert_eq!(whole(&["+---++++", "++----++", "++++++++"]), Some(0));
        assert_eq!(whole(&["--++--++", "-----+++"]), Some(200));
        assert_eq!(whole(&["---", "---"]), Some(300));
    }

    #[test]
    fn who_was_not_asked_is_no_figure() {
        assert_eq!(together(&[], 100), None);
        assert_eq!(together(&[Tally::default()], 100), None);
    }

    #[test]
    fn more_gaps_than_are_kept_are_rather_told_too_long_than_left_out() {
        let mut tally = Tally::default();
        for i in 0..MOST_GAPS as u64 + 10 {
            tally.note(i * 200, false);
            tally.note(i * 200 + 100, true);
        }
        assert_eq!(tally.gaps.len(), MOST_GAPS);
        assert_eq!(tally.gap(u64::MAX).longest_ms, 10 * 200 + 100);
    }
}
