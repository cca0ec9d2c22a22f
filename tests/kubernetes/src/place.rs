//! Addresses: each server has an IPv4 address of the loopback network that nobody else uses, and ports of it that the
//! system chose.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{Error, Result};

/// An address of our own, with ports that nobody listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Of 127.0.0.0/8.
    pub address: Ipv4Addr,
    /// Of the API server.
    pub api: u16,
    /// Of etcd, for clients.
    pub etcd: u16,
    /// Of etcd, for its peers.
    pub peer: u16,
}

impl Place {
    /// One that no other of this process or of another has.
    ///
    /// # Errors
    /// When the system has no port to give.
    pub fn free() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // 127.0.0.0/8 has room for 64 addresses of each of 2^17 processes; 127.0/16 is left to others. The last byte is
        // neither 0 nor 255, so 62 of the 64 are used.
        let number = (std::process::id() << 6) | (NEXT.fetch_add(1, Ordering::Relaxed) % 62 + 1);
        let [_, b, c, d] = number.to_be_bytes();
        let address = Ipv4Addr::new(127, b.max(1), c, d);
        // All three are held at once, or the system might give the same one twice.
        let bind = || TcpListener::bind((address, 0));
        let ports = || -> std::io::Result<[u16; 3]> {
            let [api, etcd, peer] = [bind()?, bind()?, bind()?];
            Ok([api.local_addr()?.port(), etcd.local_addr()?.port(), peer.local_addr()?.port()])
        };
        let [api, etcd, peer] =
            ports().map_err(|error| Error::Unfit(format!("no port to be had on {address}: {error}")))?;
        Ok(Self { address, api, etcd, peer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_places_differ_and_lie_on_loopback() {
        let places: Vec<Place> = (0..60).map(|_| Place::free().unwrap()).collect();
        let mut addresses: Vec<Ipv4Addr> = places.iter().map(|place| place.address).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), places.len());
        for Place { address, api, etcd, peer } in places {
            assert!(
                address.is_loopback() && address.octets()[1] > 0 && ![0, 255].contains(&address.octets()[3])
            );
            assert!(api != etcd && etcd != peer && api != peer);
        }
    }
}
