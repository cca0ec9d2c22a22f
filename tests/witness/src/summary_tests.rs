//! The reducer against samples made by hand.

use std::collections::BTreeMap;

use super::*;
use crate::member::View;

fn up(id: &str, leader: Option<&str>) -> View {
    View {
        ok: true,
        version: Some("3.4.23".to_owned()),
        member_id: Some(id.to_owned()),
        leader_id: leader.map(str::to_owned),
        took_ms: 1,
        error: None,
    }
}

fn down() -> View {
    View { error: Some("refused".to_owned()), ..View::default() }
}

fn sample(t_ms: u64, views: [View; 3]) -> Sample {
    let names = ["a", "b", "c"].map(str::to_owned);
    Sample { t_ms, endpoints: names.into_iter().zip(views).collect::<BTreeMap<_, _>>() }
}

fn summarize(samples: Vec<Sample>) -> Summary {
    match of_samples(samples) {
        Ok(summary) => summary,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn no_sample_is_an_error() {
    assert!(of_samples(Vec::new()).is_err());
}

#[test]
fn a_restart_of_the_leader_shows_in_every_figure() {
    let all = |leader| [up("1", leader), up("2", leader), up("3", leader)];
    let without_first = |leader| [down(), up("2", leader), up("3", leader)];
    let samples = vec![
        sample(1_000, all(Some("1"))),
        sample(1_050, without_first(Some("1"))),
        // Out of order on purpose: lines are written as samples end.
        sample(1_150, without_first(Some("2"))),
        sample(1_100, without_first(None)),
        sample(1_200, all(Some("2"))),
    ];
    let summary = summarize(samples);
    assert_eq!(summary.samples, 5);
    assert_eq!(summary.fewest_answering, 2);
    assert_eq!(summary.fewest_healthy, 0);
    assert_eq!(summary.leaderless_total_ms, 50);
    assert_eq!(summary.leader_silent_longest_ms, 50);
    assert_eq!(summary.members["a"].longest_silence_ms, 151);
    assert_eq!(summary.members["b"].longest_silence_ms, 0);
    let led: Vec<_> = summary.leaders.iter().map(|change| change.endpoint.as_deref()).collect();
    assert_eq!(led, [Some("a"), None, Some("b")]);
}

#[test]
fn disagreement_is_leaderless_and_a_newcomer_without_a_leader_is_not() {
    let summary = summarize(vec![
        sample(0, [up("1", Some("1")), up("2", Some("2")), down()]),
        sample(50, [up("1", Some("1")), up("2", None), down()]),
    ]);
    assert_eq!(summary.leaderless_longest_ms, 50);
    assert_eq!(summary.leaders.len(), 2);
}

#[test]
fn an_outage_that_never_ends_counts_until_the_last_sample() {
    let summary = summarize(vec![
        sample(0, [up("1", Some("1")), down(), up("3", Some("1"))]),
        sample(400, [up("1", Some("1")), down(), up("3", Some("1"))]),
    ]);
    assert_eq!(summary.members["b"].longest_silence_ms, 400);
    assert_eq!(summary.members["b"].silences, 1);
    assert!(summary.members["b"].first_seen_ms.is_empty());
}
