//! The plan of the night, and the two operators.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::exec::{self, Cmd};
use crate::scenarios::scene::Scene;
use crate::{Node, built};

/// The plan.
pub(super) const PLAN: &str = "night.yaml";
/// The number of the run that upgrades; the one before it was never rehearsed, and ended.
pub(super) const UPGRADE: u64 = 2;
/// Who approves. `admin` starts.
pub(super) const OTHER: &str = "bert";

/// Who is who among the members, when the night begins.
pub(super) struct Site {
    /// A follower, alone in the first wave.
    pub(super) canary: String,
    /// The other follower.
    pub(super) second: String,
    /// The leader.
    pub(super) last: String,
    /// What all of them run.
    pub(super) old: String,
}

impl Site {
    pub(super) fn prepare(scene: &Scene<'_>) -> Result<Self> {
        let last = scene.cluster.leader()?.name();
        let followers: Vec<String> =
            scene.lab.nodes().iter().map(Node::name).filter(|name| *name != last).collect();
        let [canary, second] = followers.as_slice() else { anyhow::bail!("two followers: {followers:?}") };
        let old =
            scene.versions()?.into_values().next().flatten().context("a member that says no version")?;
        second_operator(scene)?;
        fs::write(scene.fleet.dir().join(PLAN), plan(&scene.newer.version, canary))?;
        Ok(Self { canary: canary.clone(), second: second.clone(), last, old })
    }
}

fn plan(to: &str, canary: &str) -> String {
    format!(
        "apiVersion: drydock/v1\n\
         kind: Plan\n\
         metadata: {{name: etcd-by-night}}\n\
         spec:\n\
         \x20 allow: [soak, extend, skip]\n\
         \x20 stages:\n\
         \x20   - name: etcd\n\
         \x20     component: etcd\n\
         \x20     recipe: etcd\n\
         \x20     to: \"{to}\"\n\
         \x20     artifact: {{path: ./newer/etcd}}\n\
         \x20     waves:\n\
         \x20       - name: canary\n\
         \x20         nodes: {{names: [{canary}]}}\n\
         \x20         soak: 4s\n\
         \x20       - name: rest\n\
         \x20         nodes: {{labels: {{role: etcd}}, exclude: [{canary}]}}\n\
         \x20         order: followers-first\n\
         \x20         soak: 30s\n\
         \x20         approval: {{by: somebodyElse, within: 2h}}\n"
    )
}

fn second_operator(scene: &Scene<'_>) -> Result<()> {
    let program = built::program("second-operator", "DRYDOCK_SECOND_OPERATOR")?;
    let address = scene.fleet.address();
    let dirs = [scene.fleet.state_dir(), scene.fleet.config_dir()];
    Cmd::new("issuing a second operator", program).args(&dirs).args([address.as_str(), OTHER]).run()?;
    // Two contexts: which one is meant has to be said once.
    let chosen = scene.fleet.cli(&["context", "use", "admin"])?;
    ensure!(chosen.status.success(), "{}", exec::last_lines(&chosen.stderr));
    Ok(())
}
