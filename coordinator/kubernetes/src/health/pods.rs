//! Why a pod is not well. Pure.
//!
//! A pod is judged by its own status first; what that cannot say (why there is no sandbox, which volume it waits for) by
//! the newest event about it. Without a sandbox nothing else can be: where an event says so, nothing else counts.

use super::{
    objects::{Container, ContainerStatus, Event, Pod, Terminated, Workload},
    problem::{Kind, Member, Problem, Weight},
    root::{self, Root},
    when,
};

/// A pod that is made, placed or started may take so long before that is a finding, in seconds.
const STARTS_IN_S: i64 = 60;
/// A pod that is told to end has its grace period; its kubelet has so much more, in seconds.
const ENDS_IN_S: i64 = 60;
/// A container that ended so lately, and often, crashes again and again although it runs just now. In seconds: the
/// kubelet's longest pause between two starts is 300.
const CRASHED_WITHIN_S: i64 = 600;
/// So often.
const CRASHED_TIMES: u64 = 3;
/// An event that was last seen so long ago tells of something that is over, in seconds.
const EVENT_LASTS_S: i64 = 1800;

/// A pod that is not well, as far as its own status tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Which.
    pub pod: Pod,
    /// What it seems to be.
    pub seems: Seems,
}

/// What a pod's own status tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seems {
    /// No node takes it: why not.
    Unscheduled(String),
    /// It has a node, and none of its containers has begun.
    NotBegun,
    /// It has not ended in its time.
    Terminating,
    /// An image, and why it cannot be pulled.
    Image(String, String),
    /// A container that cannot be made: its name, and why.
    Config(String, String),
    /// A container that ends again and again, and how it ended last.
    Crash(Box<ContainerStatus>, Box<Terminated>),
    /// It runs, and is not ready: which containers are not.
    Unready(String),
}

/// What is not well about a pod. `None`: nothing, or not for long enough to say so.
#[must_use]
pub fn look(pod: &Pod, now: i64) -> Option<Seems> {
    // What has ended is its workload's matter: a Job counts its failures, a ReplicaSet makes another one.
    if matches!(pod.status.phase.as_str(), "Succeeded" | "Failed") {
        return None;
    }
    if let Some(going) = when::of(pod.metadata.deletion_timestamp.as_ref()) {
        // The time is when it is to be gone: its grace period is in it.
        return (now > going.saturating_add(ENDS_IN_S)).then_some(Seems::Terminating);
    }
    if pod.spec.node_name.is_empty() {
        return unplaced(pod, now);
    }
    let all = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    if let Some(seems) = all.clone().find_map(|status| container(pod, status, now)) {
        return Some(seems);
    }
    let begun = all.clone().any(|status| status.state.waiting.is_none() || status.restart_count > 0);
    if !begun {
        return older_than(placed(pod), STARTS_IN_S, now).then_some(Seems::NotBegun);
    }
    let ready = pod.condition("Ready")?;
    let unready = ready.status != "True" && older_than(since(ready), STARTS_IN_S, now);
    unready.then(|| Seems::Unready(not_ready(pod, &ready.message)))
}

/// What of a pod that has begun is not ready.
fn not_ready(pod: &Pod, said: &str) -> String {
    let runs =
        |status: &&ContainerStatus| status.state.waiting.is_none() && status.state.terminated.is_none();
    if let Some(init) = pod.status.init_container_statuses.iter().find(|status| runs(status) && !status.ready)
    {
        return format!("init container {} has not ended", init.name);
    }
    let unready = pod.status.container_statuses.iter().filter(|status| !status.ready);
    let names: Vec<&str> = unready.map(|status| &*status.name).collect();
    match names.is_empty() {
        // Its containers are: somebody else's word is missing (a readiness gate).
        true => root::cut(said),
        false => format!("container {} does not answer its readiness probe", names.join(", ")),
    }
}

fn since(condition: &crate::objects::node::Condition) -> Option<i64> {
    when::of(condition.last_transition_time.as_ref())
}

fn older_than(since: Option<i64>, seconds: i64, now: i64) -> bool {
    // Without a time nothing says that it is still new.
    since.is_none_or(|since| now.saturating_sub(since) > seconds)
}

/// When it was given its node.
fn placed(pod: &Pod) -> Option<i64> {
    let scheduled =
        pod.condition("PodScheduled").filter(|condition| condition.status == "True").and_then(since);
    scheduled.or_else(|| when::of(pod.status.start_time.as_ref())).or_else(|| made(pod))
}

fn made(pod: &Pod) -> Option<i64> {
    when::of(pod.metadata.creation_timestamp.as_ref())
}

fn unplaced(pod: &Pod, now: i64) -> Option<Seems> {
    let scheduled = pod.condition("PodScheduled");
    // Whoever put a gate there opens it.
    if scheduled.is_some_and(|condition| condition.reason == "SchedulingGated") {
        return None;
    }
    if !older_than(scheduled.and_then(since).or_else(|| made(pod)), STARTS_IN_S, now) {
        return None;
    }
    let why = scheduled.map(|condition| condition.message.clone()).filter(|message| !message.is_empty());
    Some(Seems::Unscheduled(why.unwrap_or_else(|| "no scheduler has looked at it".to_owned())))
}

