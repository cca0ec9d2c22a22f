//! What an agent's watch has said, from look to look. Pure: times are milliseconds since the change was handed out.
//!
//! A watch lives in its agent's memory. One that began after the last look that it should have lived through is another one:
//! in between nobody asked, and what the first one had seen since its last look is gone with it.

use drydock_core::observe::{Gap, Interruption};
use drydock_types::reach::ReachView;

/// A watch may begin so long after the change was handed out, in milliseconds: an order has to get to another node first.
const BEGINS_WITHIN_MS: u64 = 1_000;
/// By so much two clocks may be apart between two looks, in milliseconds.
const CLOCKS_APART_MS: u64 = 250;
/// Looks that lie further apart than this from the end say nothing about the end, in milliseconds.
const STALE_MS: u64 = 3_000;

/// One target's.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Of watches before the one that goes on.
    before: Gap,
    last: Option<Last>,
    unseen_ms: u64,
    times: u32,
}

/// What was last heard of the watch that goes on.
#[derive(Debug, Clone, Copy)]
struct Last {
    view: ReachView,
    asked_ms: u64,
    heard_ms: u64,
}

impl Last {
    /// When its watch began: neither before the first nor after the second.
    fn began_ms(&self) -> (u64, u64) {
        let began = |at: u64| at.saturating_sub(self.view.for_ms);
        (began(self.asked_ms), began(self.heard_ms))
    }
}

impl Followed {
    /// A look, when it was asked for, and when it was heard. Told in the order in which they were asked.
    pub(super) fn note(&mut self, asked_ms: u64, heard_ms: u64, view: ReachView) {
        let now = Last { view, asked_ms, heard_ms };
        let (earliest, latest) = now.began_ms();
        match self.last.replace(now) {
            None if latest > BEGINS_WITHIN_MS => self.interrupted(latest),
            None => {}
            Some(last) => {
                let (_, began) = last.began_ms();
                if earliest > began.saturating_add(CLOCKS_APART_MS) {
                    self.before = sum(self.before, last.view);
                    self.interrupted(latest.saturating_sub(last.asked_ms));
                }
            }
        }
    }

    fn interrupted(&mut self, for_ms: u64) {
        self.unseen_ms = self.unseen_ms.saturating_add(for_ms);
        self.times = self.times.saturating_add(1);
    }

    /// What is known of it by now, and for how long nobody looked. `None` where nothing was ever heard.
    pub(super) fn seen(&self, now_ms: u64) -> Option<(Gap, Option<Interruption>)> {
        let last = self.last.as_ref()?;
        let silent_ms = now_ms.saturating_sub(last.heard_ms);
        let (mut unseen_ms, mut times) = (self.unseen_ms, self.times);
        if silent_ms > STALE_MS {
            unseen_ms = unseen_ms.saturating_add(now_ms.saturating_sub(last.asked_ms));
            times = times.saturating_add(1);
        }
        let interrupted = (times > 0).then_some(Interruption { unseen_ms, times });
        Some((sum(self.before, last.view), interrupted))
    }
}

fn sum(before: Gap, view: ReachView) -> Gap {
    Gap {
        longest_ms: before.longest_ms.max(view.longest_ms),
        asked: before.asked.saturating_add(view.asked),
        answered: before.answered.saturating_add(view.answered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(for_ms: u64, longest_ms: u64) -> ReachView {
        ReachView { for_ms, asked: for_ms / 100, answered: (for_ms - longest_ms) / 100, longest_ms }
    }

    /// Looks once a second, each 20 ms on its way, at a watch that began at so many milliseconds.
    fn looks(followed: &mut Followed, began_ms: u64, at: std::ops::RangeInclusive<u64>, longest_ms: u64) {
        for second in at {
            let asked = second * 1000;
            followed.note(asked, asked + 20, view(asked + 10 - began_ms, longest_ms));
        }
    }

    #[test]
    fn a_watch_that_goes_on_is_one() {
        let mut followed = Followed::default();
        looks(&mut followed, 40, 1..=10, 300);
        let (gap, interrupted) = followed.seen(10_030).unwrap();
        assert_eq!((gap.longest_ms, gap.asked, interrupted), (300, 99, None));
    }

    #[test]
    fn nothing_heard_is_no_figure() {
        assert_eq!(Followed::default().seen(5_000), None);
    }

    #[test]
    fn one_that_an_agent_has_begun_anew_was_interrupted_and_what_was_seen_before_counts() {
        let mut followed = Followed::default();
        looks(&mut followed, 40, 1..=10, 900);
        // Its agent is started anew, and asks again from 14 s on.
        looks(&mut followed, 14_000, 15..=20, 0);
        let (gap, interrupted) = followed.seen(20_030).unwrap();
        assert_eq!(gap.longest_ms, 900);
        assert_eq!(gap.asked, 99 + 60);
        let of = interrupted.unwrap();
        assert_eq!(
            (of.unseen_ms, of.times),
            (4_010, 1),
            "from the last look to the beginning of the next watch"
        );
        assert_eq!(of.at_worst_ms(900), 4_010 + 1_800, "a gap may have run into it on either side");
    }

    #[test]
    fn one_that_was_begun_anew_long_ago_has_a_longer_time_behind_it_and_is_found_all_the_same() {
        let mut followed = Followed::default();
        looks(&mut followed, 0, 1..=2, 0);
        // Nothing is heard for a minute; the new one has been asking for longer than the old one had.
        looks(&mut followed, 30_000, 60..=61, 0);
        let (_, interrupted) = followed.seen(61_030).unwrap();
        assert_eq!(interrupted.map(|of| of.unseen_ms / 1000), Some(28));
    }

    #[test]
    fn a_stream_that_was_away_interrupts_nothing_as_long_as_the_watch_goes_on() {
        let mut followed = Followed::default();
        looks(&mut followed, 40, 1..=2, 0);
        looks(&mut followed, 40, 50..=51, 1_200);
        assert_eq!(followed.seen(51_030).unwrap().1, None);
        let (gap, interrupted) = followed.seen(60_000).unwrap();
        assert_eq!(gap.longest_ms, 1_200);
        assert_eq!(interrupted.map(|of| (of.unseen_ms, of.times)), Some((9_000, 1)), "the end was not seen");
    }

    #[test]
    fn one_that_began_late_has_not_seen_the_beginning() {
        let mut followed = Followed::default();
        looks(&mut followed, 8_000, 9..=10, 0);
        assert_eq!(followed.seen(10_030).unwrap().1.map(|of| of.unseen_ms), Some(8_010));
        // One that has been asking since before is another matter.
        let mut followed = Followed::default();
        followed.note(1_000, 1_020, view(400_000, 0));
        assert_eq!(followed.seen(1_030).unwrap().1, None);
    }

    #[test]
    fn what_an_agent_makes_up_overflows_nothing() {
        let mut followed = Followed::default();
        let odd = ReachView { for_ms: u64::MAX, asked: u64::MAX, answered: u64::MAX, longest_ms: u64::MAX };
        followed.note(10, 20, odd);
        followed.note(1_000, 1_020, ReachView { for_ms: 0, ..odd });
        let (gap, interrupted) = followed.seen(u64::MAX).unwrap();
        assert_eq!((gap.longest_ms, gap.asked), (u64::MAX, u64::MAX));
        assert!(interrupted.is_some());
    }
}
