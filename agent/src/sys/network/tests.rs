use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    address::AddressAttribute,
    link::LinkFlags,
    route::{RouteAddress, RouteAttribute, RouteProtocol, RouteScope, RouteType},
    rule::{RuleAction, RuleAttribute},
};

use super::*;

fn link(index: u32, name: &str, up: bool, pair: bool) -> Link {
    Link { index, name: name.into(), up, pair }
}

fn address(text: &str, link: u32, message: u8) -> Entry {
    Entry { kind: entry::Kind::Address, text: text.into(), link: Some(link), message: vec![message] }
}

fn route(text: &str, link: u32) -> Entry {
    Entry { kind: entry::Kind::Route, text: text.into(), link: Some(link), message: text.as_bytes().into() }
}

#[test]
fn what_was_lost_and_what_came_is_told_apart() {
    let before = Network {
        links: vec![link(2, "eth0", true, false), link(3, "eth1", false, false)],
        addresses: vec![address("address 10.0.0.7/24 dev eth0", 2, 1)],
        routes: vec![route("route default via 10.0.0.1 dev eth0", 2)],
        rules: Vec::new(),
    };
    assert!(before.difference(&before).nothing_lost());
    let now = Network {
        links: vec![link(2, "eth0", false, false), link(3, "eth1", false, false)],
        // A lease that was renewed: the same address.
        addresses: vec![address("address 10.0.0.7/24 dev eth0", 2, 9)],
        routes: vec![route("route default via 10.0.0.99 dev eth0", 2)],
        rules: Vec::new(),
    };
    let difference = before.difference(&now);
    assert_eq!(difference.lost_lines(), ["link eth0 up", "route default via 10.0.0.1 dev eth0"]);
    assert_eq!(difference.gained_lines(), ["route default via 10.0.0.99 dev eth0"]);
}

#[test]
fn what_lay_on_an_end_of_a_pair_that_is_gone_is_not_missed() {
    let before = Network {
        links: vec![link(7, "veth7", true, true), link(2, "eth0", true, false)],
        routes: vec![route("route 10.42.0.7/32 dev veth7", 7), route("route 10.9.0.0/16 dev eth0", 2)],
        ..Network::default()
    };
    let now = Network { links: vec![link(2, "eth0", true, false)], ..Network::default() };
    assert_eq!(before.difference(&now).lost_lines(), ["route 10.9.0.0/16 dev eth0"]);
}

/// In a network namespace of its own, where that may be had (root).
fn alone<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let thread = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).ok()?;
        Some(work())
    });
    thread.join().unwrap()
}

fn set_lo(up: bool) {
    let mut message = LinkMessage::default();
    message.header.index = 1;
    message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    message.header.change_mask = LinkFlags::Up;
    wire::change(&RouteNetlinkMessage::SetLink(message), 0).unwrap();
}

fn own_address() -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = 32;
    message.header.index = 1;
    let own = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));
    message.attributes = vec![AddressAttribute::Local(own), AddressAttribute::Address(own)];
    message
}

fn a_route(third: u8, length: u8) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = AddressFamily::Inet;
    header.destination_prefix_length = length;
    header.table = 254;
    header.protocol = RouteProtocol::Static;
    header.scope = RouteScope::Link;
    header.kind = RouteType::Unicast;
    let to = RouteAttribute::Destination(RouteAddress::Inet(Ipv4Addr::new(10, third, 0, 0)));
    message.attributes = if length == 0 { Vec::new() } else { vec![to] };
    message.attributes.push(RouteAttribute::Oif(1));
    message
}

fn a_rule(priority: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.table = 100;
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![RuleAttribute::Priority(priority)];
    message
}

#[test]
fn a_link_that_went_down_and_all_that_went_with_it_is_put_back_and_what_is_in_the_way_goes() {
    let new = NLM_F_CREATE | NLM_F_EXCL;
    let played = alone(move || {
        set_lo(true);
        wire::change(&RouteNetlinkMessage::NewAddress(own_address()), new).unwrap();
        wire::change(&RouteNetlinkMessage::NewRoute(a_route(8, 16)), new).unwrap();
        wire::change(&RouteNetlinkMessage::NewRule(a_rule(500)), new).unwrap();
        let before = Network::look().unwrap();
        let texts: Vec<_> = before.addresses.iter().chain(&before.routes).map(|entry| &entry.text).collect();
        assert!(texts.iter().any(|text| *text == "address 10.9.9.9/32 dev lo"), "{texts:?}");
        assert!(texts.iter().any(|text| *text == "route 10.8.0.0/16 dev lo"), "{texts:?}");

        // The link down takes the route along; address and rule are removed; a default route and a rule come.
        set_lo(false);
        wire::change(&RouteNetlinkMessage::DelAddress(own_address()), 0).unwrap();
        wire::change(&RouteNetlinkMessage::DelRule(a_rule(500)), 0).unwrap();
        wire::change(&RouteNetlinkMessage::NewRule(a_rule(77)), new).unwrap();
        let now = Network::look().unwrap();
        let lost = before.difference(&now).lost_lines();
        let wanted = ["link lo up", "address 10.9.9.9/32 dev lo", "route 10.8.0.0/16 dev lo"];
        assert!(wanted.iter().all(|line| lost.iter().any(|lost| lost == line)), "{lost:?}");
        assert!(
            lost.iter().any(|line| line.starts_with("rule ") && line.contains("priority 500")),
            "{lost:?}"
        );

        let back = put_back(&before, std::time::Duration::from_secs(2)).unwrap();
        assert!(back.failed.is_empty(), "{:?}", back.failed);
        assert!(back.done.len() >= 4, "{:?}", back.done);
        wire::change(&RouteNetlinkMessage::NewRoute(a_route(0, 0)), new).unwrap();
        put_back(&before, std::time::Duration::from_secs(2)).unwrap();
        let now = Network::look().unwrap();
        assert!(before.difference(&now).nothing_lost());
        let mut gained = before.difference(&now).gained_lines();
        // The kernel's own, for an address that it had made by itself before.
        gained.retain(|line| !line.starts_with("route ::1/128 dev lo"));
        assert_eq!(gained, Vec::<String>::new());
        // Once more does no harm and has nothing to do.
        assert!(put_back(&before, std::time::Duration::from_secs(2)).unwrap().done.is_empty());
    });
    if played.is_none() {
        eprintln!("not played: a network namespace takes root");
    }
}

#[test]
fn a_look_survives_its_document() {
    let seen = Network::look().unwrap();
    assert!(seen.links.iter().any(|link| link.name == "lo"));
    let json = drydock_types::document::encode(&seen);
    assert_eq!(drydock_types::document::decode_own::<Network>("network", &json).unwrap(), seen);
}
