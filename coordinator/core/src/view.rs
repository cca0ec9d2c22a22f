//! What operators see: the documents of the operator service, printed as they are by `-o json`.
//!
//! Every time in them is Unix milliseconds (`…UnixMs`) or a length in milliseconds (`…Ms`).
//!
//! | module | what is seen there |
//! |---|---|
//! | [`fleet`] | nodes, tokens, artifacts, the fleet as a whole |
//! | [`plan`] | a plan, before anything is done |
//! | [`rehearsal`] | what a rehearsal found |
//! | [`phase`] | the words for how a run and a node in it stand |
//! | [`run`] | a run: its nodes, what it waits for, why it holds |
//! | [`operate`] | answers to what operators do to a run |
//! | [`why`] | what keeps a node where it is |
//! | [`condition`] | what is wrong with a node, and what runs on which |
//! | [`fencing`] | whom agents obey, and taking over |

macro_rules! view {
    ($(#[$doc:meta])* pub struct $name:ident { $($body:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name { $($body)* }
    };
}

mod condition;
mod fencing;
mod fleet;
mod operate;
mod phase;
mod plan;
mod rehearsal;
mod run;
mod why;

pub use self::{
    condition::{NodeCheckView, NodeLiveView, NodeShownView, NodeVersionsView},
    fencing::{FencedAgentView, FencedView, TakeOverView, TakenOverView},
    fleet::{ArtifactView, ComponentView, FleetView, NodeView, StandingView, TokenView},
    operate::{
        AmendedView, AmendmentView, ApprovalView, ControlView, RollbackNodeView, RollbackView, StartedView,
    },
    phase::{Phase, RunStatus},
    plan::{EstimateView, FindingView, PlanNodeView, PlanStageView, PlanView, PlanWaveView, SkippedView},
    rehearsal::{FoundView, RehearsalStep, RehearsalView, WindowFitView},
    run::{
        CommandView, EventLineView, FailedBeforeView, HoldView, OutageView, RunLineView, RunNodeView,
        RunStageView, RunView, RunWaveView, WaitingView,
    },
    why::{NodeInRunView, OnRecordView, WhyNodeView},
};
