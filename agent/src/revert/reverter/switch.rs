//! Open vSwitch as it was: running what is installed, with the flows that were saved, none held back.

use std::{path::Path, time::Duration};

use crate::{
    openvswitch::{
        daemons::Daemons,
        reload::Reload,
        saved::{Saved, Store},
    },
    policy::Policy,
    revert::plan::{Plan, SwitchBack},
    sys::units::{Others, Units},
};

/// Starting what is down and the replays take no longer, beside the reload itself.
const BESIDE: Duration = Duration::from_secs(240);

/// How long it may take.
pub(super) fn longest(plan: &Plan) -> Duration {
    plan.switch.as_ref().map_or(Duration::ZERO, |back| within(back).saturating_add(BESIDE))
}

const fn within(back: &SwitchBack) -> Duration {
    Duration::from_millis(back.within.0)
}

/// Puts it back. `Some`: what was done, in words; `None`: nothing had to be.
pub(super) async fn put_back(state_dir: &Path, plan: &Plan) -> Result<Option<String>, String> {
    let Some(back) = &plan.switch else { return Ok(None) };
    let store = Store::of(state_dir, plan.effect);
    // Nothing was saved, so nothing had been stopped.
    let Some(saved) = store.read(None).await.map_err(|problem| problem.what)? else { return Ok(None) };
    let units = Units::of(&Policy::default()).map_err(|error| error.to_string())?;
    restore(&units, back, &store, &saved).await
}

async fn restore(
    units: &Units,
    back: &SwitchBack,
    store: &Store,
    saved: &Saved,
) -> Result<Option<String>, String> {
    // A reload that goes on without its agent ends first.
    if let Err(error) = units.settled(&back.unit, within(back)).await {
        eprintln!("{error}; Open vSwitch is put back all the same");
    }
    let reload = Reload { units, unit: &back.unit, store, saved, within: within(back) };
    let mut done = reload.mend().await.map_err(|problem| problem.what)?;
    let now = Daemons::look(units).await.map_err(|problem| problem.what)?;
    if !now.run_installed() {
        reload.run(Others::Replace).await.map_err(|problem| problem.what)?;
        done.push(format!("{} reloaded, with its flows", back.unit));
    }
    Ok((!done.is_empty()).then(|| format!("Open vSwitch ({})", done.join("; "))))
}
