//! Pure: what was heard of a node, as findings.

use std::collections::{BTreeMap, BTreeSet};

use drydock_core::view::{NodeCheckView, NodeVersionsView};
use drydock_kubernetes::health::{self, Kind, when};
use drydock_types::{
    ClusterName, NodeName,
    findings::{Finding, FindingKind, FindingsView, Looked, RunningVersion, Weight},
};

/// Two clocks that differ by more than this, beyond what the way takes, are told; in milliseconds.
const CLOCK_WARNS_MS: u64 = 1_000;
/// By more than this they stop: certificates and leases are judged by them.
const CLOCK_STOPS_MS: u64 = 30_000;

/// What was heard.
pub(super) struct Heard {
    pub(super) node: NodeName,
    pub(super) findings: Result<(FindingsView, Clock), String>,
    pub(super) own: Result<Vec<RunningVersion>, String>,
    pub(super) peers: Vec<NodeVersionsView>,
    /// None where it is no Node of a cluster.
    pub(super) pods: Option<Result<Pods, Looked>>,
}

/// What the node's clock said, and between which moments of the coordinator's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) asked_unix_ms: u64,
    pub(super) took_ms: u64,
    pub(super) said_unix_ms: u64,
}

/// What fails on the Node.
pub(super) struct Pods {
    pub(super) cluster: ClusterName,
    pub(super) problems: Vec<health::Problem>,
    pub(super) now_unix_s: i64,
}

pub(super) fn judge(heard: Heard, connected: bool, since_unix_ms: u64, now_unix_ms: u64) -> NodeCheckView {
    let Heard { node, findings, own, peers, pods } = heard;
    let mut view = NodeCheckView {
        node,
        seen_unix_ms: now_unix_ms,
        findings: Vec::new(),
        looked_at: Vec::new(),
        versions: Vec::new(),
    };
    match findings {
        Ok((said, clock)) => {
            view.findings = said.findings;
            view.looked_at = said.looked_at;
            view.findings.extend(skewed_clock(clock));
        }
        Err(_) if !connected => {
            let silent_s = now_unix_ms.saturating_sub(since_unix_ms) / 1000;
            let what = "its agent is silent: what the machine is like cannot be seen".to_owned();
            let mut one = finding(FindingKind::Agent, Weight::Stops, what);
            one.for_s = Some(silent_s);
            one.next.push("on the machine: systemctl status drydock-agent".to_owned());
            view.findings.push(one);
        }
        Err(why) => view.looked_at.push(Looked { at: "agent".to_owned(), seen: Err(why) }),
    }
    match own {
        Ok(own) => {
            view.findings.extend(odd_versions(&own, &peers));
            view.versions = own;
        }
        // Said once: the stream.
        Err(_) if !connected => {}
        Err(why) => view.looked_at.push(Looked { at: "versions".to_owned(), seen: Err(why) }),
    }
    match pods {
        None => {}
        Some(Err(unseen)) => view.looked_at.push(unseen),
        Some(Ok(pods)) => of_pods(pods, &mut view),
    }
    view.findings.sort_by_key(|found| (found.weight, std::cmp::Reverse(found.for_s)));
    view
}

fn finding(kind: FindingKind, weight: Weight, what: String) -> Finding {
    Finding { kind, weight, what, for_s: None, next: Vec::new() }
}

/// The node's word was said at some moment between the question and the answer: only what lies outside is a difference.
fn skewed_clock(clock: Clock) -> Option<Finding> {
    let answered = clock.asked_unix_ms.saturating_add(clock.took_ms);
    let behind = clock.asked_unix_ms.saturating_sub(clock.said_unix_ms);
    let ahead = clock.said_unix_ms.saturating_sub(answered);
    let (by, side) = if behind > 0 { (behind, "behind") } else { (ahead, "ahead of") };
    let weight = match by {
        0..=CLOCK_WARNS_MS => return None,
        _ if by > CLOCK_STOPS_MS => Weight::Stops,
        _ => Weight::Warns,
    };
    let what = format!(
        "its clock is {} {side} the coordinator's",
        when::age(i64::try_from(by / 1000).unwrap_or(i64::MAX))
    );
    let mut one = finding(FindingKind::Clock, weight, what);
    one.next.push("see which of the two is wrong: timedatectl on both".to_owned());
    Some(one)
}

