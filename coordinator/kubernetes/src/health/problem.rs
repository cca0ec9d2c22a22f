//! A root cause with whom it concerns and since when; in words; what of it is a run's own doing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use drydock_types::Verdict;
use serde::{Deserialize, Serialize};

use super::when;

/// Two clocks are compared: the cluster's, which wrote the times, and the coordinator's, by which the run began.
/// In seconds.
pub(super) const CLOCKS_S: i64 = 60;
/// So many names stand in a line.
const MOST_NAMED: usize = 3;
/// So many causes stand in a verdict.
const MOST_SAID: usize = 5;
/// More of what failed before is not kept: a cluster of which so much fails tells nobody anything new.
const MOST_KEYS: usize = 2000;

/// What is the matter, in the order in which one causes the other: nothing is well without the API, no container starts
/// without a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// It could not be seen.
    Unseen,
    /// The API server does not call itself ready.
    Api,
    /// A Node is not Ready.
    Node,
    /// A Node is short of memory, disk or processes, or has no network.
    Pressure,
    /// A pod has no sandbox: no network, so no container.
    Sandbox,
    /// A pod waits for a volume.
    Volume,
    /// A claim is bound to no volume.
    Claim,
    /// A pod's image cannot be pulled.
    Image,
    /// A pod's container cannot be made as it is configured.
    Config,
    /// A pod's container is killed for want of memory.
    Memory,
    /// A pod's container crashes again and again.
    Crash,
    /// No node takes a pod.
    Unscheduled,
    /// A pod does not end.
    Terminating,
    /// A pod runs and does not become ready.
    Unready,
    /// A pod does not start, and nothing says why.
    Starting,
    /// A workload has fewer pods than it should, and none of them says why.
    Workload,
    /// Something of Drydock's own was left behind.
    Left,
}

impl Kind {
    /// How those are whom it concerns: behind their number.
    const fn state(self) -> Option<&'static str> {
        Some(match self {
            Self::Node => "not Ready",
            Self::Pressure => "under pressure",
            Self::Sandbox => "without a sandbox",
            Self::Volume => "without a volume",
            Self::Image => "without an image",
            Self::Config => "without a container",
            Self::Memory => "killed for want of memory",
            Self::Crash => "in a crash loop",
            Self::Unscheduled => "without a node",
            Self::Terminating => "stuck in Terminating",
            Self::Unready => "not ready",
            Self::Starting => "not started",
            Self::Unseen | Self::Api | Self::Claim | Self::Workload | Self::Left => return None,
        })
    }
}

/// How much it weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Weight {
    /// Good to know; stops nobody.
    Note,
    /// It stops a run that it began under; it may pass.
    Stops,
    /// It could not be seen.
    Unknown,
    /// It cannot be seen until a person does something.
    Refused,
}

/// One of those whom it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// `shop/cart-5f7`, or a Node's name.
    pub name: String,
    /// On which Node; empty where it is on none.
    pub node: String,
    /// What fails, whatever the names of the pods in which it does: a pod that was replaced and fails as before is no news.
    /// Of what nobody replaces (a Node, a pod that does not end) it is this one failure and none after it. Empty where
    /// nothing tells one failure from the next.
    pub key: String,
    /// Since when, in seconds since 1970.
    pub since_unix_s: Option<i64>,
    /// It has failed without a break since then. A crash loop has moments of being ready, and its times begin anew.
    pub unbroken: bool,
}

/// Something that is the matter, by its root cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What.
    pub kind: Kind,
    /// How much it weighs.
    pub weight: Weight,
    /// Whose pods: `Deployment shop/cart`; empty where it is not one workload's.
    pub subject: String,
    /// Why, by its name: `/run/flannel/subnet.env is not there`.
    pub root: String,
    /// What to do about it.
    pub next: String,
    /// Whom it concerns; nobody where it is the whole cluster's.
    pub members: Vec<Member>,
}

impl Problem {
    /// Since when the first of them has.
    #[must_use]
    pub fn since_unix_s(&self) -> Option<i64> {
        self.members.iter().filter_map(|member| member.since_unix_s).min()
    }

    /// On which Nodes, each once.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<&str> {
        self.members.iter().map(|member| member.node.as_str()).filter(|node| !node.is_empty()).collect()
    }

    /// What is the matter, in one line: `14 pods on k3s-2 without a sandbox for 41 d: /run/flannel/subnet.env is not there`.
    #[must_use]
    pub fn what(&self, now_unix_s: i64) -> String {
        let mut text = match (self.kind, self.kind.state()) {
            (_, None) => return self.plainly(now_unix_s),
            (Kind::Node | Kind::Pressure, Some(state)) => format!("{} {state}", self.of_nodes()),
            (_, Some(state)) => format!("{}{} {state}", self.pods(), self.places()),
        };
        self.age(&mut text, now_unix_s);
        let _ = write!(text, ": {}", self.root);
        text
    }

    fn plainly(&self, now_unix_s: i64) -> String {
        let mut text = self.root.clone();
        self.age(&mut text, now_unix_s);
        text
    }

    fn age(&self, text: &mut String, now_unix_s: i64) {
        let Some(since) = self.since_unix_s() else { return };
        let age = when::age(now_unix_s.saturating_sub(since));
        let each = self.members.iter().all(|member| member.unbroken);
        // A String takes whatever is written.
        let _ = match each {
            true => write!(text, " for {age}"),
            false => write!(text, " (made {age} ago)"),
        };
    }

    fn pods(&self) -> String {
        match (&*self.members, self.subject.as_str()) {
            ([one], _) => format!("pod {}", one.name),
            (many, "") => format!("{} pods", many.len()),
            (many, of) => format!("{} pods of {of}", many.len()),
        }
    }

    fn of_nodes(&self) -> String {
        let names: Vec<&str> = self.members.iter().map(|member| member.name.as_str()).collect();
        match &*names {
            [one] => format!("Node {one}"),
            many if many.len() <= MOST_NAMED => format!("{} Nodes ({})", many.len(), many.join(", ")),
            many => {
                let first = many.get(..MOST_NAMED).unwrap_or_default().join(", ");
                format!("{} Nodes ({first}, …)", many.len())
            }
        }
    }

    fn places(&self) -> String {
        let nodes = self.nodes();
        match nodes.len() {
            0 => String::new(),
            n if n > MOST_NAMED => format!(" on {n} nodes"),
            _ => format!(" on {}", Vec::from_iter(nodes).join(", ")),
        }
    }
}

