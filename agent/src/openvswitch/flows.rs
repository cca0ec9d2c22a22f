//! Flows, groups and meters of a bridge, line by line: 200,000 flows are never held at once.
//!
//! What is compared is the sum of the SHA-256 digests of all lines as 256-bit numbers: it does not depend on their
//! order, and a line that is there twice counts twice. `reset_counts` is left out: a reload does not keep it
//! (seen with 3.1.0), and it says only what a later change of that flow does to its counters.

use std::{io, time::Duration};

use drydock_types::Sha256;
use serde::{Deserialize, Serialize};

use super::tool;
use crate::{
    actions::Problem,
    sys::{exec::Program, units::printable_line},
};

/// How long the flows of one bridge may take to be read.
const DUMP: Duration = Duration::from_secs(60);
/// The longest line of a flow, group or meter.
const LONGEST: usize = 1 << 20;

/// A version of OpenFlow, as `-O` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Dialect {
    OpenFlow10,
    OpenFlow11,
    OpenFlow12,
    OpenFlow13,
    OpenFlow14,
    OpenFlow15,
}

impl Dialect {
    const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::OpenFlow10, "OpenFlow10", "(OF1.0)"),
        (Self::OpenFlow11, "OpenFlow11", "(OF1.1)"),
        (Self::OpenFlow12, "OpenFlow12", "(OF1.2)"),
        (Self::OpenFlow13, "OpenFlow13", "(OF1.3)"),
        (Self::OpenFlow14, "OpenFlow14", "(OF1.4)"),
        (Self::OpenFlow15, "OpenFlow15", "(OF1.5)"),
    ];

    /// As `-O` takes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(it, ..)| *it == self).map_or("OpenFlow10", |(_, word, _)| word)
    }

    /// Can flows be replaced in one transaction?
    #[must_use]
    pub fn has_bundles(self) -> bool {
        self >= Self::OpenFlow14
    }

    /// The highest of a bridge's `protocols`.
    fn highest(protocols: &[String]) -> Result<Option<Self>, String> {
        let known = |word: &String| {
            let it = Self::ALL.iter().find(|(_, known, _)| known == word).map(|(it, ..)| *it);
            it.ok_or_else(|| format!("it speaks {word}, which the agent does not know"))
        };
        let all: Result<Vec<_>, _> = protocols.iter().map(known).collect();
        Ok(all?.into_iter().max())
    }

    /// Of an answer's first line: `OFPST_GROUP_DESC reply (OF1.5) (xid=0x2):`. 1.0 has no mark.
    fn of_answer(line: &str) -> Option<Self> {
        let marked = Self::ALL.iter().find(|(.., mark)| line.contains(mark)).map(|(it, ..)| *it);
        marked.or_else(|| line.starts_with("NXST_GROUP_DESC").then_some(Self::OpenFlow10))
    }
}

/// How many, and their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// How many lines.
    pub count: u64,
    sum: [u8; 32],
}

impl Sum {
    /// One more line.
    pub fn add(&mut self, line: &[u8]) {
        self.count = self.count.saturating_add(1);
        let mut carry = 0u16;
        for (into, byte) in self.sum.iter_mut().zip(Sha256::of(line).0).rev() {
            let sum = u16::from(*into) + u16::from(byte) + carry;
            *into = sum.to_be_bytes()[1];
            carry = sum >> 8;
        }
    }

    /// The digest of all lines.
    #[must_use]
    pub const fn digest(&self) -> Sha256 {
        Sha256(self.sum)
    }
}

/// Which table a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A flow.
    Flow,
    /// A group.
    Group,
    /// A meter.
    Meter,
}

/// What a bridge has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tables {
    /// Its flows.
    pub flows: Sum,
    /// Its groups.
    pub groups: Sum,
    /// Its meters.
    pub meters: Sum,
}

/// The OpenFlow version to ask the bridge in: its highest, for lower ones leave meters and more out.
///
/// # Errors
/// When the bridge does not answer.
pub async fn dialect(bridge: &str, protocols: &[String]) -> Result<Dialect, Problem> {
    if let Some(highest) =
        Dialect::highest(protocols).map_err(|why| Problem::new(format!("{bridge}: {why}")))?
    {
        return Ok(highest);
    }
    let all = Dialect::ALL.map(|(_, word, _)| word).join(",");
    let mut first = None;
    dump(bridge, &all, "dump-groups", |line| {
        first.get_or_insert_with(|| line.to_owned());
        Ok(())
    })
    .await?;
    first.as_deref().and_then(Dialect::of_answer).ok_or_else(|| {
        Problem::new(format!("which OpenFlow version {bridge} speaks cannot be told from ovs-ofctl's answer"))
    })
}

