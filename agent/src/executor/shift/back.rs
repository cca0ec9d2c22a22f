//! Taking an earlier section's change back, by an operator's command.
//!
//! The same steps, in the same order and from the same notes as when a section that fails takes itself back; see
//! [`Shift::take_back`]. Nobody has failed here, so nothing is tried forwards: once the first step back is
//! journalled the section only ever goes on backwards.

use drydock_types::{
    AbsPath, Section, Sha256, Step,
    outcome::{Evidence, Failure, SectionResult},
};
use tokio::time::Instant;

use super::{Back, Shift, Throttle, undo::in_undo_order, within};
use crate::{
    actions::{Note, Problem},
    executor::{admit, bounds, undoes},
    journal::{JournalError, Past, Stored},
};

impl Shift<'_> {
    /// To the section's result.
    pub(super) async fn back(&mut self) -> Result<SectionResult, JournalError> {
        let Some(past) = undoes::past(&*self.journal.lock().await, &self.open.section)? else {
            // Judged right before the section was accepted, and kept while it is open.
            return Ok(refused(Problem::new("the notes of what is to be undone are gone from the journal")));
        };
        let going_on = self.open.steps.values().any(|state| state.undo_begun.is_some());
        if !going_on && let Some(result) = self.not_to_be_begun(&past.section).await {
            return Ok(result);
        }
        let deadline = self.started + self.allowed();
        for (index, step, note) in changed(&past) {
            if self.is_back(index, &step) {
                continue;
            }
            let back = Back { section: &past.section, index, step: &step, note: &note, deadline };
            if let Err(what) = self.undo(back, None).await? {
                let because = bounds::text(format!("{} could not be taken back: {what}", step.name()));
                let failure = bounds::failure(step.name(), Problem::new(what));
                return Ok(SectionResult::LeftAlone { failure, because });
            }
        }
        Ok(match self.is_well(&past, deadline).await? {
            Ok(()) => SectionResult::Done {},
            Err(failure) => {
                let because = "everything was put back, and it is not well on what it ran before".into();
                SectionResult::LeftAlone { failure, because }
            }
        })
    }

    /// Policy, then the guards, both of now. After the first step back they are not asked again: half-way is
    /// worse than either end.
    async fn not_to_be_begun(&self, past: &Section) -> Option<SectionResult> {
        if let Err(problem) = self.workshop.may_take_back(past).await {
            return Some(refused(problem));
        }
        let because = bounds::text(self.may_undo(past).await.err()?);
        let failure = bounds::failure("canUndo", Problem::new(because.clone()));
        Some(SectionResult::LeftAlone { failure, because })
    }

    /// What verified the change, asked whether the node is well on what it ran before.
    async fn is_well(&mut self, past: &Past, deadline: Instant) -> Result<Result<(), Failure>, JournalError> {
        let displaced = self.displaced(past).await?;
        let before = past.section.from.clone();
        // Which version answers can be judged only where it was known.
        let asks_version = |step: &Step| matches!(step, Step::ServiceVersion(_) | Step::EtcdMemberHealthy(_));
        let looks = past.section.verify.iter().filter(|step| before.is_some() || !asks_version(step));
        let to = before.clone().unwrap_or_else(|| past.section.to.clone());
        let nothing_noted = Note::none();
        let told = Section { to, from: None, artifact: None, ..past.section.clone() };
        for step in looks {
            let began = Instant::now();
            let progress = Throttle::new(self.listener, self.effect(), step.name());
            let say = |done, total| progress.say(done, total);
            let look = self.workshop.apply(&told, step, &nothing_noted, &say);
            let seen = progress.named_when_long(within(deadline, look)).await.map(bounds::evidence);
            let seen = seen.and_then(|seen| runs_what_was_displaced(step, &displaced, seen));
            self.report(step, began, seen.as_ref().err());
            match seen {
                Ok(evidence) => self.evidence.extend(evidence),
                Err(problem) => return Ok(Err(bounds::failure(step.name(), problem))),
            }
            if step.asks_the_service() {
                self.back_at = Some(Instant::now());
            }
        }
        Ok(Ok(()))
    }

    /// What the change put away, by its own evidence: path and digest.
    async fn displaced(&self, past: &Past) -> Result<Vec<(AbsPath, Sha256)>, JournalError> {
        let Stored::Ended { outcome, .. } = self.journal.lock().await.stored(past.section.effect)? else {
            return Ok(Vec::new());
        };
        let swapped = |seen: Evidence| match seen {
            Evidence::Swapped { path, old_sha256, .. } => Some((path, old_sha256)),
            _ => None,
        };
        Ok(outcome.evidence.into_iter().filter_map(swapped).collect())
    }
}

/// Steps that changed something, with their notes, in the order in which they are taken back. One that an undo
/// of its own section took back already is taken back again: that does no harm.
fn changed(past: &Past) -> Vec<(u32, Step, Note)> {
    let step = |(index, note): (&u32, &Note)| {
        let step = admit::step(&past.section, *index).filter(|step| admit::changes(step))?;
        Some((*index, step.clone(), note.clone()))
    };
    let mut steps: Vec<_> = past.notes.iter().filter_map(step).collect();
    in_undo_order(&mut steps);
    steps
}

/// The executable in memory must be the very one that was displaced.
fn runs_what_was_displaced(
    step: &Step,
    displaced: &[(AbsPath, Sha256)],
    seen: Vec<Evidence>,
) -> Result<Vec<Evidence>, Problem> {
    let Step::RunningExecutable(config) = step else { return Ok(seen) };
    let Some((_, wanted)) = displaced.iter().find(|(path, _)| *path == config.path) else { return Ok(seen) };
    for running in &seen {
        if let Evidence::Running(running) = running
            && running.exe_sha256 != *wanted
        {
            return Err(Problem::new(format!(
                "the main process of {} ({}) runs a file of digest {}, and what was displaced had {}",
                running.unit,
                running.pid,
                running.exe_sha256.short(),
                wanted.short()
            )));
        }
    }
    Ok(seen)
}

fn refused(problem: Problem) -> SectionResult {
    SectionResult::Refused { failure: bounds::failure("undo", problem) }
}
