//! `drydock check cluster`: what fails, one line a root cause, with what to do.

use drydock_coordinator::clusters::view::{ClusterCheckView, ProblemView};
use drydock_kubernetes::health::Weight;

use super::{Canvas, Line, Page, Paint, time};

/// So many names stand below a cause; the rest are counted.
const READ: usize = 4;

/// The whole look.
pub(crate) fn cluster(view: &ClusterCheckView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    let head = Line::of("Cluster ").plus(view.cluster.as_str(), Paint::Bold).and("   ");
    page.hanging(head, &counted(view), Paint::Plain, canvas);
    if !view.problems.is_empty() {
        page.gap();
    }
    for problem in &view.problems {
        one(problem, &mut page, canvas);
    }
    page.gap();
    match (view.stops(), view.problems.is_empty()) {
        (true, _) => {
            let causes = view.problems.iter().filter(|problem| problem.weight > Weight::Note).count();
            let causes = time::count(causes, "cause", "causes");
            let said = format!(
                "{causes}. A run that has the check kubernetesCluster records what failed before it and stops at what came after it."
            );
            page.hanging(Line::of(""), &said, Paint::Plain, canvas);
        }
        (false, false) => page.line(Line::painted("✓ Nothing fails that would stop a run.", Paint::Good)),
        (false, true) => page.line(Line::painted("✓ Nothing fails.", Paint::Good)),
    }
    page
}

/// `3 of 3 nodes Ready (v1.33.4+k3s1), 112 pods of which 19 fail, 14 claims, 41 workloads`
fn counted(view: &ClusterCheckView) -> String {
    let versions: Vec<&str> = view.kubelets.keys().map(String::as_str).collect();
    let versions = if versions.is_empty() { String::new() } else { format!(" ({})", versions.join(", ")) };
    let failing = match view.failing {
        0 => String::new(),
        1 => " of which 1 fails".to_owned(),
        many => format!(" of which {many} fail"),
    };
    format!(
        "{} of {} Ready{versions}, {}{failing}, {}, {}",
        view.ready,
        time::count(view.nodes, "node", "nodes"),
        time::count(view.pods, "pod", "pods"),
        time::count(view.claims, "claim", "claims"),
        time::count(view.workloads, "workload", "workloads"),
    )
}

fn one(problem: &ProblemView, page: &mut Page, canvas: Canvas) {
    let (sign, paint) = match problem.weight {
        Weight::Note => ("  · ", Paint::Dim),
        Weight::Stops | Weight::Refused => ("  ✗ ", Paint::Bad),
        Weight::Unknown => ("  ? ", Paint::Warn),
    };
    page.hanging(Line::painted(sign, paint), &problem.what, Paint::Plain, canvas);
    if !problem.next.is_empty() {
        page.hanging(Line::painted("    → ", Paint::Dim), &problem.next, Paint::Plain, canvas);
    }
    // One alone stands in the line itself.
    if problem.count > 1 {
        let mut names: Vec<String> = problem.of.iter().take(READ).cloned().collect();
        if problem.count > names.len() {
            names.push(format!("{} more", problem.count - names.len()));
        }
        page.hanging(Line::of("      "), &names.join(", "), Paint::Dim, canvas);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use drydock_kubernetes::health::Kind;
    use drydock_types::ClusterName;

    use super::*;
    use crate::render::samples::{FILE, NARROW};

    fn view() -> ClusterCheckView {
        ClusterCheckView {
            cluster: ClusterName::parse("prod").unwrap(),
            seen_unix_s: 1_763_000_000,
            nodes: 3,
            ready: 3,
            kubelets: BTreeMap::from([("v1.33.4+k3s1".to_owned(), 3)]),
            pods: 112,
            failing: 0,
            claims: 14,
            workloads: 41,
            problems: Vec::new(),
        }
    }

    fn problem(weight: Weight, what: &str, next: &str, of: &[&str], count: usize) -> ProblemView {
        ProblemView {
            kind: Kind::Sandbox,
            weight,
            what: what.to_owned(),
            next: next.to_owned(),
            since_unix_s: None,
            of: of.iter().map(|name| (*name).to_owned()).collect(),
            count,
        }
    }

    #[test]
    fn a_cluster_that_is_well_is_said_to_be_in_two_lines() {
        let want = "\
Cluster prod   3 of 3 nodes Ready (v1.33.4+k3s1), 112 pods, 14 claims, 41 workloads

✓ Nothing fails.
";
        assert_eq!(cluster(&view(), FILE).to_text(FILE), want);
    }

    #[test]
    fn each_cause_is_one_line_with_what_to_do_and_whom_it_concerns() {
        let names: Vec<String> = (0..14).map(|i| format!("shop/cart-{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let view = ClusterCheckView {
            failing: 15,
            problems: vec![
                problem(
                    Weight::Stops,
                    "14 pods on k3s-2 without a sandbox for 41 d: /run/flannel/subnet.env is not there",
                    "journalctl -u k3s-agent on k3s-2",
                    &names,
                    14,
                ),
                problem(Weight::Unknown, "the events could not be listed: no answer", "ask again", &[], 0),
                problem(Weight::Note, "the claim shop/x is bound to no volume", "", &["shop/x"], 1),
            ],
            ..view()
        };
        let text = cluster(&view, FILE).to_text(FILE);
        let want = "
  ✗ 14 pods on k3s-2 without a sandbox for 41 d: /run/flannel/subnet.env is not there
    → journalctl -u k3s-agent on k3s-2
      shop/cart-0, shop/cart-1, shop/cart-2, shop/cart-3, 10 more
  ? the events could not be listed: no answer
    → ask again
  · the claim shop/x is bound to no volume

2 causes. ";
        assert!(text.contains(want), "{text}");
        assert!(text.contains("112 pods of which 15 fail"), "{text}");
        let narrow = cluster(&view, NARROW).to_text(NARROW);
        assert!(narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
    }

    #[test]
    fn notes_alone_stop_nobody() {
        let view = ClusterCheckView { problems: vec![problem(Weight::Note, "a", "", &["b"], 1)], ..view() };
        assert!(!view.stops());
        assert!(cluster(&view, FILE).to_text(FILE).ends_with("✓ Nothing fails that would stop a run.\n"));
    }
}
