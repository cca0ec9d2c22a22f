//! libvirt and its guests.

use drydock_types::libvirt::LibvirtView;

use crate::{actions::Problem, host::Host, libvirt};

/// What an answer may hold: the coordinator takes messages of a MiB, and this is not all of one.
const MAX_ANSWER_BYTES: usize = 900 << 10;

/// Looks.
///
/// # Errors
/// When libvirt is not here or its unit cannot be seen.
pub async fn look(host: &Host) -> Result<LibvirtView, Problem> {
    let view = libvirt::look(host).await?.view;
    Ok(bounded(view, MAX_ANSWER_BYTES))
}

/// More guests than one answer takes are not seen from afar, and that is said. (Some 3,000 fit.)
fn bounded(view: LibvirtView, most: usize) -> LibvirtView {
    let Ok(bytes) = serde_json::to_vec(&view) else { return view };
    if bytes.len() <= most {
        return view;
    }
    let why = format!("what there is to say takes {} bytes, and an answer has room for {most}", bytes.len());
    let none = |_| Err(why.clone());
    LibvirtView {
        guests: view.guests.and_then(none),
        pools: view.pools.and_then(|_| Err(why.clone())),
        networks: view.networks.and_then(|_| Err(why.clone())),
        ..view
    }
}

#[cfg(test)]
mod tests {
    use drydock_types::libvirt::{Guest, LibvirtKind};

    use super::*;

    #[test]
    fn more_than_an_answer_takes_is_not_seen_and_never_left_out() {
        let guest = Guest {
            uuid: "1d166337-2583-4a5b-b4b1-42fe6c9e3eee".into(),
            name: "g".into(),
            process: None,
            state: None,
            job: Ok(None),
            monitor: Ok(()),
        };
        let view = LibvirtView {
            kind: LibvirtKind::Modular,
            version: Ok("9.0.0".into()),
            kill_mode: "process".into(),
            guests_in_its_cgroup: false,
            run_free_bytes: 1,
            lib_free_bytes: 1,
            guests: Ok(vec![guest; 100]),
            pools: Ok(Vec::new()),
            networks: Ok(Vec::new()),
        };
        assert_eq!(bounded(view.clone(), MAX_ANSWER_BYTES), view);
        assert!(bounded(view.clone(), 1000).guests.unwrap_err().contains("room for 1000"));
        // Five thousand with names as long as they may be are too many for one message; that is said.
        let long = Guest {
            name: "x".repeat(64),
            state: Some("running (booted)".into()),
            ..view.guests.clone().unwrap().remove(0)
        };
        let many = bounded(LibvirtView { guests: Ok(vec![long; 5000]), ..view }, MAX_ANSWER_BYTES);
        assert!(many.guests.as_ref().unwrap_err().contains("an answer has room for"), "{many:?}");
        assert!(serde_json::to_vec(&many).unwrap().len() < 4096);
    }
}
