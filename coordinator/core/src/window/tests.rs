//! Windows against transitions of the clock that took place, or that the zones' rules foresee.

use alloc::vec;

use super::*;

fn window(days: &[Day], from: &str, to: &str, zone: &str) -> WindowSpec {
    WindowSpec {
        days: days.to_vec(),
        from: TimeOfDay::parse(from).unwrap(),
        to: TimeOfDay::parse(to).unwrap(),
        time_zone: zone.to_string(),
    }
}

fn utc(text: &str) -> u64 {
    u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
}

fn open(until: &str) -> State {
    State::Open { until_ms: utc(until) }
}

fn shut(opens: &str) -> State {
    State::Shut { opens_ms: utc(opens) }
}

#[track_caller]
fn is(window: &WindowSpec, at: &str, expected: State) {
    assert_eq!(state(window, utc(at)), Ok(expected), "{} at {at}", in_words(window));
}

#[test]
fn a_span_over_midnight_belongs_to_the_day_on_which_it_begins() {
    // 2026-11-28 is a Saturday; Berlin is one hour ahead of UTC in winter.
    let nights = window(&[Day::Sat], "22:00", "04:00", "Europe/Berlin");
    is(&nights, "2026-11-28T20:59:59Z", shut("2026-11-28T21:00:00Z"));
    is(&nights, "2026-11-28T21:00:00Z", open("2026-11-29T03:00:00Z"));
    is(&nights, "2026-11-29T02:59:59Z", open("2026-11-29T03:00:00Z"));
    is(&nights, "2026-11-29T03:00:00Z", shut("2026-12-05T21:00:00Z"));
    // Early on Saturday is Friday's night, and Friday has none.
    is(&nights, "2026-11-28T01:00:00Z", shut("2026-11-28T21:00:00Z"));
}

#[test]
fn a_span_within_a_day_opens_on_the_days_that_are_named_and_daily_without() {
    let days = window(&[Day::Tue, Day::Thu], "09:30", "11:00", "Asia/Kolkata");
    is(&days, "2026-11-24T04:00:00Z", open("2026-11-24T05:30:00Z"));
    is(&days, "2026-11-24T05:30:00Z", shut("2026-11-26T04:00:00Z"));
    let daily = window(&[], "09:30", "11:00", "Asia/Kolkata");
    is(&daily, "2026-11-24T05:30:00Z", shut("2026-11-25T04:00:00Z"));
}

#[test]
fn a_night_in_which_the_clock_is_put_forward_is_an_hour_shorter() {
    // Berlin, 2026-03-29: 02:00 becomes 03:00.
    let nights = window(&[Day::Sat], "22:00", "04:00", "Europe/Berlin");
    is(&nights, "2026-03-28T21:00:00Z", open("2026-03-29T02:00:00Z"));
}

#[test]
fn a_night_in_which_the_clock_is_put_back_is_an_hour_longer() {
    // Berlin, 2026-10-25: 03:00 becomes 02:00.
    let nights = window(&[Day::Sat], "22:00", "04:00", "Europe/Berlin");
    is(&nights, "2026-10-24T20:00:00Z", open("2026-10-25T03:00:00Z"));
}

#[test]
fn on_the_other_half_of_the_earth_the_clock_is_put_forward_in_october() {
    // Sydney, 2026-10-04: 02:00 becomes 03:00; 2026-04-05: 03:00 becomes 02:00.
    let nights = window(&[Day::Sat], "23:00", "05:00", "Australia/Sydney");
    is(&nights, "2026-10-03T13:00:00Z", open("2026-10-03T18:00:00Z"));
    is(&nights, "2026-04-04T12:00:00Z", open("2026-04-04T19:00:00Z"));
    // Auckland, 2026-09-27: 02:00 becomes 03:00, thirteen hours ahead of UTC from then on.
    let noon = window(&[Day::Sun], "12:00", "13:00", "Pacific/Auckland");
    is(&noon, "2026-09-26T00:00:00Z", shut("2026-09-26T23:00:00Z"));
    is(&noon, "2026-09-19T12:00:00Z", shut("2026-09-20T00:00:00Z"));
}

#[test]
fn what_a_clock_that_is_put_forward_leaves_out_begins_and_ends_at_the_change() {
    let ends = window(&[Day::Sun], "01:00", "02:30", "Europe/Berlin");
    is(&ends, "2026-03-29T00:00:00Z", open("2026-03-29T01:00:00Z"));
    let begins = window(&[Day::Sun], "02:30", "04:00", "Europe/Berlin");
    is(&begins, "2026-03-29T00:59:59Z", shut("2026-03-29T01:00:00Z"));
    is(&begins, "2026-03-29T01:00:00Z", open("2026-03-29T02:00:00Z"));
}

