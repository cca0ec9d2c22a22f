//! What must hold of hypervisors after a run, and the table.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

use super::site::Scene;
use super::watch::{Answers, Followed};
use crate::Node;
use crate::hypervisor::Target;
use crate::hypervisor::bare::Part;
use crate::hypervisor::observe::{Facts, Seen};
use crate::hypervisor::trace::{Span, Trace};
use crate::scenarios::proofs::Proofs;
use crate::scenarios::table;
use crate::wait::until;

/// Ours may be this much of the longest gap by hand.
const OF_BARE: f64 = 1.5;
/// How long OVN may take to write its flows as they were.
const AS_BEFORE: Duration = Duration::from_secs(30);
/// What may be left of an upgrade on nobody's node. Each line of its output is something that was left.
const LEFT: &str = r#"[ ! -e /usr/sbin/policy-rc.d ] || echo "policy-rc.d: $(head -c 200 /usr/sbin/policy-rc.d)"
apt-mark showhold | sed 's/^/on hold: /'
dpkg --audit | sed 's/^/dpkg --audit: /'
ovs-vsctl --if-exists get open_vswitch . other_config:flow-restore-wait | grep . | sed 's/^/flow-restore-wait: /'
systemctl list-units --all --plain --no-legend 'drydock*' | grep -v '^drydock-agent.service \|^drydock-revert.service ' | sed 's/^/unit: /'
for file in /var/lib/drydock-agent/revert/armed.json /run/systemd/transient/drydock*; do [ ! -e "$file" ] || echo "file: $file"; done"#;

/// The way that a part went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    There,
    Back,
}

/// A part on a node, as it was seen from outside.
pub(super) struct Row {
    part: Part,
    way: Way,
    node: String,
    seen: Vec<Seen>,
    bare: Duration,
    kept: bool,
}

/// The rows of a run whose stages are `parts`, in their order.
pub(super) fn rows(
    scene: &Scene<'_>,
    (parts, way): (&[Part], Way),
    followed: &Followed,
    traces: &[Trace],
    bare: &BTreeMap<Part, Duration>,
    after: &[Facts],
    proofs: &mut Proofs,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (stage, part) in parts.iter().enumerate() {
        for ((number, node), facts) in scene.site.nodes().zip(after) {
            let name = node.name();
            let Some(span) = followed.spans.get(&(name.clone(), stage)) else {
                proofs.check(false, format!("{part:?} was changed on {name}"));
                continue;
            };
            let seen = traces.iter().filter(|trace| Target::of(number).contains(trace.target()));
            let seen: Vec<Seen> = seen.map(|trace| trace.within(*span)).collect();
            let guest = format!("guest guest{number}");
            let kept = facts.get(&guest)? == scene.stock[number - 1].get(&guest)?;
            let bare = *bare.get(part).context("a part that nobody changed by hand")?;
            rows.push(Row { part: *part, way, node: name, seen, bare, kept });
        }
    }
    Ok(rows)
}

impl Row {
    fn gap(&self) -> Duration {
        self.seen.iter().map(|seen| seen.longest_gap).max().unwrap_or(Duration::MAX)
    }

    fn ratio(&self) -> f64 {
        self.gap().as_secs_f64() / self.bare.as_secs_f64()
    }

    fn count(&self, of: impl Fn(&Seen) -> u64) -> u64 {
        self.seen.iter().map(of).sum()
    }
}

/// Prints the table, and judges each of its rows.
pub(super) fn gaps(rows: &[Row], proofs: &mut Proofs) {
    println!(
        "\nThe longest time without an answer of a node's three targets, asked every 10 ms from outside"
    );
    let head = ["part", "way", "node", "gap ours", "gap bare", "ratio", "received/sent", "guest kept"];
    let mut shown = vec![table::row(head)];
    for row in rows {
        shown.push(table::row([
            &format!("{:?}", row.part),
            &format!("{:?}", row.way).to_lowercase(),
            &row.node,
            &format!("{} ms", row.gap().as_millis()),
            &format!("{} ms", row.bare.as_millis()),
            &format!("{:.2}", row.ratio()),
            &format!("{}/{}", row.count(|seen| seen.received), row.count(|seen| seen.sent)),
            if row.kept { "yes" } else { "NO" },
        ]));
    }
    table::print(&shown);
    println!("  (bare: the longest of the same change by hand, there and back, of this run)\n");
    for row in rows {
        let Row { part, way, node, .. } = row;
        let (gap, bare, ratio) = (row.gap().as_millis(), row.bare.as_millis(), row.ratio());
        proofs.check(
            row.seen.len() == 3 && ratio <= OF_BARE,
            format!("{part:?} {way:?} on {node}: no gap over {OF_BARE} of the bare procedure's ({gap} ms, {bare} ms)"),
        );
        proofs.check(
            row.count(|seen| seen.received) * 2 > row.count(|seen| seen.sent),
            format!("{part:?} {way:?} on {node}: most requests were answered"),
        );
    }
}

