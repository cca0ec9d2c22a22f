//! Has Open vSwitch run what is installed, with its flows.
//!
//! Before anything stops, the picture and the flows lie on the disk and the journal holds their digest: an agent that
//! dies in the middle replays them when it is back, and the reverter does where it does not come back.

use std::time::Duration;

use async_trait::async_trait;
use drydock_types::{
    Sha256,
    openvswitch::{FlowsMust, OpenvswitchView, ReloadOpenvswitch},
    outcome::Evidence,
};
use serde::{Deserialize, Serialize};

use super::{Action, Cx, Found, Note, Problem, beside::Beside, unit};
use crate::openvswitch::{
    self, Seen, compare,
    daemons::{self, Daemons},
    reload,
    saved::{Saved, Store},
};
use crate::{
    ovn::{self, Behind},
    sys::units::Others,
};

/// How long somebody else's job on the unit is waited for before the step is refused.
const SETTLE: Duration = Duration::from_secs(5);

/// What Debian's reload has systemd stop, start or reload.
const OWN: [&str; 4] = [
    "openvswitch-switch.service",
    "ovsdb-server.service",
    "ovs-vswitchd.service",
    "ovs-record-hostname.service",
];

/// The reload.
#[derive(Debug)]
pub struct Reload<'a>(pub &'a ReloadOpenvswitch);

/// The journal's note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Before {
    /// Digest of the saved picture, which holds the digests of the saved flows.
    picture: Sha256,
    daemons: Daemons,
}

#[async_trait]
impl Action for Reload<'_> {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        let info = unit::judged(cx.host, &self.0.unit).await?;
        daemons::may_touch(cx.host)?;
        if info.active_state != "active" {
            return Err(Problem::new(format!(
                "{} is {}, so it cannot be reloaded",
                info.id, info.active_state
            ))
            .next(format!("systemctl status {}", info.id)));
        }
        cx.host
            .units
            .settled(&self.0.unit, SETTLE)
            .await
            .map_err(|error| Problem::new(error.to_string()).next("systemctl list-jobs"))?;
        Daemons::look(&cx.host.units).await?;
        let seen = openvswitch::look().await?;
        may_reload(&seen, self.0.flows)?;
        if self.0.flows == FlowsMust::CaughtUp {
            // What is behind before cannot be told from what the reload did.
            match ovn::caught_up().await {
                Ok(()) | Err(Behind { stands_still: true, .. }) => {}
                Err(behind) => {
                    return Err(Problem::new(behind.why).next(
                        "ovn-appctl -t ovn-controller connection-status; journalctl -u ovn-controller -e",
                    ));
                }
            }
        }
        Store::has_room(&cx.host.state_dir, compare::count(&seen.view)).await
    }

    async fn note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        let daemons = Daemons::look(&cx.host.units).await?;
        let (saved, picture) = store(cx).save(self.0.flows).await?;
        may_reload(&saved.seen, self.0.flows)?;
        Note::of(&Before { picture, daemons })
    }

    async fn apply(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let (_, saved) = read(cx, note).await?;
        let info = unit::judged(cx.host, &self.0.unit).await?;
        let beside = Beside::look(cx.host).await?;
        let evidence = self.work(cx, &store(cx), &saved).run(Others::Respect).await?;
        beside.untouched(cx.host, |name| name == info.id || OWN.contains(&name)).await?;
        Ok(evidence)
    }

    async fn probe(&self, cx: &Cx<'_>, note: &Note) -> Found {
        let (before, saved) = match read(cx, note).await {
            Ok(both) => both,
            Err(problem) => return Found::Undecidable(problem.what),
        };
        let store = store(cx);
        self.found(cx, &self.work(cx, &store, &saved), &before.daemons).await
    }

    async fn undo_note(&self, cx: &Cx<'_>) -> Result<Note, Problem> {
        // Where one of them is down there is nothing to remember: the undo starts it.
        Daemons::look(&cx.host.units).await.map_or_else(|_| Ok(Note::none()), |daemons| Note::of(&daemons))
    }

    async fn undo(&self, cx: &Cx<'_>, note: &Note) -> Result<Vec<Evidence>, Problem> {
        let (before, saved) = read(cx, note).await?;
        unit::judged(cx.host, &self.0.unit).await?;
        self.work(cx, &store(cx), &saved).is_over().await;
        let host = cx.host;
        let (store, saved) =
            reload::picture_back(&host.units, &host.state_dir, cx.section.effect, saved).await?;
        let work = self.work(cx, &store, &saved);
        let mended = work.mend().await;
        let now = Daemons::look(&cx.host.units).await?;
        if now == before.daemons && now.run_installed() {
            return mended.map(|_| Vec::new());
        }
        // One that takes no flows may be the very version that goes: the reload tells them to the other.
        work.run_back().await.map(|(evidence, _)| evidence)
    }

    async fn undo_probe(&self, cx: &Cx<'_>, note: &Note, before: &Note) -> Found {
        let (Ok((_, saved)), Ok(last)) = (read(cx, note).await, before.read::<Daemons>()) else {
            return Found::NotBegun;
        };
        let (forward, back) = (store(cx), Store::back(&cx.host.state_dir, cx.section.effect));
        if !forward.is_done() {
            return self.found(cx, &self.work(cx, &forward, &saved), &last).await;
        }
        match back.read(None).await {
            Ok(Some(begun)) => self.found(cx, &self.work(cx, &back, &begun), &last).await,
            // Nothing was saved for it, so nothing had been stopped.
            Ok(None) | Err(_) => Found::NotBegun,
        }
    }
}

