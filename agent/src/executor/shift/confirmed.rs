//! Commit-confirmed sections: armed before the first change, confirmed after the last look, and taken back by
//! the reverter in every other case, also when the agent itself sees that it failed. Once armed, nobody else
//! takes it back: two that do so at once would each undo the other.

use drydock_types::{
    Millis,
    outcome::{Evidence, Failure, SectionResult, StepReport},
};
use tokio::time::Instant;

use super::{Shift, bounds, changes, millis, step, within};
use crate::{
    actions::Problem,
    journal::{JournalError, Record},
    revert::{Report, Standing, plan::utc},
};

/// What it is called in reports and failures.
const NAME: &str = "commitConfirmed";

/// How the revert stands for one shift.
#[derive(Debug, Clone, Copy)]
pub(super) enum Guard {
    /// Not armed, or not wanted.
    None,
    /// Armed; strikes then.
    Armed(Instant),
    /// Confirmed by a shift that was interrupted before it could say so.
    Confirmed,
}

impl Guard {
    pub(super) const fn is_armed(self) -> bool {
        matches!(self, Self::Armed(_))
    }

    /// No step goes on for longer than until the revert strikes.
    pub(super) fn bound(self, deadline: Instant) -> Instant {
        match self {
            Self::Armed(strikes) => strikes.min(deadline),
            Self::None | Self::Confirmed => deadline,
        }
    }
}

impl Shift<'_> {
    const fn is_wanted(&self) -> bool {
        self.open.section.commit_confirmed.is_some()
    }

    /// How it stands when the shift begins. `Some`: it has been taken back, and that is the end.
    pub(super) async fn stands(&mut self) -> Result<Option<SectionResult>, JournalError> {
        if !self.is_wanted() || !self.open.armed {
            return Ok(None);
        }
        match self.workshop.standing(&self.open.section).await {
            Ok(Standing::None) => {
                if !self.open.steps.keys().any(|at| step(&self.open.section, *at).is_some_and(changes)) {
                    return Ok(None);
                }
                let gone = "the revert that was armed for this change is gone, and the change is half done";
                let gone = bounds::failure(NAME, Problem::new(gone));
                let failure = self.open.failure.clone().unwrap_or(gone);
                self.take_back(failure).await.map(Some)
            }
            Ok(Standing::Armed(left)) => {
                self.guard = Guard::Armed(Instant::now() + left);
                if self.open.resumed <= super::MAX_RESUMED {
                    return Ok(None);
                }
                let because = "the agent died in this section again and again".to_owned();
                self.strike(bounds::failure(NAME, Problem::new(because))).await.map(Some)
            }
            Ok(Standing::Confirmed) => {
                self.guard = Guard::Confirmed;
                Ok(None)
            }
            Ok(Standing::Reverted(report)) => {
                let own = self.open.failure.clone();
                Ok(Some(self.taken_back(&report, own)))
            }
            Err(problem) => Ok(Some(SectionResult::Undecidable {
                step: NAME.into(),
                because: bounds::text(problem.what),
            })),
        }
    }

    /// Everything that arming will demand, before anything is begun.
    pub(super) async fn may_arm(&self, deadline: Instant) -> Result<(), Failure> {
        if !self.is_wanted() {
            return Ok(());
        }
        let may = within(deadline, self.workshop.may_arm(&self.open.section)).await;
        may.map_err(|problem| bounds::failure(NAME, problem))
    }

    /// Arms before the first step that changes something.
    pub(super) async fn arm_before(&mut self, index: u32) -> Result<Result<(), Failure>, JournalError> {
        let first = step(&self.open.section, index).is_some_and(changes);
        if !self.is_wanted() || !first || !matches!(self.guard, Guard::None) {
            return Ok(Ok(()));
        }
        let began = Instant::now();
        self.write(&[Record::Arming { effect: self.effect() }], true).await?;
        let armed = self.workshop.arm(&self.open.section).await;
        self.said(began, armed.as_ref().err());
        match armed {
            Ok(left) => {
                self.guard = Guard::Armed(Instant::now() + left);
                Ok(Ok(()))
            }
            Err(problem) => Ok(Err(bounds::failure(NAME, problem))),
        }
    }

    /// After the last look: confirmed, or why not.
    pub(super) async fn confirm(&mut self) -> Result<(), Failure> {
        if matches!(self.guard, Guard::None) {
            return Ok(());
        }
        let began = Instant::now();
        let confirmed = self.workshop.confirm(&self.open.section).await;
        self.said(began, confirmed.as_ref().err());
        let evidence = confirmed.map_err(|problem| bounds::failure(NAME, problem))?;
        self.evidence.extend(bounds::evidence(evidence));
        self.guard = Guard::Confirmed;
        Ok(())
    }

    /// Nothing was changed: the revert has nothing to do.
    pub(super) async fn disarm(&mut self) {
        if self.guard.is_armed()
            && let Err(problem) = self.workshop.disarm(&self.open.section).await
        {
            tracing::warn!(%problem, "a revert that is not needed was not disarmed; it will find nothing to do");
        }
        self.guard = Guard::None;
    }

    /// It failed: the revert strikes now rather than at its time.
    pub(super) async fn strike(&mut self, failure: Failure) -> Result<SectionResult, JournalError> {
        if self.open.failure.is_none() {
            let decided = Record::UndoDecided { effect: self.effect(), failure: failure.clone() };
            self.write(&[decided], true).await?;
        }
        Ok(match self.workshop.revert(&self.open.section, &failure.what).await {
            Ok(report) => self.taken_back(&report, Some(failure)),
            Err(problem) => SectionResult::LeftAlone { failure, because: bounds::text(problem.what) },
        })
    }

    /// What the reverter reported, as an outcome.
    fn taken_back(&mut self, report: &Report, own: Option<Failure>) -> SectionResult {
        let Report { at_unix_ms, after, because, restored, failed, .. } = report;
        let tenths = after.0 / 100;
        let later = format!(", {}.{} s after it was armed", tenths / 10, tenths % 10);
        let later = if after.0 == 0 { String::new() } else { later };
        let alone = format!("the node took the change back by itself at {}{later}", utc(*at_unix_ms));
        self.evidence.extend(bounds::evidence(vec![Evidence::Reverted {
            at_unix_ms: *at_unix_ms,
            after: *after,
            because: because.clone(),
            restored: restored.clone(),
        }]));
        self.reports.push(StepReport { step: NAME.into(), undo: true, took: Millis(0), error: None });
        let failure = match own {
            Some(own) => {
                let what = format!("{}; {alone}", own.what);
                Failure { what: bounds::what(what), ..own }
            }
            None => {
                let next = "journalctl -u 'drydock-revert*' on the node says what was put back";
                bounds::failure(NAME, Problem::new(format!("{alone}: {because}")).next(next))
            }
        };
        if failed.is_empty() {
            return SectionResult::Undone { failure };
        }
        let because = format!("the revert could not put everything back: {}", failed.join("; "));
        SectionResult::LeftAlone { failure, because: bounds::text(because) }
    }

    fn said(&mut self, began: Instant, error: Option<&Problem>) {
        let (took, error) =
            (millis(began.elapsed()), error.map(|problem| bounds::text(problem.what.clone())));
        self.reports.push(StepReport { step: NAME.into(), undo: false, took, error });
    }
}
