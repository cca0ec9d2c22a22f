//! A state as one number. Two states from which the same follows shall be one: times are told from now, rounds from
//! the newest, streams by their order, and what is only shown to people is passed over.
//!
//! The texts are those of `Debug`, piece by piece as the derived code writes them. A piece that is not recognised goes
//! in as it is: then two states stay two that could be one, and nothing is lost but time.

use std::fmt;

use drydock_types::Sha256;

/// A look that is not clear so often in a row is followed by the next after the longest pause.
const MANY: u64 = 5;

/// Longer than anything in this world lasts: what was before has been for ever.
const LONG_AGO_MS: i128 = 100_000;

/// What the number behind a field's name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Plain,
    /// On the fleet's clock.
    Time,
    /// Of people's interest only.
    Nothing,
    Round,
    Session,
    /// How often: from here on the same is done for each further time.
    Often,
}

/// Collects a state.
pub(super) struct Canon<'a> {
    text: String,
    /// The last word that could be a field's name.
    word: String,
    meaning: Meaning,
    /// In a moment that is only shown.
    hidden: bool,
    /// In what sections that lapsed are remembered by: since when is decided on there alone.
    lapses: bool,
    /// Nobody forgets: how long a journal is tells nobody anything.
    lengths: bool,
    now_ms: u64,
    round: u64,
    sessions: &'a [u64],
}

impl<'a> Canon<'a> {
    pub(super) fn new(buffer: String, sessions: &'a [u64], lengths: bool) -> Self {
        let mut text = buffer;
        text.clear();
        Self {
            text,
            word: String::new(),
            meaning: Meaning::Plain,
            hidden: false,
            lapses: false,
            lengths,
            now_ms: 0,
            round: 0,
            sessions,
        }
    }

    /// From here on times are told from this moment of the fleet's clock, and rounds from this one.
    pub(super) fn at(&mut self, now_ms: u64, round: u64) -> &mut Self {
        (self.now_ms, self.round) = (now_ms, round);
        self
    }

    /// The number, and the buffer again.
    pub(super) fn end(self) -> (u128, String) {
        let digest = Sha256::of(self.text.as_bytes());
        let (first, _) = digest.0.split_at(16);
        let number = first.iter().fold(0, |sum, byte| sum << 8 | u128::from(*byte));
        (number, self.text)
    }

    fn number(&mut self, piece: &str) {
        let Ok(value) = piece.parse::<u64>() else { return self.text.push_str(piece) };
        let told = match self.meaning {
            Meaning::Nothing => return,
            Meaning::Time if self.hidden => return,
            // Not before: no time at all.
            Meaning::Time if value == 0 => 'n'.to_string(),
            Meaning::Time => (i128::from(value) - i128::from(self.now_ms)).max(-LONG_AGO_MS).to_string(),
            Meaning::Round => (i128::from(value) - i128::from(self.round)).to_string(),
            Meaning::Session => match self.sessions.iter().position(|known| *known == value) {
                Some(place) => format!("s{place}"),
                None => "gone".to_string(),
            },
            Meaning::Often => value.min(MANY).to_string(),
            Meaning::Plain => piece.to_string(),
        };
        self.text.push_str(&told);
    }

    /// A field begins.
    fn field(&mut self) {
        self.meaning = match self.word.as_str() {
            "wall_ms" | "sent_ms" => Meaning::Nothing,
            "length" if !self.lengths => Meaning::Nothing,
            "round" => Meaning::Round,
            "session" => Meaning::Session,
            "unclear" => Meaning::Often,
            word if word.ends_with("_ms") => Meaning::Time,
            _ => Meaning::Plain,
        };
        let shown = ["started", "stopped", "began", "ended", "seen", "at", "planned_ms", "out_of_service_ms"];
        if self.word == "since" {
            self.hidden = !std::mem::take(&mut self.lapses);
        } else if shown.contains(&self.word.as_str()) {
            self.hidden = true;
        } else if !matches!(self.word.as_str(), "clock_ms" | "wall_ms") {
            self.hidden = false;
        }
    }
}

impl fmt::Write for Canon<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        match piece {
            ": " => self.field(),
            _ if piece.as_bytes().first().is_some_and(u8::is_ascii_digit) => {
                self.number(piece);
                return Ok(());
            }
            _ if piece.as_bytes().first().is_some_and(u8::is_ascii_lowercase) => {
                self.word.clear();
                self.word.push_str(piece);
            }
            "Lapses" => self.lapses = true,
            _ => {}
        }
        self.text.push_str(piece);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use drydock_core::{Now, run::Lapses};

    use super::*;

    #[derive(Debug)]
    #[expect(dead_code, reason = "read by its Debug text")]
    struct Something {
        deadline_ms: Option<u64>,
        started: Now,
        lapses: Lapses,
        round: u64,
        session: u64,
        count: u64,
    }

    fn number(now_ms: u64, round: u64, session: u64, sessions: &[u64], count: u64) -> u128 {
        let now = Now { clock_ms: now_ms, wall_ms: now_ms + 77 };
        let something = Something {
            deadline_ms: Some(now_ms + 500),
            started: Now { clock_ms: 3 * now_ms, wall_ms: 4 },
            lapses: Lapses { since: now, count: 1 },
            round,
            session,
            count,
        };
        let mut canon = Canon::new(String::new(), sessions, true);
        write!(canon.at(now_ms, round), "{something:?}").unwrap();
        canon.end().0
    }

    #[test]
    fn states_that_differ_by_when_they_are_are_one() {
        assert_eq!(number(1000, 5, 30, &[29, 30], 2), number(8000, 9, 44, &[41, 44], 2));
    }

    #[test]
    fn states_that_differ_otherwise_are_two() {
        let one = number(1000, 5, 30, &[29, 30], 2);
        assert_ne!(one, number(1000, 5, 30, &[29, 30], 3), "a number that means itself");
        assert_ne!(one, number(1000, 5, 29, &[29, 30], 2), "another stream");
        let mut canon = Canon::new(String::new(), &[], true);
        let wait = |ms: u64| Something {
            deadline_ms: Some(ms),
            started: Now { clock_ms: 1, wall_ms: 1 },
            lapses: Lapses { since: Now { clock_ms: 1, wall_ms: 1 }, count: 1 },
            round: 0,
            session: 0,
            count: 0,
        };
        write!(canon.at(1, 0), "{:?}", wait(10)).unwrap();
        let ten = canon.end().0;
        let mut canon = Canon::new(String::new(), &[], true);
        write!(canon.at(1, 0), "{:?}", wait(11)).unwrap();
        assert_ne!(ten, canon.end().0, "another deadline");
    }
}
