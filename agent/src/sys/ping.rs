//! One ICMP echo, by a datagram socket: no right is needed for it, only that the kernel lets the agent's group.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket as StdSocket},
    time::Duration,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use tokio::{net::UdpSocket, time::timeout};

/// What the echo carries: told back as it is.
const SAID: &[u8] = b"drydock";

/// A socket that has been opened for echoes; the kernel gives each its own mark, so answers are its own.
///
/// # Errors
/// When the kernel does not let this group ask (`net.ipv4.ping_group_range`), or cannot.
fn open(to: IpAddr) -> io::Result<UdpSocket> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    UdpSocket::from_std(StdSocket::from(socket(family, SockType::Datagram, flags, protocol)?))
}

/// May this agent ask at all?
///
/// # Errors
/// As the kernel has it.
pub fn may(to: IpAddr) -> io::Result<()> {
    open(to).map(drop)
}

/// Is an echo answered in time?
pub async fn answers(to: IpAddr, within: Duration) -> bool {
    let Ok(socket) = open(to) else { return false };
    matches!(timeout(within, exchange(&socket, to)).await, Ok(Ok(())))
}

async fn exchange(socket: &UdpSocket, to: IpAddr) -> io::Result<()> {
    socket.send_to(&request(to), SocketAddr::new(to, 0)).await?;
    let mut answer = [0; 256];
    loop {
        let (read, from) = socket.recv_from(&mut answer).await?;
        if from.ip() == to && is_answer(&answer[..read], to) {
            return Ok(());
        }
    }
}

/// Type, code, checksum, mark and number; the kernel fills in what is zero.
fn request(to: IpAddr) -> Vec<u8> {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    [&[kind, 0, 0, 0, 0, 0, 0, 1], SAID].concat()
}

fn is_answer(bytes: &[u8], of: IpAddr) -> bool {
    let kind = if of.is_ipv4() { 0 } else { 129 };
    bytes.first() == Some(&kind) && bytes.get(8..) == Some(SAID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_to_this_very_question_counts() {
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let v6: IpAddr = "fd00::1".parse().unwrap();
        let answer = |kind: u8, said: &[u8]| [&[kind, 0, 1, 2, 3, 4, 0, 1], said].concat();
        assert!(is_answer(&answer(0, SAID), v4) && is_answer(&answer(129, SAID), v6));
        assert!(!is_answer(&request(v4), v4), "one's own question");
        assert!(!is_answer(&answer(3, SAID), v4), "unreachable");
        assert!(!is_answer(&answer(0, b"other"), v4) && !is_answer(&[0], v4) && !is_answer(&[], v6));
    }

    #[tokio::test]
    async fn this_machine_answers_where_the_kernel_lets_it_be_asked() {
        let me: IpAddr = "127.0.0.1".parse().unwrap();
        if let Err(error) = may(me) {
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            return;
        }
        assert!(answers(me, Duration::from_secs(5)).await);
    }
}
