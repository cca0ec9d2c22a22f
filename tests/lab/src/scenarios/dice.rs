//! Chance that can be repeated: a printed seed decides everything.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

/// Where a seed is given.
const VARIABLE: &str = "DRYDOCK_LAB_SEED";

/// SplitMix64: small, and good enough to choose moments.
#[derive(Debug)]
pub(super) struct Dice {
    state: u64,
}

impl Dice {
    /// From `$DRYDOCK_LAB_SEED`, else from the clock; prints the seed.
    pub(super) fn throw() -> Result<Self> {
        let seed = match std::env::var(VARIABLE) {
            Ok(text) => text.parse().with_context(|| format!("{VARIABLE}={text} is no number"))?,
            Err(_) => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs(),
        };
        println!("seed {seed}; the same again: {VARIABLE}={seed}");
        Ok(Self { state: seed })
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Three times in four.
    pub(super) fn likely(&mut self) -> bool {
        self.next() & 3 != 0
    }

    /// Heads or tails.
    pub(super) fn heads(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// A time shorter than this.
    pub(super) fn within(&mut self, limit: Duration) -> Duration {
        let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.next() % micros)
    }
}
