//! What both benches print: percentiles, and a table of figures beside their aims.

use std::fmt::Write as _;

/// By nearest rank: a value that was measured.
pub(crate) fn percentile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Median and 99th percentile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Spread {
    pub(crate) fn of(times: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = times.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self { p50: percentile(&sorted, 50), p99: percentile(&sorted, 99) }
    }

    /// For programs; microseconds are as far as the stamps go.
    pub(crate) fn json(self) -> String {
        format!("{{\"p50\":{:.3},\"p99\":{:.3}}}", self.p50, self.p99)
    }
}

/// Lines of two figures, an aim, and whether it was met.
#[derive(Debug, Default)]
pub(crate) struct Table(pub(crate) String);

impl Table {
    pub(crate) fn row(&mut self, what: &str, first: &str, second: &str, aim: &str, met: Option<bool>) {
        let met = match met {
            Some(true) => "✓",
            Some(false) => "missed",
            None => "",
        };
        let line = format!("{what:<28}{first:>12}{second:>12}   {aim:<12} {met}");
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let sorted: Vec<u64> = (1..=250).collect();
        assert_eq!(
            (percentile(&sorted, 50), percentile(&sorted, 99), percentile(&sorted, 100)),
            (125, 248, 250)
        );
        assert_eq!(percentile::<u64>(&[], 50), 0);
    }
}
