//! What an operator submits: the plan with everything that it names pinned.
//!
//! The command line reads the files, fills in recipes and hashes artifacts; the coordinator gets one
//! document and reads no file of the operator's.

use alloc::{string::String, vec::Vec};

use drydock_types::{ArtifactRef, Label};
use serde::{Deserialize, Serialize};

use crate::{plan_file::PlanFile, recipe::Recipe};

/// A plan, ready to be compiled against a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bundle {
    /// The file's name, for screens.
    pub file: String,
    /// The plan.
    pub plan: PlanFile,
    /// One for each stage of the plan, in its order.
    pub stages: Vec<StageBundle>,
}

/// What a stage uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageBundle {
    /// The stage's name.
    pub stage: Label,
    /// Its recipe, parameters filled in.
    pub recipe: Recipe,
    /// Its artifact, where the plan names one.
    pub artifact: Option<ArtifactRef>,
}
