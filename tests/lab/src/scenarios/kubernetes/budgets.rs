//! Ready pods per budget, counted at each change that a watch of this observer's own shows: one watch through each
//! endpoint, so that one that is away hides nothing from the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drydock_test_cluster::Admin;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::network::Network;
use super::workloads::{GUARDED, PODS, ready};

/// Longer than any scenario.
const WHOLE: Duration = Duration::from_secs(3600);

/// At work.
pub(super) struct Budgets {
    seen: Arc<Mutex<Seen>>,
    watches: Vec<JoinHandle<()>>,
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// How often pods were counted, by endpoint.
    pub(super) counted: BTreeMap<String, u64>,
    /// The fewest ready pods, by app.
    pub(super) fewest: BTreeMap<&'static str, u32>,
}

impl Budgets {
    /// Begins to watch, through each of these endpoints.
    pub(super) fn watch(network: &Network, endpoints: &[(String, Admin)]) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let watches = endpoints.iter().map(|(name, admin)| {
            let (seen, name, admin) = (Arc::clone(&seen), name.clone(), admin.clone());
            network.start(async move {
                let count = |pods: &[Value]| {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).count(&name, pods);
                    None::<()>
                };
                // It ends with its task, and a watch that breaks off is begun again.
                drop(admin.until("the end", PODS, WHOLE, count).await);
            })
        });
        let watches = watches.collect();
        Self { seen, watches }
    }

    /// Ends it.
    pub(super) fn finish(self) -> Seen {
        self.watches.iter().for_each(JoinHandle::abort);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Seen {
    fn count(&mut self, endpoint: &str, pods: &[Value]) {
        *self.counted.entry(endpoint.to_owned()).or_default() += 1;
        for of in GUARDED {
            let now = ready(pods, of.app);
            self.fewest.entry(of.app).and_modify(|fewest| *fewest = now.min(*fewest)).or_insert(now);
        }
    }

    /// Those of which fewer were ready than must be.
    pub(super) fn violated(&self) -> Vec<String> {
        let fewer = GUARDED
            .iter()
            .filter(|of| self.fewest.get(of.app).is_none_or(|fewest| *fewest < of.ready_at_least));
        fewer
            .map(|of| format!("{} ({:?} of {})", of.app, self.fewest.get(of.app), of.ready_at_least))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_pod_too_few_at_one_moment_is_a_violation_and_so_is_nothing_seen() {
        let pods = |web: u32| -> Vec<Value> {
            let pod = |app: &str| {
                json!({"metadata": {"labels": {"app": app}},
                       "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
            };
            let others = GUARDED.iter().filter(|of| of.app != "web");
            let others = others.flat_map(|of| (0..of.replicas).map(move |_| of.app));
            (0..web).map(|_| "web").chain(others).map(pod).collect()
        };
        let mut seen = Seen::default();
        assert_eq!(seen.violated().len(), GUARDED.len(), "nothing was seen");
        seen.count("n1", &pods(5));
        assert!(seen.violated().is_empty());
        seen.count("n2", &pods(4));
        seen.count("n1", &pods(6));
        assert_eq!(seen.violated(), ["web (Some(4) of 5)"]);
    }
}
