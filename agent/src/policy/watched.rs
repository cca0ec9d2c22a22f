//! Patterns of what may be watched from here: addresses, never names.

use std::net::IpAddr;

use serde::Deserialize;

/// An address or a net, and one port or all: `10.0.0.0/24`, `10.0.0.7:22`, `fd00::/64`, `[fd00::7]:22`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct WatchPattern {
    net: IpAddr,
    bits: u8,
    port: Option<u16>,
}

impl WatchPattern {
    /// Does it cover this address? A pattern with a port covers that port only, and no ping.
    #[must_use]
    pub fn covers(&self, address: IpAddr, port: Option<u16>) -> bool {
        let inside = match (self.net, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                same(u128::from(net.to_bits()), u128::from(address.to_bits()), 32, self.bits)
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => same(net.to_bits(), address.to_bits(), 128, self.bits),
            _ => false,
        };
        inside && self.port.is_none_or(|only| port == Some(only))
    }
}

/// Are the first bits of both the same?
fn same(one: u128, other: u128, width: u32, bits: u8) -> bool {
    // All the way out is no shift that a processor knows.
    (one ^ other).checked_shr(width.saturating_sub(u32::from(bits))).unwrap_or(0) == 0
}

impl TryFrom<String> for WatchPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let read = || {
            if let Some((net, bits)) = net(&text) {
                return Some(Self { net, bits, port: None });
            }
            let (host, port) = text.rsplit_once(':')?;
            let (inner, bracketed) = match host.strip_prefix('[') {
                Some(rest) => (rest.strip_suffix(']')?, true),
                None => (host, false),
            };
            let (net, bits) = net(inner).filter(|(net, _)| net.is_ipv6() == bracketed)?;
            let port = port.parse().ok().filter(|port| *port > 0)?;
            Some(Self { net, bits, port: Some(port) })
        };
        read().ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            format!(
                "{shown:?} is not what may be watched; write an address or a net, with a port or for all: \"10.0.0.0/24\", \"10.0.0.7:22\", \"[fd00::7]:22\""
            )
        })
    }
}

fn net(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= width)?,
        None => width,
    };
    Some((address, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> WatchPattern {
        WatchPattern::try_from(text.to_owned()).unwrap()
    }

    fn covers(text: &str, address: &str, port: Option<u16>) -> bool {
        pattern(text).covers(address.parse().unwrap(), port)
    }

    #[test]
    fn a_net_covers_what_lies_in_it_and_a_port_only_itself() {
        assert!(covers("10.0.0.0/24", "10.0.0.255", None));
        assert!(covers("10.0.0.0/24", "10.0.0.1", Some(22)));
        assert!(!covers("10.0.0.0/24", "10.0.1.0", None));
        assert!(covers("10.0.0.7", "10.0.0.7", Some(1)) && !covers("10.0.0.7", "10.0.0.6", Some(1)));
        assert!(covers("10.0.0.7:22", "10.0.0.7", Some(22)));
        assert!(!covers("10.0.0.7:22", "10.0.0.7", Some(23)) && !covers("10.0.0.7:22", "10.0.0.7", None));
        assert!(covers("10.0.0.0/24:22", "10.0.0.9", Some(22)));
        assert!(covers("0.0.0.0/0", "192.0.2.1", None) && !covers("0.0.0.0/0", "fd00::1", None));
        assert!(covers("fd00::/64", "fd00::1:2", None) && !covers("fd00::/64", "fd00:0:0:1::1", None));
        assert!(covers("[fd00::7]:22", "fd00::7", Some(22)) && covers("::/0", "fd00::1", None));
        assert!(covers("10.0.0.7", "::ffff:10.0.0.7", None), "the same address, written otherwise");
    }

    #[test]
    fn names_and_what_is_no_address_are_refused_with_the_form() {
        for bad in [
            "db.example.org:22",
            "localhost",
            "10.0.0.0/33",
            "10.0.0.7:0",
            "10.0.0.7:",
            "*",
            "",
            "fd00::7]:22",
            "10.0.0:22",
            "[10.0.0.7]:22",
            "10.0.0.7:70000",
            "10.0.0.0/24/24",
        ] {
            let error = WatchPattern::try_from(bad.to_owned()).unwrap_err();
            assert!(error.contains("10.0.0.0/24"), "{bad}: {error}");
        }
    }
}