/// Components of which most other nodes run another version.
fn odd_versions(own: &[RunningVersion], peers: &[NodeVersionsView]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mine: BTreeSet<_> = own.iter().map(|running| &running.component).collect();
    for component in mine {
        let here = of_component(own, component);
        let mut theirs: BTreeMap<Vec<String>, Vec<&[RunningVersion]>> = BTreeMap::new();
        for seen in peers.iter().filter_map(|peer| peer.versions.as_deref().ok()) {
            let there = of_component(seen, component);
            if !there.is_empty() {
                theirs.entry(there).or_default().push(seen);
            }
        }
        let (all, alike) =
            (theirs.values().map(Vec::len).sum::<usize>(), theirs.get(&here).map_or(0, Vec::len));
        let most = theirs.into_iter().max_by_key(|(_, nodes)| nodes.len());
        let Some((there, nodes)) = most.filter(|(_, nodes)| !here.is_empty() && nodes.len() > alike) else {
            continue;
        };
        let count = nodes.len();
        let what = format!(
            "{component} {} runs here, and {} on {count} of {all} other nodes that have it",
            here.join(", "),
            there.join(", ")
        );
        let mut one = finding(FindingKind::Versions, Weight::Warns, what);
        // They have differed since the last of them was started, at the latest.
        one.for_s = nodes.into_iter().chain([own]).map(|of| run_for_s(of, component)).min().flatten();
        one.next.push(format!(
            "drydock node list --versions says who runs which; a plan with {component} takes this node to what the others have"
        ));
        found.push(one);
    }
    // One that runs and does not say what it is, is told by the agent's own words.
    for running in own {
        if let Err(why) = &running.version {
            let what = format!("which {} runs cannot be seen: {why}", running.component);
            found.push(finding(FindingKind::Versions, Weight::Warns, what));
        }
    }
    found
}

/// For how long a component has run on a node as it is.
fn run_for_s(all: &[RunningVersion], component: &drydock_types::ComponentName) -> Option<u64> {
    all.iter().filter(|running| running.component == *component).map(|running| running.for_s).min().flatten()
}

/// Each version of a component on one node, once.
fn of_component(all: &[RunningVersion], component: &drydock_types::ComponentName) -> Vec<String> {
    let of = all.iter().filter(|running| running.component == *component);
    let known: BTreeSet<String> =
        of.filter_map(|running| running.version.as_ref().ok().map(ToString::to_string)).collect();
    known.into_iter().collect()
}

/// Is it something that is the matter with pods?
const fn concerns_pods(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Sandbox
            | Kind::Volume
            | Kind::Image
            | Kind::Config
            | Kind::Memory
            | Kind::Crash
            | Kind::Terminating
            | Kind::Unready
            | Kind::Starting
    )
}

fn of_pods(pods: Pods, view: &mut NodeCheckView) {
    let Pods { cluster, problems, now_unix_s } = pods;
    let failing: BTreeMap<&str, Option<i64>> = problems
        .iter()
        .filter(|problem| concerns_pods(problem.kind))
        .flat_map(|problem| problem.members.iter().map(|member| (member.name.as_str(), member.since_unix_s)))
        .collect();
    let (count, oldest) = (failing.len(), failing.values().flatten().min().copied());
    let age_s = |since: i64| u64::try_from(now_unix_s.saturating_sub(since)).unwrap_or(0);
    let cause = view
        .findings
        .iter_mut()
        .find(|found| found.kind == FindingKind::PodNetwork && found.weight == Weight::Stops);
    let explained = match cause {
        Some(cause) if count > 0 => {
            let (pods, fail) = if count == 1 { ("pod", "fails") } else { ("pods", "fail") };
            let age = match oldest {
                Some(since) if count > 1 => format!(", the oldest for {}", when::age(now_unix_s - since)),
                Some(since) => format!(" for {}", when::age(now_unix_s - since)),
                None => String::new(),
            };
            cause.what = format!("{}; {count} {pods} of this node {fail}{age}", cause.what);
            cause.for_s = cause.for_s.max(oldest.map(age_s));
            cause.next.push(format!("drydock check cluster {cluster} names each of them"));
            true
        }
        _ => false,
    };
    for problem in &problems {
        if explained && concerns_pods(problem.kind) {
            continue;
        }
        let what = problem.what(now_unix_s);
        let weight = match problem.weight {
            health::Weight::Note => Weight::Warns,
            health::Weight::Stops | health::Weight::Refused => Weight::Stops,
            health::Weight::Unknown => {
                view.looked_at.push(Looked { at: format!("cluster {cluster}"), seen: Err(what) });
                continue;
            }
        };
        // What lies elsewhere in the cluster is `check cluster`'s to say.
        if problem.members.is_empty() {
            continue;
        }
        let mut one = finding(FindingKind::Pods, weight, what);
        one.for_s = problem.since_unix_s().map(age_s);
        one.next.extend((!problem.next.is_empty()).then(|| problem.next.clone()));
        view.findings.push(one);
    }
    view.looked_at.push(Looked { at: "failing pods".to_owned(), seen: Ok(count as u64) });
}

