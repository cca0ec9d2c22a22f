//! What happened, one line a thing: time, who, what.

use std::fmt::Write as _;

/// The lines, when somebody wants them.
#[derive(Debug, Default)]
pub(crate) struct Story {
    wanted: bool,
    text: String,
    lines: u64,
    hash: u64,
}

impl Story {
    /// Keeps lines only when they are wanted: making them costs more than the story.
    #[must_use]
    pub(crate) const fn new(wanted: bool) -> Self {
        Self { wanted, text: String::new(), lines: 0, hash: 0xcbf2_9ce4_8422_2325 }
    }

    /// One line.
    pub(crate) fn say(&mut self, now_ms: u64, line: impl FnOnce() -> (String, String)) {
        self.lines += 1;
        // Cheap, and different as soon as two stories differ in when anything happened.
        self.hash = (self.hash ^ now_ms).wrapping_mul(0x0100_0000_01b3);
        if !self.wanted {
            return;
        }
        let (who, what) = line();
        let (seconds, ms) = (now_ms / 1000, now_ms % 1000);
        let (minutes, seconds) = (seconds / 60, seconds % 60);
        let _ = writeln!(self.text, "{minutes:>4}:{seconds:02}.{ms:03}  {who:<14} {what}");
    }

    /// All lines.
    #[must_use]
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// How many lines there were, and a number that tells two stories apart.
    #[must_use]
    pub(crate) const fn mark(&self) -> (u64, u64) {
        (self.lines, self.hash)
    }
}
