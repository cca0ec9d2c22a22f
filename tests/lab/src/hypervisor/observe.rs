//! What somebody sees who has nothing to do with Drydock: answers to pings every 10 ms, and what was so before and
//! is so after.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::site::{Hypervisors, Target};
use super::trace::Trace;
use crate::guard::ChildGuard;
use crate::node::Node;
use crate::wait::until;
use crate::{Error, Result, exec};

const LOOK: &str = include_str!("../scripts/hypervisor/look.sh");
static STARTED: AtomicU64 = AtomicU64::new(0);
const LOOKING: Duration = Duration::from_secs(60);
const STARTING: Duration = Duration::from_secs(10);
const ENDING: Duration = Duration::from_secs(10);

/// One `ping` of one target, every 10 ms, from outside the nodes.
#[derive(Debug)]
pub struct Pinger {
    target: Target,
    guard: ChildGuard,
}

/// What a pinger saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Whom it asked.
    pub target: Target,
    /// Requests.
    pub sent: u64,
    /// Answers.
    pub received: u64,
    /// The longest time without an answer, the end counted: after a total loss no other answer shows it.
    pub longest_gap: Duration,
}

impl Pinger {
    /// Starts one and waits for its first answer. Its log is named after `about` and the target.
    ///
    /// # Errors
    /// When there is no answer within 10 s: one that sees nothing cannot miss anything.
    pub fn start(site: &Hypervisors<'_>, about: &str, target: &Target) -> Result<Self> {
        let words = ["ping", "-n", "-D", "-O", "-i", "0.01", &target.address()];
        // Each has a log of its own: what is there is appended to.
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("ping-{about}-{}-{number}", target.name());
        let guard = site.lab().spawn_in_netns(&name, &site.outside(&words))?;
        let pinger = Self { target: target.clone(), guard };
        until(
            &format!("the first answer of {}", target.name()),
            STARTING,
            Duration::from_millis(20),
            || Ok(pinger.guard.printed()?.contains(" ttl=").then_some(())),
            || pinger.guard.printed().unwrap_or_default(),
        )?;
        Ok(pinger)
    }

    /// One for each of a node's targets.
    ///
    /// # Errors
    /// As for [`Pinger::start`].
    pub fn of_node(site: &Hypervisors<'_>, about: &str, number: usize) -> Result<Vec<Self>> {
        Target::of(number).iter().map(|target| Self::start(site, about, target)).collect()
    }

    /// Ends it and gives what it saw.
    ///
    /// # Errors
    /// When it does not end, or what it printed is not what `ping` prints.
    pub fn finish(mut self) -> Result<Seen> {
        let printed = self.end()?;
        seen(&self.target, &printed)
    }

    /// Ends it and gives every line of what it saw, for looks at a part of the time.
    ///
    /// # Errors
    /// As for [`Self::finish`].
    pub fn finish_trace(mut self) -> Result<Trace> {
        let printed = self.end()?;
        Trace::read(&self.target, &printed)
    }

    fn end(&mut self) -> Result<String> {
        // Only to an interrupt it answers with its figures.
        self.guard.signal(Signal::SIGINT)?;
        self.guard.wait(ENDING)?;
        self.guard.printed()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = self.longest_gap.as_millis();
        write!(
            f,
            "{:<9} {:>5}/{:<5} answered, longest gap {gap} ms",
            self.target.name(),
            self.received,
            self.sent
        )
    }
}

/// Reads the output of `ping -D -O`: lines with a time in seconds since 1970, then the figures.
pub(super) fn seen(target: &Target, printed: &str) -> Result<Seen> {
    let unfit = |why: &str| Error::Unfit(format!("ping of {} printed {why}: {printed:.300}", target.name()));
    let mut gap = Duration::ZERO;
    let (mut last_answer, mut last_line) = (None::<Duration>, None::<Duration>);
    for line in printed.lines() {
        let Some(rest) = line.strip_prefix('[') else { continue };
        let (time, what) = rest.split_once(']').ok_or_else(|| unfit("a line without a time"))?;
        let time = time.parse().ok().and_then(|time: f64| Duration::try_from_secs_f64(time).ok());
        let time = time.ok_or_else(|| unfit("a time that is none"))?;
        last_line = Some(time);
        if what.contains(" ttl=") {
            gap = gap.max(last_answer.map_or(Duration::ZERO, |last| time.saturating_sub(last)));
            last_answer = Some(time);
        }
    }
    let (Some(last_answer), Some(last_line)) = (last_answer, last_line) else {
        return Err(unfit("no answer"));
    };
    let figures = printed.lines().find(|line| line.contains("packets transmitted"));
    let mut words = figures.ok_or_else(|| unfit("no figures"))?.split_whitespace();
    let mut number = |skip: usize| words.nth(skip).and_then(|word| word.parse().ok());
    let (Some(sent), Some(received)) = (number(0), number(2)) else { return Err(unfit("other figures")) };
    let longest_gap = gap.max(last_line.saturating_sub(last_answer));
    Ok(Seen { target: target.clone(), sent, received, longest_gap })
}

/// Facts of a node, by what they are of: guests, bridges, flows, groups, meters, ports, units, running programs,
/// what these say they are, packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, String>);

