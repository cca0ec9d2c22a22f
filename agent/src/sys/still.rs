//! Why a wait goes on, for whoever ends it: a deadline alone says nothing of what was waited for.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::{Instant, timeout_at};

tokio::task_local! {
    static LAST: Arc<Mutex<String>>;
}

/// Said by a loop that looks again; what counts is what was said last.
pub fn waits(why: &str) {
    // Outside of `until` nobody asks.
    let _ = LAST.try_with(|last| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clear();
        last.push_str(why);
    });
}

/// Works until then.
///
/// # Errors
/// When the time is over: what the work has waited for, empty where it said nothing.
pub async fn until<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, String> {
    let last = Arc::new(Mutex::new(String::new()));
    match timeout_at(deadline, LAST.scope(last.clone(), work)).await {
        Ok(done) => Ok(done),
        Err(_) => Err(std::mem::take(&mut *last.lock().unwrap_or_else(PoisonError::into_inner))),
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_learns_what_was_waited_for_last() {
        let soon = || Instant::now() + Duration::from_secs(1);
        assert_eq!(until(soon(), async { 7 }).await, Ok(7));
        let waiting = async {
            waits("br0 is not a bridge");
            waits("br0 has no flows");
            pending::<()>().await;
        };
        assert_eq!(until(soon(), waiting).await, Err("br0 has no flows".to_owned()));
        assert_eq!(until(soon(), pending::<()>()).await, Err(String::new()), "not another work's words");
        waits("nobody asks");
    }
}
