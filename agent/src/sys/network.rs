//! Links, addresses, routes and rules of this node: looked at, compared, and what was lost put back. Over
//! netlink; reading needs no rights, putting back needs CAP_NET_ADMIN, which the agent itself does not have.
//!
//! What comes and goes by itself is not looked at: table `local`, what routers announce, what routing daemons
//! have learnt, temporary IPv6 addresses, and whatever lies on one end of a pair (veth) that is gone.

mod entry;
mod put_back;
mod wire;

use std::{collections::BTreeSet, io};

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::AddressMessage,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    route::RouteMessage,
    rule::RuleMessage,
};
use serde::{Deserialize, Serialize};

pub use self::{entry::Entry, put_back::put_back};

/// The most entries of each kind that are kept; a node with more is not one that this can watch over.
const MAX_ENTRIES: usize = 4096;

/// How the node's network stood.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Network {
    /// Its links.
    pub links: Vec<Link>,
    /// Their addresses.
    pub addresses: Vec<Entry>,
    /// Routes of all tables but `local`.
    pub routes: Vec<Entry>,
    /// Rules.
    pub rules: Vec<Entry>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Link {
    /// The kernel's number of it, as long as it lives.
    pub index: u32,
    /// `eth0`.
    pub name: String,
    /// Was it told to be up?
    pub up: bool,
    /// One end of a pair: it goes with whatever is at the other end.
    pub pair: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference<'a> {
    /// Links that were up and are not.
    pub down: Vec<&'a Link>,
    /// Addresses, routes and rules that were there and are not.
    pub lost: Vec<&'a Entry>,
    /// Those that have come since.
    pub gained: Vec<&'a Entry>,
}

impl Difference<'_> {
    /// Nothing that was there is missing.
    #[must_use]
    pub const fn nothing_lost(&self) -> bool {
        self.down.is_empty() && self.lost.is_empty()
    }

    /// What is missing, for people.
    #[must_use]
    pub fn lost_lines(&self) -> Vec<String> {
        let down = self.down.iter().map(|link| format!("link {} up", link.name));
        down.chain(self.lost.iter().map(|entry| entry.text.clone())).collect()
    }

    /// What has come, for people.
    #[must_use]
    pub fn gained_lines(&self) -> Vec<String> {
        self.gained.iter().map(|entry| entry.text.clone()).collect()
    }
}

impl Network {
    /// Looks. Blocks for a moment.
    ///
    /// # Errors
    /// When the kernel does not answer, answers something that cannot be read, or there is too much.
    pub fn look() -> io::Result<Self> {
        let links: Vec<Link> = wire::dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewLink(link) => Some(described(&link)),
                _ => None,
            })
            .collect();
        let mut seen = Self { links, ..Self::default() };
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            seen.look_at(family)?;
        }
        let most = seen.addresses.len().max(seen.routes.len()).max(seen.rules.len());
        if most > MAX_ENTRIES {
            let why = format!("{most} routes, addresses or rules; no more than {MAX_ENTRIES} are compared");
            return Err(io::Error::other(why));
        }
        for list in [&mut seen.addresses, &mut seen.routes, &mut seen.rules] {
            list.sort();
            list.dedup();
        }
        Ok(seen)
    }

    fn look_at(&mut self, family: AddressFamily) -> io::Result<()> {
        let mut of_addresses = AddressMessage::default();
        of_addresses.header.family = family;
        let mut of_routes = RouteMessage::default();
        of_routes.header.address_family = family;
        let mut of_rules = RuleMessage::default();
        of_rules.header.family = family;
        for request in [
            RouteNetlinkMessage::GetAddress(of_addresses),
            RouteNetlinkMessage::GetRoute(of_routes),
            RouteNetlinkMessage::GetRule(of_rules),
        ] {
            for message in wire::dump(&request)? {
                match message {
                    RouteNetlinkMessage::NewAddress(message) => {
                        self.addresses.extend(Entry::address(message, &self.links));
                    }
                    RouteNetlinkMessage::NewRoute(message) => {
                        self.routes.extend(Entry::route(message, &self.links));
                    }
                    RouteNetlinkMessage::NewRule(message) => self.rules.extend(Entry::rule(message)),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// What became of this, by a later look.
    #[must_use]
    pub fn difference<'a>(&'a self, now: &'a Self) -> Difference<'a> {
        let is_down =
            |link: &&Link| link.up && now.links.iter().any(|other| other.is_the_same(link) && !other.up);
        let gone: BTreeSet<u32> = self
            .links
            .iter()
            .filter(|link| link.pair && !now.links.iter().any(|other| other.is_the_same(link)))
            .map(|link| link.index)
            .collect();
        let missing = |from: &'a Vec<Entry>, to: &'a Vec<Entry>| {
            from.iter().filter(move |entry| !to.iter().any(|other| other.is_the_same(entry)))
        };
        let all = |of: &'a Self| [&of.addresses, &of.routes, &of.rules];
        let lost = all(self).into_iter().zip(all(now)).flat_map(|(from, to)| missing(from, to));
        let gained = all(now).into_iter().zip(all(self)).flat_map(|(from, to)| missing(from, to));
        Difference {
            down: self.links.iter().filter(is_down).collect(),
            lost: lost.filter(|entry| !entry.link.is_some_and(|link| gone.contains(&link))).collect(),
            gained: gained.collect(),
        }
    }
}

impl Link {
    fn is_the_same(&self, other: &Self) -> bool {
        self.index == other.index && self.name == other.name
    }
}

fn described(message: &LinkMessage) -> Link {
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    let is_pair = |info: &LinkInfo| matches!(info, LinkInfo::Kind(InfoKind::Veth));
    let pair = message
        .attributes
        .iter()
        .any(|attribute| matches!(attribute, LinkAttribute::LinkInfo(info) if info.iter().any(is_pair)));
    let up = message.header.flags.contains(LinkFlags::Up);
    Link { index: message.header.index, name: name.unwrap_or_default(), up, pair }
}

#[cfg(test)]
mod tests;
