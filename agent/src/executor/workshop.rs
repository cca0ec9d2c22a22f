//! What the executor has done by: real actions on a host, or a script in a test.

use async_trait::async_trait;
use drydock_types::{Section, Step, outcome::Evidence, step::UndoGuard};

use crate::actions::{Found, Note, Problem};

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
    /// Takes it back and sees that it is so. Twice does no harm.
    async fn undo(&self, section: &Section, step: &Step, note: &Note) -> Result<Vec<Evidence>, Problem>;
    /// Does the guard hold, on fresh evidence? The text says why not.
    async fn undo_guard(&self, section: &Section, guard: &UndoGuard) -> Result<(), String>;
}
