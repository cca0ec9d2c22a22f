//! Kubernetes clusters.

use drydock_coordinator::clusters::view::{BindingView, ClusterTestView, ClusterView};
use drydock_kubernetes::survey::EndpointSeen;

use super::{Canvas, Line, Page, Paint, time};

fn until(unix_s: Option<i64>, now: u64) -> String {
    let Some(ms) = unix_s.and_then(|s| u64::try_from(s).ok()).map(|s| s.saturating_mul(1_000)) else {
        return "they do not say when they end".to_owned();
    };
    match ms > now {
        true => format!("until {} (in {})", time::date_clock(ms), time::rough(ms - now)),
        false => format!("they ended {}", time::date_clock(ms)),
    }
}

fn nodes(cluster: &ClusterView) -> String {
    let name = |bound: &drydock_coordinator::clusters::view::BoundNodeView| {
        if bound.kube_node == bound.node.as_str() {
            bound.kube_node.clone()
        } else {
            format!("{} (is {})", bound.node, bound.kube_node)
        }
    };
    cluster.nodes.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn context(cluster: &ClusterView) -> &str {
    if cluster.context.is_empty() { "(the coordinator's pod)" } else { &cluster.context }
}

/// `cluster list`.
pub(crate) fn list(clusters: &[ClusterView], now: u64, canvas: Canvas) -> Page {
    let mut page = Page::default();
    if clusters.is_empty() {
        page.line(Line::of("No cluster is known."));
        page.line(Line::of("Next:  ").plus("drydock cluster add NAME --kubeconfig FILE", Paint::Bold));
        return page;
    }
    for (at, cluster) in clusters.iter().enumerate() {
        if at > 0 {
            page.gap();
        }
        let added = format!("   added {} by {}", time::near(cluster.added_unix_ms, now), cluster.added_by);
        page.line(Line::of("Cluster ").plus(cluster.name.as_str(), Paint::Bold).plus(added, Paint::Dim));
        let mut fields = vec![
            ("Endpoints", cluster.endpoints.join(", ")),
            ("Context", context(cluster).to_owned()),
            ("Credentials", until(cluster.valid_until_unix_s, now)),
        ];
        if !cluster.nodes.is_empty() {
            fields.push(("Nodes", nodes(cluster)));
        }
        page.fields(&fields, canvas);
    }
    page
}

/// `cluster add`.
pub(crate) fn added(cluster: &ClusterView) -> Page {
    let mut page = Page::default();
    let of = format!(" is known: {}", cluster.endpoints.join(", "));
    page.line(Line::painted("✓ ", Paint::Good).plus(cluster.name.as_str(), Paint::Bold).and(of));
    page.line(Line::of("Next:  ").plus(format!("drydock cluster test {}", cluster.name), Paint::Bold));
    page
}

/// `node bind`.
pub(crate) fn bound(view: &BindingView) -> Page {
    let mut page = Page::default();
    let node = Line::painted("✓ ", Paint::Good).plus(view.node.as_str(), Paint::Bold);
    page.line(match (&view.cluster, &view.kube_node) {
        (Some(cluster), Some(kube_node)) => node
            .and(format!(" is the Node {kube_node} of the cluster {cluster}; each gate sees whether it is")),
        _ => node.and(" is no cluster's Node any more"),
    });
    page
}

fn endpoint(seen: &EndpointSeen) -> Vec<Line> {
    let (mark, paint) = match &seen.problem {
        None => ("✓", Paint::Good),
        Some(_) => ("✗", Paint::Bad),
    };
    let what = match (&seen.problem, &seen.version) {
        (Some(problem), _) => problem.clone(),
        (None, _) => "ready".to_owned(),
    };
    let version = seen.version.clone().unwrap_or_default();
    vec![Line::painted(mark, paint).and(format!(" {}", seen.url)), Line::of(version), Line::of(what)]
}

/// `cluster test`.
pub(crate) fn test(view: &ClusterTestView, now: u64, canvas: Canvas) -> Page {
    let (mut page, seen) = (Page::default(), &view.survey);
    let head = Line::of("Cluster ").plus(view.cluster.name.as_str(), Paint::Bold);
    page.line(match &seen.user {
        Some(user) => head.and(format!("   as {user}")),
        None => head,
    });
    page.table(2, seen.endpoints.iter().map(endpoint).collect(), canvas);
    let kubelets = seen.kubelets.iter().map(|(version, nodes)| {
        format!("{version} on {}", time::count(usize::try_from(*nodes).unwrap_or(0), "node", "nodes"))
    });
    let kubelets: Vec<String> = kubelets.collect();
    let mut fields = vec![("Credentials", until(seen.valid_until_unix_s, now))];
    if !kubelets.is_empty() {
        fields.push(("Kubelets", kubelets.join(", ")));
    }
    if !seen.not_ready.is_empty() {
        fields.push(("Not Ready", seen.not_ready.join(", ")));
    }
    if !view.cluster.nodes.is_empty() {
        fields.push(("Bound", nodes(&view.cluster)));
    }
    page.fields(&fields, canvas);
    let optional = [
        ("Only plans with the check nodeCanary need:", &seen.missing_for_canary, "canary.yaml"),
        ("Only run force, and plans with atDeadline: force, need:", &seen.missing_for_force, "force.yaml"),
    ];
    for (only, missing, file) in optional.into_iter().filter(|(_, missing, _)| !missing.is_empty()) {
        page.gap();
        page.hanging(Line::of("  "), only, Paint::Dim, canvas);
        for one in missing {
            page.hanging(Line::of("    "), &one.to_string(), Paint::Dim, canvas);
        }
        page.line(Line::of(format!("    kubectl apply -f deploy/kubernetes/{file}")));
    }
    page.gap();
    if seen.findings.is_empty() {
        page.line(Line::painted("✓ Nothing is missing.", Paint::Good));
        return page;
    }
    page.line(Line::painted(time::count(seen.findings.len(), "finding", "findings"), Paint::Bad));
    for finding in &seen.findings {
        page.hanging(Line::painted("  ✗ ", Paint::Bad), finding, Paint::Plain, canvas);
    }
    if !seen.missing.is_empty() {
        page.line(
            Line::of("Next:  ").plus("kubectl apply -f deploy/kubernetes/clusterrole.yaml", Paint::Bold),
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use drydock_coordinator::clusters::view::BoundNodeView;
    use drydock_kubernetes::{
        rights::{Missing, Purpose},
        survey::Survey,
    };
    use drydock_types::ClusterName;

    use super::*;
    use crate::render::samples::{FILE, NARROW, START, node_name};

    fn cluster() -> ClusterView {
        let bound = |node: &str, kube_node: &str| BoundNodeView {
            node: node_name(node),
            kube_node: kube_node.into(),
            bound_by: "alice".into(),
            bound_unix_ms: START,
        };
        ClusterView {
            name: ClusterName::parse("prod").unwrap(),
            context: "default".into(),
            endpoints: vec!["https://10.0.0.11:6443".into(), "https://10.0.0.12:6443".into()],
            valid_until_unix_s: i64::try_from(START / 1_000 + 30 * 86_400).ok(),
            added_by: "alice".into(),
            added_unix_ms: START,
            nodes: vec![bound("ctl-1", "ctl-1"), bound("ctl-2", "k3s-b")],
        }
    }

    fn survey() -> Survey {
        let endpoint = |url: &str| EndpointSeen {
            url: url.into(),
            version: Some("v1.33.4+k3s1".into()),
            ready: true,
            problem: None,
        };
        Survey {
            endpoints: vec![endpoint("https://10.0.0.11:6443"), endpoint("https://10.0.0.12:6443")],
            user: Some("system:serviceaccount:drydock:coordinator".into()),
            kubelets: BTreeMap::from([("v1.33.4+k3s1".into(), 3), ("v1.32.1+k3s1".into(), 1)]),
            not_ready: Vec::new(),
            valid_until_unix_s: None,
            missing: Vec::new(),
            missing_for_canary: Vec::new(),
            missing_for_force: Vec::new(),
            findings: Vec::new(),
        }
    }

    #[test]
    fn clusters_are_listed_with_their_machines_and_without_a_secret() {
        let want = "\
Cluster prod   added 22:04Z by alice
  Endpoints     https://10.0.0.11:6443, https://10.0.0.12:6443
  Context       default
  Credentials   until 2026-12-20 22:04Z (in 30 d)
  Nodes         ctl-1, ctl-2 (is k3s-b)
";
        assert_eq!(list(&[cluster()], START, FILE).to_text(FILE), want);
        assert!(list(&[], START, FILE).to_text(FILE).contains("drydock cluster add NAME --kubeconfig FILE"));
    }

    #[test]
    fn a_cluster_that_is_well_says_so() {
        let view = ClusterTestView { cluster: cluster(), survey: survey() };
        let want = "\
Cluster prod   as system:serviceaccount:drydock:coordinator
  ✓ https://10.0.0.11:6443   v1.33.4+k3s1   ready
  ✓ https://10.0.0.12:6443   v1.33.4+k3s1   ready
  Credentials   they do not say when they end
  Kubelets      v1.32.1+k3s1 on 1 node, v1.33.4+k3s1 on 3 nodes
  Bound         ctl-1, ctl-2 (is k3s-b)

✓ Nothing is missing.
";
        assert_eq!(test(&view, START, FILE).to_text(FILE), want);
    }

    #[test]
    fn the_right_to_force_is_no_finding_and_is_shown_with_what_it_is_for() {
        let missing = Missing {
            purpose: Purpose::Force,
            verb: "delete".into(),
            resource: "pods".into(),
            namespace: None,
            to: "delete pods that cannot be evicted, where somebody has said so".into(),
            said: String::new(),
        };
        let survey = Survey { missing_for_force: vec![missing], ..survey() };
        let view = ClusterTestView { cluster: cluster(), survey };
        let text = test(&view, START, FILE).to_text(FILE);
        let want = "

  Only run force, and plans with atDeadline: force, need:
    cannot delete pods: needed to delete pods that cannot be evicted, where somebody has said so (force)
    kubectl apply -f deploy/kubernetes/force.yaml

✓ Nothing is missing.
";
        assert!(text.ends_with(want), "{text}");
        let narrow = test(&view, START, NARROW).to_text(NARROW);
        assert!(narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
    }

    #[test]
    fn what_is_missing_is_said_with_what_it_is_for_and_what_to_type() {
        let mut survey = survey();
        survey.endpoints[1].version = None;
        survey.endpoints[1].ready = false;
        survey.endpoints[1].problem = Some("connection refused".into());
        let missing = |purpose, resource: &str, to: &str| Missing {
            purpose,
            verb: "create".into(),
            resource: resource.into(),
            namespace: None,
            to: to.into(),
            said: String::new(),
        };
        survey.missing = vec![missing(Purpose::Drain, "pods/eviction", "evict")];
        survey.missing_for_canary = vec![missing(Purpose::Canary, "pods", "start the canary's pod")];
        survey.findings =
            vec!["https://10.0.0.12:6443: connection refused".into(), survey.missing[0].to_string()];
        let view = ClusterTestView { cluster: cluster(), survey };
        let text = test(&view, START, FILE).to_text(FILE);
        let want = "
  Only plans with the check nodeCanary need:
    cannot create pods: needed to start the canary's pod (nodeCanary)
    kubectl apply -f deploy/kubernetes/canary.yaml

2 findings
  ✗ https://10.0.0.12:6443: connection refused
  ✗ cannot create pods/eviction: needed to evict (drain)
Next:  kubectl apply -f deploy/kubernetes/clusterrole.yaml
";
        assert!(text.ends_with(want), "{text}");
        assert!(text.contains("  ✗ https://10.0.0.12:6443                  connection refused\n"), "{text}");
        let narrow = test(&view, START, NARROW).to_text(NARROW);
        assert!(narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
    }
}