fn container(pod: &Pod, status: &ContainerStatus, now: i64) -> Option<Seems> {
    let last = || status.last_state.terminated.clone().or_else(|| status.state.terminated.clone());
    if let Some(waiting) = &status.state.waiting {
        return match waiting.reason.as_str() {
            "CrashLoopBackOff" => {
                Some(Seems::Crash(Box::new(status.clone()), Box::new(last().unwrap_or_default())))
            }
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => {
                Some(Seems::Image(image(pod, status), format!("{}: {}", waiting.reason, waiting.message)))
            }
            "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "PreStartHookError"
            | "PostStartHookError" => Some(Seems::Config(status.name.clone(), waiting.message.clone())),
            _ => None,
        };
    }
    let ended = last().filter(|ended| ended.exit_code != 0)?;
    let lately =
        when::of(ended.finished_at.as_ref()).is_some_and(|at| now.saturating_sub(at) < CRASHED_WITHIN_S);
    (status.restart_count >= CRASHED_TIMES && lately && !is_init_done(status))
        .then(|| Seems::Crash(Box::new(status.clone()), Box::new(ended)))
}

/// An init container that came to its end in the end.
fn is_init_done(status: &ContainerStatus) -> bool {
    status.state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0)
}

/// As the pod asks for it: what a status says is what the runtime made of it, and empty before it has any.
fn image(pod: &Pod, status: &ContainerStatus) -> String {
    let all = pod.spec.init_containers.iter().chain(&pod.spec.containers);
    let asked = all
        .into_iter()
        .find(|container| container.name == status.name)
        .map(|container| container.image.clone());
    asked.filter(|image| !image.is_empty()).unwrap_or_else(|| status.image.clone())
}

/// What is the matter with a pod, by its status and the newest events about it.
#[must_use]
pub fn problem(failing: &Failing, events: &[Event], now: i64) -> Problem {
    let Failing { pod, seems } = failing;
    let (workload, node) = (pod.workload(), pod.spec.node_name.as_str());
    let whose = whose(pod, &workload);
    let newest = |kind: Kind| newest(events, kind, now);
    if let (Some(event), false) =
        (newest(Kind::Sandbox), matches!(seems, Seems::Terminating | Seems::Unscheduled(_)))
    {
        let root = root::of_sandbox(&event.message, node);
        // What is missing on a node is missing for all its pods: whichever of them it keeps from starting is no news.
        let key = format!("sandbox|{node}|{}", root.what);
        let member = member(pod, key, without_sandbox_since(pod), true);
        return problem_of(Kind::Sandbox, String::new(), root, member);
    }
    match seems {
        Seems::Unscheduled(why) => {
            let condition = pod.condition("PodScheduled").and_then(since);
            let member = member(pod, format!("unscheduled|{whose}"), condition.or_else(|| made(pod)), true);
            problem_of(Kind::Unscheduled, String::new(), root::of_scheduling(why), member)
        }
        Seems::NotBegun => not_begun(pod, &whose, newest(Kind::Volume)),
        Seems::Terminating => terminating(pod),
        Seems::Image(image, why) => {
            // Only the first try's text says why; what comes after it says that it is waited.
            let event = newest(Kind::Image).filter(|event| event.message.contains(image.as_str()));
            let why = event.map_or(why.as_str(), |event| event.message.as_str());
            let member = member(pod, format!("image|{whose}|{image}"), unready_since(pod), true);
            problem_of(Kind::Image, String::new(), root::of_image(why, image, node), member)
        }
        Seems::Config(container, why) => {
            let what = format!("container {container}: {}", root::innermost(why));
            let next = "make what it names, or take it out of the pod's template".to_owned();
            let member = member(pod, format!("config|{whose}|{what}"), unready_since(pod), true);
            problem_of(Kind::Config, workload.to_string(), Root { what, next }, member)
        }
        Seems::Crash(status, ended) => crash(pod, &workload, &whose, status, ended),
        Seems::Unready(which) => {
            let probe = newest(Kind::Unready).map(|event| root::cut(&event.message));
            let what = probe.unwrap_or_else(|| which.clone());
            let next = logs(pod, None, false);
            let member = member(pod, format!("unready|{whose}"), unready_since(pod), true);
            problem_of(Kind::Unready, workload.to_string(), Root { what, next }, member)
        }
    }
}

/// Of whom it is known that he fails, whatever the names of his pods. The pods of most workloads go where there is room,
/// and fail there as before; a DaemonSet has one for each Node, and that it fails on one says nothing of another.
fn whose(pod: &Pod, workload: &Workload) -> String {
    match workload.kind.as_str() {
        "DaemonSet" => format!("{workload}|{}", pod.meant_for()),
        _ => workload.to_string(),
    }
}

fn problem_of(kind: Kind, subject: String, root: Root, member: Member) -> Problem {
    Problem { kind, weight: Weight::Stops, subject, root: root.what, next: root.next, members: vec![member] }
}

