//! Many seeds: what took place over all of them, what failed, and how fast it went.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Options, Violation,
    coverage::{Item, Table},
    faults::Kind,
    simulate,
};

/// A seed whose story broke a rule.
#[derive(Debug, Clone)]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// The rule.
    pub violation: Violation,
}

/// What many seeds came to.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    /// What took place.
    pub table: Table,
    /// What failed, by seed.
    pub failed: Vec<Failed>,
    /// Nodes that were called done.
    pub nodes_done: u64,
    /// Things that happened.
    pub steps: u64,
    /// The most that happened in one story.
    pub most_steps: u64,
    /// Time in the stories.
    pub story: Duration,
}

/// Tells the stories of these seeds, one after another; `told` hears of each.
///
/// # Errors
/// When a runtime cannot be made.
pub fn tell(
    seeds: impl Iterator<Item = u64>,
    options: &Options,
    mut told: impl FnMut(u64, Option<&Violation>),
) -> std::io::Result<Sum> {
    let mut sum = Sum::default();
    for seed in seeds {
        let ended = simulate(seed, options)?;
        told(seed, ended.violation.as_ref());
        sum.table.add(&ended.coverage);
        sum.nodes_done += ended.nodes_done;
        sum.steps += ended.steps;
        sum.most_steps = sum.most_steps.max(ended.steps);
        sum.story += Duration::from_millis(ended.story_ms);
        sum.failed.extend(ended.violation.map(|violation| Failed { seed, violation }));
    }
    Ok(sum)
}

/// The first of these seeds whose story breaks a rule. Those behind it are not told.
///
/// # Errors
/// When a runtime cannot be made.
pub fn first_failed(seeds: impl Iterator<Item = u64>, options: &Options) -> std::io::Result<Option<Failed>> {
    for seed in seeds {
        if let Some(violation) = simulate(seed, options)?.violation {
            return Ok(Some(Failed { seed, violation }));
        }
    }
    Ok(None)
}

impl Sum {
    /// Two sums in one.
    pub fn merge(&mut self, other: Self) {
        self.table.merge(other.table);
        self.failed.extend(other.failed);
        self.nodes_done += other.nodes_done;
        self.steps += other.steps;
        self.most_steps = self.most_steps.max(other.most_steps);
        self.story += other.story;
    }

    /// What should take place in at least one story of a hundred and does not: the name, and in how many it did.
    #[must_use]
    pub fn too_rare(&self) -> Vec<(String, u64)> {
        let least = self.table.stories.div_ceil(100);
        let asked_for = wanted_items();
        let mut wanted: BTreeMap<Item, u64> = self.table.counts.clone();
        for item in &asked_for {
            wanted.entry(item.clone()).or_insert(0);
        }
        let counts = |item: &Item| asked_for.contains(item) || !is_rare_by_nature(item);
        let rare = wanted.into_iter().filter(|(item, count)| *count < least && counts(item));
        rare.map(|(item, count)| (item.name(), count)).collect()
    }

    /// Of the stories in which something went wrong, in how many of a thousand a run was done all the same.
    #[must_use]
    pub fn faulty_done_permille(&self) -> u64 {
        (self.table.faulty_done * 1000).checked_div(self.table.faulty).unwrap_or(1000)
    }
}

/// What must be seen, whether or not it ever was.
fn wanted_items() -> Vec<Item> {
    let mut items: Vec<Item> = Kind::ALL.iter().map(|kind| Item::Fault(*kind)).collect();
    items.extend(["clear", "waiting", "refused", "unknown"].map(Item::Verdict));
    items.extend(["queued", "running", "paused", "held", "aborting", "aborted", "done"].map(Item::Status));
    // Not failed and undecidable: about one story in a hundred comes to them.
    items.extend(["done", "undone", "left alone", "refused"].map(|end| Item::Outcome("apply", end)));
    items
        .extend([("leave", "left"), ("give back", "given back")].map(|(kind, end)| Item::Outcome(kind, end)));
    items.extend([Item::Outcome("undo", "done"), Item::Outcome("stage", "failed")]);
    items.extend(
        ["start", "pause", "resume", "abort", "roll back", "approve", "skip", "extend"].map(Item::Verb),
    );
    items.extend(["freeze", "thaw", "set aside", "release", "takeover"].map(Item::Verb));
    items.extend(TRANSITIONS.map(|(from, to)| Item::Phase(from, to)));
    items
}

/// A node's life in a run, and the ways out of it. A driver can go through several at once: what was seen from the
/// outside is counted.
const TRANSITIONS: [(&str, &str); 36] = [
    ("pending", "staging"),
    ("pending", "gating"),
    ("staging", "staged"),
    ("staging", "gating"),
    ("staging", "pending"),
    ("staging", "held"),
    ("staged", "gating"),
    ("staged", "skipped"),
    ("gating", "staged"),
    ("gating", "skipped"),
    ("gating", "protecting"),
    ("gating", "applying"),
    ("gating", "held"),
    ("protecting", "rechecking"),
    ("gating", "draining"),
    ("draining", "rechecking"),
    ("rechecking", "draining"),
    ("returning", "releasing"),
    ("releasing", "soaking"),
    ("releasing", "done"),
    ("releasing", "rolled back"),
    ("rechecking", "applying"),
    ("applying", "staged"),
    ("applying", "returning"),
    ("applying", "held"),
    ("returning", "soaking"),
    ("returning", "done"),
    ("returning", "rolled back"),
    ("returning", "held"),
    ("soaking", "done"),
    ("soaking", "held"),
    ("held", "staging"),
    ("held", "gating"),
    ("held", "returning"),
    ("held", "soaking"),
    ("rolled back", "staging"),
];

/// Seen when it comes, and asked for only where it is named above.
const fn is_rare_by_nature(item: &Item) -> bool {
    matches!(item, Item::Phase(..) | Item::Hold(..) | Item::Outcome(..) | Item::End(_))
}
