//! `drydock node list --versions`: what runs on which node, and which are the odd ones.

use std::collections::{BTreeMap, BTreeSet};

use drydock_core::view::NodeVersionsView;
use drydock_types::findings::RunningVersion;

use super::{Canvas, Line, Page, Paint, time};

/// So many nodes are named behind a version.
const NAMED: usize = 6;

/// The table, and a line for each component that is not the same everywhere.
pub(crate) fn versions(nodes: &[NodeVersionsView], canvas: Canvas) -> Page {
    let mut page = Page::default();
    if nodes.is_empty() {
        page.line(Line::of("No node is enrolled yet."));
        page.line(Line::of("Next:  ").plus("drydock token create NODE", Paint::Bold));
        return page;
    }
    let heard = nodes.iter().flat_map(|node| node.versions.as_deref().unwrap_or_default());
    let components: BTreeSet<&str> = heard.map(|running| running.component.as_str()).collect();
    let usual: BTreeMap<&str, String> =
        components.iter().filter_map(|name| Some((*name, usual(nodes, name)?))).collect();
    let mut head = vec![Line::painted("node", Paint::Dim)];
    head.extend(components.iter().map(|name| Line::painted(*name, Paint::Dim)));
    let mut rows = vec![head];
    for node in nodes {
        let mut row = vec![Line::painted(node.node.as_str(), Paint::Bold)];
        let own = node.versions.as_deref().unwrap_or_default();
        row.extend(
            components.iter().map(|name| cell(&of(own, name), usual.get(name), node.versions.is_err())),
        );
        rows.push(row);
    }
    page.table(0, rows, canvas);
    let mut odd = false;
    for name in &components {
        let by = by_version(nodes, name);
        if by.len() > 1 {
            if !odd {
                page.gap();
            }
            odd = true;
            let each: Vec<String> =
                by.iter().map(|(version, on)| format!("{version} on {}", named(on))).collect();
            let head = Line::painted("  ! ", Paint::Warn).plus(*name, Paint::Bold).and("   ");
            page.hanging(head, &each.join("; "), Paint::Plain, canvas);
        }
    }
    for node in nodes {
        unseen(node, &mut page, canvas);
    }
    if !odd {
        page.gap();
        page.line(Line::painted("✓ Each component has one version wherever it was seen.", Paint::Good));
    }
    page
}

fn unseen(node: &NodeVersionsView, page: &mut Page, canvas: Canvas) {
    let say = |what: String, page: &mut Page| {
        page.hanging(
            Line::painted("  ? ", Paint::Warn),
            &format!("{}: {what}", node.node),
            Paint::Plain,
            canvas,
        );
    };
    match &node.versions {
        Err(why) => say(why.clone(), page),
        Ok(all) => {
            for running in all {
                if let Err(why) = &running.version {
                    say(format!("{} cannot be asked: {why}", running.component), page);
                }
            }
        }
    }
}

/// Each version of a component on a node, once; one that did not answer is `?`.
fn of(own: &[RunningVersion], name: &str) -> Vec<String> {
    let text = |running: &RunningVersion| {
        running.version.as_ref().map_or_else(|_| "?".to_owned(), ToString::to_string)
    };
    let all: BTreeSet<String> =
        own.iter().filter(|running| running.component.as_str() == name).map(text).collect();
    all.into_iter().collect()
}

fn by_version<'a>(nodes: &'a [NodeVersionsView], name: &str) -> BTreeMap<String, Vec<&'a str>> {
    let mut by: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for node in nodes {
        for version in of(node.versions.as_deref().unwrap_or_default(), name) {
            if version != "?" {
                by.entry(version).or_default().push(node.node.as_str());
            }
        }
    }
    by
}

/// What most nodes run; none where no version has more nodes than any other.
fn usual(nodes: &[NodeVersionsView], name: &str) -> Option<String> {
    let mut by: Vec<(usize, String)> =
        by_version(nodes, name).into_iter().map(|(version, on)| (on.len(), version)).collect();
    by.sort_by(|one, other| other.cmp(one));
    match by.as_slice() {
        [(most, _), (next, _), ..] if most == next => None,
        [(_, version), ..] => Some(version.clone()),
        [] => None,
    }
}

fn cell(own: &[String], usual: Option<&String>, unheard: bool) -> Line {
    match own {
        [] if unheard => Line::painted("?", Paint::Warn),
        [] => Line::painted("-", Paint::Dim),
        own => {
            let odd = own.iter().any(|version| Some(version) != usual);
            let text = own.join(", ");
            if odd { Line::painted(format!("{text} !"), Paint::Warn) } else { Line::of(text) }
        }
    }
}

fn named(nodes: &[&str]) -> String {
    let first = nodes.get(..NAMED).unwrap_or(nodes).join(", ");
    match nodes.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {}", time::count(more, "other", "others")),
    }
}

#[cfg(test)]
mod tests {
    use drydock_types::{ComponentName, NodeName, Version};

    use super::*;
    use crate::render::samples::FILE;

    fn node(name: &str, runs: &[(&str, &str)]) -> NodeVersionsView {
        let running = |(name, version): &(&str, &str)| RunningVersion {
            component: ComponentName::parse(name).unwrap(),
            version: Version::parse(version).map_err(|_| "no socket".to_owned()),
            count: 1,
            for_s: None,
        };
        NodeVersionsView {
            node: NodeName::parse(name).unwrap(),
            versions: Ok(runs.iter().map(running).collect()),
        }
    }

    #[test]
    fn the_odd_one_is_marked_and_each_skewed_component_has_a_line() {
        let nodes = [
            node("hv-1", &[("libvirt", "9.0.0"), ("openvswitch", "3.1.0"), ("qemu", "7.2.17")]),
            node(
                "hv-2",
                &[("libvirt", "9.0.0"), ("openvswitch", "3.1.0"), ("qemu", "7.2.13"), ("qemu", "7.2.17")],
            ),
            node("hv-3", &[("libvirt", "10.0.0"), ("openvswitch", "")]),
            NodeVersionsView { node: NodeName::parse("hv-4").unwrap(), versions: Err("silent".to_owned()) },
        ];
        let text = versions(&nodes, FILE).to_text(FILE);
        let want = "\
node   libvirt    openvswitch   qemu
hv-1   9.0.0      3.1.0         7.2.17
hv-2   9.0.0      3.1.0         7.2.13, 7.2.17 !
hv-3   10.0.0 !   ? !           -
hv-4   ?          ?             ?

  ! libvirt   10.0.0 on hv-3; 9.0.0 on hv-1, hv-2
  ! qemu   7.2.13 on hv-2; 7.2.17 on hv-1, hv-2
  ? hv-3: openvswitch cannot be asked: no socket
  ? hv-4: silent
";
        assert_eq!(text, want, "{text}");
    }

    #[test]
    fn a_fleet_of_one_version_says_so() {
        let nodes = [node("a", &[("etcd", "3.5.16")]), node("b", &[("etcd", "3.5.16")])];
        let text = versions(&nodes, FILE).to_text(FILE);
        assert!(text.ends_with("\n✓ Each component has one version wherever it was seen.\n"), "{text}");
        assert!(!text.contains('!'));
    }

    #[test]
    fn many_nodes_are_counted() {
        let names: Vec<String> = (0..9).map(|i| format!("n{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(named(&names), "n0, n1, n2, n3, n4, n5 and 3 others");
    }
}
