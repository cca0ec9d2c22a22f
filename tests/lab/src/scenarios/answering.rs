//! What takes TCP connections on every node beside Drydock: the witnesses of changes that a node takes back by itself.

use crate::{Lab, Node, Result};

/// Where.
pub(super) const PORT: u16 = 7999;
/// The unit that listens.
pub(super) const SOCKET_UNIT: &str = "witness.socket";
const SOCKET: &str = "[Socket]\nListenStream=7999\nAccept=yes\nTriggerLimitIntervalSec=0\n[Install]\nWantedBy=sockets.target\n";
const ANSWER: &str =
    "[Unit]\nCollectMode=inactive-or-failed\n[Service]\nExecStart=/bin/true\nStandardInput=socket\n";

/// Puts the units in their place; systemd has not read them yet.
pub(super) fn install(node: &Node) -> Result<()> {
    node.write_file("/etc/systemd/system/witness.socket", SOCKET.as_bytes(), 0o644)?;
    node.write_file("/etc/systemd/system/witness@.service", ANSWER.as_bytes(), 0o644)
}

/// The witnesses of a plan: every node's, its own counts for nothing.
pub(super) fn witnesses(lab: &Lab) -> String {
    let each = lab.nodes().iter().map(|node| format!("\"{}:{PORT}\"", node.address()));
    format!("[{}]", each.collect::<Vec<_>>().join(", "))
}
