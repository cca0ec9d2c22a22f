//! Seeds that once failed, some that never did, and that a seed is one story.

#![expect(clippy::unwrap_used, reason = "a test that cannot be told fails")]

use drydock_simulation::{Options, many, simulate};

/// Seeds that once failed, one a line: the number, then what it found.
const CORPUS: &str = include_str!("../corpus.txt");

fn traced() -> Options {
    Options { trace: true, ..Options::default() }
}

fn corpus() -> Vec<u64> {
    let lines = CORPUS.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect()
}

fn all_hold(seeds: impl Iterator<Item = u64>) {
    let sum = many::tell(seeds, &Options::default(), |_, _| {}).unwrap();
    let failed: Vec<String> = sum
        .failed
        .iter()
        .map(|failed| format!("cargo sim --seed {} --trace: {:?}", failed.seed, failed.violation))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_seed_is_the_same_story_to_the_byte_each_time() {
    for seed in 1..=12 {
        let (first, second) = (simulate(seed, &traced()).unwrap(), simulate(seed, &traced()).unwrap());
        assert!(first.story == second.story, "seed {seed} tells two stories");
        assert_eq!((first.mark, first.steps, first.coverage), (second.mark, second.steps, second.coverage));
        assert!(!first.story.is_empty());
    }
}

#[test]
fn a_story_that_is_not_kept_is_the_same_story() {
    for seed in 13..=20 {
        let (kept, not) = (simulate(seed, &traced()).unwrap(), simulate(seed, &Options::default()).unwrap());
        assert_eq!(
            (kept.mark, kept.story_ms, kept.steps),
            (not.mark, not.story_ms, not.steps),
            "seed {seed}"
        );
    }
}

#[test]
fn a_plain_wave_of_fifty_is_done_node_by_node() {
    let options = Options { faults: false, plain_wave: Some(50), ..Options::default() };
    let ended = simulate(1, &options).unwrap();
    assert_eq!((ended.violation, ended.nodes_done), (None, 50));
}

#[test]
fn seeds_that_once_failed_hold_now() {
    all_hold(corpus().into_iter());
}

#[test]
fn the_rules_hold_over_a_hundred_seeds() {
    all_hold(1..=100);
}

#[test]
fn the_rules_hold_over_another_hundred_seeds() {
    all_hold(101..=200);
}