fn member(pod: &Pod, key: String, since_unix_s: Option<i64>, unbroken: bool) -> Member {
    Member { name: pod.name().to_string(), node: pod.spec.node_name.clone(), key, since_unix_s, unbroken }
}

/// The newest of the events of a kind, while it can still be true.
fn newest(events: &[Event], kind: Kind, now: i64) -> Option<&Event> {
    let of = events.iter().filter(|event| root::kind_of_event(&event.reason) == Some(kind));
    let newest = of.max_by_key(|event| event.last_unix_s())?;
    (now.saturating_sub(newest.last_unix_s()) < EVENT_LASTS_S).then_some(newest)
}

/// A pod that ran before its node lost what makes sandboxes has not been ready since; one that never ran, since it was
/// given its node.
fn without_sandbox_since(pod: &Pod) -> Option<i64> {
    let lost = pod
        .condition("PodReadyToStartContainers")
        .filter(|condition| condition.status != "True")
        .and_then(since);
    lost.or_else(|| unready_since(pod)).or_else(|| placed(pod))
}

fn unready_since(pod: &Pod) -> Option<i64> {
    let ready = pod.condition("Ready").filter(|condition| condition.status != "True").and_then(since);
    ready.or_else(|| placed(pod))
}

fn not_begun(pod: &Pod, whose: &str, volume: Option<&Event>) -> Problem {
    if let Some(event) = volume {
        let root = Root {
            what: root::innermost(&event.message),
            next: format!("kubectl -n {} describe pod {}", pod.metadata.namespace, pod.metadata.name),
        };
        let member = member(pod, format!("volume|{whose}|{}", root.what), placed(pod), true);
        return problem_of(Kind::Volume, String::new(), root, member);
    }
    let what = "no event says why".to_owned();
    let next = format!(
        "see whether the kubelet of {} works: journalctl -u kubelet -u k3s -u k3s-agent there",
        pod.spec.node_name
    );
    let member = member(pod, format!("starting|{whose}"), placed(pod), true);
    problem_of(Kind::Starting, String::new(), Root { what, next }, member)
}

fn terminating(pod: &Pod) -> Problem {
    let meta = &pod.metadata;
    let root = match &*meta.finalizers {
        [] => Root {
            what: format!("the kubelet of {} does not end its processes", pod.spec.node_name),
            next: format!("see whether it is there: kubectl get node {}", pod.spec.node_name),
        },
        finalizers => Root {
            what: format!("its finalizer {} is not taken off", root::cut(&finalizers.join(", "))),
            next: "whoever put it there takes it off when its work is done: see whether that controller runs"
                .to_owned(),
        },
    };
    // When it was to be gone, less the time that it was given: when it was told to go.
    let grace = i64::try_from(meta.deletion_grace_period_seconds.unwrap_or(0)).unwrap_or(0);
    let told = when::of(meta.deletion_timestamp.as_ref()).map(|at| at.saturating_sub(grace));
    let key = format!("terminating|{}|{}", pod.name(), meta.uid);
    problem_of(Kind::Terminating, String::new(), root, member(pod, key, told, true))
}

fn crash(
    pod: &Pod,
    workload: &Workload,
    whose: &str,
    status: &ContainerStatus,
    ended: &Terminated,
) -> Problem {
    let memory = ended.reason == "OOMKilled";
    let (kind, what, next) = match memory {
        true => {
            let limit = limit(pod, &status.name).map_or_else(
                || "it has no limit of its own: its node was short".to_owned(),
                |limit| format!("its limit is {limit}"),
            );
            let next = "raise resources.limits.memory, or see what it keeps".to_owned();
            (Kind::Memory, format!("container {}: {limit}", status.name), next)
        }
        false => {
            let own = root::cut(ended.message.lines().last().unwrap_or_default().trim());
            let own = if own.is_empty() { String::new() } else { format!(": {own}") };
            let what = format!("container {} ends with exit code {}{own}", status.name, ended.exit_code);
            (Kind::Crash, what, logs(pod, Some(&status.name), true))
        }
    };
    let key = format!("{}|{whose}|{}", if memory { "memory" } else { "crash" }, status.name);
    // It was made then; that it crashed ever since nothing says.
    problem_of(kind, workload.to_string(), Root { what, next }, member(pod, key, made(pod), false))
}

fn limit(pod: &Pod, container: &str) -> Option<String> {
    let all = pod.spec.init_containers.iter().chain(&pod.spec.containers);
    let of = |wanted: &Container| wanted.resources.limits.get("memory").cloned();
    let limit = all.into_iter().find(|wanted| wanted.name == container).and_then(of)?;
    Some(root::cut(limit.as_str().map_or_else(|| limit.to_string(), str::to_owned).as_str()))
}

fn logs(pod: &Pod, container: Option<&str>, previous: bool) -> String {
    let container = container.map_or_else(String::new, |container| format!(" -c {container}"));
    let previous = if previous { " --previous" } else { "" };
    format!("kubectl -n {} logs {}{container}{previous}", pod.metadata.namespace, pod.metadata.name)
}
