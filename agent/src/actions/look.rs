//! Actions that change nothing: they see that something is well, or wait until it is.

use std::{future::Future, time::Duration};

use async_trait::async_trait;
use drydock_types::{Millis, outcome::Evidence};
use tokio::time::{Instant, sleep};

use super::{Action, Cx, Found, Note, Problem};
use crate::sys::still;

/// A look has no effect that could be half done or taken back.
#[async_trait]
pub(super) trait Look: Send + Sync {
    /// What can be refused before the section begins.
    async fn ahead(&self, cx: &Cx<'_>) -> Result<(), Problem>;

    /// The look itself, at its place in the section.
    async fn see(&self, cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem>;
}

#[async_trait]
impl<T: Look> Action for T {
    async fn check(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        self.ahead(cx).await
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        self.see(cx).await
    }

    async fn probe(&self, _cx: &Cx<'_>, _note: &Note) -> Found {
        Found::NotBegun
    }

    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}

/// Looks until it is well, and at least once.
///
/// # Errors
/// What was found last, when `within` is over.
pub(super) async fn until_well<T, F>(
    within: Millis,
    again: Duration,
    mut look: impl FnMut() -> F,
) -> Result<T, Problem>
where
    F: Future<Output = Result<T, Problem>>,
{
    let until = Instant::now() + Duration::from_millis(within.0);
    loop {
        match look().await {
            Ok(well) => return Ok(well),
            Err(problem) if Instant::now() >= until => {
                return Err(Problem { what: format!("{}, still after {within}", problem.what), ..problem });
            }
            Err(problem) => {
                still::waits(&problem.what);
                sleep(again).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn well_after(looks: u32, within: Millis) -> (Result<u32, Problem>, u32) {
        let looked = Cell::new(0);
        let ended = until_well(within, Duration::from_secs(1), || async {
            looked.set(looked.get() + 1);
            if looked.get() > looks { Ok(looks) } else { Err(Problem::new("not yet").next("look")) }
        });
        (ended.await, looked.get())
    }

    #[tokio::test(start_paused = true)]
    async fn what_becomes_well_in_time_is_well_and_what_does_not_is_told() {
        assert_eq!(well_after(3, Millis::secs(10)).await, (Ok(3), 4));
        assert_eq!(well_after(0, Millis(0)).await, (Ok(0), 1));
        let late = Problem::new("not yet, still after 2s").next("look");
        assert_eq!(well_after(9, Millis::secs(2)).await, (Err(late), 3));
    }
}
