//! The lab's network: a bridge in a network namespace of its own, from which nothing can leave
//! the machine.

use std::path::PathBuf;

use crate::Result;
use crate::exec::Cmd;

/// The coordinator's side of the bridge.
pub(crate) const HOST_ADDRESS: &str = "10.99.0.254";
/// Length of the network's prefix.
const PREFIX_BITS: u8 = 24;
/// The bridge, inside the namespace.
pub(crate) const BRIDGE: &str = "labbr";

/// The address of node `number` (from 1).
pub(crate) fn node_address(number: usize) -> String {
    format!("10.99.0.{number}")
}

/// The same with the prefix length, as networkd wants it.
pub(crate) fn node_address_with_prefix(number: usize) -> String {
    format!("{}/{PREFIX_BITS}", node_address(number))
}

pub(crate) fn namespace(id: &str) -> String {
    format!("drydocklab-{id}")
}

/// The file by which the namespace is entered.
pub(crate) fn namespace_file(id: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(namespace(id))
}

/// The namespace with the bridge in it.
pub(crate) fn create(id: &str) -> Result<()> {
    let namespace = namespace(id);
    ip("making the lab's network namespace", &["netns", "add", &namespace])?;
    let host = format!("{HOST_ADDRESS}/{PREFIX_BITS}");
    let steps: [&[&str]; 5] = [
        &["link", "set", "lo", "up"],
        // Without delay a port forwards as soon as it is there.
        &["link", "add", BRIDGE, "type", "bridge", "forward_delay", "0"],
        // Otherwise the bridge takes the lowest address of its ports and changes it as they come.
        &["link", "set", BRIDGE, "address", "02:00:00:99:00:fe"],
        &["addr", "add", &host, "dev", BRIDGE],
        &["link", "set", BRIDGE, "up"],
    ];
    for step in steps {
        let words = [&["-n", &namespace], step].concat();
        ip("making the lab's bridge", &words)?;
    }
    Ok(())
}

/// Removes the namespace and with it every interface; one that is not there is fine.
pub(crate) fn remove(id: &str) -> Result<()> {
    if namespace_file(id).exists() {
        let namespace = namespace(id);
        ip("removing the lab's network namespace", &["netns", "del", &namespace])?;
    }
    Ok(())
}

/// Takes a port of the bridge down or brings it up.
pub(crate) fn set_port(id: &str, port: &str, state: &str) -> Result<()> {
    let namespace = namespace(id);
    let words = ["-n", &namespace, "link", "set", port, state];
    ip(&format!("setting the bridge port {port} {state}"), &words)
}

fn ip(purpose: &str, words: &[&str]) -> Result<()> {
    Cmd::new(purpose, "ip").args(words).run().map(|_| ())
}
