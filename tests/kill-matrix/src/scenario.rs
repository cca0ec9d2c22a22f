//! What is done while a point is armed, and what is right afterwards. One file a scenario.

mod enrolment;
mod first_start;
mod rollback;
mod take_back;
mod torn_tail;
mod upgrade;

use std::collections::BTreeMap;

use crate::{
    cell::{Action, Cell},
    etcd, points,
    rig::Side,
    toy,
};

use self::{
    enrolment::Enrolment, first_start::FirstStart, rollback::Rollback, take_back::TakeBack,
    torn_tail::TornTail, upgrade::Upgrade,
};

/// How often each point was passed, by program.
pub(crate) type Passed = BTreeMap<(Side, String), u64>;

/// What a cell came to: what it took, for people.
pub(crate) type Told = Result<String, String>;

/// Something done over and over, once a cell.
pub(crate) trait Scenario {
    /// Once without anything armed: which points it passes.
    ///
    /// # Errors
    /// When it does not end right even so.
    fn survey(&mut self) -> Result<Passed, String>;

    /// Is this cell this scenario's to do?
    fn wants(&self, _cell: &Cell) -> bool {
        true
    }

    /// Once with this cell armed.
    ///
    /// # Errors
    /// What is not right.
    fn run(&mut self, cell: &Cell) -> Told;

    /// At the end: what all cells together left.
    ///
    /// # Errors
    /// What is not right.
    fn close(self: Box<Self>) -> Result<(), String>;
}

/// A scenario and how it is begun; each worker has its own.
pub(crate) struct Named {
    /// For people, and for `--only`.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) what: &'static str,
    /// What this machine lacks for it.
    pub(crate) missing: fn() -> Option<&'static str>,
    /// Begins it.
    pub(crate) begin: fn() -> Box<dyn Scenario>,
}

/// All.
pub(crate) const ALL: &[Named] = &[
    Named {
        name: "first-start",
        what: "an empty directory becomes a coordinator's",
        missing: || None,
        begin: || Box::new(FirstStart),
    },
    Named {
        name: "enrolment",
        what: "a node joins, and its agent is started for the first time",
        missing: || None,
        begin: || Box::new(Enrolment::begin()),
    },
    Named {
        name: "torn-tail",
        what: "an agent is started over a journal whose last record is cut off",
        missing: toy::missing,
        begin: || Box::new(TornTail::begin()),
    },
    Named {
        name: "upgrade",
        what: "a node is upgraded: artifact, journal, exchange, restart",
        missing: toy::missing,
        begin: || Box::new(Upgrade::begin()),
    },
    Named {
        name: "supervised",
        what: "the same with a service that the agent runs itself",
        missing: || None,
        begin: || Box::new(Only { inner: Upgrade::supervised(), points: &["agent.unit."] }),
    },
    Named {
        name: "etcd",
        what: "the same behind a snapshot of a real etcd and a leadership handed over",
        missing: etcd::missing,
        begin: || {
            let points = &["agent.backup.", "agent.etcd", "coordinator.backup.", "coordinator.file."];
            Box::new(Only { inner: Upgrade::with_etcd(), points })
        },
    },
    Named {
        name: "take-back",
        what: "a version that is ill is taken back by its agent",
        missing: toy::missing,
        begin: || Box::new(TakeBack::begin()),
    },
    Named {
        name: "rollback",
        what: "a change that was done is taken back by command",
        missing: toy::missing,
        begin: || Box::new(Only { inner: Rollback::begin(), points: &["agent."] }),
    },
];

/// A scenario whose other points are another's.
struct Only<S> {
    inner: S,
    points: &'static [&'static str],
}

impl<S: Scenario> Scenario for Only<S> {
    fn survey(&mut self) -> Result<Passed, String> {
        self.inner.survey()
    }

    fn wants(&self, cell: &Cell) -> bool {
        self.points.iter().any(|point| cell.point.starts_with(point))
    }

    fn run(&mut self, cell: &Cell) -> Told {
        self.inner.run(cell)
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        Box::new(self.inner).close()
    }
}

/// The cells of what was passed. A kill at every passing of every point; a write that is refused at the first and
/// the last passing of each, or at `every` one.
///
/// Pieces of one long file are written in a loop: its first and its last passing stand for those between.
#[must_use]
pub(crate) fn cells(passed: &Passed, every: bool) -> Vec<Cell> {
    let mut cells = Vec::new();
    for ((side, point), times) in passed {
        let actions: &[Action] =
            if points::is_effect(point) { &Action::OF_AN_EFFECT } else { &Action::OF_A_WRITE };
        for nth in 1..=*times {
            let (last, edge) = (nth == *times, nth == 1 || nth == *times);
            if points::IN_A_LOOP.contains(&point.as_str()) && !edge {
                continue;
            }
            let done = actions.iter().filter(|action| action.kills() || every || edge);
            cells.extend(done.map(|action| Cell {
                side: *side,
                point: point.clone(),
                nth,
                last,
                action: *action,
            }));
        }
    }
    cells
}
