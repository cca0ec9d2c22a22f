//! What operators see: the documents of the operator service, printed as they are by `-o json`.
//!
//! Every time in them is Unix milliseconds (`…UnixMs`) or a length in milliseconds (`…Ms`).

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use drydock_types::{
    ComponentName, Label, NodeKey, NodeName, RunId, Sha256, Version,
    outcome::{Evidence, Failure, StepReport},
    probe::HostFacts,
};
use serde::{Deserialize, Serialize};

use crate::{
    hold_kind::{HoldKind, WaitKind},
    standing::{Decision, Standing},
};

macro_rules! view {
    ($(#[$doc:meta])* pub struct $name:ident { $($body:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name { $($body)* }
    };
}

mod fencing;
mod rehearsal;

pub use self::{
    fencing::{FencedAgentView, FencedView, TakeOverView, TakenOverView},
    rehearsal::{FoundView, RehearsalStep, RehearsalView, WindowFitView},
};

view! {
    /// A one-time token, without its secret.
    pub struct TokenView {
        /// Names it for `token revoke`.
        pub id: String,
        /// For which node.
        pub node: NodeName,
        /// Labels that the node will have.
        pub labels: BTreeMap<Label, Label>,
        /// Who made it.
        pub created_by: String,
        /// When it ends.
        pub expires_unix_ms: u64,
        /// `open`, `used`, `expired`, `revoked`.
        pub state: String,
    }
}

view! {
    /// A node.
    pub struct NodeView {
        /// Its name.
        pub name: NodeName,
        /// Its identity.
        pub key: NodeKey,
        /// Set by operators.
        pub labels: BTreeMap<Label, Label>,
        /// Is its stream open?
        pub connected: bool,
        /// When the stream was opened or broke.
        pub since_unix_ms: u64,
        /// Its agent.
        pub agent_version: String,
        /// What it says of its host; never trusted as a label.
        pub facts: Option<HostFacts>,
        /// When its certificate ends.
        pub certificate_until_unix_ms: u64,
        /// The run that works on it or waits for it.
        pub run: Option<u64>,
        /// What stands on record about it, beyond any run.
        pub standing: Option<Standing>,
        /// What runs there, as seen by the last look of any plan or run.
        pub components: Vec<ComponentView>,
    }
}

view! {
    /// A component on a node.
    pub struct ComponentView {
        /// Which.
        pub component: ComponentName,
        /// The version that the running service answered.
        pub version: Option<Version>,
        /// Why there is none.
        pub problem: Option<String>,
        /// When it was seen.
        pub seen_unix_ms: u64,
    }
}

view! {
    /// An artifact in the coordinator's store.
    pub struct ArtifactView {
        /// Its digest.
        pub sha256: Sha256,
        /// Its size in bytes.
        pub size: u64,
        /// The component that its signature names.
        pub component: ComponentName,
        /// The version that its signature names.
        pub version: Version,
        /// The architecture that its signature names.
        pub arch: String,
        /// When it was added.
        pub added_unix_ms: u64,
        /// By whom.
        pub added_by: String,
    }
}

view! {
    /// What `drydock plan` shows. Nothing has been changed.
    pub struct PlanView {
        /// The plan's name.
        pub name: Label,
        /// What will be done, as one number: the plan, its recipes, its artifacts, its nodes.
        pub digest: Sha256,
        /// Stages in order.
        pub stages: Vec<PlanStageView>,
        /// Nodes that a selector matched and that are left out, and why.
        pub skipped: Vec<SkippedView>,
        /// How many nodes may be out of service, and who already is.
        pub budget: Vec<String>,
        /// When nodes may leave service, and how that stands now; at any time where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub window: Option<String>,
        /// What stops it: a run is not started while there is one.
        pub blockers: Vec<FindingView>,
        /// What an operator should know.
        pub warnings: Vec<FindingView>,
        /// How long it will take, where there is something to judge by.
        pub estimate: Option<EstimateView>,
    }
}

view! {
    /// A stage of a plan.
    pub struct PlanStageView {
        /// Its name.
        pub name: Label,
        /// The component.
        pub component: ComponentName,
        /// Its waves.
        pub waves: Vec<PlanWaveView>,
    }
}

view! {
    /// A wave of a plan.
    pub struct PlanWaveView {
        /// Its name.
        pub name: Label,
        /// `one at a time, followers first, soak 10s, on failure: roll this node back, then hold`.
        pub manner: String,
        /// In the order that is foreseen now.
        pub nodes: Vec<PlanNodeView>,
        /// What cannot be taken back, said before the last node.
        pub point_of_no_return: Option<String>,
    }
}

view! {
    /// A node of a plan.
    pub struct PlanNodeView {
        /// Its name.
        pub node: NodeName,
        /// What runs there.
        pub from: Option<Version>,
        /// What will.
        pub to: Version,
        /// `follower`, `leader now; leadership moves first`.
        pub note: String,
        /// The sections that it will be sent: `stage: fetchArtifact` …
        pub sections: Vec<String>,
    }
}

view! {
    /// A node that is left out.
    pub struct SkippedView {
        /// Which.
        pub node: NodeName,
        /// In which stage.
        pub stage: Label,
        /// Why.
        pub why: String,
    }
}

view! {
    /// Something found, with what to do.
    pub struct FindingView {
        /// On which node; empty where it concerns the plan.
        pub node: Option<NodeName>,
        /// What.
        pub what: String,
        /// What to do.
        pub next: String,
    }
}

view! {
    /// How long it will take.
    pub struct EstimateView {
        /// In all.
        pub total_ms: u64,
        /// For one node (median).
        pub per_node_ms: u64,
        /// From how many earlier nodes.
        pub samples: u64,
    }
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunStatus {
    /// Behind another run over the same nodes.
    Queued,
    /// At work.
    Running,
    /// By an operator; a section already handed out ends by itself.
    Paused,
    /// Stopped on purpose; a person must act.
    Held,
    /// No further node; the one at work is brought to an end.
    Aborting,
    /// Ended by an operator.
    Aborted,
    /// Every node done or skipped.
    Done,
}

impl RunStatus {
    /// Is the run over for good?
    #[must_use]
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Aborted | Self::Done)
    }
}

