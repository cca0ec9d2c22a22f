//! Sees that libvirt's daemon answers, and knows and reaches each guest.

use async_trait::async_trait;
use drydock_types::{libvirt::LibvirtView, outcome::Evidence, step::Within};

use super::{
    Cx, Problem,
    look::{Look, until_well},
};
use crate::{libvirt, sys::units::LOOK_AGAIN};

/// The look.
#[derive(Debug)]
pub struct Ready<'a>(pub &'a Within);

#[async_trait]
impl Look for Ready<'_> {
    async fn ahead(&self, _cx: &Cx<'_>) -> Result<(), Problem> {
        libvirt::kind().map(drop)
    }

    async fn see(&self, cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem> {
        let look = async || ready(&libvirt::look(cx.host).await?.view).map_err(Problem::new);
        let source = until_well(self.0.within, LOOK_AGAIN * 4, look).await.map_err(|problem| {
            problem.next("virsh -c qemu:///system list --all; systemctl status libvirtd virtqemud")
        })?;
        Ok(vec![Evidence::Healthy { source }])
    }
}

/// Who answered; or what does not.
fn ready(view: &LibvirtView) -> Result<String, String> {
    let version = view.version.as_ref().map_err(|why| format!("libvirt's daemon does not answer: {why}"))?;
    let guests = view.guests.as_ref().map_err(|why| format!("the guests cannot be seen: {why}"))?;
    for guest in guests.iter().filter(|guest| !guest.uuid.is_empty()) {
        match (&guest.state, &guest.process, &guest.monitor) {
            (None, ..) => return Err(format!("the daemon does not know {}", guest.told())),
            (_, None, _) => return Err(format!("{} has no QEMU process", guest.told())),
            (_, _, Err(why)) => {
                return Err(format!("the monitor of {} does not answer: {why}", guest.told()));
            }
            (Some(_), Some(_), Ok(())) => {}
        }
    }
    Ok(format!("libvirt {version} with {} guests", guests.len()))
}

#[cfg(test)]
mod tests {
    use drydock_types::libvirt::Guest;

    use super::*;
    use crate::libvirt::before::tests::{guest, view};

    #[test]
    fn it_is_ready_when_daemon_and_guests_answer() {
        assert_eq!(ready(&view(vec![guest("u", 1)])).as_deref(), Ok("libvirt 9.0.0 with 1 guests"));
        for bad in [
            LibvirtView { version: Err("no".into()), ..view(vec![]) },
            LibvirtView { guests: Err("no".into()), ..view(vec![]) },
            view(vec![Guest { state: None, ..guest("u", 1) }]),
            view(vec![Guest { process: None, ..guest("u", 1) }]),
            view(vec![Guest { monitor: Err("occupied".into()), ..guest("u", 1) }]),
        ] {
            assert!(ready(&bad).is_err(), "{bad:?}");
        }
    }
}
