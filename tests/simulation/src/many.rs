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
        sum.story += Duration::from_millis(ended.story_ms);
        sum.failed.extend(ended.violation.map(|violation| Failed { seed, violation }));
    }
    Ok(sum)
}

impl Sum {
    /// Two sums in one.
    pub fn merge(&mut self, other: Self) {
        self.table.merge(other.table);
        self.failed.extend(other.failed);
        self.nodes_done += other.nodes_done;
        self.steps += other.steps;
        self.story += other.story;
    }

    /// What should take place in at least one story of a hundred and does not: the name, and in how many it did.
    #[must_use]
    pub fn too_rare(&self) -> Vec<(String, u64)> {
        let least = self.table.stories.div_ceil(100);
        let mut wanted: BTreeMap<Item, u64> = self.table.counts.clone();
        for item in wanted_items() {
            wanted.entry(item).or_insert(0);
        }
        let rare = wanted.into_iter().filter(|(item, count)| *count < least && !is_rare_by_nature(item));
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
    let ends = ["done", "refused", "failed", "undone", "left alone", "undecidable"];
    items.extend(ends.map(|end| Item::Outcome("apply", end)));
    items.extend(["start", "pause", "resume", "abort"].map(Item::Verb));
    items
}

/// Seen when it comes, and not asked for.
const fn is_rare_by_nature(item: &Item) -> bool {
    matches!(item, Item::Phase(..) | Item::Hold(..) | Item::Outcome(..) | Item::End(_))
}
