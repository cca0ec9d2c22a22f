//! `unit`: a service of the node is up with a main process; during a soak also that this process is not younger
//! than the soak. A service that was started anew, by somebody or by systemd itself, is a regression even if it
//! is well at the moment of each look.

use drydock_core::recipe::UnitCheck;
use drydock_types::{
    Millis, NodeName, Verdict,
    probe::{Observation, Probe, UnitView},
};

use super::{PROBE_DEADLINE, Scene};

/// The fleet's clock and the node's count the same time, and are read one after the other.
const CLOCKS_MS: u64 = 1000;

/// Observes and judges.
pub(super) async fn verdict(
    scene: &Scene<'_>,
    node: &NodeName,
    config: &UnitCheck,
    soaking_ms: Option<u64>,
) -> Verdict {
    let probe = Probe::Unit { unit: config.unit.clone(), path: None };
    let observation = match scene.sessions.observe(node, &probe, PROBE_DEADLINE).await {
        Ok(Observation::Unit(view)) => Ok(view),
        Ok(_) => Err("the agent answered another question".to_string()),
        Err(why) => Err(why),
    };
    judge(&observation, soaking_ms)
}

/// Up is clear; down may come up; unseen is unknown. `soaking_ms` is how long the process must have been running.
#[must_use]
pub fn judge(observation: &Result<UnitView, String>, soaking_ms: Option<u64>) -> Verdict {
    let view = match observation {
        Ok(view) => view,
        Err(why) => return Verdict::Unknown(why.clone()),
    };
    let (unit, state, sub) = (&view.unit, &view.active_state, &view.sub_state);
    if !matches!(state.as_str(), "active" | "reloading" | "refreshing") {
        return Verdict::Waiting(format!("{unit} is {state} ({sub})"));
    }
    let Some(running) = &view.running else {
        return Verdict::Waiting(format!("{unit} is {state} and has no main process"));
    };
    let Some(soaking_ms) = soaking_ms else { return Verdict::Clear };
    let Some(runs_for_ms) = view.runs_for_ms else {
        return Verdict::Unknown(format!("since when {unit} runs could not be seen"));
    };
    if runs_for_ms.saturating_add(CLOCKS_MS) < soaking_ms {
        let (ago, pid) = (Millis(runs_for_ms), running.pid);
        return Verdict::Waiting(format!(
            "{unit} was started anew {ago} ago (process {pid}), within this soak"
        ));
    }
    Verdict::Clear
}

#[cfg(test)]
mod tests {
    use drydock_types::{Sha256, UnitName, outcome::RunningUnit};

    use super::*;

    fn view(state: &str, process: bool, runs_for_ms: Option<u64>) -> Result<UnitView, String> {
        let unit = UnitName::parse("kubelet.service").unwrap();
        let running = RunningUnit {
            unit: unit.clone(),
            pid: 4711,
            invocation: "0".repeat(32),
            exe_inode: 1,
            exe_sha256: Sha256([0; 32]),
            unpacked: None,
        };
        Ok(UnitView {
            unit,
            active_state: state.to_string(),
            sub_state: "running".to_string(),
            running: process.then_some(running),
            runs_the_file: None,
            runs_for_ms,
        })
    }

    #[test]
    fn up_with_a_process_is_clear_and_the_word_active_alone_is_not() {
        assert_eq!(judge(&view("active", true, None), None), Verdict::Clear);
        assert!(matches!(judge(&view("active", false, None), None), Verdict::Waiting(_)));
        for state in ["failed", "activating", "inactive", "deactivating", ""] {
            let verdict = judge(&view(state, true, Some(9999)), None);
            assert!(matches!(verdict, Verdict::Waiting(_)), "{state}");
        }
        assert!(matches!(judge(&Err("no stream".to_string()), None), Verdict::Unknown(_)));
    }

    #[test]
    fn in_a_soak_a_process_that_is_younger_than_the_soak_is_a_regression() {
        assert_eq!(judge(&view("active", true, Some(30_000)), Some(20_000)), Verdict::Clear);
        assert_eq!(judge(&view("active", true, Some(19_500)), Some(20_000)), Verdict::Clear);
        let young = judge(&view("active", true, Some(3000)), Some(20_000));
        assert!(matches!(&young, Verdict::Waiting(why) if why.contains("started anew 3s ago")), "{young:?}");
        assert!(matches!(judge(&view("active", true, None), Some(20_000)), Verdict::Unknown(_)));
    }
}
