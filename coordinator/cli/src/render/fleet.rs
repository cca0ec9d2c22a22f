//! Nodes, tokens, artifacts.

use std::collections::BTreeMap;

use drydock_core::{
    standing::Decision,
    view::{ArtifactView, CommandView, ComponentView, NodeView, TokenView},
};
use drydock_types::{Label, probe};

use super::{Canvas, Line, Page, Paint, hold, standing, time};

fn header<const N: usize>(names: [&str; N]) -> Vec<Line> {
    names.map(|name| Line::painted(name, Paint::Dim)).into()
}

/// `role=etcd, zone=a`
pub(crate) fn labels(labels: &BTreeMap<Label, Label>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

fn connection(node: &NodeView, now: u64) -> Line {
    let since = time::rough(now.saturating_sub(node.since_unix_ms));
    if node.connected {
        Line::painted("● connected", Paint::Good)
    } else {
        Line::painted(format!("○ silent for {since}"), Paint::Bad)
    }
}

fn component(view: &ComponentView) -> String {
    match (&view.version, &view.problem) {
        (Some(version), _) => format!("{} {version}", view.component),
        (None, Some(_)) => format!("{} ?", view.component),
        (None, None) => format!("{} unknown", view.component),
    }
}

/// `node list`.
pub(crate) fn nodes(nodes: &[NodeView], frozen: Option<&Decision>, now: u64, canvas: Canvas) -> Page {
    let mut page = Page::default();
    if let Some(said) = frozen {
        page.line(standing::frozen(said, now));
        page.gap();
    }
    if nodes.is_empty() {
        page.line(Line::of("No node is enrolled yet."));
        page.line(Line::of("Next:  ").plus("drydock token create NODE", Paint::Bold));
        return page;
    }
    let mut rows = vec![header(["node", "agent", "version", "run", "components", "labels"])];
    rows.extend(nodes.iter().map(|node| {
        vec![
            Line::painted(node.name.as_str(), Paint::Bold),
            connection(node, now),
            Line::of(&node.agent_version),
            Line::of(node.run.map(|run| run.to_string()).unwrap_or_default()),
            Line::of(node.components.iter().map(component).collect::<Vec<_>>().join(", ")),
            Line::of(labels(&node.labels)),
        ]
    }));
    page.table(0, rows, canvas);
    for node in nodes {
        let lines = node.standing.iter().flat_map(|standing| standing.lines());
        for line in lines {
            let head = Line::painted(format!("{}: ", node.name), Paint::Warn);
            page.hanging(head, &line, Paint::Plain, canvas);
        }
    }
    page
}

/// `node show`.
pub(crate) fn node(node: &NodeView, now: u64, canvas: Canvas) -> Page {
    let mut page = Page::default();
    let since = time::near(node.since_unix_ms, now);
    let head = Line::of("Node ").plus(node.name.as_str(), Paint::Bold).and("   ").join(connection(node, now));
    page.line(head.and(if node.connected { format!(" since {since}") } else { format!(", since {since}") }));
    page.gap();
    let until = node.certificate_until_unix_ms;
    let ends = if until > now {
        format!("in {}", time::rough(until - now))
    } else {
        "it has ended: enrol again".to_owned()
    };
    let mut fields = vec![
        ("Identity", format!("sha256:{}", node.key)),
        ("Labels", if node.labels.is_empty() { "none".to_owned() } else { labels(&node.labels) }),
        (
            "Agent",
            if node.agent_version.is_empty() {
                "not heard yet".to_owned()
            } else {
                node.agent_version.clone()
            },
        ),
        ("Certificate", format!("until {} ({ends})", time::date_clock(until))),
    ];
    fields.extend(on_record(node).map(|(what, _)| ("On record", what)));
    if let Some(run) = node.run {
        fields.push(("Run", format!("{run}   drydock run show {run} --node {}", node.name)));
    }
    for item in &node.components {
        let seen = time::ago(item.seen_unix_ms, now);
        let problem = item.problem.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        fields.push(("Runs", format!("{}{problem}   (seen {seen})", component(item))));
    }
    page.fields(&fields, canvas);
    let mut can: Vec<CommandView> = on_record(node).filter_map(|(_, ends)| ends).collect();
    if !node.connected {
        let does = format!("type it on {}: does its agent run?", node.name);
        can.push(CommandView { does, command: "systemctl status drydock-agent".to_owned() });
    }
    hold::commands("You can", 16, &can, &mut page, canvas);
    if let Some(facts) = &node.facts {
        page.gap();
        page.line(Line::painted("  What the host says of itself; never trusted as a label", Paint::Dim));
        let mut lines: Vec<(&str, String)> = probe::fact_lines(facts).into_iter().collect();
        lines.push(("memory", time::bytes(facts.memory_bytes)));
        lines.push(("stateFree", time::bytes(facts.state_free_bytes)));
        lines.push(("uptime", time::rough(facts.uptime_s.saturating_mul(1_000))));
        page.fields(&lines, canvas);
    }
    page
}

/// What stands on record, and the command that ends it. Of two machines a person has to think first: what can be
/// done about them stands in the text.
fn on_record(node: &NodeView) -> impl Iterator<Item = (String, Option<CommandView>)> {
    node.standing.iter().flat_map(|standing| {
        standing.on_record().into_iter().map(|item| {
            let (what, command) = standing.told(item);
            let does = || "end this, and nothing else on record".to_owned();
            (what, command.map(|command| CommandView { does: does(), command }))
        })
    })
}

/// `token list`.
pub(crate) fn tokens(tokens: &[TokenView], now: u64, canvas: Canvas) -> Page {
    let mut page = Page::default();
    if tokens.is_empty() {
        page.line(Line::of("There is no token."));
        page.line(Line::of("Next:  ").plus("drydock token create NODE", Paint::Bold));
        return page;
    }
    let mut rows = vec![header(["token", "node", "state", "ends", "by", "labels"])];
    rows.extend(tokens.iter().map(|token| {
        let paint = if token.state == "open" { Paint::Good } else { Paint::Dim };
        let ends = match token.expires_unix_ms {
            until if until > now && token.state == "open" => format!("in {}", time::rough(until - now)),
            until => time::near(until, now),
        };
        vec![
            Line::of(&token.id),
            Line::painted(token.node.as_str(), Paint::Bold),
            Line::painted(&token.state, paint),
            Line::of(ends),
            Line::of(&token.created_by),
            Line::of(labels(&token.labels)),
        ]
    }));
    page.table(0, rows, canvas);
    page
}

/// `artifact list`.
pub(crate) fn artifacts(artifacts: &[ArtifactView], now: u64, canvas: Canvas) -> Page {
    let mut page = Page::default();
    if artifacts.is_empty() {
        page.line(Line::of("There is no artifact. A run uploads what its plan names."));
        page.line(
            Line::of("Next:  ").plus("drydock artifact sign FILE --component NAME --version V", Paint::Bold),
        );
        return page;
    }
    let mut rows = vec![header(["component", "version", "arch", "size", "sha256", "added", "by"])];
    rows.extend(artifacts.iter().map(|artifact| {
        vec![
            Line::painted(artifact.component.as_str(), Paint::Bold),
            Line::of(artifact.version.as_str()),
            Line::of(&artifact.arch),
            Line::of(time::bytes(artifact.size)),
            Line::of(artifact.sha256.short()),
            Line::of(time::near(artifact.added_unix_ms, now)),
            Line::of(&artifact.added_by),
        ]
    }));
    page.table(0, rows, canvas);
    page
}

/// What `artifact add` answers.
pub(crate) fn added(artifact: &ArtifactView) -> Page {
    let mut page = Page::default();
    let ArtifactView { component, version, arch, size, sha256, .. } = artifact;
    let what = format!(" {version} for {arch}, {}, sha256:{sha256}", time::bytes(*size));
    page.line(Line::painted("✓ ", Paint::Good).plus(component.as_str(), Paint::Bold).and(what));
    page
}

#[cfg(test)]
mod tests {
    use drydock_types::{Sha256, probe::HostFacts};

    use super::*;
    use crate::render::samples::{self, FILE, NARROW, START, node_name, version};

    fn sample(name: &str, connected: bool) -> NodeView {
        NodeView {
            name: node_name(name),
            key: Sha256([3; 32]),
            labels: samples::labels(&[("role", "etcd"), ("zone", "a")]),
            connected,
            since_unix_ms: START,
            agent_version: "0.1.0".into(),
            facts: None,
            certificate_until_unix_ms: START + 30 * 86_400_000,
            standing: None,
            run: (!connected).then_some(42),
            components: vec![ComponentView {
                component: samples::component(),
                version: Some(version("3.4.23")),
                problem: None,
                seen_unix_ms: START + 700_000,
            }],
        }
    }

    const NOW: u64 = START + 720_000;

    #[test]
    fn nodes_are_listed_with_who_is_silent_and_since_when() {
        let list = [sample("ctl-1", true), sample("ctl-2", false)];
        let want = "\
node    agent                 version   run   components    labels
ctl-1   ● connected           0.1.0           etcd 3.4.23   role=etcd, zone=a
ctl-2   ○ silent for 12 min   0.1.0     42    etcd 3.4.23   role=etcd, zone=a
";
        assert_eq!(nodes(&list, None, NOW, FILE).to_text(FILE), want);
        assert_eq!(
            nodes(&[], None, NOW, FILE).to_text(FILE),
            "No node is enrolled yet.\nNext:  drydock token create NODE\n"
        );
    }

    #[test]
    fn nodes_fit_a_narrow_terminal() {
        let got = nodes(&[sample("ctl-1", true)], None, NOW, NARROW).to_text(NARROW);
        let want = "\
node    agent         version   run   components    labels
ctl-1   ● connected   0.1.0           etcd 3.4.23
    role=etcd, zone=a
";
        assert_eq!(got, want);
    }

    #[test]
    fn a_node_is_shown_with_what_it_says_of_itself_apart() {
        let mut view = sample("ctl-2", false);
        view.facts = Some(HostFacts {
            os: "Debian 12".into(),
            cpus: 8,
            memory_bytes: 16_000_000_000,
            uptime_s: 3_600,
            ..HostFacts::default()
        });
        view.components.push(ComponentView {
            version: None,
            problem: Some("connection refused".into()),
            ..view.components[0].clone()
        });
        let want = format!(
            "\
Node ctl-2   ○ silent for 12 min, since 22:04Z

  Identity      sha256:{}
  Labels        role=etcd, zone=a
  Agent         0.1.0
  Certificate   until 2026-12-20 22:04Z (in 29 d)
  Run           42   drydock run show 42 --node ctl-2
  Runs          etcd 3.4.23   (seen 20 s ago)
  Runs          etcd ?: connection refused   (seen 20 s ago)
  You can       systemctl status drydock-agent   type it on ctl-2: does its agent run?

  What the host says of itself; never trusted as a label
  arch
  bootId
  cpus        8
",
            "03".repeat(32)
        );
        let got = node(&view, NOW, FILE).to_text(FILE);
        assert!(got.starts_with(&want), "{got}");
        assert!(got.ends_with("  memory      16.0 GB\n  stateFree   0 B\n  uptime      1 h\n"), "{got}");
    }

    #[test]
    fn tokens_are_listed_without_their_secret() {
        let token = |state: &str, ends| TokenView {
            id: "0123456789abcdef".into(),
            node: node_name("ctl-1"),
            labels: samples::labels(&[("role", "etcd")]),
            created_by: "alice".into(),
            expires_unix_ms: ends,
            state: state.into(),
        };
        let want = "\
token              node    state   ends        by      labels
0123456789abcdef   ctl-1   open    in 48 min   alice   role=etcd
0123456789abcdef   ctl-1   used    22:04Z      alice   role=etcd
";
        assert_eq!(
            tokens(&[token("open", NOW + 2_880_000), token("used", START)], NOW, FILE).to_text(FILE),
            want
        );
        assert!(tokens(&[], NOW, FILE).to_text(FILE).starts_with("There is no token.\n"));
    }

    #[test]
    fn artifacts_are_listed_by_what_their_signature_says() {
        let artifact = ArtifactView {
            sha256: Sha256([9; 32]),
            size: 23_540_000,
            component: samples::component(),
            version: version("3.5.16"),
            arch: "x86_64".into(),
            added_unix_ms: START,
            added_by: "alice".into(),
        };
        let want = "\
component   version   arch     size      sha256     added    by
etcd        3.5.16    x86_64   23.5 MB   09090909   22:04Z   alice
";
        assert_eq!(artifacts(std::slice::from_ref(&artifact), NOW, FILE).to_text(FILE), want);
        let want = format!("✓ etcd 3.5.16 for x86_64, 23.5 MB, sha256:{}\n", "09".repeat(32));
        assert_eq!(added(&artifact).to_text(FILE), want);
    }
}
