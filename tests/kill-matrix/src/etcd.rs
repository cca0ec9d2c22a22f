//! Three real etcd members beside the fleet: a snapshot is taken of the first, and leadership handed over by it.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use drydock_system_tests::{
    process::{self, Process},
    wait,
};
use serde_json::Value;

use crate::toy;

/// They end when it is dropped.
#[derive(Debug)]
pub(crate) struct Etcd {
    clients: Vec<SocketAddr>,
    _members: Vec<Process>,
}

/// The binary: `DRYDOCK_TEST_ETCD`, or Debian's.
pub(crate) fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("DRYDOCK_TEST_ETCD").map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from("/usr/bin/etcd"))).filter(|path| path.exists())
}

/// What is not here for it.
pub(crate) fn missing() -> Option<&'static str> {
    let no_etcd =
        || binary().is_none().then_some("no etcd: set DRYDOCK_TEST_ETCD, or apt-get install etcd-server");
    toy::missing().or_else(no_etcd)
}

fn free() -> SocketAddr {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.unwrap_or_else(|error| panic!("no port: {error}"))
}

impl Etcd {
    /// Members that answer, with the first leading.
    ///
    /// # Panics
    /// When they do not come up.
    pub(crate) fn start(binary: &Path, dir: &Path) -> Self {
        let (clients, peers): (Vec<_>, Vec<_>) = (0..3).map(|_| (free(), free())).unzip();
        let cluster: Vec<_> =
            peers.iter().enumerate().map(|(i, peer)| format!("m{i}=http://{peer}")).collect();
        let member = |i: usize| {
            let (client, peer) = (format!("http://{}", clients[i]), format!("http://{}", peers[i]));
            let mut command = process::command(binary, dir);
            command.args(["--name", &format!("m{i}"), "--initial-cluster", &cluster.join(",")]);
            command.arg("--data-dir").arg(dir.join(format!("etcd-m{i}")));
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--log-level", "error"]);
            Process::start(&format!("etcd m{i}"), command, &dir.join(format!("etcd-m{i}.log")))
        };
        let members = (0..3).map(member).collect();
        let etcd = Self { clients, _members: members };
        wait::until("a leader of etcd", wait::RUN, || etcd.status(0).filter(|status| status.leader != 0));
        etcd
    }

    /// For the policy.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.clients[0])
    }

    /// Brings leadership to the first member, if another has it.
    ///
    /// # Panics
    /// When it does not come there.
    pub(crate) fn lead(&self) {
        wait::until_true("the first member of etcd to lead", wait::SOON, || {
            let Some(first) = self.status(0) else { return false };
            if first.leader == first.member {
                return true;
            }
            for (i, client) in self.clients.iter().enumerate() {
                if self.status(i).is_some_and(|status| status.member == first.leader) {
                    let target = format!("{{\"targetID\":\"{}\"}}", first.member);
                    drop(post(*client, "/v3/maintenance/transfer-leadership", &target));
                }
            }
            false
        });
    }

    /// Rises by one with each change of the leader.
    ///
    /// # Panics
    /// When etcd does not answer.
    pub(crate) fn term(&self) -> u64 {
        wait::until("etcd's term", wait::SOON, || self.status(0)).term
    }

    fn status(&self, i: usize) -> Option<Status> {
        let answer = post(self.clients[i], "/v3/maintenance/status", "{}")?;
        let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        Some(Status {
            member: number(&answer["header"]["member_id"]),
            leader: number(&answer["leader"]),
            term: number(&answer["raftTerm"]),
        })
    }
}

struct Status {
    member: u64,
    leader: u64,
    term: u64,
}

fn post(to: SocketAddr, path: &str, body: &str) -> Option<Value> {
    let second = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&to, second).ok()?;
    stream.set_read_timeout(Some(second)).ok()?;
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.0\r\nHost: {to}\r\nContent-Length: {length}\r\n\r\n{body}").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}
