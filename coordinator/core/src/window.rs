//! When a plan's window is open: spans of the week on some zone's clock, as instants.
//!
//! The zones come with the build, so that every coordinator judges alike and the core reaches for no file
//! ([ADR 0014](../../../docs/adr/0014-time-zones.md)). What a clock that is put forward leaves out and one
//! that is put back says twice is decided here:
//!
//! - A time that occurs twice means its first occurrence.
//! - A time that does not occur means the instant at which the clock was put forward. A span that lies wholly
//!   in what was left out does not occur on that day.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Weekday},
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};

use crate::plan_file::{Day, TimeOfDay, WindowSpec};

/// How far ahead an opening is looked for. The longest that a weekly span can be swallowed is some weeks.
const HORIZON_DAYS: usize = 400;
/// What is open for longer is as good as open for ever; everything is judged again long before.
const LONG_MS: i64 = 8 * DAY_MS;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// How a window stands at some moment. Unix time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Open.
    Open {
        /// When it shuts. Where spans adjoin this is the end of the last, or a week and more ahead.
        until_ms: u64,
    },
    /// Shut.
    Shut {
        /// When it opens.
        opens_ms: u64,
    },
}

/// How a window stands.
///
/// # Errors
/// A zone that this build does not know, or a time beyond its calendar; a text for people.
pub fn state(window: &WindowSpec, wall_ms: u64) -> Result<State, String> {
    let zone = zone(&window.time_zone)?;
    let now = instant(wall_ms)?;
    let beyond = |_| format!("{wall_ms} ms is beyond the calendar");
    // A span lasts a day at the most: yesterday's may still be open.
    let mut day = zone.to_datetime(now).date().yesterday().map_err(beyond)?;
    let now = now.as_millisecond();
    let mut open: Option<i64> = None;
    for _ in 0..HORIZON_DAYS {
        match (open, span(window, &zone, day)) {
            (Some(until), Some((begins, ends))) if begins <= until => open = Some(until.max(ends)),
            (Some(_), Some(_)) => break,
            (None, Some((begins, ends))) if begins <= now && now < ends => open = Some(ends),
            (None, Some((begins, _))) if begins > now => {
                return Ok(State::Shut { opens_ms: unsigned(begins) });
            }
            (_, _) => {}
        }
        if open.is_some_and(|until| until > now.saturating_add(LONG_MS)) {
            break;
        }
        day = day.tomorrow().map_err(beyond)?;
    }
    let until = open.ok_or_else(|| format!("{} never opens", in_words(window)))?;
    Ok(State::Open { until_ms: unsigned(until) })
}

/// The longest that it is open without a break, in milliseconds, on a day on which the clock is not changed;
/// `None` where it never shuts.
#[must_use]
pub fn longest_ms(window: &WindowSpec) -> Option<u64> {
    let minutes = |time: TimeOfDay| u64::from(time.hour()) * 60 + u64::from(time.minute());
    let (from, to) = (minutes(window.from), minutes(window.to));
    let day = 24 * 60;
    if from != to {
        return Some((to + day - from) % day * 60_000);
    }
    // From a time to the same time of the next day: days in a row adjoin.
    let on: Vec<bool> = WEEK.iter().map(|(day, _)| takes(window, *day)).collect();
    let in_a_row = |first: usize| (0..7).take_while(|ahead| on[(first + ahead) % 7]).count();
    match (0..7).map(in_a_row).max().unwrap_or(0) {
        7 => None,
        days => Some(days as u64 * day * 60_000),
    }
}

/// `sat 22:00 to 04:00 (Europe/Berlin)`.
#[must_use]
pub fn in_words(window: &WindowSpec) -> String {
    let WindowSpec { from, to, time_zone, .. } = window;
    let days: Vec<&str> =
        WEEK.iter().filter(|(day, _)| takes(window, *day)).map(|(day, _)| word(*day)).collect();
    let days = if days.len() == 7 { "daily".to_string() } else { days.join(", ") };
    format!("{days} {from} to {to} ({time_zone})")
}

/// A moment on the zone's clock: `sat 2026-11-28 22:00`; in UTC where the zone is not known.
#[must_use]
pub fn moment(window: &WindowSpec, wall_ms: u64) -> String {
    let (zone, suffix) = match zone(&window.time_zone) {
        Ok(zone) => (zone, ""),
        Err(_) => (TimeZone::UTC, " UTC"),
    };
    let Ok(at) = instant(wall_ms) else { return format!("{wall_ms} ms") };
    let at = zone.to_datetime(at);
    let day = WEEK.iter().find(|(_, weekday)| *weekday == at.weekday()).map_or("", |(day, _)| word(*day));
    format!("{day} {} {:02}:{:02}{suffix}", at.date(), at.hour(), at.minute())
}

/// Is this an IANA zone that the build knows?
#[must_use]
pub fn knows_zone(name: &str) -> bool {
    zone(name).is_ok()
}

/// All zones that the build knows, for who wrote another.
#[must_use]
pub fn zones() -> Vec<String> {
    TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_string()).collect()
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| {
        format!("{name:?} is no time zone that this build knows; it takes IANA names as Europe/Berlin")
    })
}

fn instant(wall_ms: u64) -> Result<Timestamp, String> {
    let ms = i64::try_from(wall_ms).map_err(|_| format!("{wall_ms} ms is beyond the calendar"))?;
    Timestamp::from_millisecond(ms).map_err(|_| format!("{wall_ms} ms is beyond the calendar"))
}

fn unsigned(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

/// From when to when it is open by its span of this day, where it has one.
fn span(window: &WindowSpec, zone: &TimeZone, day: Date) -> Option<(i64, i64)> {
    WEEK.iter().find(|(of, weekday)| *weekday == day.weekday() && takes(window, *of))?;
    let last = if window.to <= window.from { day.tomorrow().ok()? } else { day };
    let at = |date: Date, time: TimeOfDay| {
        let (hour, minute) = (i8::try_from(time.hour()).ok()?, i8::try_from(time.minute()).ok()?);
        on_the_clock(zone, date.at(hour, minute, 0, 0))
    };
    let (begins, ends) = (at(day, window.from)?, at(last, window.to)?);
    (begins < ends).then_some((begins, ends))
}

/// When the zone's clock shows this: see the top of this file.
fn on_the_clock(zone: &TimeZone, shown: DateTime) -> Option<i64> {
    let at = match zone.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            offset.to_timestamp(shown).ok()?
        }
        AmbiguousOffset::Gap { after, .. } => {
            // By the later offset it is an instant shortly before the change.
            let before = after.to_timestamp(shown).ok()?;
            zone.following(before).next()?.timestamp()
        }
    };
    Some(at.as_millisecond())
}

const WEEK: [(Day, Weekday); 7] = [
    (Day::Mon, Weekday::Monday),
    (Day::Tue, Weekday::Tuesday),
    (Day::Wed, Weekday::Wednesday),
    (Day::Thu, Weekday::Thursday),
    (Day::Fri, Weekday::Friday),
    (Day::Sat, Weekday::Saturday),
    (Day::Sun, Weekday::Sunday),
];

fn takes(window: &WindowSpec, day: Day) -> bool {
    window.days.is_empty() || window.days.contains(&day)
}

const fn word(day: Day) -> &'static str {
    match day {
        Day::Mon => "mon",
        Day::Tue => "tue",
        Day::Wed => "wed",
        Day::Thu => "thu",
        Day::Fri => "fri",
        Day::Sat => "sat",
        Day::Sun => "sun",
    }
}

#[cfg(test)]
mod tests;