impl Reload<'_> {
    const fn work<'a>(&'a self, cx: &Cx<'a>, store: &'a Store, saved: &'a Saved) -> reload::Reload<'a> {
        let within = Duration::from_millis(self.0.within.0);
        reload::Reload { units: &cx.host.units, unit: &self.0.unit, store, saved, within }
    }

    /// Did a reload take place since these daemons ran? One that was interrupted is mended first: whatever is found,
    /// nothing is left held back.
    async fn found(&self, cx: &Cx<'_>, work: &reload::Reload<'_>, before: &Daemons) -> Found {
        // systemd goes on with the reload without us.
        if let Err(error) = cx.host.units.settled(&self.0.unit, work.within).await {
            return Found::Undecidable(error.to_string());
        }
        // The same processes, and nothing held back: nothing was stopped, so nothing is replayed over what others wrote.
        if let (Ok(now), Ok(database)) = (Daemons::look(&cx.host.units).await, openvswitch::database().await)
            && now == *before
            && !database.flow_restore_wait()
        {
            return Found::NotBegun;
        }
        match work.mend().await {
            Ok(mended) if mended.is_empty() => {}
            Ok(mended) => {
                tracing::warn!(mended = mended.join("; "), "a reload of Open vSwitch was interrupted");
                return Found::NotBegun;
            }
            Err(problem) => return Found::Undecidable(problem.what),
        }
        match Daemons::look(&cx.host.units).await {
            Ok(now) if now.both_differ(before) && now.run_installed() => match work.is_kept().await {
                Ok(Some(seen)) => match work.store.keep_done().await {
                    Ok(()) => Found::Seen(vec![work.evidence(&seen).await]),
                    Err(problem) => Found::Undecidable(problem.what),
                },
                Ok(None) => Found::NotBegun,
                Err(problem) => Found::Undecidable(problem.what),
            },
            Ok(_) => Found::NotBegun,
            Err(problem) => Found::Undecidable(problem.what),
        }
    }
}

fn store(cx: &Cx<'_>) -> Store {
    Store::of(&cx.host.state_dir, cx.section.effect)
}

async fn read(cx: &Cx<'_>, note: &Note) -> Result<(Before, Saved), Problem> {
    let before: Before = note.read()?;
    match store(cx).read(Some(before.picture)).await? {
        Some(saved) => Ok((before, saved)),
        None => Err(Problem::new("what was saved of Open vSwitch before its reload is gone")),
    }
}

/// Is it of a kind whose reload is known to keep flows?
fn may_reload(seen: &Seen, must: FlowsMust) -> Result<(), Problem> {
    well(&seen.view)?;
    if seen.view.dpdk {
        return Err(Problem::new("it uses DPDK, whose reload has not been tried: it is refused until it is")
            .next("upgrade this node by hand, drained"));
    }
    let metered = seen
        .view
        .bridges
        .iter()
        .find(|(name, bridge)| bridge.meters > 0 && !compare::is_controlled(seen, name, must));
    match metered {
        None => Ok(()),
        Some((name, bridge)) => Err(Problem::new(format!(
            "{name} has {} meters: Open vSwitch's own reload does not save them, and then takes none of the bridge's \
             flows back",
            bridge.meters
        ))
        .next("drain the node and upgrade it by hand, or take the meters away first")
        .next("where a controller writes this bridge's flows: flows: caughtUp")),
    }
}

/// Does it answer, and forward?
pub(super) fn well(view: &OpenvswitchView) -> Result<(), Problem> {
    for (daemon, version) in [("ovs-vswitchd", &view.version), ("ovsdb-server", &view.db_version)] {
        if let Err(why) = version {
            return Err(Problem::new(format!("{daemon} does not answer: {why}")));
        }
    }
    if view.flow_restore_wait {
        return Err(Problem::new(
            "flow-restore-wait is set: somebody has begun a reload and not ended it, and the switch holds its flows back",
        )
        .next("see that no reload is at work, and that the bridges have their flows (ovs-ofctl dump-flows BRIDGE)")
        .next("ovs-vsctl remove Open_vSwitch . other_config flow-restore-wait"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
