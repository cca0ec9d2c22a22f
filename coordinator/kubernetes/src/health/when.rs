//! Times of Kubernetes, in seconds since 1970, and ages for people.

/// An RFC 3339 time; `None` where it is none.
#[must_use]
pub fn unix_s(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

/// The same of what may be missing.
#[must_use]
pub fn of(text: Option<&String>) -> Option<i64> {
    unix_s(text?)
}

/// Seconds since 1970 as people read them: `2026-11-21T20:00:00Z`.
#[must_use]
pub fn text(unix_s: i64) -> String {
    jiff::Timestamp::from_second(unix_s)
        .map_or_else(|_| format!("{unix_s} s after 1970"), |at| at.to_string())
}

/// An age of so many seconds: `40 s`, `12 min`, `5 h`, `41 d`.
#[must_use]
pub fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}
