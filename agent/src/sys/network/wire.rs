//! One question to the kernel over a socket of its own.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// A dump during which something changed is begun anew so often.
const TRIES: usize = 5;
/// `NLM_F_DUMP_INTR`: something changed while it was told.
const INTERRUPTED: u16 = 0x10;

fn socket() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

fn send(socket: &Socket, message: &RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message.clone()));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0).map(drop)
}

/// Everything of a kind.
pub(super) fn dump(request: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    for _ in 0..TRIES {
        if let Some(all) = dump_once(request)? {
            return Ok(all);
        }
    }
    Err(io::Error::other("the node's network changes faster than it can be read"))
}

/// `None` when something changed meanwhile.
fn dump_once(request: &RouteNetlinkMessage) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
    let socket = socket()?;
    send(&socket, request, NLM_F_DUMP)?;
    let (mut all, mut whole) = (Vec::new(), true);
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        for packet in packets(&bytes) {
            let packet = packet?;
            whole &= packet.header.flags & INTERRUPTED == 0;
            match packet.payload {
                NetlinkPayload::Done(_) => return Ok(whole.then_some(all)),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(message) => all.push(message),
                _ => {}
            }
        }
    }
}

/// Has the kernel change something, and waits for its word.
pub(super) fn change(message: &RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let socket = socket()?;
    send(&socket, message, NLM_F_ACK | flags)?;
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        for packet in packets(&bytes) {
            if let NetlinkPayload::Error(error) = packet?.payload {
                return if error.code.is_none() { Ok(()) } else { Err(error.to_io()) };
            }
        }
    }
}

/// The messages of one datagram.
fn packets(bytes: &[u8]) -> impl Iterator<Item = io::Result<NetlinkMessage<RouteNetlinkMessage>>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let packet = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest);
        let length = match &packet {
            Ok(packet) => (packet.header.length as usize).next_multiple_of(4).min(rest.len()),
            Err(_) => rest.len(),
        };
        rest = &rest[length.max(1).min(rest.len())..];
        Some(
            packet.map_err(|error| io::Error::other(format!("what the kernel said cannot be read: {error}"))),
        )
    })
}