#[cfg(test)]
mod tests {
    use drydock_kubernetes::health::{Member, Problem};
    use drydock_types::{ComponentName, Version};

    use super::*;

    const NOW_S: i64 = 1_763_000_000;
    const NOW_MS: u64 = 1_763_000_000_000;
    const SOCKET: &str = "/run/openvswitch/kube-ovn-daemon.sock is missing, which \
                          /etc/cni/net.d/01-kube-ovn.conflist names: no pod can get an address here";

    fn on_time() -> Clock {
        Clock { asked_unix_ms: NOW_MS, took_ms: 40, said_unix_ms: NOW_MS + 20 }
    }

    fn heard(findings: Vec<Finding>) -> Heard {
        let said = FindingsView { findings, looked_at: Vec::new(), unix_ms: NOW_MS };
        Heard {
            node: NodeName::parse("n1").unwrap(),
            findings: Ok((said, on_time())),
            own: Ok(Vec::new()),
            peers: Vec::new(),
            pods: None,
        }
    }

    fn running(component: &str, version: &str) -> RunningVersion {
        RunningVersion {
            component: ComponentName::parse(component).unwrap(),
            version: Version::parse(version).map_err(|error| error.to_string()),
            count: 1,
            for_s: None,
        }
    }

    fn pods_of(kind: Kind, names: &[(&str, i64)]) -> Problem {
        let member = |(name, days): &(&str, i64)| Member {
            name: (*name).to_owned(),
            node: "kube-1".to_owned(),
            key: String::new(),
            since_unix_s: Some(NOW_S - days * 86_400),
            unbroken: true,
        };
        Problem {
            kind,
            weight: health::Weight::Stops,
            subject: String::new(),
            root: "no route to host".to_owned(),
            next: "look".to_owned(),
            members: names.iter().map(member).collect(),
        }
    }

    fn with_pods(mut heard: Heard, problems: Vec<Problem>) -> NodeCheckView {
        let cluster = ClusterName::parse("prod").unwrap();
        heard.pods = Some(Ok(Pods { cluster, problems, now_unix_s: NOW_S }));
        judge(heard, true, 0, NOW_MS)
    }

    #[test]
    fn nineteen_pods_and_the_socket_that_they_want_are_one_line() {
        let names: Vec<String> = (0..19).map(|i| format!("app/p-{i}")).collect();
        let aged: Vec<(&str, i64)> = names
            .iter()
            .enumerate()
            .map(|(i, name)| (name.as_str(), if i == 7 { 203 } else { 52 }))
            .collect();
        let problems = vec![pods_of(Kind::Sandbox, &aged[..11]), pods_of(Kind::Image, &aged[11..])];
        let socket = finding(FindingKind::PodNetwork, Weight::Stops, SOCKET.to_owned());
        let view = with_pods(heard(vec![socket]), problems);
        assert_eq!(view.findings.len(), 1, "{:?}", view.findings);
        let want = format!("{SOCKET}; 19 pods of this node fail, the oldest for 203 d");
        assert_eq!(view.findings[0].what, want);
        assert!(view.stops());
    }

