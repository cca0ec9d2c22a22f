//! Starts the whole node anew. Done is: another boot id. There is nothing to take back.

use std::time::Duration;

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, step};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{Action, Cx, Found, Note, Problem};
use crate::{
    revert::arm::nobody_installs,
    sys::{boot, exec, network::Network, units::apart::Apart},
};

/// The restart of the node.
#[derive(Debug)]
pub struct Reboot<'a>(pub &'a step::Reboot);

/// The journal's note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Before {
    boot_id: String,
    /// Addresses, routes and rules, for the comparison afterwards: evidence and no more.
    network: Vec<String>,
}

fn boot_id() -> Result<String, Problem> {
    boot::id().map_err(|error| Problem::new(format!("the boot id cannot be read: {error}")))
}

/// As many lines as a note has room for. A look that fails is no reason not to restart a node: nothing is
/// judged by it.
async fn network() -> Vec<String> {
    const LINES: usize = 100;
    const CHARS: usize = 100;
    let look = tokio::task::spawn_blocking(Network::look).await;
    let Ok(Ok(seen)) = look else { return Vec::new() };
    let all = [seen.addresses, seen.routes, seen.rules].into_iter().flatten();
    all.take(LINES).map(|entry| entry.text.chars().take(CHARS).collect()).collect()
}

#[async_trait]
impl Action for Reboot<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        cx.host.policy.may_reboot()?;
        boot_id()?;
        nobody_installs().await?;
        let held = cx.host.units.shutdown_blockers().await;
        match held.map_err(|error| Problem::new(error.to_string()))? {
            held if held.is_empty() => Ok(()),
            held => Err(Problem::new(format!("the node's shutdown is blocked by {}", held.join("; ")))
                .next("systemd-inhibit --list; wait for its end, then: drydock run resume")),
        }
    }

    async fn note(&self, _cx: &Cx<'_>) -> Result<Note, Problem> {
        Note::of(&Before { boot_id: boot_id()?, network: network().await })
    }

    async fn apply(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let before: Before = note.read()?;
        if before.boot_id != boot_id()? {
            return Err(Problem::new("the node was started anew between the check and this step"));
        }
        let systemctl = exec::find("systemctl").ok_or_else(|| Problem::new("systemctl is not installed"))?;
        let name = format!("drydock-reboot-{}", cx.section.effect.short());
        let command = [systemctl.display().to_string(), "reboot".into()];
        let description = "Drydock: start the node anew";
        // Until it is down the agent has nothing else to do, and does not hold the shutdown up.
        cx.host.ending.expect();
        let apart = Apart::new(&name, description, &command);
        cx.host.units.start_apart(&apart).await.map_err(|error| Problem::new(error.to_string()))?;
        sleep(Duration::from_millis(self.0.within.0)).await;
        Err(Problem::new(format!("the node was told to restart and is still up after {}", self.0.within))
            .next(format!("systemctl list-jobs; journalctl -u {name}")))
    }

    async fn probe(&self, _cx: &Cx<'_>, note: &Note) -> Found {
        match (note.read::<Before>(), boot_id()) {
            (Ok(before), Ok(now)) if before.boot_id == now => Found::NotBegun,
            (Ok(before), Ok(now)) => {
                let network = network().await;
                let missing = |from: &[String], to: &[String]| -> Vec<String> {
                    from.iter().filter(|line| !to.contains(line)).cloned().collect()
                };
                let (lost, gained) = (missing(&before.network, &network), missing(&network, &before.network));
                let rebooted = Evidence::Rebooted { from: before.boot_id, to: now };
                Found::Seen(vec![rebooted, Evidence::Network { lost, gained }])
            }
            (Err(problem), _) | (_, Err(problem)) => Found::Undecidable(problem.what),
        }
    }

    async fn undo(&self, _cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let before: Before = note.read()?;
        if before.boot_id == boot_id()? {
            return Err(Problem::new("the node was told to restart and may still do it")
                .next("systemctl list-jobs; systemctl cancel"));
        }
        Err(Problem::new("the node was started anew, which cannot be taken back"))
    }
}
