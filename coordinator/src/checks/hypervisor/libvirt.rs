//! `libvirtQuiescence`: libvirt's daemon may be restarted. The agent judges the same by the same rule right before it.

use drydock_core::recipe::LibvirtQuiescence;
use drydock_types::{Verdict, libvirt::LibvirtView};

/// Judges what was seen.
pub(super) fn judge(view: &LibvirtView, config: LibvirtQuiescence) -> Verdict {
    view.quiescent(config.quiescence)
}

#[cfg(test)]
mod tests {
    use drydock_types::libvirt::{Guest, GuestProcess, LEAST_FREE_BYTES, LibvirtKind, Quiescence};

    use super::*;

    #[test]
    fn a_guest_that_rests_is_clear_or_waited_for_as_the_plan_says() {
        let process = GuestProcess { pid: 1, started_ticks: 1, qemu: Ok("7.2.22".into()), replaced: true };
        let guest = Guest {
            uuid: "1d166337-2583-4a5b-b4b1-42fe6c9e3eee".into(),
            name: "g1".into(),
            process: Some(process),
            state: Some("running (booted)".into()),
            job: Ok(None),
            monitor: Ok(()),
        };
        let view = LibvirtView {
            kind: LibvirtKind::Monolithic,
            version: Ok("9.0.0".into()),
            kill_mode: "process".into(),
            guests_in_its_cgroup: true,
            run_free_bytes: LEAST_FREE_BYTES,
            lib_free_bytes: LEAST_FREE_BYTES,
            guests: Ok(vec![guest]),
            pools: Ok(Vec::new()),
            networks: Ok(Vec::new()),
        };
        assert!(
            matches!(judge(&view, LibvirtQuiescence::default()), Verdict::Waiting(why) if why.contains("g1"))
        );
        assert_eq!(judge(&view, LibvirtQuiescence { quiescence: Quiescence::RestartSafe }), Verdict::Clear);
    }
}
