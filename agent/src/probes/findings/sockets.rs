//! Sockets that somebody needs: those that the policy expects, those of the daemons that run, and those that the
//! configuration of the pod network names. A socket that lies there and that nobody listens on is as bad as none: only a
//! connection tells.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use drydock_types::findings::{Finding, FindingKind, Weight};
use nix::libc;
use tokio::{net::UnixStream, time::timeout};

use super::{Seen, daemons, finding, lasted_since, with_next};
use crate::{
    actions::Problem,
    policy::Expect,
    sys::{
        blocking,
        bounded::{self, Kind},
    },
};

/// Where the kubelet's runtime, and K3s's, look for the configuration of the pod network.
const CNI: [&str; 2] = ["etc/cni/net.d", "var/lib/rancher/k3s/agent/etc/cni/net.d"];
/// More files than this no runtime reads.
const MOST_FILES: usize = 64;
/// More sockets than this are named by nobody in earnest.
const MOST_SOCKETS: usize = 64;
/// How long a connection may take; one to a socket of this machine takes none.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a socket is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Needed {
    /// By `[expect] sockets` of the policy.
    Policy,
    /// By whoever speaks to a daemon that runs here.
    Daemon { name: String, next: &'static str },
    /// By a file of the pod network; the first in a directory is the one that a runtime takes.
    Cni { file: PathBuf, first: bool },
}

/// How it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    There,
    Missing,
    /// It lies there, and nobody listens.
    Dead,
    /// Somebody listens and takes nobody in.
    Stuck,
    Unseen(String),
}

pub(super) async fn look(expect: &Expect, root: &Path) -> Seen {
    let expected = expect.sockets.iter().map(|path| (PathBuf::from(path.as_str()), Needed::Policy));
    let mut wanted: Vec<_> = expected.collect();
    let of_root = root.to_path_buf();
    let both = move || Ok::<_, Problem>((daemons::sockets(&of_root)?, named_by_cni(&of_root)?));
    let (of_daemons, of_pods) = blocking(both).await.map_err(|problem| problem.what)?;
    wanted.extend(
        of_daemons.into_iter().map(|of| (of.path, Needed::Daemon { name: of.daemon, next: of.next })),
    );
    wanted.extend(of_pods);
    wanted.truncate(MOST_SOCKETS);
    let (mut found, mut asked) = (Vec::new(), BTreeSet::new());
    for (path, needed) in wanted {
        if asked.insert(path.clone()) {
            let state = state(&path).await;
            let for_s = (state == State::Missing).then(|| missing_for_s(&path)).flatten();
            found.extend(judge(&path, &needed, &state)?.map(|one| Finding { for_s, ..one }));
        }
    }
    Ok((found, u64::try_from(asked.len()).unwrap_or(u64::MAX)))
}

/// Sockets, in the order of the files as a runtime reads them.
fn named_by_cni(root: &Path) -> Result<Vec<(PathBuf, Needed)>, Problem> {
    let mut named = Vec::new();
    for dir in CNI.map(|dir| root.join(dir)) {
        let failed = |error: io::Error, path: &Path| Problem::new(format!("{}: {error}", path.display()));
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error, &dir)),
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        let known = ["conf", "conflist", "json"];
        files.retain(|path| path.extension().is_some_and(|kind| known.iter().any(|known| kind == *known)));
        files.sort();
        for (index, file) in files.into_iter().take(MOST_FILES).enumerate() {
            let text = bounded::text(&file, Kind::Settings).map_err(|error| failed(error, &file))?;
            let sockets = sockets_in(&text).map_err(|error| failed(io::Error::other(error), &file))?;
            let needed = Needed::Cni { file, first: index == 0 };
            named.extend(sockets.into_iter().map(|path| (path, needed.clone())));
        }
    }
    Ok(named)
}

