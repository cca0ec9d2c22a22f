//! The part of `run show -o json` that scenarios look at. A field that is not here may come and go.

use serde::Deserialize;

/// A run.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunSeen {
    /// What people call it.
    pub number: u64,
    /// `running`, `held`, `done`, …
    pub status: String,
    /// When it was started.
    pub started_unix_ms: u64,
    /// When it ended.
    pub ended_unix_ms: Option<u64>,
    /// Its plan as it stands, in hex.
    pub digest: String,
    /// Sections handed out and not ended: `apply on n1`.
    pub handed_out: Vec<String>,
    /// What it waits for.
    pub waiting: Option<WaitingSeen>,
    /// The run that it takes back.
    pub undoes: Option<u64>,
    /// What was recorded of it, oldest first.
    pub log: Vec<LineSeen>,
    /// Its stages.
    pub stages: Vec<StageSeen>,
    /// Why it holds.
    pub hold: Option<HoldSeen>,
}

/// What a run waits for.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingSeen {
    /// `approval`, `gate`, `pause`, …
    pub kind: String,
    /// At which node.
    pub node: Option<String>,
    /// How long until its deadline, where there is one.
    pub left_ms: Option<u64>,
}

/// A line of the record.
#[derive(Debug, Clone, Deserialize)]
pub struct LineSeen {
    /// Its number.
    pub seq: u64,
    /// Which node it is about.
    pub node: Option<String>,
    /// For people.
    pub text: String,
}

/// A stage.
#[derive(Debug, Clone, Deserialize)]
pub struct StageSeen {
    /// Its waves.
    pub waves: Vec<WaveSeen>,
}

/// A wave.
#[derive(Debug, Clone, Deserialize)]
pub struct WaveSeen {
    /// In the order in which they left service.
    pub nodes: Vec<RunNodeSeen>,
}

/// A node of a run.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunNodeSeen {
    /// Its name.
    pub node: String,
    /// `staging`, `applying`, `done`, …
    pub phase: String,
    /// What ran before.
    pub from: Option<String>,
    /// What runs now.
    pub now: Option<String>,
    /// How long its service was out, by the agent.
    pub out_of_service_ms: Option<u64>,
}

/// Why a run holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldSeen {
    /// At which node.
    pub node: Option<String>,
    /// One sentence.
    pub reason: String,
    /// In the agent's or the check's words.
    pub happened: String,
    /// How things stand.
    pub state_now: String,
    /// What to do.
    pub next: Vec<CommandSeen>,
}

/// A command to copy.
#[derive(Debug, Clone, Deserialize)]
pub struct CommandSeen {
    /// What it does.
    pub does: String,
    /// The command.
    pub command: String,
}

impl RunSeen {
    /// Its nodes, in order.
    pub fn nodes(&self) -> impl Iterator<Item = &RunNodeSeen> {
        self.stages.iter().flat_map(|stage| &stage.waves).flat_map(|wave| &wave.nodes)
    }

    /// A node by its name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&RunNodeSeen> {
        self.nodes().find(|node| node.node == name)
    }
}