/// Reads all of a bridge.
///
/// # Errors
/// When any of it cannot be read.
pub async fn look(bridge: &str, dialect: Dialect) -> Result<Tables, Problem> {
    read(bridge, dialect, |_, _| Ok(())).await
}

/// Reads all of a bridge, and hands on each line in a form that can be replayed.
///
/// # Errors
/// When any of it cannot be read, or `each` fails.
pub async fn read(
    bridge: &str,
    dialect: Dialect,
    mut each: impl FnMut(Kind, &str) -> io::Result<()> + Send,
) -> Result<Tables, Problem> {
    let (word, mut tables) = (dialect.word(), Tables::default());
    dump(bridge, word, "dump-flows", |line| {
        let Some(flow) = entry(line)? else { return Ok(()) };
        tables.flows.add(compared(flow).as_bytes());
        each(Kind::Flow, &replayed(flow))
    })
    .await?;
    dump(bridge, word, "dump-groups", |line| {
        let Some(group) = entry(line)? else { return Ok(()) };
        tables.groups.add(group.as_bytes());
        each(Kind::Group, &format!("add_or_mod {group}"))
    })
    .await?;
    if dialect >= Dialect::OpenFlow13 {
        let mut meters = Meters::default();
        dump(bridge, word, "dump-meters", |line| {
            let Some(whole) = meters.line(line) else { return Ok(()) };
            tables.meters.add(whole.as_bytes());
            each(Kind::Meter, &whole)
        })
        .await?;
        if let Some(last) = meters.0.take() {
            tables.meters.add(last.as_bytes());
            each(Kind::Meter, &last).map_err(|error| Problem::new(format!("meters of {bridge}: {error}")))?;
        }
    }
    Ok(tables)
}

/// A flow or group; `None` for the line above them.
fn entry(line: &str) -> io::Result<Option<&str>> {
    if line.starts_with("OFPST_") || line.starts_with("NXST_") || line.is_empty() {
        return Ok(None);
    }
    match line.strip_prefix(' ') {
        Some(entry) if entry.contains('=') => Ok(Some(entry)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a line is neither flow nor group: {}", printable_line(line)),
        )),
    }
}

/// Without what a reload does not keep and nobody means.
fn compared(flow: &str) -> String {
    let (head, actions) = flow.split_at(flow.find("actions=").unwrap_or(flow.len()));
    format!("{}{actions}", head.replace("reset_counts ", ""))
}

/// As `replace-flows` takes it: it does not take everything that `dump-flows` says (as Open vSwitch's own `ovs-save`
/// knows).
fn replayed(flow: &str) -> String {
    flow.replace("igmp_type", "tp_src").replace("igmp_code", "tp_dst").replace("igmp", "ip,nw_proto=2")
}

/// Meters stand on several lines each.
#[derive(Default)]
struct Meters(Option<String>);

impl Meters {
    /// The meter that this line ends.
    fn line(&mut self, line: &str) -> Option<String> {
        if line.starts_with("OFPST_") {
            return None;
        }
        if line.starts_with("meter=") {
            return self.0.replace(line.trim_end().to_owned());
        }
        if let Some(open) = &mut self.0
            && !line.trim().is_empty()
        {
            open.push(' ');
            open.push_str(line.trim());
        }
        None
    }
}

/// How long ago the oldest flow of a bridge was written; `None` where it has none.
///
/// # Errors
/// When they cannot be read.
pub async fn oldest(bridge: &str, dialect: Dialect) -> Result<Option<Duration>, Problem> {
    let mut oldest = None;
    said(bridge, "dump-flows", &["-O", dialect.word(), "dump-flows", bridge, "--no-names"], |line| {
        if let Some(flow) = entry(line)? {
            oldest = oldest.max(Some(written(flow)?));
        }
        Ok(())
    })
    .await?;
    Ok(oldest)
}