/// Every path of a socket below `/run` that stands anywhere in a JSON text.
fn sockets_in(text: &str) -> Result<BTreeSet<PathBuf>, serde_json::Error> {
    let mut found = BTreeSet::new();
    let mut open = vec![serde_json::from_str::<serde_json::Value>(text)?];
    while let Some(value) = open.pop() {
        match value {
            serde_json::Value::String(text) => {
                let text = text.strip_prefix("unix://").unwrap_or(&text);
                let below = ["/run/", "/var/run/"].iter().any(|dir| text.starts_with(dir));
                let plain = !text.contains("/../") && text.len() < 108;
                if below && plain && text.ends_with(".sock") {
                    found.insert(PathBuf::from(text));
                }
            }
            serde_json::Value::Array(values) => open.extend(values),
            serde_json::Value::Object(values) => open.extend(values.into_iter().map(|(_, value)| value)),
            _ => {}
        }
    }
    Ok(found)
}

/// So long at least it is missing: its making or its removal would have changed the directory. Where that is missing
/// too, the one above it.
fn missing_for_s(path: &Path) -> Option<u64> {
    let dir = path.ancestors().skip(1).find_map(|dir| fs::metadata(dir).ok())?;
    lasted_since(dir.ctime())
}

async fn state(path: &Path) -> State {
    match timeout(PATIENCE, UnixStream::connect(path)).await {
        Ok(Ok(_)) => State::There,
        Ok(Err(error)) => match error.raw_os_error() {
            // Somebody listens there in another manner: datagrams, packets.
            Some(libc::EPROTOTYPE) => State::There,
            Some(libc::ENOENT | libc::ENOTDIR) => State::Missing,
            Some(libc::ECONNREFUSED) => State::Dead,
            Some(libc::EAGAIN) => State::Stuck,
            _ => State::Unseen(error.to_string()),
        },
        Err(_) => State::Stuck,
    }
}

