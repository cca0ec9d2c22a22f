//! The table, `kubernetes.json`.

use crate::{
    bench::Measured,
    table::{Spread, Table},
};

/// The aims of the project.
const RATIO: f64 = 1.3;
const BESIDES_MS: f64 = 10.0;
const WAVE_MS: f64 = 30.0;
const REQUESTS: usize = 8;
const PER_EVICTION: usize = 2;
const MEMORY_KB: u64 = 64 << 10;

/// One drain by each, right behind each other.
#[derive(Debug, Clone)]
pub(super) struct Drained {
    pub(super) ours_ms: f64,
    pub(super) bare_ms: f64,
    pub(super) requests: usize,
}

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) nodes: u32,
    pub(super) pods: usize,
    pub(super) drains: Vec<Drained>,
    /// Each node's time of every wave, in milliseconds.
    pub(super) waves: Vec<f64>,
    /// Requests a node, of every wave.
    pub(super) wave_requests: Vec<f64>,
    pub(super) memory_kb: u64,
}

impl Figures {
    fn ours(&self) -> Spread {
        Spread::of(self.drains.iter().map(|one| one.ours_ms))
    }

    fn bare(&self) -> Spread {
        Spread::of(self.drains.iter().map(|one| one.bare_ms))
    }

    fn wave(&self) -> Spread {
        Spread::of(self.waves.iter().copied())
    }

    fn most_requests(&self) -> usize {
        self.drains.iter().map(|one| one.requests).max().unwrap_or(usize::MAX)
    }

    fn requests_aim(&self) -> usize {
        REQUESTS + PER_EVICTION * self.pods
    }

    fn drain_aim_ms(&self) -> f64 {
        RATIO * self.bare().p50 + BESIDES_MS
    }
}

impl Measured for Figures {
    fn table(&self) -> String {
        let ms = |value: f64| format!("{value:.1} ms");
        let mut table = Table::default();
        table.row("", "p50", "p99", "aim", None);
        let aim = self.drain_aim_ms();
        table.row(
            "drained node",
            &ms(self.ours().p50),
            &ms(self.ours().p99),
            &format!("≤ {aim:.1} ms"),
            Some(self.ours().p50 <= aim),
        );
        table.row("  the bare client", &ms(self.bare().p50), &ms(self.bare().p99), "", None);
        table.row(
            "node in a no-op wave",
            &ms(self.wave().p50),
            &ms(self.wave().p99),
            "≤ 30 ms",
            Some(self.wave().p50 <= WAVE_MS),
        );
        table.row("", "", "most", "", None);
        let (most, aim) = (self.most_requests(), self.requests_aim());
        table.row(
            "requests of a drained node",
            "",
            &most.to_string(),
            &format!("≤ {aim}"),
            Some(most <= aim),
        );
        let each = self.wave_requests.iter().copied().fold(0.0, f64::max);
        table.row("  of one without pods", "", &format!("{each:.1}"), "", None);
        let memory = format!("{}.{} MiB", self.memory_kb / 1024, self.memory_kb % 1024 * 10 / 1024);
        table.row("coordinator, large cluster", "", &memory, "≤ 64 MiB", Some(self.memory_kb <= MEMORY_KB));
        format!(
            "\n{} drains of {} pods by each in turns, waves of {} Nodes one at a time, by the API server's audit log\n\n{}\n",
            self.drains.len(),
            self.pods,
            self.nodes,
            table.0
        )
    }

    /// These keys and no others.
    fn json(&self) -> String {
        format!(
            "{{\"nodes\":{},\"pods\":{},\"drained_node_ms\":{},\"bare_ms\":{},\"wave_node_ms\":{},\"requests_most\":{},\"requests_aim\":{},\"coordinator_more_kb\":{}}}\n",
            self.nodes,
            self.pods,
            self.ours().json(),
            self.bare().json(),
            self.wave().json(),
            self.most_requests(),
            self.requests_aim(),
            self.memory_kb,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(ours_ms: f64, requests: usize, memory_kb: u64) -> Figures {
        let drains = vec![Drained { ours_ms, bare_ms: 100.0, requests }; 3];
        Figures { nodes: 50, pods: 10, drains, waves: vec![20.0; 50], wave_requests: vec![8.0], memory_kb }
    }

    #[test]
    fn the_table_says_which_aims_are_missed() {
        let line = |table: &str, word: &str| {
            table.lines().find(|line| line.contains(word)).unwrap_or_default().to_owned()
        };
        let met = figures(140.0, 28, 64 << 10).table();
        assert!(!met.contains("missed"), "{met}");
        let missed = figures(140.1, 29, (64 << 10) + 1).table();
        for word in ["drained node", "requests of", "large cluster"] {
            assert!(line(&missed, word).ends_with("missed"), "{missed}");
        }
    }

    #[test]
    fn kubernetes_json_has_the_agreed_keys_and_no_others() {
        let document: serde_json::Value = serde_json::from_str(&figures(120.0, 27, 1000).json()).unwrap();
        let spread = |ms: f64| serde_json::json!({"p50": ms, "p99": ms});
        let want = serde_json::json!({
            "nodes": 50, "pods": 10, "drained_node_ms": spread(120.0), "bare_ms": spread(100.0),
            "wave_node_ms": spread(20.0), "requests_most": 27, "requests_aim": 28, "coordinator_more_kb": 1000,
        });
        assert_eq!(document, want);
    }
}
