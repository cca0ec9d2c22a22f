//! One address, route or rule: a line for people, and the kernel's own message to put it back.

use std::net::IpAddr;

use netlink_packet_core::{Emitable, Parseable as _};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteType},
    rule::{RuleAttribute, RuleMessage},
};
use serde::{Deserialize, Serialize};

use super::Link;

/// Routes of the node's own addresses; the kernel keeps them.
const TABLE_LOCAL: u32 = 255;
const TABLE_MAIN: u32 = 254;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// An address of a link.
    Address,
    /// A route.
    Route,
    /// A rule.
    Rule,
}

/// One address, route or rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// For people: `address 10.0.0.7/24 dev eth0`, `route default via 10.0.0.1 dev eth0`.
    pub text: String,
    /// The link that it lies on.
    pub link: Option<u32>,
    /// The kernel's message that makes it anew.
    pub message: Vec<u8>,
}

impl Entry {
    /// Is it the same thing? An address whose lease was renewed is.
    pub(super) fn is_the_same(&self, other: &Self) -> bool {
        let alike = self.kind == other.kind && self.text == other.text && self.link == other.link;
        alike && (self.kind == Kind::Address || self.message == other.message)
    }

    /// `None` for what comes and goes by itself.
    pub(super) fn address(message: AddressMessage, links: &[Link]) -> Option<Self> {
        let permanent = message.header.flags.contains(AddressHeaderFlags::Permanent);
        if message.header.family == AddressFamily::Inet6 && !permanent {
            return None;
        }
        let find = |local: bool| {
            message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(address) if local => Some(*address),
                AddressAttribute::Address(address) if !local => Some(*address),
                _ => None,
            })
        };
        let (own, peer) = (find(true).or_else(|| find(false))?, find(false));
        let peer = peer.filter(|peer| *peer != own).map(|peer| format!(" peer {peer}")).unwrap_or_default();
        let (index, length) = (message.header.index, message.header.prefix_len);
        let text = format!("address {own}/{length}{peer} dev {}", name(links, index));
        Some(Self { kind: Kind::Address, text, link: Some(index), message: bytes(&message) })
    }

    /// `None` for what comes and goes by itself.
    pub(super) fn route(mut message: RouteMessage, links: &[Link]) -> Option<Self> {
        let header = &mut message.header;
        let learnt = !matches!(
            header.protocol,
            RouteProtocol::Unspec
                | RouteProtocol::Kernel
                | RouteProtocol::Boot
                | RouteProtocol::Static
                | RouteProtocol::Dhcp
        );
        if learnt || header.flags.contains(RouteFlags::Cloned) || header.kind == RouteType::Multicast {
            return None;
        }
        // What the kernel only tells and does not take.
        header.flags &= RouteFlags::Onlink;
        message.attributes.retain(|attribute| {
            !matches!(
                attribute,
                RouteAttribute::CacheInfo(_) | RouteAttribute::Expires(_) | RouteAttribute::MfcStats(_)
            )
        });
        let table = table(&message);
        if table == TABLE_LOCAL {
            return None;
        }
        let link = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
        let text = route_text(&message, table, link.map(|index| name(links, index)));
        Some(Self { kind: Kind::Route, text, link, message: bytes(&message) })
    }

    pub(super) fn rule(message: RuleMessage) -> Option<Self> {
        let mut text = String::from("rule");
        for attribute in &message.attributes {
            text += &match attribute {
                RuleAttribute::Priority(number) => format!(" priority {number}"),
                RuleAttribute::Source(address) => format!(" from {address}/{}", message.header.src_len),
                RuleAttribute::Destination(address) => format!(" to {address}/{}", message.header.dst_len),
                RuleAttribute::Iifname(name) => format!(" iif {name}"),
                RuleAttribute::Oifname(name) => format!(" oif {name}"),
                RuleAttribute::FwMark(mark) => format!(" fwmark {mark:#x}"),
                RuleAttribute::Table(table) => format!(" table {table}"),
                _ => String::new(),
            };
        }
        text += &format!(" {}", family(message.header.family));
        Some(Self { kind: Kind::Rule, text, link: None, message: bytes(&message) })
    }

    /// The request that makes it anew.
    pub(super) fn make(&self) -> Option<RouteNetlinkMessage> {
        Some(match self.kind {
            Kind::Address => RouteNetlinkMessage::NewAddress(AddressMessage::parse(&self.message[..]).ok()?),
            Kind::Route => RouteNetlinkMessage::NewRoute(RouteMessage::parse(&self.message[..]).ok()?),
            Kind::Rule => RouteNetlinkMessage::NewRule(RuleMessage::parse(&self.message[..]).ok()?),
        })
    }

    /// The request that removes it, where it is of a kind that can cut a node off by being there: a rule, a
    /// default route, or a route that refuses.
    pub(super) fn remove_if_in_the_way(&self) -> Option<RouteNetlinkMessage> {
        match self.kind {
            Kind::Address => None,
            Kind::Rule => Some(RouteNetlinkMessage::DelRule(RuleMessage::parse(&self.message[..]).ok()?)),
            Kind::Route => {
                let message = RouteMessage::parse(&self.message[..]).ok()?;
                let header = &message.header;
                let refuses = matches!(
                    header.kind,
                    RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw
                );
                let of_all = header.destination_prefix_length == 0;
                let ours = header.protocol != RouteProtocol::Kernel && (refuses || of_all);
                ours.then_some(RouteNetlinkMessage::DelRoute(message))
            }
        }
    }
}

fn bytes<T: Emitable>(message: &T) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

fn name(links: &[Link], index: u32) -> String {
    links
        .iter()
        .find(|link| link.index == index)
        .map_or_else(|| format!("link {index}"), |link| link.name.clone())
}

const fn family(family: AddressFamily) -> &'static str {
    match family {
        AddressFamily::Inet6 => "(IPv6)",
        _ => "(IPv4)",
    }
}

/// Tables above 255 stand in an attribute.
fn table(message: &RouteMessage) -> u32 {
    let wide = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    wide.unwrap_or_else(|| u32::from(message.header.table))
}

fn route_text(message: &RouteMessage, table: u32, device: Option<String>) -> String {
    let header = &message.header;
    let kind = match header.kind {
        RouteType::Unicast => String::new(),
        other => format!("{other:?} ").to_lowercase(),
    };
    let (mut to, mut via, mut metric) = (String::from("default"), String::new(), String::new());
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                to = format!("{}/{}", shown(address), header.destination_prefix_length);
            }
            RouteAttribute::Gateway(address) => via = format!(" via {}", shown(address)),
            RouteAttribute::Priority(number) => metric = format!(" metric {number}"),
            _ => {}
        }
    }
    let device = device.map(|name| format!(" dev {name}")).unwrap_or_default();
    let table = if table == TABLE_MAIN { String::new() } else { format!(" table {table}") };
    let family = if to == "default" { format!(" {}", family(header.address_family)) } else { String::new() };
    format!("route {kind}{to}{via}{device}{metric}{table}{family}")
}

fn shown(address: &RouteAddress) -> String {
    match address {
        RouteAddress::Inet(address) => IpAddr::from(*address).to_string(),
        RouteAddress::Inet6(address) => IpAddr::from(*address).to_string(),
        other => format!("{other:?}"),
    }
}