/// Where a node is in its life within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Not begun.
    Pending,
    /// Fetching, verifying, dry checks; in service.
    Staging,
    /// Ready to leave service.
    Staged,
    /// Its gates are being looked at.
    Gating,
    /// Snapshot or backup under way.
    Protecting,
    /// Gates looked at again, right before the change.
    Rechecking,
    /// The change: out of service.
    Applying,
    /// Changed (or taken back); its checks must be clear.
    Returning,
    /// Back, and watched.
    Soaking,
    /// Upgraded, verified, back, soaked.
    Done,
    /// Taken back to what it was.
    RolledBack,
    /// Stopped; a person must act.
    Held,
    /// Left out.
    Skipped,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 13] = [
        Self::Pending,
        Self::Staging,
        Self::Staged,
        Self::Gating,
        Self::Protecting,
        Self::Rechecking,
        Self::Applying,
        Self::Returning,
        Self::Soaking,
        Self::Done,
        Self::RolledBack,
        Self::Held,
        Self::Skipped,
    ];

    /// The word on screens.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Staging => "staging",
            Self::Staged => "staged",
            Self::Gating => "gating",
            Self::Protecting => "protecting",
            Self::Rechecking => "rechecking",
            Self::Applying => "applying",
            Self::Returning => "returning",
            Self::Soaking => "soaking",
            Self::Done => "done",
            Self::RolledBack => "rolled back",
            Self::Held => "held",
            Self::Skipped => "skipped",
        }
    }

    /// Will nothing more happen to the node by itself?
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::RolledBack | Self::Held | Self::Skipped)
    }
}

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
    /// What an operator changed in a live run.
    pub struct AmendmentView {
        /// In one line.
        pub what: String,
        /// Who.
        pub by: String,
        /// When.
        pub unix_ms: u64,
        /// The plan's digest before.
        pub from: Sha256,
        /// And after.
        pub to: Sha256,
    }
}

view! {
    /// A wave that somebody approved.
    pub struct ApprovalView {
        /// Its stage and name: `etcd/members`.
        pub wave: String,
        /// Who.
        pub by: String,
        /// When.
        pub unix_ms: u64,
        /// The plan's digest that was approved.
        pub digest: Sha256,
        /// It is the digest of the plan as it stands: an amendment since then asks anew.
        pub stands: bool,
    }
}

view! {
    /// What `run approve`, `amend`, `skip` and `extend` answer: durable when it is read.
    pub struct AmendedView {
        /// The run's number.
        pub number: u64,
        /// How it stands now.
        pub status: RunStatus,
        /// What was done, in one line.
        pub what: String,
        /// The plan's digest before.
        pub from: Sha256,
        /// And after: the same, unless it was amended.
        pub to: Sha256,
        /// The nodes that it is about.
        pub nodes: Vec<NodeName>,
    }
}

view! {
    /// What `node set-aside`, `release` and `retire` answer: durable when it is read.
    pub struct StandingView {
        /// The node.
        pub node: NodeName,
        /// Its identity.
        pub key: NodeKey,
        /// What was done, in one line.
        pub what: String,
        /// What stands on record about it now.
        pub standing: Standing,
        /// Open runs that have it.
        pub runs: Vec<u64>,
    }
}

view! {
    /// The fleet as a whole.
    pub struct FleetView {
        /// Nothing leaves service while it is there.
        pub frozen: Option<Decision>,
        /// How many nodes may leave service within an hour, where there is a limit.
        pub most_disrupted_per_hour: Option<u32>,
        /// How many did within the last hour of the fleet's clock.
        pub left_within_hour: u64,
        /// Sections that were handed out before and end by themselves: `apply on ctl-2 (run 7)`.
        pub handed_out: Vec<String>,
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

view! {
    /// What `run start` answers.
    pub struct StartedView {
        /// The run's number.
        pub number: u64,
        /// The plan as it will run.
        pub plan: PlanView,
        /// Behind which run it is queued.
        pub queued_behind: Option<u64>,
        /// That it was not rehearsed, or what changed since.
        pub warnings: Vec<FindingView>,
    }
}

view! {
    /// What `run pause`, `resume` and `abort` answer: durable when it is read.
    pub struct ControlView {
        /// The run's number.
        pub number: u64,
        /// How it stands now.
        pub status: RunStatus,
        /// Sections already handed out, which end by themselves.
        pub handed_out: Vec<String>,
    }
}

view! {
    /// What `run rollback` answers: durable when it is read.
    pub struct RollbackView {
        /// The number of the run that takes the other one back.
        pub number: u64,
        /// The run that is taken back.
        pub undoes: u64,
        /// That one was open, and was aborted for this.
        pub aborted: bool,
        /// Behind which run it is queued.
        pub queued_behind: Option<u64>,
        /// Node by node, in the order in which they are taken back.
        pub nodes: Vec<RollbackNodeView>,
        /// Nodes that are not, and why.
        pub left_out: Vec<SkippedView>,
    }
}

view! {
    /// A node of a rollback.
    pub struct RollbackNodeView {
        /// Its name.
        pub node: NodeName,
        /// The component.
        pub component: ComponentName,
        /// What the other run put there.
        pub from: Version,
        /// What ran before, where that was known.
        pub to: Option<Version>,
        /// `left half-way; taken back without the gate`.
        pub note: String,
    }
}
