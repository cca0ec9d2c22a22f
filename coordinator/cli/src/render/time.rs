//! Lengths and points of time as people read them. Points of time are UTC and say so (`22:04Z`).

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// A measured length: `8 ms`, `0.42 s`, `4.2 s`, `33 s`, `5 min 31 s`, `3 h 08 min`, `2 d 5 h`, `41 d`.
pub(crate) fn measured(ms: u64) -> String {
    match ms {
        0..10 => format!("{ms} ms"),
        10..1_000 => format!("0.{:02} s", ms / 10),
        1_000..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => rough(ms),
    }
}

/// A length where parts of a second do not matter: `4 s`, `5 min 31 s`, `3 h 08 min`.
pub(crate) fn rough(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 if seconds.is_multiple_of(60) => format!("{minutes} min"),
        60..3_600 => format!("{minutes} min {:02} s", seconds % 60),
        3_600..86_400 if minutes.is_multiple_of(60) => format!("{hours} h"),
        3_600..86_400 => format!("{hours} h {:02} min", minutes % 60),
        86_400..864_000 if hours % 24 > 0 => format!("{days} d {} h", hours % 24),
        _ => format!("{days} d"),
    }
}

/// How long ago: `4 s ago`, `just now`.
pub(crate) fn ago(then_ms: u64, now_ms: u64) -> String {
    match now_ms.saturating_sub(then_ms) {
        0..1_000 => "just now".to_owned(),
        ms => format!("{} ago", rough(ms)),
    }
}

/// `22:04Z`
pub(crate) fn clock(unix_ms: u64) -> String {
    let minutes = unix_ms / 60_000 % 1_440;
    format!("{:02}:{:02}Z", minutes / 60, minutes % 60)
}

/// `22:04:31Z`
pub(crate) fn clock_seconds(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// `2026-11-20`
pub(crate) fn date(unix_ms: u64) -> String {
    let (year, month, day) = civil(unix_ms / DAY_MS);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-11-20 22:04Z`
pub(crate) fn date_clock(unix_ms: u64) -> String {
    format!("{} {}", date(unix_ms), clock(unix_ms))
}

/// `22:04Z` on the same day, else `2026-11-20 22:04Z`.
pub(crate) fn near(unix_ms: u64, now_ms: u64) -> String {
    if unix_ms / DAY_MS == now_ms / DAY_MS { clock(unix_ms) } else { date_clock(unix_ms) }
}

/// Days since 1970 to a date. Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// `3 nodes`, `1 node`.
pub(crate) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// `23.5 MB`
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match UNITS.iter().find(|(_, size)| n >= *size) {
        // A tenth only where it says something.
        Some((name, size)) if n / size < 100 => format!("{}.{} {name}", n / size, n % size / (size / 10)),
        Some((name, size)) => format!("{} {name}", n / size),
        None => format!("{n} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_as_people_say_them() {
        let said: Vec<String> =
            [0, 9, 420, 4_250, 33_900, 60_000, 331_000, 362_000, 11_280_000, 190_800_000, 3_542_400_000]
                .map(measured)
                .into();
        let want = [
            "0 ms",
            "9 ms",
            "0.42 s",
            "4.2 s",
            "33 s",
            "1 min",
            "5 min 31 s",
            "6 min 02 s",
            "3 h 08 min",
            "2 d 5 h",
            "41 d",
        ];
        assert_eq!(said, want);
        assert_eq!(rough(4_250), "4 s");
        assert_eq!(ago(1_000, 1_500), "just now");
        assert_eq!(ago(1_000, 5_000), "4 s ago");
        assert_eq!(ago(9_000, 5_000), "just now");
    }

    #[test]
    fn points_of_time_are_utc_and_say_so() {
        let at = 1_795_212_271_500; // 2026-11-20 22:04:31.5
        assert_eq!(date_clock(at), "2026-11-20 22:04Z");
        assert_eq!(clock_seconds(at), "22:04:31Z");
        assert_eq!(near(at, at + 1_000), "22:04Z");
        assert_eq!(near(at, at + DAY_MS), "2026-11-20 22:04Z");
        assert_eq!(date(951_782_400_000), "2000-02-29");
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(4_107_542_399_000), "2100-02-28");
        assert_eq!(date(4_107_542_400_000), "2100-03-01");
    }

    #[test]
    fn sizes_have_three_figures() {
        assert_eq!(
            [0, 999, 1_000, 23_540_000, 210_000_000, 4_294_967_296].map(bytes).join(" · "),
            "0 B · 999 B · 1.0 kB · 23.5 MB · 210 MB · 4.2 GB"
        );
    }
}