/// What a run knows of what failed before it.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// When it began, in seconds since 1970.
    pub began_unix_s: i64,
    /// What failed then, where somebody looked: [`keys`].
    pub before: Option<&'a [String]>,
}

impl Known<'_> {
    /// Did it fail before the run began?
    fn was_there(&self, member: &Member) -> bool {
        let noted = |before: &[String]| !member.key.is_empty() && before.contains(&digest(&member.key));
        let older = |since: i64| since < self.began_unix_s.saturating_sub(CLOCKS_S);
        self.before.is_some_and(noted) || (member.unbroken && member.since_unix_s.is_some_and(older))
    }
}

/// What stops a run, as a verdict. With `known` only what is newer than the run does; without, everything.
#[must_use]
pub fn verdict(problems: &[Problem], known: Option<Known<'_>>, now_unix_s: i64) -> Verdict {
    let heavy = |weight: Weight| problems.iter().filter(move |problem| problem.weight == weight);
    let mut refused = heavy(Weight::Refused).peekable();
    if refused.peek().is_some() {
        return Verdict::Refused(said(refused.map(|problem| in_full(problem, now_unix_s)).collect()));
    }
    let stops: Vec<String> =
        heavy(Weight::Stops).filter_map(|problem| news(problem, known, now_unix_s)).collect();
    if !stops.is_empty() {
        return Verdict::Waiting(said(stops));
    }
    let mut unknown = heavy(Weight::Unknown).peekable();
    match unknown.peek() {
        Some(_) => Verdict::Unknown(said(unknown.map(|problem| in_full(problem, now_unix_s)).collect())),
        None => Verdict::Clear,
    }
}

/// A problem as far as it is newer than the run.
fn news(problem: &Problem, known: Option<Known<'_>>, now_unix_s: i64) -> Option<String> {
    let Some(known) = known else { return Some(in_full(problem, now_unix_s)) };
    if problem.members.is_empty() {
        return Some(in_full(problem, now_unix_s));
    }
    let new: Vec<Member> =
        problem.members.iter().filter(|member| !known.was_there(member)).cloned().collect();
    if new.is_empty() {
        return None;
    }
    let others = problem.members.len() - new.len();
    let mut text = in_full(&Problem { members: new, ..problem.clone() }, now_unix_s);
    if others > 0 {
        let _ = write!(text, " (beside {others} that failed before the run)");
    }
    Some(text)
}

fn in_full(problem: &Problem, now_unix_s: i64) -> String {
    let what = problem.what(now_unix_s);
    if problem.next.is_empty() { what } else { format!("{what} → {}", problem.next) }
}

fn said(mut all: Vec<String>) -> String {
    let more = all.len().saturating_sub(MOST_SAID);
    all.truncate(MOST_SAID);
    let text = all.join("; ");
    if more > 0 { format!("{text}; and {more} more: drydock check cluster") } else { text }
}

/// What fails now, each by its digest, in order: to be told apart from what fails later.
#[must_use]
pub fn keys(problems: &[Problem]) -> Vec<String> {
    let stops = problems.iter().filter(|problem| problem.weight == Weight::Stops);
    let keyed = stops.flat_map(|problem| &problem.members).filter(|member| !member.key.is_empty());
    let keys: BTreeSet<String> = keyed.map(|member| digest(&member.key)).collect();
    keys.into_iter().take(MOST_KEYS).collect()
}

/// Sixteen digits stand for a key: a run's state must not grow with other people's names.
fn digest(key: &str) -> String {
    drydock_types::Sha256::of(key.as_bytes()).to_string().chars().take(16).collect()
}

/// Joins what has the same cause, and orders it: what weighs most first, then causes before effects.
pub(super) fn by_cause(all: impl IntoIterator<Item = Problem>) -> Vec<Problem> {
    let mut causes: BTreeMap<(std::cmp::Reverse<Weight>, Kind, String, String), Problem> = BTreeMap::new();
    for problem in all {
        let key =
            (std::cmp::Reverse(problem.weight), problem.kind, problem.subject.clone(), problem.root.clone());
        match causes.get_mut(&key) {
            Some(there) => there.members.extend(problem.members),
            None => drop(causes.insert(key, problem)),
        }
    }
    let mut causes: Vec<Problem> = causes.into_values().collect();
    for cause in &mut causes {
        cause.members.sort_by(|a, b| (a.since_unix_s, &a.name).cmp(&(b.since_unix_s, &b.name)));
    }
    let rank = |problem: &Problem| {
        (std::cmp::Reverse(problem.weight), problem.kind, std::cmp::Reverse(problem.members.len()))
    };
    causes.sort_by_key(rank);
    causes
}
