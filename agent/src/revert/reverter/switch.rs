//! Open vSwitch as it was: running what is installed, with the flows that were saved, none held back.

use std::{path::Path, time::Duration};

use drydock_types::EffectId;

use crate::{
    openvswitch::{
        daemons::Daemons,
        reload::{self, MEND, Reload},
        saved::{Saved, Store},
    },
    policy::Policy,
    revert::plan::{Plan, SwitchBack},
    sys::units::Units,
};

/// For a reload of before, for the one of the way back, and for what that has lost.
const WAITS: u32 = 3;

/// How long it may take.
pub(super) fn longest(plan: &Plan) -> Duration {
    plan.switch
        .as_ref()
        .map_or(Duration::ZERO, |back| within(back).saturating_mul(WAITS).saturating_add(MEND))
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
    restore(&units, state_dir, plan.effect, back, &store, &saved).await
}

async fn restore(
    units: &Units,
    state_dir: &Path,
    effect: EffectId,
    back: &SwitchBack,
    store: &Store,
    saved: &Saved,
) -> Result<Option<String>, String> {
    let first = Reload { units, unit: &back.unit, store, saved, within: within(back) };
    first.is_over().await;
    let picture = reload::picture_back(units, state_dir, effect, saved.clone()).await;
    let (store, saved) = picture.unwrap_or_else(|problem| {
        eprintln!("{problem}; Open vSwitch is put back by what was saved before the change");
        (store.clone(), saved.clone())
    });
    let reload = Reload { store: &store, saved: &saved, ..first };
    let mended = reload.mend().await.map_err(|problem| problem.what);
    let now = Daemons::look(units).await.map_err(|problem| problem.what)?;
    let mut done = match mended {
        Ok(done) => done,
        // One that takes no flows may be the very version that goes: the reload tells them to the other.
        Err(why) if !now.run_installed() => {
            eprintln!("{why}; it is reloaded all the same");
            Vec::new()
        }
        Err(why) => return Err(why),
    };
    if !now.run_installed() {
        let (_, mended) = reload.run_back().await.map_err(|problem| problem.what)?;
        done.push(mended.map_or_else(
            || format!("{} reloaded, with its flows", back.unit),
            |mended| format!("{} reloaded; {mended}", back.unit),
        ));
    }
    Ok((!done.is_empty()).then(|| format!("Open vSwitch ({})", done.join("; "))))
}