#[test]
fn a_span_that_the_change_swallows_does_not_occur_that_day() {
    let swallowed = window(&[Day::Sun], "02:10", "02:50", "Europe/Berlin");
    is(&swallowed, "2026-03-28T12:00:00Z", shut("2026-04-05T00:10:00Z"));
    is(&swallowed, "2026-03-29T01:00:00Z", shut("2026-04-05T00:10:00Z"));
    let whole = window(&[Day::Sun], "02:00", "03:00", "Europe/Berlin");
    is(&whole, "2026-03-29T00:30:00Z", shut("2026-04-05T00:00:00Z"));
    // Lord Howe's clock moves by half an hour: 2026-10-04, 02:00 becomes 02:30.
    let half = window(&[], "02:00", "02:30", "Australia/Lord_Howe");
    is(&half, "2026-10-03T12:00:00Z", shut("2026-10-04T15:00:00Z"));
}

#[test]
fn a_time_that_occurs_twice_means_its_first_occurrence() {
    // New York, 2026-11-01: 02:00 becomes 01:00; 01:30 is 05:30 and 06:30 UTC.
    let ends = window(&[Day::Sun], "00:00", "01:30", "America/New_York");
    is(&ends, "2026-11-01T04:00:00Z", open("2026-11-01T05:30:00Z"));
    is(&ends, "2026-11-01T06:00:00Z", shut("2026-11-08T05:00:00Z"));
    let inside = window(&[Day::Sun], "01:10", "01:40", "America/New_York");
    is(&inside, "2026-11-01T05:00:00Z", shut("2026-11-01T05:10:00Z"));
    is(&inside, "2026-11-01T05:10:00Z", open("2026-11-01T05:40:00Z"));
}

#[test]
fn a_day_that_a_zone_left_out_is_passed_over() {
    // Samoa went from Thursday, 2011-12-29 to Saturday, 2011-12-31.
    let friday = window(&[Day::Fri], "10:00", "12:00", "Pacific/Apia");
    is(&friday, "2011-12-30T00:00:00Z", shut("2012-01-05T20:00:00Z"));
}

#[test]
fn adjoining_spans_are_one_and_a_window_without_an_end_never_shuts() {
    let weekend = window(&[Day::Sat, Day::Sun], "00:00", "00:00", "UTC");
    is(&weekend, "2026-11-28T12:00:00Z", open("2026-11-30T00:00:00Z"));
    assert_eq!(longest_ms(&weekend), Some(48 * 3600 * 1000));
    let always = window(&[], "06:00", "06:00", "UTC");
    assert_eq!(longest_ms(&always), None);
    let Ok(State::Open { until_ms }) = state(&always, utc("2026-11-28T12:00:00Z")) else {
        panic!("it is shut")
    };
    assert!(until_ms > utc("2026-12-05T12:00:00Z"));
}

#[test]
fn the_longest_that_it_is_open_is_the_spans_own_length() {
    let hours = |window: &WindowSpec| longest_ms(window).map(|ms| ms / 3_600_000);
    assert_eq!(hours(&window(&[Day::Sat], "22:00", "04:00", "UTC")), Some(6));
    assert_eq!(hours(&window(&[], "04:00", "22:00", "UTC")), Some(18));
    assert_eq!(hours(&window(&[Day::Sun, Day::Mon, Day::Thu], "04:00", "04:00", "UTC")), Some(48));
}

#[test]
fn a_zone_that_is_not_known_is_an_error_and_never_an_open_window() {
    let nowhere = window(&[], "00:00", "23:00", "Europe/Bärlin");
    assert!(state(&nowhere, utc("2026-11-28T12:00:00Z")).unwrap_err().contains("no time zone"));
    assert!(!knows_zone("") && !knows_zone("../etc/passwd") && knows_zone("Europe/Berlin"));
    assert!(state(&window(&[], "00:00", "23:00", "UTC"), u64::MAX).is_err());
    assert!(zones().iter().any(|name| name == "Europe/Berlin"));
}

#[test]
fn it_says_what_it_is_in_words() {
    let nights = window(&[Day::Sun, Day::Sat], "22:00", "04:00", "Europe/Berlin");
    assert_eq!(in_words(&nights), "sat, sun 22:00 to 04:00 (Europe/Berlin)");
    assert_eq!(in_words(&window(&[], "01:00", "02:00", "UTC")), "daily 01:00 to 02:00 (UTC)");
    assert_eq!(moment(&nights, utc("2026-11-28T21:00:00Z")), "sat 2026-11-28 22:00");
    assert_eq!(vec![moment(&window(&[], "01:00", "02:00", "Mars/Base"), 0)], ["thu 1970-01-01 00:00 UTC"]);
}
