//! A run: its nodes, what it waits for, why it holds.

use alloc::{string::String, vec::Vec};

use drydock_types::{
    ClusterName, ComponentName, Label, NodeName, RunId, Sha256, Version,
    outcome::{Evidence, Failure, StepReport},
};
use serde::{Deserialize, Serialize};

use super::{AmendmentView, ApprovalView, EstimateView, Phase, RunStatus};
use crate::{
    hold_kind::{HoldKind, WaitKind},
    observe::Observed,
    standing::Decision,
};

view! {
    /// A line of `run list`.
    pub struct RunLineView {
        /// What people call it.
        pub number: u64,
        /// The plan's name.
        pub name: Label,
        /// How it stands.
        pub status: RunStatus,
        /// One line: what it waits for, why it holds, how it ended.
        pub summary: String,
        /// Who started it.
        pub started_by: String,
        /// When.
        pub started_unix_ms: u64,
        /// When it ended.
        pub ended_unix_ms: Option<u64>,
        /// Nodes done.
        pub done: u64,
        /// Nodes in all, without the skipped.
        pub total: u64,
    }
}

view! {
    /// A run, whole.
    pub struct RunView {
        /// What people call it.
        pub number: u64,
        /// For ever.
        pub id: RunId,
        /// The plan's name.
        pub name: Label,
        /// The file that it came from.
        pub file: String,
        /// What is done, as one number.
        pub digest: Sha256,
        /// How it stands.
        pub status: RunStatus,
        /// Who started it.
        pub started_by: String,
        /// When.
        pub started_unix_ms: u64,
        /// When it ended.
        pub ended_unix_ms: Option<u64>,
        /// When the coordinator made this view.
        pub now_unix_ms: u64,
        /// Behind which run it is queued.
        pub queued_behind: Option<u64>,
        /// The run that this one takes back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub undoes: Option<u64>,
        /// Runs that take this one back, or parts of it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub undone_by: Vec<u64>,
        /// Who paused or aborted it.
        pub stopped_by: Option<String>,
        /// When.
        pub stopped_unix_ms: Option<u64>,
        /// The whole fleet is frozen: nobody leaves service.
        pub frozen: Option<Decision>,
        /// What operators changed since it was started, oldest first.
        pub amendments: Vec<AmendmentView>,
        /// Who approved which wave.
        pub approvals: Vec<ApprovalView>,
        /// Sections handed out and not ended: `apply on ctl-2`.
        pub handed_out: Vec<String>,
        /// What failed in clusters before any node of it was changed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub failed_before: Vec<FailedBeforeView>,
        /// Stages in order.
        pub stages: Vec<RunStageView>,
        /// What it waits for, while it does.
        pub waiting: Option<WaitingView>,
        /// Why it holds, while it does.
        pub hold: Option<HoldView>,
        /// How long is left, where there is something to judge by.
        pub estimate: Option<EstimateView>,
        /// Events so far, oldest first, one line each; the last 200.
        pub log: Vec<EventLineView>,
    }
}

view! {
    /// What failed in a Kubernetes cluster before any node of a run was changed: not its doing.
    pub struct FailedBeforeView {
        /// Which cluster.
        pub cluster: ClusterName,
        /// What, one line a cause; empty: nothing.
        pub said: Vec<String>,
    }
}

view! {
    /// A stage of a run.
    pub struct RunStageView {
        /// Its name.
        pub name: Label,
        /// The component.
        pub component: ComponentName,
        /// The version to reach.
        pub to: Version,
        /// Its waves.
        pub waves: Vec<RunWaveView>,
    }
}

view! {
    /// A wave of a run.
    pub struct RunWaveView {
        /// Its name.
        pub name: Label,
        /// In the order in which they left service, then the foreseen one.
        pub nodes: Vec<RunNodeView>,
        /// What cannot be taken back after the last node.
        pub point_of_no_return: Option<String>,
    }
}

