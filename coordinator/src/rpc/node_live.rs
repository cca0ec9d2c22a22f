//! What a node is at: its guests, bridges and packages, asked of its agent just now. What does not answer in time is said.

use std::time::Duration;

use drydock_core::view::NodeLiveView;
use drydock_types::{
    NodeName,
    probe::{Observation, Probe},
};
use serde::{Serialize, de::DeserializeOwned};

use super::App;
use crate::{driver::clock::wall_ms, heard, link::Sessions};

/// How long its agent may look at one part: an operator waits for it.
const PATIENCE: Duration = Duration::from_secs(15);

/// Looks; never fails: what could not be seen is part of the answer.
pub(super) async fn look(app: &App, node: NodeName) -> NodeLiveView {
    let of = &app.sessions;
    let (libvirt, openvswitch, ovn, packages) = tokio::join!(
        part(of, &node, Probe::Libvirt {}, |said| match said {
            Observation::Libvirt(view) => Some(view),
            _ => None,
        }),
        part(of, &node, Probe::Openvswitch {}, |said| match said {
            Observation::Openvswitch(view) => Some(view),
            _ => None,
        }),
        part(of, &node, Probe::Ovn {}, |said| match said {
            Observation::Ovn(view) => Some(view),
            _ => None,
        }),
        part(of, &node, Probe::Packages {}, |said| match said {
            Observation::Packages(view) => Some(view),
            _ => None,
        }),
    );
    NodeLiveView { node, seen_unix_ms: wall_ms(), libvirt, openvswitch, ovn, packages }
}

async fn part<T: Serialize + DeserializeOwned>(
    sessions: &Sessions,
    node: &NodeName,
    probe: Probe,
    of: fn(Observation) -> Option<T>,
) -> Result<T, String> {
    let said = of(sessions.observe(node, &probe, PATIENCE).await?);
    heard::plain(&said.ok_or_else(|| format!("{node}'s agent answered another question"))?)
}
