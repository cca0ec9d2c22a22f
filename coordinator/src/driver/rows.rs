//! Between a run's state and its row: a head that is written every time, and parts of which only those that
//! changed are. Part 0 is the plan, part 1 and up are the nodes in the plan's order.

use std::collections::{BTreeMap, BTreeSet};

use drydock_core::{
    plan::Plan,
    run::{NodeRun, OpenEffect, REDUCER_VERSION, Run, RunHead, RunWaiting},
};
use drydock_types::document;

use crate::store::{RunRow, StoreError};

/// Which parts of a run are not on disk as they are here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unwritten {
    /// A new run.
    Everything,
    /// These.
    Parts {
        /// The plan: it was amended.
        plan: bool,
        /// Nodes, by index.
        nodes: BTreeSet<usize>,
    },
}

impl Unwritten {
    /// Of a run that is on disk as it is here.
    pub(super) const fn nothing() -> Self {
        Self::Parts { plan: false, nodes: BTreeSet::new() }
    }

    /// Is all of it on disk?
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::nothing()
    }

    /// What a transition changed, durable or not: a commit writes it sooner or later.
    pub(super) fn note(&mut self, was: &Run, is: &Run) {
        if let Self::Parts { plan, nodes } = self {
            *plan |= was.plan.digest != is.plan.digest;
            let pairs = was.nodes.iter().zip(&is.nodes).enumerate();
            nodes.extend(pairs.filter(|(_, (was, is))| was != is).map(|(index, _)| index));
        }
    }
}

/// What is to be written of a run.
pub(super) fn row(run: &Run, unwritten: &Unwritten) -> RunRow {
    let node = |index: usize| Some((part_of(index), document::encode(run.nodes.get(index)?)));
    let plan = || (PLAN, document::encode(&*run.plan));
    let parts = match unwritten {
        Unwritten::Parts { plan: amended, nodes } => {
            nodes.iter().copied().filter_map(node).chain(amended.then(plan)).collect()
        }
        Unwritten::Everything => (0..run.nodes.len()).filter_map(node).chain([plan()]).collect(),
    };
    let (state, open) = (document::encode(&RunHead::of(run)), !run.status.is_closed());
    RunRow { number: run.number, id: run.id, open, undoes: run.plan.undoes, state, parts }
}

const PLAN: u32 = 0;

fn part_of(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

/// A run as it was written.
///
/// # Errors
/// When a part is missing or cannot be read, or another reducer wrote it.
pub(super) fn read(row: &RunRow) -> Result<Run, StoreError> {
    let unreadable = |what| StoreError::Unreadable { place: format!("run {}", row.number), what };
    let foreign = |error: document::Unreadable| {
        unreadable(format!("{error}; it was written by another version of Drydock"))
    };
    let head: RunHead = document::decode_own("run", &row.state).map_err(foreign)?;
    if head.reducer != REDUCER_VERSION {
        let wrote = head.reducer;
        let what = format!(
            "reducer {wrote} wrote it, this build has {REDUCER_VERSION}: finish it with that version"
        );
        return Err(unreadable(what));
    }
    let part = |part: u32| {
        let bytes = row.parts.get(&part);
        bytes.ok_or_else(|| unreadable(format!("its part {part} is missing")))
    };
    let plan: Plan = document::decode_own("plan", part(PLAN)?).map_err(foreign)?;
    let nodes = plan.stages.iter().flat_map(|stage| &stage.waves).map(|wave| wave.nodes.len()).sum();
    let node = |index| -> Result<NodeRun, StoreError> {
        document::decode_own("node of a run", part(part_of(index))?).map_err(foreign)
    };
    let nodes = (0..nodes).map(node).collect::<Result<_, _>>()?;
    Ok(head.with(plan, nodes))
}

/// What is not on disk of runs that were just read: nothing.
pub(super) fn all_written(runs: &BTreeMap<u64, Run>) -> BTreeMap<u64, Unwritten> {
    runs.keys().map(|number| (*number, Unwritten::nothing())).collect()
}

/// Must this change be on disk? Everything but when the next look is due, what was last seen, and that an agent has
/// accepted what it was sent: that goes to the disk with the next commit, for it is worth none of its own.
pub(super) fn is_durable(was: &Run, is: &Run) -> bool {
    // When a wait is judged again is not worth a commit; what is waited for, and since when, is.
    let waiting = |run: &Run| run.waiting.clone().map(|waiting| RunWaiting { again_ms: 0, ..waiting });
    let quiet_head = |run: &Run| RunHead { round: 0, waiting: waiting(run), ..RunHead::of(run) };
    let quiet_node = |node: &NodeRun| NodeRun {
        look: None,
        look_again_ms: None,
        unclear: 0,
        waiting: None,
        not_before_ms: 0,
        open: node.open.clone().map(|open| OpenEffect { accepted: false, ..open }),
        ..node.clone()
    };
    let nodes = || was.nodes.iter().zip(&is.nodes);
    was.plan != is.plan
        || quiet_head(was) != quiet_head(is)
        || was.nodes.len() != is.nodes.len()
        || nodes().any(|(was, is)| was != is && quiet_node(was) != quiet_node(is))
}