fn judge(path: &Path, needed: &Needed, state: &State) -> Result<Option<Finding>, String> {
    let path = path.display();
    let state = match state {
        State::There => return Ok(None),
        State::Missing => format!("{path} is missing"),
        State::Dead => format!("{path} is there and nobody listens on it"),
        State::Stuck => format!("{path} is there and whoever listens on it takes nobody in"),
        State::Unseen(why) => return Err(format!("{path}: {why}")),
    };
    Ok(Some(match needed {
        Needed::Policy => {
            let what = format!("{state}, which this node's policy expects");
            with_next(
                finding(FindingKind::Socket, Weight::Stops, what),
                "start the service that makes it (systemctl --failed); or take it out of [expect] sockets in the policy",
            )
        }
        Needed::Daemon { name, next } => {
            let what = format!("{state}, and {name} runs: nobody reaches it there");
            with_next(finding(FindingKind::Socket, Weight::Stops, what), *next)
        }
        Needed::Cni { file, first: true } => {
            let what = format!("{state}, which {} names: no pod can get an address here", file.display());
            with_next(
                finding(FindingKind::PodNetwork, Weight::Stops, what),
                "the pod of the network's DaemonSet on this node makes it: look why it does not run \
                 (kubectl get pods -A -o wide), and restart it",
            )
        }
        Needed::Cni { file, first: false } => {
            let what = format!("{state}, which {} names", file.display());
            with_next(
                finding(FindingKind::Socket, Weight::Warns, what),
                "if that network is not used any more, remove the file",
            )
        }
    }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use drydock_types::AbsPath;

    use super::*;

    /// What kube-ovn's installer writes.
    const KUBE_OVN: &str = r#"{
        "name":"kube-ovn", "cniVersion":"0.3.1",
        "plugins":[
            {"type":"kube-ovn","server_socket":"/run/openvswitch/kube-ovn-daemon.sock"},
            {"type":"portmap","capabilities":{"portMappings":true}}
        ]}"#;

    #[test]
    fn the_story_of_the_two_hundred_days_is_one_line() {
        let named = sockets_in(KUBE_OVN).unwrap();
        let path = Path::new("/run/openvswitch/kube-ovn-daemon.sock");
        assert_eq!(named, BTreeSet::from([path.to_path_buf()]));
        let needed = Needed::Cni { file: "/etc/cni/net.d/01-kube-ovn.conflist".into(), first: true };
        let found = judge(path, &needed, &State::Missing).unwrap().unwrap();
        assert_eq!(
            found.what,
            "/run/openvswitch/kube-ovn-daemon.sock is missing, which /etc/cni/net.d/01-kube-ovn.conflist names: \
             no pod can get an address here"
        );
        assert_eq!((found.weight, found.kind), (Weight::Stops, FindingKind::PodNetwork));
    }

    #[test]
    fn only_paths_of_sockets_below_run_are_taken_out_of_a_file() {
        let text = r#"{"a":["unix:///var/run/x/y.sock","/etc/z.sock","/run/../etc/a.sock","/run/b.socket","run/c.sock"]}"#;
        assert_eq!(sockets_in(text).unwrap(), BTreeSet::from([PathBuf::from("/var/run/x/y.sock")]));
        assert!(sockets_in("{").is_err());
    }

    #[tokio::test]
    async fn a_socket_counts_only_when_somebody_takes_a_connection() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert_eq!(state(&at("missing")).await, State::Missing);
        let listener = UnixListener::bind(at("s.sock")).unwrap();
        assert_eq!(state(&at("s.sock")).await, State::There);
        drop(listener);
        assert_eq!(state(&at("s.sock")).await, State::Dead, "the file stays behind");
        fs::write(at("file"), "").unwrap();
        assert_eq!(state(&at("file")).await, State::Dead);
        let _datagrams = UnixDatagram::bind(at("d.sock")).unwrap();
        assert_eq!(state(&at("d.sock")).await, State::There);
    }

    #[test]
    fn a_socket_is_missing_for_as_long_as_nothing_was_changed_where_it_would_lie() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("gone/x.sock");
        assert!(missing_for_s(&socket).unwrap() < 60, "its directory is missing too, and was never there");
        // Nobody puts anything there but the kernel, at the boot.
        let old = missing_for_s(Path::new("/proc/sys/x.sock"));
        assert!(old.is_some());
    }

    #[test]
    fn a_daemons_socket_that_is_missing_stops_and_names_the_daemon() {
        let next = "do this";
        let needed = Needed::Daemon { name: "ovsdb-server (pid 812)".into(), next };
        let path = Path::new("/run/openvswitch/db.sock");
        let found = judge(path, &needed, &State::Missing).unwrap().unwrap();
        assert_eq!(
            found.what,
            "/run/openvswitch/db.sock is missing, and ovsdb-server (pid 812) runs: nobody reaches it there"
        );
        assert_eq!((found.weight, found.next), (Weight::Stops, vec![next.to_owned()]));
        assert_eq!(judge(path, &needed, &State::There), Ok(None));
    }

    #[tokio::test]
    async fn what_the_policy_and_the_first_file_name_stops_and_what_others_name_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let cni = dir.path().join(CNI[0]);
        fs::create_dir_all(&cni).unwrap();
        fs::write(cni.join("01-ovn.conflist"), KUBE_OVN).unwrap();
        let other = r#"{"socket":"/run/drydock-nobody/other.sock"}"#;
        fs::write(cni.join("90-other.conf"), other).unwrap();
        fs::write(cni.join("README"), "not JSON").unwrap();
        let expect =
            Expect { sockets: BTreeSet::from([AbsPath::parse("/run/drydock-nobody/db.sock").unwrap()]) };
        let (found, count) = look(&expect, dir.path()).await.unwrap();
        let weights: Vec<_> = found.iter().map(|found| (found.kind, found.weight)).collect();
        assert_eq!(count, 3);
        assert_eq!(
            weights,
            [
                (FindingKind::Socket, Weight::Stops),
                (FindingKind::PodNetwork, Weight::Stops),
                (FindingKind::Socket, Weight::Warns),
            ],
            "{found:?}"
        );
        assert!(found.iter().all(|found| found.for_s.is_some()), "each with its age: {found:?}");
        fs::write(cni.join("02-broken.conf"), "{").unwrap();
        assert!(look(&expect, dir.path()).await.unwrap_err().contains("02-broken.conf"));
    }
}