view! {
    /// A node of a run.
    pub struct RunNodeView {
        /// Its name.
        pub node: NodeName,
        /// Where it is.
        pub phase: Phase,
        /// Since when.
        pub since_unix_ms: u64,
        /// What ran before.
        pub from: Option<Version>,
        /// What runs now, as last seen.
        pub now: Option<Version>,
        /// What is to run.
        pub to: Version,
        /// `leader`, `follower`, as last seen.
        pub role: Option<String>,
        /// The step that its agent is at, where one is.
        pub step: Option<String>,
        /// Bytes done and bytes in all of that step.
        pub progress: Option<(u64, u64)>,
        /// When work on it began (its gate), and ended.
        pub began_unix_ms: Option<u64>,
        /// When it was done, rolled back or held.
        pub ended_unix_ms: Option<u64>,
        /// What was planned for it.
        pub planned_ms: Option<u64>,
        /// How long its service was out, by the agent.
        pub out_of_service_ms: Option<u64>,
        /// What was measured from outside while it was changed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub observed: Vec<Observed>,
        /// An outage that the plan accepts, while it may be going on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub outage: Option<OutageView>,
        /// Length of its soak.
        pub soak_ms: u64,
        /// Why it is where it is: skipped, held, waiting.
        pub note: String,
        /// Which attempt; above 1 by an operator's decision only.
        pub attempt: u32,
        /// What was seen.
        pub evidence: Vec<Evidence>,
        /// What its agent did.
        pub steps: Vec<StepReport>,
        /// What went wrong.
        pub failure: Option<Failure>,
    }
}

view! {
    /// An outage that the plan accepts for a while, and that may be going on.
    pub struct OutageView {
        /// Its name in the plan: `etcd`.
        pub what: String,
        /// Since when, at the earliest.
        pub since_unix_ms: u64,
        /// How long the plan accepts it.
        pub accepted_ms: u64,
        /// When the run holds for it; a run that holds already asks nobody again.
        pub left_ms: Option<u64>,
    }
}

view! {
    /// What a run waits for: the most urgent thing that is not clear.
    pub struct WaitingView {
        /// Which kind of wait it is.
        pub kind: WaitKind,
        /// At which node.
        pub node: Option<NodeName>,
        /// In which phase.
        pub phase: Option<Phase>,
        /// What it waits for: `etcdQuorum to be clear on ctl-2`.
        pub waiting_for: String,
        /// Why that is not so: the blocker by its name.
        pub because: String,
        /// Since when.
        pub since_unix_ms: u64,
        /// When it was last looked at.
        pub seen_unix_ms: u64,
        /// Nothing is in its way: an agent is at work and within its time.
        pub at_work: bool,
        /// How long it will wait yet.
        pub left_ms: Option<u64>,
        /// What happens then.
        pub then: String,
        /// What the operator can do.
        pub can: Vec<CommandView>,
        /// What it waits for besides, one line each.
        pub others: Vec<String>,
    }
}

view! {
    /// Why a run stopped on purpose.
    pub struct HoldView {
        /// Which kind of hold it is.
        pub kind: HoldKind,
        /// At which node.
        pub node: Option<NodeName>,
        /// From which phase.
        pub phase: Option<Phase>,
        /// One sentence.
        pub reason: String,
        /// What happened, in the agent's or the check's words.
        pub happened: String,
        /// What helps on the node, in the agent's words; commands of that machine among them.
        pub on_the_node: Vec<String>,
        /// How things stand now.
        pub state_now: String,
        /// Since when.
        pub since_unix_ms: u64,
        /// The last lines of the unit's log.
        pub log: Vec<String>,
        /// The commands that go on.
        pub next: Vec<CommandView>,
    }
}

view! {
    /// A command that can be copied, and what it does.
    pub struct CommandView {
        /// What it does.
        pub does: String,
        /// The command.
        pub command: String,
    }
}

view! {
    /// One line of a run's record.
    pub struct EventLineView {
        /// Its number in the record.
        pub seq: u64,
        /// When.
        pub unix_ms: u64,
        /// At which node.
        pub node: Option<NodeName>,
        /// What.
        pub text: String,
    }
}
