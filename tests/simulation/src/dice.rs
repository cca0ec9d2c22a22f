//! Chance from a seed: the same numbers on every machine and with every version of every crate, so that a
//! seed in the corpus means the same story for ever. SplitMix64, by Steele, Lea and Flood.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub struct Dice(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Dice {
    /// The stream of this name within a seed's story: one more draw in one of them does not change the others.
    #[must_use]
    pub fn new(seed: u64, stream: &str) -> Self {
        let mut dice = Self(seed ^ GOLDEN);
        for byte in stream.bytes() {
            dice.0 = dice.0.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
            dice.draw();
        }
        dice
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below `n`; 0 when there is nothing below.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.draw() % n }
    }

    /// An index into something of this length.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, permille: u32) -> bool {
        self.below(1000) < u64::from(permille)
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.index(from.len()))
    }

    /// 128 bits, for ids.
    pub fn id(&mut self) -> [u8; 16] {
        let (high, low) = (self.draw(), self.draw());
        ((u128::from(high) << 64) | u128::from(low)).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_the_same_story_for_ever() {
        let mut dice = Dice::new(7, "faults");
        let drawn: Vec<u64> = (0..3).map(|_| dice.draw()).collect();
        let mut again = Dice::new(7, "faults");
        assert_eq!(drawn, (0..3).map(|_| again.draw()).collect::<Vec<_>>());
        assert_ne!(drawn[0], Dice::new(7, "network").draw());
        assert_ne!(drawn[0], Dice::new(8, "faults").draw());
    }
}
