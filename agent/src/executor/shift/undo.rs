//! One step back: noted, journalled, done, seen.
//!
//! After a crash in between it is asked first whether it took place: a service that was started again by then is
//! not started again once more. What cannot be told is taken back again, which does no harm.

use std::time::Duration;

use drydock_types::{
    Section, Step,
    outcome::{Evidence, StepReport},
};
use tokio::time::{Instant, timeout_at};

use super::{LOOK, Shift, Throttle, bounds, millis, within};
use crate::{
    actions::{Found, Note},
    executor::admit::is_of_unit,
    journal::{JournalError, Record},
    openvswitch::reload::MEND,
};

/// The part of the time that is left which a look before a step back may take: the rest is for the step.
const NOTE_PART: u32 = 4;

/// How long it is looked whether a step was taken back: as long as that may still be under way. A slow restart that is
/// begun a second time only takes longer.
pub(super) const fn patience(step: &Step) -> Duration {
    match step {
        Step::StopUnit(unit) | Step::StartUnit(unit) | Step::RestartUnit(unit) | Step::RestartAgent(unit) => {
            LOOK.saturating_add(Duration::from_millis(unit.within.0))
        }
        // dpkg goes on by itself, and is waited for.
        Step::InstallPackages(packages) => LOOK.saturating_add(Duration::from_millis(packages.within.0)),
        // Its restart is waited for, and then its guests.
        Step::RestartLibvirt(it) => LOOK.saturating_add(Duration::from_millis(it.within.0).saturating_mul(2)),
        // What was interrupted is mended by the look: a switch that is left in the middle forwards nothing new.
        Step::ReloadOpenvswitch(it) => {
            LOOK.saturating_add(Duration::from_millis(it.within.0)).saturating_add(MEND)
        }
        // One that was told to leave is started by the look, and given its time to catch up.
        Step::RestartOvnController(it) => {
            LOOK.saturating_add(Duration::from_millis(it.within.0).saturating_mul(3))
        }
        _ => LOOK,
    }
}

/// Files first, then packages, then units, each from the last to the first: units come back running what lies on the disk, and
/// so does a service that the packages' scripts have ended and that comes back with them.
pub(super) fn in_undo_order(steps: &mut [(u32, Step, Note)]) {
    let turn = |step: &Step| (is_of_unit(step), matches!(step, Step::InstallPackages(_)));
    steps.sort_by_key(|(index, step, _)| (turn(step), u32::MAX - index));
}

/// A step that is to be taken back.
#[derive(Clone, Copy)]
pub(super) struct Back<'a> {
    /// The section that did it.
    pub(super) section: &'a Section,
    pub(super) index: u32,
    pub(super) step: &'a Step,
    /// From before it was done.
    pub(super) note: &'a Note,
    pub(super) deadline: Instant,
}