    #[test]
    fn pods_that_fail_for_their_own_reason_stop_with_it() {
        let view = with_pods(heard(Vec::new()), vec![pods_of(Kind::Crash, &[("app/a", 3)])]);
        assert_eq!((view.findings[0].kind, view.findings[0].weight), (FindingKind::Pods, Weight::Stops));
        assert_eq!(view.findings[0].for_s, Some(3 * 86_400));
        assert!(with_pods(heard(Vec::new()), Vec::new()).findings.is_empty());
    }

    #[test]
    fn a_node_that_does_not_answer_is_not_well() {
        let gone = |connected| {
            let mut heard = heard(Vec::new());
            (heard.findings, heard.own) = (Err("no answer".into()), Err("no answer".into()));
            judge(heard, connected, NOW_MS - 90_000, NOW_MS)
        };
        let silent = gone(false);
        assert_eq!(silent.findings[0].for_s, Some(90));
        assert!(silent.stops() && silent.looked_at.is_empty(), "one line");
        let mute = gone(true);
        assert!(mute.stops() && mute.findings.is_empty());
        assert_eq!(mute.looked_at.len(), 2);
        assert!(!judge(heard(Vec::new()), true, 0, NOW_MS).stops());
    }

    #[test]
    fn a_clock_is_wrong_only_beyond_what_the_way_takes() {
        let clock =
            |said, took_ms| skewed_clock(Clock { asked_unix_ms: NOW_MS, took_ms, said_unix_ms: said });
        assert_eq!(clock(NOW_MS + 4_900, 5_000), None, "a slow answer");
        assert_eq!(clock(NOW_MS - 900, 5), None);
        let late = clock(NOW_MS - 12_000, 5).unwrap();
        assert_eq!(
            (late.weight, late.what.as_str()),
            (Weight::Warns, "its clock is 12 s behind the coordinator's")
        );
        let early = clock(NOW_MS + 7_200_000, 5).unwrap();
        assert_eq!(early.weight, Weight::Stops);
        assert!(early.what.contains("ahead of the coordinator's"), "{early:?}");
    }

    #[test]
    fn versions_have_differed_since_the_last_of_the_processes_was_started() {
        let aged = |version: &str, for_s| RunningVersion { for_s, ..running("libvirt", version) };
        let peers = |ages: [Option<u64>; 2]| {
            ages.map(|for_s| NodeVersionsView {
                node: NodeName::parse("n2").unwrap(),
                versions: Ok(vec![aged("10.0.0", for_s)]),
            })
        };
        let age = |own, ages| odd_versions(&[aged("9.0.0", own)], &peers(ages))[0].for_s;
        assert_eq!(age(Some(50), [Some(70), Some(60)]), Some(50));
        assert_eq!(age(Some(50), [Some(70), Some(6)]), Some(6), "they were upgraded");
        assert_eq!(age(Some(50), [Some(70), None]), None, "nothing tells");
        assert_eq!(age(None, [Some(70), Some(60)]), None);
    }

    #[test]
    fn what_most_others_run_is_told_and_a_single_node_is_like_itself() {
        let peer = |name: &str, version: &str| NodeVersionsView {
            node: NodeName::parse(name).unwrap(),
            versions: Ok(vec![running("libvirt", version)]),
        };
        let own = [running("libvirt", "9.0.0"), running("etcd", "3.5.16")];
        let peers = [peer("n2", "10.0.0"), peer("n3", "10.0.0"), peer("n4", "9.0.0")];
        let found = odd_versions(&own, &peers);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].what, "libvirt 9.0.0 runs here, and 10.0.0 on 2 of 3 other nodes that have it");
        assert!(odd_versions(&own, &[]).is_empty());
        assert!(odd_versions(&own[..1], &[peer("n2", "9.0.0")]).is_empty());
        let half = [peer("n2", "9.0.0"), peer("n3", "10.0.0")];
        assert!(odd_versions(&own[..1], &half).is_empty(), "nobody is the odd one");
        let unseen = RunningVersion { version: Err("no socket".into()), ..running("libvirt", "1.0") };
        assert_eq!(odd_versions(&[unseen], &peers)[0].what, "which libvirt runs cannot be seen: no socket");
    }
}
