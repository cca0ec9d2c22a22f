//! `drydock check node`: what is wrong with a node, the worst first, with what to do.

use std::collections::BTreeMap;

use drydock_core::view::NodeCheckView;
use drydock_types::findings::{Finding, RunningVersion, Weight};

use super::{Canvas, Line, Page, Paint, time};

/// The whole look.
pub(crate) fn node(view: &NodeCheckView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    let head = Line::of("Node ").plus(view.node.as_str(), Paint::Bold).and("   ");
    let stops = view.findings.iter().filter(|found| found.weight == Weight::Stops).count();
    let warns = view.findings.len() - stops;
    let unseen = view.looked_at.iter().filter(|looked| looked.seen.is_err()).count();
    page.hanging(head, &answer(stops, warns, unseen), Paint::Plain, canvas);
    if !view.findings.is_empty() || unseen > 0 {
        page.gap();
    }
    for found in view.findings.iter().filter(|found| found.weight == Weight::Stops) {
        one(found, &mut page, canvas);
    }
    for looked in &view.looked_at {
        if let Err(why) = &looked.seen {
            let what = format!("{} could not be looked at: {why}", looked.at);
            page.hanging(Line::painted("  ? ", Paint::Warn), &what, Paint::Plain, canvas);
        }
    }
    for found in view.findings.iter().filter(|found| found.weight == Weight::Warns) {
        one(found, &mut page, canvas);
    }
    page.gap();
    let versions = running(&view.versions);
    if !versions.is_empty() {
        page.hanging(Line::painted("Runs        ", Paint::Dim), &versions, Paint::Plain, canvas);
    }
    let seen: Vec<String> = view
        .looked_at
        .iter()
        .filter_map(|looked| Some(counted(*looked.seen.as_ref().ok()?, &looked.at)))
        .collect();
    if !seen.is_empty() {
        page.hanging(Line::painted("Looked at   ", Paint::Dim), &seen.join(", "), Paint::Plain, canvas);
    }
    page
}

/// `1 socket`, `2 sockets`, `1 process`.
fn counted(count: u64, at: &str) -> String {
    match (count, at) {
        (1, "processes") => "1 process".to_owned(),
        (1, _) => format!("1 {}", at.strip_suffix('s').unwrap_or(at)),
        _ => format!("{count} {at}"),
    }
}

fn answer(stops: usize, warns: usize, unseen: usize) -> String {
    let mut parts = Vec::new();
    if stops > 0 {
        parts.push(format!("{} a change here", time::count(stops, "finding stops", "findings stop")));
    }
    if unseen > 0 {
        parts.push(format!("{} not be seen", time::count(unseen, "thing could", "things could")));
    }
    if warns > 0 {
        parts.push(format!("{} to be known", time::count(warns, "finding", "findings")));
    }
    match parts.is_empty() {
        true => "nothing is wrong".to_owned(),
        false => parts.join(", "),
    }
}

fn one(found: &Finding, page: &mut Page, canvas: Canvas) {
    let (sign, paint) = match found.weight {
        Weight::Stops => ("  ✗ ", Paint::Bad),
        Weight::Warns => ("  ! ", Paint::Warn),
    };
    // Where the text tells an age already, it is not told twice.
    let age = match found.for_s {
        Some(s) if !found.what.contains(" for ") => {
            format!("   for {}", time::rough(s.saturating_mul(1_000)))
        }
        _ => String::new(),
    };
    page.hanging(Line::painted(sign, paint), &format!("{}{age}", found.what), Paint::Plain, canvas);
    for next in &found.next {
        page.hanging(Line::painted("    → ", Paint::Dim), next, Paint::Plain, canvas);
    }
}

