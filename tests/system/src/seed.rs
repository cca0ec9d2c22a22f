//! Numbers that look random and are the same for the same seed.

use std::time::Duration;

/// A stream of numbers (splitmix64).
#[derive(Debug)]
pub struct Seed(u64);

impl Seed {
    /// From `DRYDOCK_SEED`, else from this number. Said, so that a failure can be repeated.
    #[must_use]
    pub fn new(usual: u64) -> Self {
        let given = std::env::var("DRYDOCK_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or(usual);
        println!("seed: DRYDOCK_SEED={seed}");
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A time below this one.
    pub fn below(&mut self, most: Duration) -> Duration {
        let most_us = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.number() % most_us)
    }
}
