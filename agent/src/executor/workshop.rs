//! What the executor has done by: real actions on a host, or a script in a test.

use std::time::Duration;

use async_trait::async_trait;
use drydock_types::{AbsPath, EffectId, Section, Step, outcome::Evidence, step::UndoGuard};

use crate::{
    actions::{Found, Note, Problem},
    revert::{Report, Standing},
};

/// Reports how far a long step is: done, of all.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// Does single steps. Order, journal, deadlines and undo are the executor's.
///
/// A future may be dropped at any await (deadline): what must not stop half-way belongs into one blocking call.
#[async_trait]
pub trait Workshop: Send + Sync {
    /// Read-only: everything that can be refused ahead.
    async fn check(&self, section: &Section, step: &Step) -> Result<(), Problem>;
    /// Read-only: what `probe` and `undo` will need.
    async fn note(&self, section: &Section, step: &Step) -> Result<Note, Problem>;
    /// Does it and sees that it is so.
    async fn apply(
        &self,
        section: &Section,
        step: &Step,
        note: &Note,
        progress: Progress<'_>,
    ) -> Result<Vec<Evidence>, Problem>;
    /// After a crash: did it take place?
    async fn probe(&self, section: &Section, step: &Step, note: &Note) -> Found;
    /// Read-only: what `undo_probe` will need.
    async fn undo_note(&self, section: &Section, step: &Step) -> Result<Note, Problem>;
    /// Takes it back and sees that it is so. Twice does no harm.
    async fn undo(&self, section: &Section, step: &Step, note: &Note) -> Result<Vec<Evidence>, Problem>;
    /// After a crash: was it taken back? `before` is what `undo_note` gave right before that began.
    async fn undo_probe(&self, section: &Section, step: &Step, note: &Note, before: &Note) -> Found;
    /// Does a program unpack itself, as this node's policy says?
    fn unpacks_itself(&self, path: &AbsPath) -> bool;
    /// Read-only: may an earlier section be taken back by command, as far as this node's policy goes?
    async fn may_take_back(&self, section: &Section) -> Result<(), Problem>;
    /// Does the guard hold, on fresh evidence? The text says why not.
    async fn undo_guard(&self, section: &Section, guard: &UndoGuard) -> Result<(), String>;

    /// How the revert of a commit-confirmed section stands, once none is at work any more.
    async fn standing(&self, _section: &Section) -> Result<Standing, Problem> {
        Ok(Standing::None)
    }
    /// Read-only: everything that arming will demand.
    async fn may_arm(&self, _section: &Section) -> Result<(), Problem> {
        Err(no_reverts())
    }
    /// Arms the revert; it strikes after the time that is given back.
    async fn arm(&self, _section: &Section) -> Result<Duration, Problem> {
        Err(no_reverts())
    }
    /// Nothing was changed after all: the revert is not needed.
    async fn disarm(&self, _section: &Section) -> Result<(), Problem> {
        Ok(())
    }
    /// Confirms as soon as it may be, or says why it could not be until the revert's time.
    async fn confirm(&self, _section: &Section) -> Result<Vec<Evidence>, Problem> {
        Err(no_reverts())
    }
    /// Has the revert strike now, and waits for its report.
    async fn revert(&self, _section: &Section, _why: &str) -> Result<Report, Problem> {
        Err(no_reverts())
    }
    /// The outcome is in the journal: what the revert left may go.
    async fn put_away(&self, _effect: EffectId) {}
    /// Read-only: whose change was confirmed or taken back and has left something that was not put away.
    async fn left_over(&self) -> Option<EffectId> {
        None
    }
}

fn no_reverts() -> Problem {
    Problem::new("nothing here can be armed to be taken back by itself")
}
