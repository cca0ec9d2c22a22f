//! What one `ping` printed, line by line: a run of many nodes is watched by the same pings from before its beginning
//! until after its end, and each node's part of it is cut out afterwards.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::observe::{Seen, seen};
use super::site::Target;
use crate::{Error, Result};

/// A request's number has 16 bits on the wire: every 65536th is the same.
const NUMBERS: u64 = 1 << 16;

/// Every request and every answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    whole: Seen,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Line {
    /// Since 1970.
    at: Duration,
    request: u64,
    answered: bool,
}

/// A stretch of time, since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub from: Duration,
    /// Its end.
    pub until: Duration,
}

/// The time of this machine's clock, which `ping -D` prints too.
#[must_use]
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Trace {
    /// Reads what `ping -D -O` printed.
    ///
    /// # Errors
    /// When it is not what `ping` prints, or there is no answer at all.
    pub(super) fn read(target: &Target, printed: &str) -> Result<Self> {
        let whole = seen(target, printed)?;
        let mut lines: Vec<Line> = Vec::new();
        for line in printed.lines() {
            let Some((time, what)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
                continue;
            };
            let number = what.split_once("icmp_seq=").map(|(_, rest)| rest.split(' ').next().unwrap_or(rest));
            let number = number.and_then(|number| number.parse().ok());
            let at = time.parse().ok().and_then(|time: f64| Duration::try_from_secs_f64(time).ok());
            let (Some(at), Some(number)) = (at, number) else {
                return Err(Error::Unfit(format!("ping of {} printed {line:?}", target.name())));
            };
            let request = unwrapped(lines.last().map_or(0, |line| line.request), number);
            lines.push(Line { at, request, answered: what.contains(" ttl=") });
        }
        Ok(Self { whole, lines })
    }

    /// Whom it asked.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.whole.target
    }

    /// All of it.
    #[must_use]
    pub const fn whole(&self) -> &Seen {
        &self.whole
    }

    /// When the first and the last answer came.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        let mut answers = self.answers();
        let from = answers.next()?;
        Some(Span { from, until: answers.last().unwrap_or(from) })
    }

    /// What of it falls into a stretch of time. A gap that reaches into it counts whole: it began before, or ends
    /// after it, because of what was done in it.
    #[must_use]
    pub fn within(&self, span: Span) -> Seen {
        let inside = self.lines.iter().filter(|line| (span.from..=span.until).contains(&line.at));
        // An answer that comes late is of a request that was told as unanswered before.
        let (mut sent, mut received) = (BTreeSet::new(), BTreeSet::new());
        for line in inside {
            sent.insert(line.request);
            if line.answered {
                received.insert(line.request);
            }
        }
        let answers: Vec<Duration> = self.answers().chain(self.silent_end()).collect();
        let gaps = answers.windows(2).filter(|pair| pair[1] >= span.from && pair[0] <= span.until);
        let longest_gap = gaps.map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or(Duration::MAX);
        let count = |requests: BTreeSet<u64>| u64::try_from(requests.len()).unwrap_or(u64::MAX);
        Seen { target: self.whole.target.clone(), sent: count(sent), received: count(received), longest_gap }
    }

    fn answers(&self) -> impl Iterator<Item = Duration> {
        self.lines.iter().filter(|line| line.answered).map(|line| line.at)
    }

    /// Where nobody answers any more the last line stands for an answer that never came.
    fn silent_end(&self) -> Option<Duration> {
        self.lines.last().filter(|line| !line.answered).map(|line| line.at)
    }
}

/// The request behind a number of 16 bits, near the last one that was seen.
fn unwrapped(last: u64, number: u64) -> u64 {
    let round = last / NUMBERS * NUMBERS;
    let near = |candidate: &u64| candidate.abs_diff(last);
    [round.saturating_sub(NUMBERS) + number, round + number, round + NUMBERS + number]
        .into_iter()
        .min_by_key(near)
        .unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(lines: &[(&str, u64, bool)], figures: &str) -> String {
        let mut text = String::from("PING 10.99.0.112 (10.99.0.112) 56(84) bytes of data.\n");
        for (time, number, answered) in lines {
            text += &if *answered {
                format!("[{time}] 64 bytes from 10.99.0.112: icmp_seq={number} ttl=64 time=0.258 ms\n")
            } else {
                format!("[{time}] no answer yet for icmp_seq={number}\n")
            };
        }
        text + "\n--- 10.99.0.112 ping statistics ---\n" + figures
    }

    const FIGURES: &str = "9 packets transmitted, 7 received, 1% packet loss, time 45ms\n";

    fn trace(lines: &[(&str, u64, bool)]) -> Trace {
        Trace::read(&Target::Plain(2), &printed(lines, FIGURES)).unwrap()
    }

    fn span(from: u64, until: u64) -> Span {
        Span { from: Duration::from_secs(from), until: Duration::from_secs(until) }
    }

    #[test]
    fn a_gap_belongs_to_every_stretch_that_it_reaches_into_and_to_no_other() {
        let trace = trace(&[
            ("100.0", 1, true),
            ("101.0", 2, true),
            ("102.0", 3, false),
            ("104.5", 4, true),
            ("105.0", 5, true),
            ("106.0", 6, true),
        ]);
        let within = trace.within(span(103, 105));
        assert_eq!((within.longest_gap.as_millis(), within.sent, within.received), (3500, 2, 2));
        assert_eq!(trace.within(span(105, 106)).longest_gap.as_millis(), 1000);
        assert_eq!(trace.within(span(100, 100)).longest_gap.as_millis(), 1000);
        let lost = trace.within(span(101, 103));
        assert_eq!((lost.sent, lost.received), (2, 1));
    }

    #[test]
    fn one_that_falls_silent_for_good_has_its_gap_in_the_stretch_where_it_did() {
        let trace = trace(&[("100.0", 1, true), ("101.0", 2, true), ("109.0", 3, false)]);
        assert_eq!(trace.within(span(102, 103)).longest_gap.as_millis(), 8000);
        // Nothing is known of a time in which nobody asked: that is no short gap.
        assert_eq!(trace.within(span(200, 201)).longest_gap, Duration::MAX);
    }

    #[test]
    fn a_late_answer_is_one_request_and_numbers_begin_anew_after_65535() {
        let trace = trace(&[
            ("100.0", 65534, true),
            ("100.1", 65535, false),
            ("100.2", 65535, true),
            ("100.3", 0, true),
            ("100.4", 1, true),
        ]);
        let within = trace.within(span(100, 101));
        assert_eq!((within.sent, within.received), (4, 4));
        assert_eq!(unwrapped(65535, 0), 65536);
        assert_eq!(unwrapped(65536, 65535), 65535);
        assert_eq!(unwrapped(0, 1), 1);
        assert_eq!(unwrapped(3 * 65536 + 65530, 2), 4 * 65536 + 2);
    }

    #[test]
    fn what_ping_does_not_print_is_refused() {
        let text = printed(&[("100.0", 1, true)], FIGURES).replace("icmp_seq=1", "icmp_seq=x");
        assert!(Trace::read(&Target::Plain(2), &text).is_err());
    }
}
