//! What was measured of a wave: the table, `wave.json`.

use crate::{
    bench::Measured,
    process::Memory,
    table::{Spread, Table, percentile},
};

/// The aims of the project, by name.
const NODE_MS: f64 = 10.0;
const RATIO: f64 = 1.5;
const RESIDENT_KB: u64 = 8 << 10;
const PEAK_KB: u64 = 12 << 10;
const STRIPPED_BYTES: u64 = 6 << 20;

/// One floor and one wave, right behind each other: each node's time in milliseconds.
#[derive(Debug)]
pub(crate) struct Round {
    /// The floor's.
    pub(crate) floor: Vec<f64>,
    /// Ours.
    pub(crate) wave: Vec<f64>,
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Agents.
    pub(crate) nodes: u32,
    /// Counted ones.
    pub(crate) rounds: Vec<Round>,
    /// Each agent's memory before the first wave.
    pub(crate) idle: Vec<Memory>,
    /// The same after the last one.
    pub(crate) after: Vec<Memory>,
    /// The most that an agent held while it fetched an artifact, in KiB.
    pub(crate) peak_kb: u64,
    /// The agent's file.
    pub(crate) stripped_bytes: u64,
}

impl Round {
    /// For whoever waits.
    pub(crate) fn line(&self) -> String {
        let (floor, wave) = (Spread::of(self.floor.iter().copied()), Spread::of(self.wave.iter().copied()));
        let whole: f64 = self.wave.iter().sum();
        format!(
            "floor {:.2} / {:.2} ms, node {:.2} / {:.2} ms (p50 / p99), ratio {:.2}, whole wave {whole:.0} ms",
            floor.p50,
            floor.p99,
            wave.p50,
            wave.p99,
            wave.p50 / floor.p50
        )
    }
}

impl Figures {
    fn floor(&self) -> Spread {
        Spread::of(self.rounds.iter().flat_map(|round| round.floor.clone()))
    }

    fn wave(&self) -> Spread {
        Spread::of(self.rounds.iter().flat_map(|round| round.wave.clone()))
    }
}

impl Measured for Figures {
    fn table(&self) -> String {
        let (floor, wave) = (self.floor(), self.wave());
        let (idle, _) = resident(&self.idle);
        let (rss, rss_most) = resident(&self.after);
        let ms = |value: f64| format!("{value:.2} ms");
        let mib = |kb: u64| format!("{}.{:02} MiB", kb / 1024, kb % 1024 * 100 / 1024);
        let mut table = Table::default();
        table.row("", "p50", "p99", "aim", None);
        table.row("node in the wave", &ms(wave.p50), &ms(wave.p99), "≤ 10 ms", Some(wave.p50 <= NODE_MS));
        table.row("floor", &ms(floor.p50), &ms(floor.p99), "", None);
        let (p50, p99) = (wave.p50 / floor.p50, wave.p99 / floor.p99);
        table.row("ratio", &format!("{p50:.2} ×"), &format!("{p99:.2} ×"), "≤ 1.5 ×", Some(p50 <= RATIO));
        table.row("", "median", "most", "", None);
        table.row("agent, resident", &mib(rss), &mib(rss_most), "≤ 8 MiB", Some(rss <= RESIDENT_KB));
        table.row("  before the waves", &mib(idle), "", "", None);
        let peak = mib(self.peak_kb);
        table.row("  while it fetched 100 MiB", "", &peak, "≤ 12 MiB", Some(self.peak_kb <= PEAK_KB));
        let stripped = mib(self.stripped_bytes / 1024);
        table.row("agent, stripped", &stripped, "", "≤ 6 MiB", Some(self.stripped_bytes <= STRIPPED_BYTES));
        let (waves, nodes) = (self.rounds.len(), self.nodes);
        format!(
            "\n{waves} waves of {nodes} agents, one node at a time, floor and wave in turns\n\n{}\n",
            table.0
        )
    }

    /// These keys and no others.
    fn json(&self) -> String {
        format!(
            "{{\"nodes\":{},\"per_node_ms\":{},\"floor_ms\":{},\"agent_rss_kb\":{},\"agent_peak_kb\":{},\"agent_stripped_bytes\":{}}}\n",
            self.nodes,
            self.wave().json(),
            self.floor().json(),
            resident(&self.after).0,
            self.peak_kb,
            self.stripped_bytes,
        )
    }
}

/// Median and most, in KiB.
fn resident(memory: &[Memory]) -> (u64, u64) {
    let mut sorted: Vec<u64> = memory.iter().map(|memory| memory.resident_kb).collect();
    sorted.sort_unstable();
    (percentile(&sorted, 50), percentile(&sorted, 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let memory = |resident_kb| Memory { resident_kb, peak_kb: resident_kb + 100 };
        let round = |ms: f64| Round { floor: vec![ms; 50], wave: vec![ms * 2.0; 50] };
        Figures {
            nodes: 50,
            rounds: vec![round(1.0), round(3.0), round(2.0)],
            idle: vec![memory(5000); 50],
            after: (0..50).map(|node| memory(6000 + node)).collect(),
            peak_kb: 13_000,
            stripped_bytes: 5_000_000,
        }
    }

    #[test]
    fn wave_json_has_the_agreed_keys_and_no_others() {
        let document: serde_json::Value = serde_json::from_str(&figures().json()).unwrap();
        let want = serde_json::json!({
            "nodes": 50,
            "per_node_ms": {"p50": 4.0, "p99": 6.0},
            "floor_ms": {"p50": 2.0, "p99": 3.0},
            "agent_rss_kb": 6024,
            "agent_peak_kb": 13_000,
            "agent_stripped_bytes": 5_000_000,
        });
        assert_eq!(document, want);
    }

    #[test]
    fn the_table_says_which_aims_are_missed() {
        let table = figures().table();
        let line = |word: &str| table.lines().find(|line| line.contains(word)).unwrap_or_default().to_owned();
        assert!(line("ratio").ends_with("missed"), "{table}");
        assert!(line("fetched").ends_with("missed"), "{table}");
        assert!(line("stripped").ends_with('✓'), "{table}");
    }
}