impl Facts {
    /// Looks at a node.
    ///
    /// # Errors
    /// When it cannot be looked at, or nothing of a hypervisor is seen there.
    pub fn of(node: &Node) -> Result<Self> {
        let output = node.exec_within(LOOKING, &["sh", "-c", LOOK])?;
        exec::succeed(&node.purpose("looking at what is so"), "look.sh", &output)?;
        let text = output.text();
        let facts: BTreeMap<String, String> = text
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(of, is)| (of.to_owned(), is.trim().to_owned()))
            .collect();
        for kind in ["guest ", "bridge ", "flows ", "port ", "unit ", "package "] {
            if !facts.keys().any(|of| of.starts_with(kind)) {
                return Err(Error::Unfit(format!("{} shows no {kind}at all: {text}", node.name())));
            }
        }
        Ok(Self(facts))
    }

    /// One fact.
    ///
    /// # Errors
    /// When it was not seen.
    pub fn get(&self, of: &str) -> Result<&str> {
        self.0.get(of).map(String::as_str).ok_or_else(|| Error::Unfit(format!("nobody has seen {of}")))
    }

    /// How many flows a bridge has.
    ///
    /// # Errors
    /// When they could not be read.
    pub fn flows(&self, bridge: &str) -> Result<usize> {
        let fact = self.get(&format!("flows {bridge}"))?;
        let count = fact.split(' ').next().and_then(|count| count.parse().ok());
        count.ok_or_else(|| Error::Unfit(format!("the flows of {bridge} are {fact}")))
    }

    /// What is another or gone, in words, but for what may be. A unit that came in between is none of it: units that
    /// run for a moment come and go.
    #[must_use]
    pub fn differences(&self, after: &Self, may_change: impl Fn(&str) -> bool) -> Vec<String> {
        let came = after.0.keys().filter(|of| !of.starts_with("unit ") && !self.0.contains_key(*of));
        let all = self.0.keys().chain(came);
        let differs = all.filter(|of| self.0.get(*of) != after.0.get(*of) && !may_change(of));
        differs.map(|of| format!("{of}: {:?} before, {:?} after", self.0.get(of), after.0.get(of))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `ping` from iputils 20221126, shortened.
    const LOSS: &str = "\
PING 10.99.0.112 (10.99.0.112) 56(84) bytes of data.
[1795328444.298814] 64 bytes from 10.99.0.112: icmp_seq=1 ttl=64 time=0.258 ms
[1795328444.308966] 64 bytes from 10.99.0.112: icmp_seq=2 ttl=64 time=0.396 ms
[1795328444.808966] no answer yet for icmp_seq=3
[1795328444.908966] 64 bytes from 10.99.0.112: icmp_seq=4 ttl=64 time=0.396 ms
[1795328446.893867] no answer yet for icmp_seq=5

--- 10.99.0.112 ping statistics ---
292 packets transmitted, 176 received, 39.726% packet loss, time 4511ms
rtt min/avg/max/mdev = 0.115/0.819/4.399/0.969 ms
";

    #[test]
    fn the_gap_is_the_longest_and_the_one_at_the_end_counts() {
        let total = seen(&Target::Plain(2), LOSS).unwrap();
        assert_eq!((total.sent, total.received), (292, 176));
        assert_eq!(total.longest_gap.as_millis(), 1984);
        let without_end: String = LOSS
            .lines()
            .filter(|line| !line.contains("icmp_seq=5"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(seen(&Target::Plain(2), &without_end).unwrap().longest_gap.as_millis(), 600);
    }

    #[test]
    fn a_pinger_that_saw_nothing_fails() {
        let silent: String =
            LOSS.lines().filter(|line| !line.contains("ttl=")).map(|line| format!("{line}\n")).collect();
        assert!(seen(&Target::Plain(2), &silent).unwrap_err().to_string().contains("no answer"));
        assert!(seen(&Target::Plain(2), "").is_err());
        let cut = LOSS.split("---").next().unwrap_or_default();
        assert!(seen(&Target::Plain(2), cut).unwrap_err().to_string().contains("no figures"));
    }

    fn facts(lines: &[(&str, &str)]) -> Facts {
        Facts(lines.iter().map(|(of, is)| ((*of).to_owned(), (*is).to_owned())).collect())
    }

    #[test]
    fn what_is_another_gone_or_new_is_told_but_for_what_may_be() {
        let before = facts(&[("guest g", "1"), ("flows br0", "222 a"), ("unit a", "x"), ("unit b", "y")]);
        let after = facts(&[
            ("flows br0", "0 b"),
            ("unit a", "z"),
            ("unit b", "y"),
            ("unit c", "n"),
            ("port p", "1"),
        ]);
        let told = before.differences(&after, |of| of == "unit a");
        assert_eq!(told.len(), 3, "{told:?}");
        for (line, of) in told.iter().zip(["flows br0", "guest g", "port p"]) {
            assert!(line.starts_with(of), "{line}");
        }
        assert!(before.differences(&before, |_| false).is_empty());
        assert!(after.flows("br0").is_ok_and(|count| count == 0));
        assert!(facts(&[("flows br0", "unreadable")]).flows("br0").is_err());
    }
}
