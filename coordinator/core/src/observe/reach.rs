//! Guests and nodes, as another node reaches them.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::net::{IpAddr, SocketAddr};

use drydock_types::{Millis, NodeName, reach::ReachTarget};
use serde::{Deserialize, Serialize};

/// How often somebody is asked at the most, and at the least.
const EVERY_MS: core::ops::RangeInclusive<u64> = 100..=60_000;
/// So many are asked by one observer.
const MOST_TARGETS: usize = 16;

/// Configuration of `reach`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reach {
    /// The node whose agent asks; its own policy must let it.
    pub from: String,
    /// Who is asked.
    pub to: Vec<ReachTarget>,
    /// How often.
    #[serde(default = "hundred_ms")]
    pub every: Millis,
    /// For how long one of them may not answer. When it was longer the run holds before the next node.
    pub max_gap: Millis,
}

const fn hundred_ms() -> Millis {
    Millis(100)
}

impl Reach {
    /// The node whose agent asks.
    ///
    /// # Errors
    /// When it cannot be a node's name.
    pub fn from(&self) -> Result<NodeName, String> {
        NodeName::parse(&self.from).map_err(|error| error.to_string())
    }

    /// What of it can never be asked, and what to write in its place. A text with a placeholder is judged when that is filled
    /// in.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn is_one(&self) -> Result<(), (String, &'static str)> {
        if !is_open(&self.from)
            && let Err(why) = self.from()
        {
            return Err((why, "name the node whose agent is to ask: from: net-1, or from: \"{label:peer}\""));
        }
        if self.to.is_empty() {
            return Err((
                "`reach` asks nobody".to_string(),
                "name at least one: to: [{ping: {address: 10.0.0.7}}]",
            ));
        }
        if self.to.len() > MOST_TARGETS {
            let what = format!(
                "`reach` asks {} of them, and one observer asks {MOST_TARGETS} at most",
                self.to.len()
            );
            return Err((what, "take the rest into another observer"));
        }
        if !EVERY_MS.contains(&self.every.0) {
            return Err((format!("`every` is {}, and it is 100ms to 1m", self.every), "every: 100ms"));
        }
        if self.max_gap < self.every {
            let what = format!(
                "`maxGap` is {}, and who is asked every {} is not seen to be away for less",
                self.max_gap, self.every
            );
            return Err((what, "give it at least the length of `every`; 100ms is the least"));
        }
        self.to.iter().try_for_each(|target| match text_of(target) {
            text if is_open(text) => Ok(()),
            _ => address_of(target).map(drop),
        })
    }
}

/// Has it a placeholder that is not filled in yet?
fn is_open(text: &str) -> bool {
    text.contains('{')
}

fn text_of(target: &ReachTarget) -> &str {
    match target {
        ReachTarget::Ping { address } | ReachTarget::Tcp { address } => address,
        ReachTarget::Http { url } => url,
    }
}

/// Who is asked, for people: `10.0.0.7 (ping)`, `10.0.0.7:22`.
#[must_use]
pub fn told(target: &ReachTarget) -> String {
    match target {
        ReachTarget::Ping { address } => format!("{address} (ping)"),
        ReachTarget::Tcp { address } => address.clone(),
        ReachTarget::Http { url } => url.clone(),
    }
}

