//! What took place in a story, and over many.

use std::collections::{BTreeMap, BTreeSet};

use crate::faults::Kind;

/// What took place in one story: each thing once, however often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    seen: BTreeSet<Item>,
}

/// Something that a story can contain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A kind of fault took place.
    Fault(Kind),
    /// A node went from one phase to another.
    Phase(&'static str, &'static str),
    /// A run's status became this.
    Status(&'static str),
    /// A check's verdict, as the driver was told it.
    Verdict(&'static str),
    /// A section ended so.
    Outcome(&'static str, &'static str),
    /// A run held from this phase, to be taken up at that one.
    Hold(&'static str, &'static str),
    /// An operator's verb was taken.
    Verb(&'static str),
    /// How the story ended.
    End(&'static str),
}

impl Item {
    /// In the table.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Fault(kind) => format!("fault: {}", kind.name()),
            Self::Phase(from, to) => format!("phase: {from} → {to}"),
            Self::Status(status) => format!("run: {status}"),
            Self::Verdict(verdict) => format!("verdict: {verdict}"),
            Self::Outcome(kind, word) => format!("outcome: {kind} {word}"),
            Self::Hold(from, to) => format!("hold: from {from}, resumed at {to}"),
            Self::Verb(verb) => format!("operator: {verb}"),
            Self::End(end) => format!("end: {end}"),
        }
    }
}

impl Coverage {
    /// This took place.
    pub fn note(&mut self, item: Item) {
        if !self.seen.contains(&item) {
            self.seen.insert(item);
        }
    }

    /// A fault took place.
    pub fn fault(&mut self, kind: Kind) {
        self.note(Item::Fault(kind));
    }

    /// What took place.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.seen.iter()
    }

    /// Did anything go wrong in it?
    #[must_use]
    pub fn had_faults(&self) -> bool {
        self.seen.iter().any(|item| matches!(item, Item::Fault(_)))
    }

    /// Did this take place?
    #[must_use]
    pub fn has(&self, item: &Item) -> bool {
        self.seen.contains(item)
    }
}

/// What took place over many stories.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// How many stories.
    pub stories: u64,
    /// In how many of them each thing took place.
    pub counts: BTreeMap<Item, u64>,
    /// Stories in which something went wrong.
    pub faulty: u64,
    /// Those of them in which a run was done all the same.
    pub faulty_done: u64,
}

impl Table {
    /// One more story.
    pub fn add(&mut self, coverage: &Coverage) {
        self.stories += 1;
        for item in coverage.items() {
            *self.counts.entry(item.clone()).or_insert(0) += 1;
        }
        if coverage.had_faults() {
            self.faulty += 1;
            self.faulty_done += u64::from(coverage.has(&Item::Status("done")));
        }
    }

    /// Two tables in one.
    pub fn merge(&mut self, other: Self) {
        self.stories += other.stories;
        self.faulty += other.faulty;
        self.faulty_done += other.faulty_done;
        for (item, count) in other.counts {
            *self.counts.entry(item).or_insert(0) += count;
        }
    }
}
