//! `health`: a health probe of the node's service passes, asked on the node itself.

use drydock_core::recipe::HealthCheck;
use drydock_types::{
    NodeName, Verdict,
    probe::{HealthView, Observation, Probe},
};

use super::{PROBE_DEADLINE, Scene};

/// Observes and judges.
pub(super) async fn verdict(scene: &Scene<'_>, node: &NodeName, config: &HealthCheck) -> Verdict {
    let probe = Probe::Health { probe: config.probe.clone() };
    let observation = match scene.sessions.observe(node, &probe, PROBE_DEADLINE).await {
        Ok(Observation::Health(view)) => Ok(view),
        Ok(_) => Err("the agent answered another question".to_string()),
        Err(why) => Err(why),
    };
    judge(&observation)
}

/// Well is clear; ill may become well; unseen is unknown.
#[must_use]
pub fn judge(observation: &Result<HealthView, String>) -> Verdict {
    match observation {
        Ok(view) if view.well => Verdict::Clear,
        Ok(view) => Verdict::Waiting(format!("the service is not well: {}", view.detail)),
        Err(why) => Verdict::Unknown(why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_never_clear() {
        let view = |well| Ok(HealthView { well, detail: "503".to_string() });
        assert_eq!(judge(&view(true)), Verdict::Clear);
        assert!(matches!(judge(&view(false)), Verdict::Waiting(why) if why.contains("503")));
        assert!(matches!(judge(&Err("no stream".to_string())), Verdict::Unknown(_)));
    }
}
