//! Places of our own. Addresses: an IPv4 address of the loopback network that no other test uses, and a port of it
//! that the system chose.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// An address and port that nobody listens on, and nobody else will.
///
/// # Panics
/// When the system has none to give.
#[must_use]
pub fn free() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // 127.0.0.0/8 has room for 64 addresses of each of 2^17 processes; 127.0/16 is left to others.
    let number = (std::process::id() << 6) | (NEXT.fetch_add(1, Ordering::Relaxed) & 63);
    let [_, b, c, d] = number.to_be_bytes();
    let host = Ipv4Addr::new(127, b.max(1), c, d.clamp(1, 254));
    let bound = TcpListener::bind((host, 0)).and_then(|listener| listener.local_addr());
    bound.unwrap_or_else(|error| panic!("no port on {host}: {error}"))
}

/// Copies a directory with everything below it; permissions are kept.
///
/// # Panics
/// When something cannot be copied.
pub fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg("--").args([from, to]).status();
    let done = done.unwrap_or_else(|error| panic!("cp: {error}"));
    assert!(done.success(), "cp -a {} {}: {done}", from.display(), to.display());
}
