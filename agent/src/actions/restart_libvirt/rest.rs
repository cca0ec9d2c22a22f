//! Waiting until the guests let the daemon be restarted.

use std::{future::Future, time::Duration};

use drydock_types::{libvirt::Quiescence, outcome::Verdict};
use tokio::time::{Instant, sleep};

use super::word;
use crate::{actions::Problem, libvirt::Seen, sys::still};

/// How often it is looked again: a look is some calls to the daemon.
const LOOK_AGAIN: Duration = if cfg!(test) { Duration::from_millis(5) } else { Duration::from_secs(1) };

/// The look at which they rest; or why they do not, from the last one.
pub(super) async fn wait<F>(wanted: Quiescence, until: Instant, look: impl Fn() -> F) -> Result<Seen, String>
where
    F: Future<Output = Result<Seen, Problem>> + Send,
{
    loop {
        let why = match look().await {
            Ok(seen) => match seen.view.quiescent(wanted) {
                Verdict::Clear => return Ok(seen),
                Verdict::Refused(why) => return Err(why),
                // What cannot be seen now may be seen in a moment: the daemon may be busy.
                Verdict::Waiting(why) | Verdict::Unknown(why) => why,
            },
            Err(problem) => problem.what,
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("the node is not {}: {why}", word(wanted)));
        }
        still::waits(&why);
        sleep(LOOK_AGAIN.min(left)).await;
    }
}

/// With what a person does about it.
pub(super) fn problem(unit: &str, why: String) -> Problem {
    Problem::new(format!("{unit} is not restarted: {why}"))
        .next("virsh -c qemu:///system list --all; virsh -c qemu:///system domjobinfo GUEST; df -h /run /var/lib/libvirt")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use drydock_types::libvirt::{Guest, LibvirtView};

    use super::*;
    use crate::{
        libvirt::before::tests::{guest, view},
        sys::units::UnitInfo,
    };

    fn busy() -> LibvirtView {
        view(vec![Guest { job: Ok(Some("Outgoing migration".into())), ..guest("u", 1) }])
    }

    async fn waited(views: Vec<Result<LibvirtView, Problem>>, seconds: u64) -> (Result<Seen, String>, usize) {
        let looks = AtomicUsize::new(0);
        let (looks_of, views) = (&looks, &views);
        let look = || async move {
            let at = looks_of.fetch_add(1, Ordering::SeqCst).min(views.len() - 1);
            views[at].clone().map(|view| Seen { view, unit: UnitInfo::default() })
        };
        let until = Instant::now() + Duration::from_secs(seconds);
        let end = wait(Quiescence::RestartSafe, until, look).await;
        (end, looks.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn a_migration_is_waited_out() {
        let rested = view(vec![guest("u", 1)]);
        let unseen = Err(Problem::new("virsh hangs"));
        let (end, looks) = waited(vec![Ok(busy()), unseen, Ok(busy()), Ok(rested.clone())], 600).await;
        assert_eq!((end.unwrap().view, looks), (rested, 4));
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_named_with_its_job() {
        let (end, _) = waited(vec![Ok(busy())], 0).await;
        let why = end.unwrap_err();
        assert!(
            why.contains("not restartSafe") && why.contains("g1") && why.contains("Outgoing migration"),
            "{why}"
        );
    }

    #[tokio::test]
    async fn what_does_not_pass_by_itself_is_not_waited_for() {
        let kills = LibvirtView { kill_mode: "control-group".into(), ..view(vec![]) };
        let (end, looks) = waited(vec![Ok(kills)], 600).await;
        assert!(end.unwrap_err().contains("KillMode"));
        assert_eq!(looks, 1);
    }
}