/// `duration=2.142s` of a flow with its counters.
fn written(flow: &str) -> io::Result<Duration> {
    let seconds = flow.split(", ").find_map(|part| part.strip_prefix("duration=")?.strip_suffix('s'));
    let seconds = seconds.and_then(|text| text.parse().ok());
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or_else(|| {
        let line = printable_line(flow);
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a flow does not say since when it is there: {line}"),
        )
    })
}

async fn dump(
    bridge: &str,
    dialects: &str,
    what: &str,
    each: impl FnMut(&str) -> io::Result<()> + Send,
) -> Result<(), Problem> {
    let mut args = vec!["-O", dialects, what, bridge];
    if what == "dump-flows" {
        args.extend(["--no-names", "--no-stats"]);
    }
    said(bridge, what, &args, each).await
}

async fn said(
    bridge: &str,
    what: &str,
    args: &[&str],
    each: impl FnMut(&str) -> io::Result<()> + Send,
) -> Result<(), Problem> {
    let program = Program::new(tool("ovs-ofctl")?).args(args.iter().copied()).deadline(DUMP);
    each_line(bridge, what, &program, each).await
}

async fn each_line(
    bridge: &str,
    what: &str,
    program: &Program,
    mut each: impl FnMut(&str) -> io::Result<()> + Send,
) -> Result<(), Problem> {
    let text = |line: &[u8]| match std::str::from_utf8(line) {
        Ok(line) => each(line),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it did not answer UTF-8")),
    };
    let output = program.run_lines(LONGEST, text).await;
    let failed = |why: String| {
        Problem::new(format!("ovs-ofctl {what} {bridge}: {why}"))
            .next("systemctl status ovs-vswitchd; ovs-vsctl show")
    };
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{} ({})", output.status, printable_line(said.lines().next().unwrap_or_default()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(lines: &[&str]) -> Sum {
        let mut sum = Sum::default();
        lines.iter().for_each(|line| sum.add(line.as_bytes()));
        sum
    }

    #[test]
    fn since_when_a_flow_is_there_is_read_and_never_guessed() {
        let flow = "cookie=0x407d2430, duration=2.142s, table=0, n_packets=0, n_bytes=0, idle_age=2, priority=100,in_port=1 \
                    actions=set_field:0x1->reg13,resubmit(,8)";
        assert_eq!(written(flow).unwrap(), Duration::from_millis(2142));
        for bad in [
            "cookie=0x0, table=0",
            "duration=s, table=0",
            "duration=-1s, table=0",
            "duration=NaNs, a=1",
            "duration=1e99s, ",
        ] {
            assert!(written(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn two_hundred_thousand_flows_go_by_one_line_at_a_time() {
        let sh = |script: &str| Program::new("/bin/sh").args(["-c", script]).deadline(DUMP);
        let flow = r#"printf " cookie=0x%x, priority=100,tcp,tp_dst=%d actions=drop\n", $1, $1"#;
        let there = format!("echo 'OFPST_FLOW reply (OF1.5) (xid=0x2):'; seq 200000 | awk '{{{flow}}}'");
        let back = format!("seq 200000 -1 1 | awk '{{{flow}}}'");
        let mut sums = Vec::new();
        for script in [there, back] {
            let (mut sum, mut longest) = (Sum::default(), 0);
            let each = |line: &str| {
                longest = longest.max(line.len());
                if let Some(flow) = entry(line)? {
                    sum.add(compared(flow).as_bytes());
                }
                Ok(())
            };
            each_line("br0", "dump-flows", &sh(&script), each).await.unwrap();
            assert!(longest < 100, "never more than a line is handed on: {longest}");
            sums.push(sum);
        }
        assert_eq!(sums[0], sums[1], "their order means nothing");
        assert_eq!(sums[0].count, 200_000);
    }

    #[tokio::test]
    async fn a_switch_that_hangs_or_never_ends_a_line_is_given_up_by_name() {
        let none = |_: &str| Ok(());
        let of = |script: &str| Program::new("/bin/sh").args(["-c", script]);
        let hangs = of("sleep 600").deadline(Duration::from_millis(300));
        let why = each_line("br0", "dump-flows", &hangs, none).await.unwrap_err();
        assert!(why.what.contains("dump-flows br0") && why.what.contains("had not ended"), "{why}");
        let endless = of("head -c 3000000 /dev/zero | tr '\\0' x; sleep 600").deadline(DUMP);
        let why = each_line("br0", "dump-flows", &endless, none).await.unwrap_err();
        assert!(why.what.contains(&format!("a line of more than {LONGEST} bytes")), "{why}");
        let odd = of("printf ' priority=1,actions=\\377\\n'").deadline(DUMP);
        assert!(each_line("br0", "dump-flows", &odd, none).await.unwrap_err().what.contains("UTF-8"));
    }

    #[test]
    fn the_order_of_flows_means_nothing_and_their_number_does() {
        assert_eq!(sum(&["a", "b", "c"]), sum(&["c", "a", "b"]));
        assert_ne!(sum(&["a", "b"]).digest(), sum(&["a", "c"]).digest());
        // An exclusive or would not see these.
        assert_ne!(sum(&["a", "a", "b"]).digest(), sum(&["b"]).digest());
        assert_ne!(sum(&["a", "a"]).digest(), sum(&["b", "b"]).digest());
        assert_eq!((sum(&["x"]).digest(), sum(&[]).digest()), (Sha256::of(b"x"), Sha256([0; 32])));
    }

    #[test]
    fn a_sum_carries_over_all_of_its_bytes() {
        let mut all = Sum { count: 0, sum: [0xff; 32] };
        all.add(b"x");
        let mut one_less = Sha256::of(b"x").0;
        for byte in one_less.iter_mut().rev() {
            let (less, borrow) = byte.overflowing_sub(1);
            *byte = less;
            if !borrow {
                break;
            }
        }
        assert_eq!(all.digest().0, one_less);
    }

    /// Lines of `ovs-ofctl -O OpenFlow15 dump-flows --no-names --no-stats` of 3.1.0, before and after a reload.
    #[test]
    fn what_a_reload_does_not_keep_is_not_compared() {
        let (before, after) = (
            " reset_counts priority=100,tcp,nw_src=10.1.0.199,tp_dst=199 actions=drop",
            " priority=100,tcp,nw_src=10.1.0.199,tp_dst=199 actions=drop",
        );
        let (before, after) = (entry(before).unwrap().unwrap(), entry(after).unwrap().unwrap());
        assert_eq!(compared(before), compared(after));
        let cookie = "cookie=0x5, reset_counts priority=200,udp,tp_dst=99 actions=meter:3,group:7";
        assert_eq!(compared(cookie), "cookie=0x5, priority=200,udp,tp_dst=99 actions=meter:3,group:7");
        assert_eq!(replayed("priority=201,igmp actions=drop"), "priority=201,ip,nw_proto=2 actions=drop");
    }

    #[test]
    fn lines_that_are_no_flows_are_told() {
        assert_eq!(entry("OFPST_FLOW reply (OF1.5) (xid=0x2):").unwrap(), None);
        assert_eq!(
            entry(" group_id=7,type=all,bucket=output:1").unwrap(),
            Some("group_id=7,type=all,bucket=output:1")
        );
        assert!(entry("ovs-ofctl: something new").is_err());
    }

    /// As 3.1.0 says them.
    #[test]
    fn a_meter_is_put_together_from_its_lines() {
        let said = "OFPST_METER_CONFIG reply (OF1.5) (xid=0x2):\nmeter=3 kbps bands=\ntype=drop rate=1000\n\nmeter=4 pktps bands=\ntype=drop rate=5\n";
        let mut meters = Meters::default();
        let mut all: Vec<String> = said.lines().filter_map(|line| meters.line(line)).collect();
        all.extend(meters.0.take());
        assert_eq!(all, ["meter=3 kbps bands= type=drop rate=1000", "meter=4 pktps bands= type=drop rate=5"]);
    }

    #[test]
    fn the_highest_version_is_asked() {
        let words = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        assert_eq!(Dialect::highest(&[]), Ok(None));
        assert_eq!(
            Dialect::highest(&words(&["OpenFlow14", "OpenFlow10", "OpenFlow13"])),
            Ok(Some(Dialect::OpenFlow14))
        );
        assert!(Dialect::highest(&words(&["OpenFlow16"])).is_err());
        let of = Dialect::of_answer;
        assert_eq!(of("OFPST_GROUP_DESC reply (OF1.5) (xid=0x2):"), Some(Dialect::OpenFlow15));
        assert_eq!(of("NXST_GROUP_DESC reply (xid=0x2):"), Some(Dialect::OpenFlow10));
        assert_eq!(of("something"), None);
    }
}