/// `kernel 6.1.0-28-amd64, libvirt 9.0.0, qemu 7.2.17 (12) and 7.2.13 (3)`
pub(crate) fn running(versions: &[RunningVersion]) -> String {
    let mut by: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for running in versions {
        let version = running.version.as_ref().map_or_else(|_| "?".to_owned(), ToString::to_string);
        let counted = if running.count > 1 { format!("{version} ({})", running.count) } else { version };
        by.entry(running.component.as_str()).or_default().push(counted);
    }
    by.iter().map(|(name, all)| format!("{name} {}", all.join(" and "))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use drydock_types::{
        ComponentName, NodeName, Version,
        findings::{FindingKind, Looked},
    };

    use super::*;
    use crate::render::samples::{FILE, NARROW};

    fn view() -> NodeCheckView {
        let running = |name: &str, version: &str, count| RunningVersion {
            component: ComponentName::parse(name).unwrap(),
            version: Version::parse(version).map_err(|error| error.to_string()),
            count,
            for_s: None,
        };
        NodeCheckView {
            node: NodeName::parse("hv-2").unwrap(),
            seen_unix_ms: 1_763_000_000_000,
            findings: Vec::new(),
            looked_at: vec![
                Looked { at: "units".to_owned(), seen: Ok(140) },
                Looked { at: "sockets".to_owned(), seen: Ok(2) },
            ],
            versions: vec![
                running("kernel", "6.1.0-28-amd64", 1),
                running("qemu", "7.2.13", 3),
                running("qemu", "7.2.17", 12),
            ],
        }
    }

    fn finding(weight: Weight, what: &str, for_s: Option<u64>, next: &str) -> Finding {
        Finding {
            kind: FindingKind::Socket,
            weight,
            what: what.to_owned(),
            for_s,
            next: vec![next.to_owned()],
        }
    }

    #[test]
    fn one_of_a_kind_is_one() {
        let told = [(1, "sockets"), (0, "sockets"), (1, "processes"), (2, "processes"), (1, "clock")]
            .map(|(count, at)| counted(count, at));
        assert_eq!(told, ["1 socket", "0 sockets", "1 process", "2 processes", "1 clock"]);
    }

    #[test]
    fn a_node_that_is_well_is_said_to_be_first() {
        let want = "\
Node hv-2   nothing is wrong

Runs        kernel 6.1.0-28-amd64, qemu 7.2.13 (3) and 7.2.17 (12)
Looked at   140 units, 2 sockets
";
        assert_eq!(node(&view(), FILE).to_text(FILE), want);
    }

    #[test]
    fn the_worst_is_first_and_what_could_not_be_seen_is_no_silence() {
        let mut view = view();
        view.findings = vec![
            finding(
                Weight::Stops,
                "/run/x.sock is missing, which /etc/cni/net.d/01.conflist names: no pod can get an address here; 19 pods of this node fail, the oldest for 203 d",
                Some(17_539_200),
                "restart it",
            ),
            finding(
                Weight::Stops,
                "etcd.service has failed (exit-code)",
                Some(150),
                "journalctl -u etcd.service",
            ),
            finding(Weight::Warns, "packages want a reboot of this node (libc6)", None, "reboot"),
        ];
        view.looked_at.push(Looked { at: "disks".to_owned(), seen: Err("no answer".to_owned()) });
        let text = node(&view, FILE).to_text(FILE);
        assert!(
            text.starts_with(
                "Node hv-2   2 findings stop a change here, 1 thing could not be seen, 1 finding to be known\n"
            ),
            "{text}"
        );
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("  ")).collect();
        let find = |start: &str| lines.iter().position(|line| line.contains(start)).expect(start);
        assert!(find("✗ /run/x.sock") < find("✗ etcd.service"), "{text}");
        assert!(find("✗ etcd.service") < find("? disks could not be looked at: no answer"), "{text}");
        assert!(find("? disks") < find("! packages want"), "{text}");
        assert!(text.contains("etcd.service has failed (exit-code)   for 2 min 30 s"), "{text}");
        assert!(!text.contains("203 d   for"), "{text}");
        assert!(view.stops());
        let narrow = node(&view, NARROW).to_text(NARROW);
        assert!(narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
    }
}