/// The address, and the port where there is one. No name is looked up by anybody: what it means may be another machine a moment
/// later.
fn address_of(target: &ReachTarget) -> Result<(IpAddr, Option<u16>), (String, &'static str)> {
    let wrong =
        |form: &'static str| (format!("{:?} is no address that is asked so", cut(text_of(target))), form);
    let (ip, port) = match target {
        ReachTarget::Ping { address } => {
            (address.parse().map_err(|_| wrong("ping: {address: 10.0.0.7}"))?, None)
        }
        ReachTarget::Tcp { address } => {
            let of: SocketAddr = address.parse().map_err(|_| wrong("tcp: {address: \"10.0.0.7:22\"}"))?;
            (of.ip(), Some(of.port()))
        }
        ReachTarget::Http { url } => {
            http(url).ok_or_else(|| wrong("http: {url: \"http://10.0.0.7:8080/healthz\"}"))?
        }
    };
    let plain = ip.to_canonical();
    let near = match plain {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if near || plain.is_loopback() || plain.is_multicast() || plain.is_unspecified() {
        let what = format!(
            "no agent asks {ip}: loopback, link-local, multicast and unspecified addresses are refused"
        );
        return Err((what, "name an address by which other machines reach it"));
    }
    Ok((ip, port))
}

fn http(url: &str) -> Option<(IpAddr, Option<u16>)> {
    let rest = url.strip_prefix("http://")?;
    let authority = rest.split(['/', '?']).next()?;
    if let Ok(address) = authority.parse::<SocketAddr>() {
        return Some((address.ip(), Some(address.port())));
    }
    let bare = authority.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip: IpAddr = bare.unwrap_or(authority).parse().ok()?;
    (ip.is_ipv6() == bare.is_some()).then_some((ip, Some(80)))
}

fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString as _, vec};

    use super::*;

    fn asks(to: Vec<ReachTarget>) -> Reach {
        Reach { from: "net-1".to_string(), to, every: hundred_ms(), max_gap: Millis::secs(2) }
    }

    fn tcp(address: &str) -> ReachTarget {
        ReachTarget::Tcp { address: address.to_string() }
    }

    fn ping(address: &str) -> ReachTarget {
        ReachTarget::Ping { address: address.to_string() }
    }

    fn get(url: &str) -> ReachTarget {
        ReachTarget::Http { url: url.to_string() }
    }

    #[test]
    fn addresses_are_taken_and_placeholders_wait_to_be_filled_in() {
        for target in [
            ping("10.0.0.7"),
            ping("fd00::7"),
            ping("{label:vtep}"),
            tcp("10.0.0.7:22"),
            tcp("[fd00::7]:22"),
            tcp("{label:ip}:22"),
            get("http://10.0.0.7/"),
            get("http://10.0.0.7:8080/healthz?x=1"),
            get("http://[fd00::7]/"),
            get("http://{label:ip}:80/"),
        ] {
            assert_eq!(asks(vec![target.clone()]).is_one(), Ok(()), "{target:?}");
        }
        let open = Reach { from: "{label:peer}".to_string(), ..asks(vec![ping("10.0.0.7")]) };
        assert_eq!(open.is_one(), Ok(()));
    }

    #[test]
    fn names_and_addresses_that_mean_another_machine_to_everybody_are_refused() {
        for target in [
            ping("db.example.org"),
            ping("10.0.0.7:22"),
            ping("127.0.0.1"),
            ping("169.254.169.254"),
            ping("fe80::1"),
            ping("::ffff:127.0.0.1"),
            tcp("10.0.0.7"),
            tcp("db:22"),
            tcp("[::1]:22"),
            tcp("224.0.0.1:1"),
            tcp("0.0.0.0:1"),
            get("https://10.0.0.7/"),
            get("http://db.example.org/"),
            get("http://fd00::7/"),
            get("http://localhost:80/"),
            get("http://127.0.0.1@10.0.0.7/"),
        ] {
            assert!(asks(vec![target.clone()]).is_one().is_err(), "{target:?}");
        }
    }

    #[test]
    fn an_observer_has_bounds() {
        let good = || asks(vec![ping("10.0.0.7")]);
        assert!(Reach { from: "Not a node".to_string(), ..good() }.is_one().is_err());
        assert!(asks(Vec::new()).is_one().is_err());
        assert!(asks(vec![ping("10.0.0.7"); 17]).is_one().is_err());
        assert!(Reach { every: Millis(99), ..good() }.is_one().is_err());
        assert!(Reach { every: Millis(60_001), max_gap: Millis::secs(90), ..good() }.is_one().is_err());
        assert!(Reach { max_gap: Millis(99), ..good() }.is_one().is_err());
    }
}