/// The longest gap of anybody while nothing was done to his node: what the machine does to pings by itself.
pub(super) fn elsewhere(traces: &[Trace], runs: &[&Followed], whole: Span) -> Duration {
    let mut longest = Duration::ZERO;
    for trace in traces {
        let (Target::Guest(number) | Target::Plain(number) | Target::Logical(number) | Target::Host(number)) =
            trace.target();
        let node = format!("n{number}");
        let spans = runs.iter().flat_map(|run| run.spans.iter());
        let mut busy: Vec<Span> =
            spans.filter(|((name, _), _)| *name == node).map(|(_, span)| *span).collect();
        busy.sort_by_key(|span| span.from);
        let mut from = whole.from;
        for span in busy.iter().chain([&Span { from: whole.until, until: whole.until }]) {
            if span.from > from {
                longest = longest.max(trace.within(Span { from, until: span.from }).longest_gap);
            }
            from = from.max(span.until);
        }
    }
    longest
}

/// Looks at every node until nothing is another than may be, or 30 s are over; what is seen last is judged.
pub(super) fn as_before(
    scene: &Scene<'_>,
    parts: &[Part],
    what: &str,
    proofs: &mut Proofs,
) -> Result<Vec<Facts>> {
    let may_change = |of: &str| parts.iter().any(|part| part.may_change(of));
    let mut after = Vec::new();
    for (node, stock) in scene.lab.nodes().iter().zip(&scene.stock) {
        let mut last = None;
        let settled = until(
            "a node to be as before",
            AS_BEFORE,
            Duration::from_millis(200),
            || {
                let facts = Facts::of(node)?;
                let differences = stock.differences(&facts, may_change);
                let same = differences.is_empty();
                last = Some((facts, differences));
                Ok(same.then_some(()))
            },
            String::new,
        );
        let (facts, differences) = match (settled, last) {
            (Ok(()), Some(last)) => last,
            (Err(crate::Error::Waited { .. }), Some(last)) => last,
            (Err(error), _) => return Err(error.into()),
            (Ok(()), None) => unreachable!("it was looked at"),
        };
        proofs.check(
            differences.is_empty(),
            format!(
                "{}: {what} guests, flows, groups, ports and all other units are as before: {differences:?}",
                node.name()
            ),
        );
        after.push(facts);
    }
    Ok(after)
}

/// Looks at one node until nothing is another than may be, or 30 s are over.
pub(super) fn same_as(
    node: &Node,
    before: &Facts,
    may_change: impl Fn(&str) -> bool,
    what: &str,
    proofs: &mut Proofs,
) -> Result<()> {
    let mut differences = Vec::new();
    let settled = until(
        "a node to be as before",
        AS_BEFORE,
        Duration::from_millis(200),
        || {
            differences = before.differences(&Facts::of(node)?, &may_change);
            Ok(differences.is_empty().then_some(()))
        },
        String::new,
    );
    match settled {
        Ok(()) | Err(crate::Error::Waited { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    proofs.check(differences.is_empty(), format!("{}: {what}: {differences:?}", node.name()));
    Ok(())
}

/// What runs, by its own words and by its file, and what is installed.
pub(super) fn versions(
    scene: &Scene<'_>,
    parts: &[Part],
    way: Way,
    after: &[Facts],
    proofs: &mut Proofs,
) -> Result<()> {
    for ((node, stock), facts) in scene.lab.nodes().iter().zip(&scene.stock).zip(after) {
        for part in parts {
            let versions = part.versions();
            let (said, wanted) = match way {
                Way::There => (versions.said, part.newer()),
                Way::Back => (stock.get(part.says())?, part.installed(stock)?),
            };
            let installed = part.installed(facts)?;
            let running = facts.get(part.runs())?;
            let says = facts.get(part.says())?;
            proofs.check(
                says == said && installed == wanted && !running.contains("(deleted)"),
                format!(
                    "{}: {} {says}, and it is the program of {}",
                    node.name(),
                    part.says(),
                    installed.join(" ")
                ),
            );
            let changed = running != stock.get(part.runs())?;
            proofs.check(changed, format!("{}: {} is another file than before", node.name(), part.runs()));
        }
    }
    Ok(())
}

/// Nothing of ours is left on a node.
pub(super) fn nothing_left(nodes: &[Node], proofs: &mut Proofs) -> Result<()> {
    for node in nodes {
        let left = node.run(&["sh", "-c", LEFT])?;
        proofs.check(
            left.is_empty(),
            format!("{}: nothing of an upgrade is left there: {left:?}", node.name()),
        );
    }
    Ok(())
}

/// Every guest answered every question, and always of the same boot.
pub(super) fn answered(scene: &Scene<'_>, answers: &Answers, boots: &[String], proofs: &mut Proofs) {
    let same = answers.boots.len() == boots.len()
        && boots.iter().enumerate().all(|(index, boot)| {
            answers.boots.get(&(index + 1)).is_some_and(|seen| seen.len() == 1 && seen.contains(boot))
        });
    let enough = usize::try_from(answers.asked).unwrap_or(0) > 10 * scene.lab.nodes().len();
    proofs.check(
        same && enough && answers.silent.is_empty(),
        format!(
            "every guest answered each of {} questions, always from the same boot: {:?}",
            answers.asked, answers.silent
        ),
    );
}

/// The pings began before the first run and ended after the last.
pub(super) fn watched(traces: &[Trace], whole: Span, targets: usize, proofs: &mut Proofs) {
    let covers =
        |trace: &Trace| trace.span().is_some_and(|span| span.from <= whole.from && span.until >= whole.until);
    proofs.check(
        traces.len() == targets && traces.iter().all(covers),
        format!("all {targets} were asked from before the first run until after the last"),
    );
}