impl Shift<'_> {
    /// Was it taken back before this shift began? Then that is told again.
    pub(super) fn is_back(&mut self, index: u32, step: &Step) -> bool {
        let state = self.open.steps.get(&index);
        let Some((evidence, took)) = state.and_then(|state| state.undone.clone()) else { return false };
        self.evidence.extend(evidence);
        self.reports.push(StepReport { step: step.name().into(), undo: true, took, error: None });
        // How long the agent was away nobody knows: what is told is a lower bound.
        if step.disrupts() || self.out_since.is_some() {
            let since = self.out_since.unwrap_or(self.started);
            self.out_since = since.checked_sub(Duration::from_millis(took.0)).or(Some(since));
        }
        true
    }

    /// From then on, unless it was out of service already.
    fn is_out(&mut self, step: &Step, since: Instant) {
        if step.disrupts() && self.out_since.is_none() {
            self.out_since = Some(since);
        }
    }

    /// Takes one step back. `decision` goes to the disk in the same write as that it is begun.
    pub(super) async fn undo(
        &mut self,
        back: Back<'_>,
        decision: Option<Record>,
    ) -> Result<Result<(), String>, JournalError> {
        let began = Instant::now();
        let earlier = self.open.steps.get(&back.index).and_then(|state| state.undo_begun.clone());
        if let Some(before) = earlier {
            // It was begun before this shift.
            self.is_out(back.step, self.started);
            if let Some(evidence) = self.was_undone(&back, &before).await {
                return self.undone(&back, evidence, Duration::ZERO).await.map(Ok);
            }
        } else {
            let note = self.undo_note(&back).await;
            let begun = Record::UndoBegun { effect: self.effect(), index: back.index, note };
            let records: Vec<Record> = decision.into_iter().chain([begun]).collect();
            self.write(&records, true).await?;
        }
        self.is_out(back.step, Instant::now());
        let progress = Throttle::new(self.listener, self.effect(), back.step.name());
        let work = within(back.deadline, self.workshop.undo(back.section, back.step, back.note));
        match progress.named_when_long(work).await {
            Ok(evidence) => self.undone(&back, bounds::evidence(evidence), began.elapsed()).await.map(Ok),
            Err(problem) => {
                let (step, took) = (back.step.name().into(), millis(began.elapsed()));
                let error = Some(bounds::text(problem.what.clone()));
                self.reports.push(StepReport { step, undo: true, took, error });
                Ok(Err(problem.what))
            }
        }
    }

    /// One that cannot be made stands in nobody's way: without it the step is taken back again after a crash.
    async fn undo_note(&self, back: &Back<'_>) -> Note {
        let left = back.deadline.saturating_duration_since(Instant::now());
        let until = Instant::now() + LOOK.min(left / NOTE_PART);
        let noted = within(until, self.workshop.undo_note(back.section, back.step)).await;
        noted.and_then(bounds::note).unwrap_or_else(|problem| {
            tracing::warn!(%problem, step = back.step.name(), "how it stands before it is taken back was not noted");
            Note::none()
        })
    }

    /// What is seen of it, if an earlier shift has taken it back and died before it could say so.
    async fn was_undone(&self, back: &Back<'_>, before: &Note) -> Option<Vec<Evidence>> {
        let look = self.workshop.undo_probe(back.section, back.step, back.note, before);
        let until = back.deadline.min(Instant::now() + patience(back.step));
        match timeout_at(until, look).await {
            Ok(Found::Done) => Some(Vec::new()),
            Ok(Found::Seen(evidence)) => Some(bounds::evidence(evidence)),
            Ok(Found::NotBegun | Found::Undecidable(_)) | Err(_) => None,
        }
    }

    async fn undone(
        &mut self,
        back: &Back<'_>,
        evidence: Vec<Evidence>,
        took: Duration,
    ) -> Result<(), JournalError> {
        let (step, took) = (back.step.name().into(), millis(took));
        self.reports.push(StepReport { step, undo: true, took, error: None });
        self.evidence.extend(evidence.iter().cloned());
        let done = Record::UndoDone { effect: self.effect(), index: back.index, evidence, took };
        self.write(&[done], false).await
    }
}

#[cfg(test)]
mod tests {
    use drydock_types::{
        AbsPath, Millis, UnitName,
        libvirt::RestartLibvirt,
        openvswitch::{ReloadOpenvswitch, RestartOvnController},
        packages::Packages,
        step::{SwapBinary, UnitStep},
    };

    use super::*;

    #[test]
    fn a_restart_that_is_slow_to_come_back_is_looked_at_for_all_of_its_time() {
        for within in [Millis::secs(1), Millis::secs(60), Millis::secs(900)] {
            let unit = UnitStep { unit: UnitName::parse("x.service").unwrap(), within };
            let libvirt = RestartLibvirt { within, ..RestartLibvirt::default() };
            let switch = ReloadOpenvswitch { within, ..ReloadOpenvswitch::default() };
            let controller = RestartOvnController { within, ..RestartOvnController::default() };
            for step in [
                Step::StartUnit(unit.clone()),
                Step::RestartUnit(unit),
                Step::RestartLibvirt(libvirt),
                Step::ReloadOpenvswitch(switch),
                Step::RestartOvnController(controller),
            ] {
                // The look ends by itself at the step's own time, and says then what it saw.
                assert!(patience(&step) > Duration::from_millis(within.0), "{step:?}");
            }
        }
    }

    #[test]
    fn files_come_back_before_packages_and_both_before_units() {
        let swap = || Step::SwapBinary(SwapBinary { path: AbsPath::parse("/usr/bin/x").unwrap() });
        let unit = || UnitStep { unit: UnitName::parse("x.service").unwrap(), within: Millis::secs(1) };
        let steps = [
            swap(),
            Step::StopUnit(unit()),
            Step::InstallPackages(Packages::default()),
            Step::StartUnit(unit()),
            swap(),
        ];
        let mut back: Vec<_> = (0..).zip(steps).map(|(index, step)| (index, step, Note::none())).collect();
        in_undo_order(&mut back);
        assert_eq!(back.iter().map(|(index, ..)| *index).collect::<Vec<_>>(), [4, 0, 2, 3, 1]);
    }
}
