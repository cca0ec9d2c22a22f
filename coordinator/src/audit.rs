//! Is the record what was written, and did the nodes sign what it says of them?
//!
//! Who asks does the judging: the coordinator hands out lines, and the command line judges them against the
//! authority that it knows itself. So a coordinator that changed its own record is found out like anybody else,
//! and a sealed file is judged by the same code, years later and without any coordinator.
//!
//! | module | what lives there |
//! |---|---|
//! | [`lines`] | the form in which a record leaves the coordinator: on the wire and in a sealed file |
//! | [`judge`] | the walk along the lines, and what it finds. Pure |
//! | [`heads`] | what agents keep of the record, beside the record |
//! | [`outcomes`] | who signed an outcome, and whether he could |
//! | [`view`] | the findings, for screens |

pub mod heads;
pub mod judge;
pub mod lines;
pub mod outcomes;
#[cfg(test)]
mod tests;
pub mod view;

use drydock_types::Sha256;

pub use judge::{Judge, Trusted};
pub use lines::Line;
pub use view::AuditView;

use crate::trust::{SealError, seal};

/// Fresh randomness that agents are to sign: an answer from before does not serve.
///
/// # Errors
/// When the system gives none.
pub fn nonce() -> Result<Sha256, SealError> {
    seal::random().map(Sha256)
}
