//! Against a stand-in that speaks D-Bus over a socket pair and can fail: jobs that end otherwise, never, or
//! before their own reply.

use std::sync::{Arc, Mutex};

use tokio::net::UnixStream;
use zbus::{Guid, connection, interface, object_server::SignalEmitter, zvariant::ObjectPath};

use super::*;

const JOB: &str = "/org/freedesktop/systemd1/job/7";
const OTHER_JOB: &str = "/org/freedesktop/systemd1/job/6";

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum FakeError {
    #[zbus(error)]
    ZBus(zbus::Error),
    NoSuchUnit(String),
}

/// How the stand-in ends a job: results of JobRemoved, in order, by job path.
type Ends = Vec<(&'static str, &'static str)>;

struct FakeManager {
    ends: Ends,
    calls: Arc<Mutex<Vec<String>>>,
}

fn path_of(name: &str) -> Option<ObjectPath<'static>> {
    let known = ["etcd", "alias", "api", "web", "idle", "masked"];
    let stem = name.split('.').next().filter(|stem| known.contains(stem))?;
    let stem = if stem == "alias" { "etcd" } else { stem };
    ObjectPath::try_from(format!("/unit/{stem}")).ok()
}

impl FakeManager {
    async fn job(
        &self,
        call: String,
        unit: &str,
        to: SignalEmitter<'_>,
    ) -> zbus::fdo::Result<ObjectPath<'static>> {
        self.calls.lock().unwrap().push(call);
        if self.ends == [("", "refuse")] {
            return Err(zbus::fdo::Error::AccessDenied("a start job is queued".into()));
        }
        // Before the reply: a listener that came late would miss it.
        for (job, result) in &self.ends {
            let job = ObjectPath::try_from(*job).unwrap();
            Self::job_removed(&to, 7, job, unit, result).await.unwrap();
        }
        Ok(ObjectPath::try_from(JOB).unwrap())
    }
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl FakeManager {
    fn subscribe(&self) {}

    fn load_unit(&self, name: &str) -> ObjectPath<'static> {
        path_of(name).unwrap_or_else(|| ObjectPath::try_from("/unit/missing").unwrap())
    }

    fn get_unit(&self, name: &str) -> Result<ObjectPath<'static>, FakeError> {
        path_of(name).ok_or_else(|| FakeError::NoSuchUnit(name.into()))
    }

    async fn restart_unit(
        &self,
        name: &str,
        mode: &str,
        #[zbus(signal_emitter)] to: SignalEmitter<'_>,
    ) -> zbus::fdo::Result<ObjectPath<'static>> {
        self.job(format!("restart {name} {mode}"), name, to).await
    }

    async fn start_unit(
        &self,
        name: &str,
        mode: &str,
        #[zbus(signal_emitter)] to: SignalEmitter<'_>,
    ) -> zbus::fdo::Result<ObjectPath<'static>> {
        self.job(format!("start {name} {mode}"), name, to).await
    }

    fn reset_failed_unit(&self, name: &str) {
        self.calls.lock().unwrap().push(format!("reset {name}"));
    }

    #[zbus(signal)]
    async fn job_removed(
        to: &SignalEmitter<'_>,
        id: u32,
        job: ObjectPath<'_>,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

struct FakeUnit {
    id: &'static str,
    load: &'static str,
    active: &'static str,
    required_by: &'static [&'static str],
    conflicts: &'static [&'static str],
    job: u32,
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl FakeUnit {
    #[zbus(property)]
    fn id(&self) -> String {
        self.id.into()
    }
    #[zbus(property)]
    fn names(&self) -> Vec<String> {
        if self.id == "etcd.service" { owned(&["etcd.service", "alias.service"]) } else { owned(&[self.id]) }
    }
    #[zbus(property)]
    fn load_state(&self) -> String {
        self.load.into()
    }
    #[zbus(property)]
    fn active_state(&self) -> String {
        self.active.into()
    }
    #[zbus(property)]
    fn sub_state(&self) -> String {
        "running".into()
    }
    #[zbus(property)]
    fn required_by(&self) -> Vec<String> {
        owned(self.required_by)
    }
    #[zbus(property)]
    fn conflicts(&self) -> Vec<String> {
        owned(self.conflicts)
    }
    #[zbus(property, name = "InvocationID")]
    fn invocation_id(&self) -> Vec<u8> {
        (0u8..16).collect()
    }
    #[zbus(property)]
    fn job(&self) -> (u32, ObjectPath<'static>) {
        (self.job, ObjectPath::try_from("/").unwrap())
    }
}

struct FakeService;

#[interface(name = "org.freedesktop.systemd1.Service")]
impl FakeService {
    #[zbus(property, name = "MainPID")]
    fn main_pid(&self) -> u32 {
        4711
    }
    #[zbus(property, name = "NRestarts")]
    fn n_restarts(&self) -> u32 {
        3
    }
    #[zbus(property)]
    fn result(&self) -> String {
        "success".into()
    }
    #[zbus(property)]
    fn kill_mode(&self) -> String {
        "process".into()
    }
    #[zbus(property)]
    fn exec_main_code(&self) -> i32 {
        1
    }
    #[zbus(property)]
    fn exec_main_status(&self) -> i32 {
        2
    }
    #[zbus(property)]
    #[allow(clippy::type_complexity, reason = "systemd's own form: a(sasbttttuii)")]
    fn exec_start(&self) -> Vec<(String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32)> {
        let command = |words: &[&str]| (words[0].to_owned(), owned(words), false, 1, 2, 3, 4, 5, 6, 7);
        vec![command(&["/usr/local/bin/k3s", "server", "--token=hidden"]), command(&["/bin/second"])]
    }
    #[zbus(property)]
    fn environment(&self) -> Vec<String> {
        owned(&["A=hidden"])
    }
    #[zbus(property)]
    fn environment_files(&self) -> Vec<(String, bool)> {
        vec![("/etc/default/k3s".into(), true), ("/etc/k3s.env".into(), false)]
    }
}

struct Bench {
    systemd: Systemd,
    calls: Arc<Mutex<Vec<String>>>,
    _server: Connection,
}

async fn bench(ends: Ends) -> Bench {
    let (here, there) = UnixStream::pair().unwrap();
    let server = connection::Builder::unix_stream(there).server(Guid::generate()).unwrap().p2p();
    served(ends, (server, connection::Builder::unix_stream(here).p2p())).await
}

async fn served(ends: Ends, builders: (connection::Builder<'_>, connection::Builder<'_>)) -> Bench {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let unit = |id, active, required_by, conflicts| FakeUnit {
        id,
        load: "loaded",
        active,
        required_by,
        conflicts,
        job: 0,
    };
    let manager = FakeManager { ends, calls: calls.clone() };
    let (server, client) = builders;
    let server = server
        .serve_at(MANAGER_PATH, manager)
        .unwrap()
        .serve_at(
            "/unit/etcd",
            unit("etcd.service", "active", &["api.service", "idle.service"], &["shutdown.target"]),
        )
        .unwrap()
        .serve_at("/unit/etcd", FakeService)
        .unwrap()
        .serve_at("/unit/api", unit("api.service", "active", &["web.service", "etcd.service"], &[]))
        .unwrap()
        .serve_at("/unit/web", unit("web.service", "activating", &[], &[]))
        .unwrap()
        .serve_at("/unit/idle", unit("idle.service", "inactive", &["never.service"], &[]))
        .unwrap()
        .serve_at(
            "/unit/missing",
            FakeUnit { load: "not-found", ..unit("missing.service", "inactive", &[], &[]) },
        )
        .unwrap()
        .serve_at("/unit/masked", FakeUnit { load: "masked", ..unit("masked.service", "inactive", &[], &[]) })
        .unwrap();
    let (server, client) = tokio::try_join!(server.build(), client.build()).unwrap();
    Bench { systemd: Systemd::with(client), calls, _server: server }
}

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_unit_is_loaded_by_its_alias_with_id_names_invocation_and_process() {
    let bench = bench(Vec::new()).await;
    let info = bench.systemd.load("alias.service").await.unwrap();
    assert_eq!((info.id.as_str(), info.names.len()), ("etcd.service", 2));
    assert_eq!(info.invocation_id, "000102030405060708090a0b0c0d0e0f");
    assert_eq!((info.main_pid, info.n_restarts, info.job_pending), (4711, 3, false));
    assert_eq!((info.kill_mode.as_str(), info.last_exit.as_str()), ("process", "exited 2"));
    assert!(info.is_running());
}

#[tokio::test]
async fn how_a_unit_is_started_is_read_and_not_shown() {
    let bench = bench(Vec::new()).await;
    let info = bench.systemd.load("etcd.service").await.unwrap();
    assert_eq!(info.started.exec, ["/usr/local/bin/k3s", "server", "--token=hidden"]);
    assert_eq!(info.started.environment, ["A=hidden"]);
    let files = [("/etc/default/k3s".to_owned(), true), ("/etc/k3s.env".to_owned(), false)];
    assert_eq!(info.started.environment_files, files);
    assert!(!format!("{info:?}").contains("hidden"));
}

#[tokio::test]
async fn what_would_stop_along_is_followed_to_its_end_and_only_what_is_active_counts() {
    let bench = bench(Vec::new()).await;
    let info = bench.systemd.load("etcd.service").await.unwrap();
    assert_eq!(info.stops_with, ["api.service", "web.service"]);
}

#[tokio::test]
async fn a_unit_that_is_missing_or_masked_is_refused() {
    let bench = bench(Vec::new()).await;
    assert!(matches!(bench.systemd.load("nope.service").await, Err(UnitsError::NotFound { .. })));
    assert!(matches!(bench.systemd.load("masked.service").await, Err(UnitsError::NotLoaded { .. })));
}

#[tokio::test]
async fn a_job_is_over_with_its_own_removal_and_with_no_other() {
    let both = bench(vec![(OTHER_JOB, "done"), (JOB, "failed")]).await;
    let end = both.systemd.run("etcd.service", Verb::Restart, Others::Respect, LONG).await.unwrap();
    assert_eq!(end, JobEnd::Not("failed".into()));
    let done = bench(vec![(OTHER_JOB, "failed"), (JOB, "done")]).await;
    let end = done.systemd.run("etcd.service", Verb::Start, Others::Replace, LONG).await.unwrap();
    assert_eq!(end, JobEnd::Done);
    assert_eq!(*both.calls.lock().unwrap(), ["restart etcd.service fail"]);
    assert_eq!(*done.calls.lock().unwrap(), ["start etcd.service replace"]);
}

#[tokio::test]
async fn a_job_that_never_ends_is_failed_at_the_deadline_by_name() {
    let bench = bench(vec![(OTHER_JOB, "done")]).await;
    let error = bench.systemd.run("etcd.service", Verb::Restart, Others::Respect, SHORT).await.unwrap_err();
    assert_eq!(error.to_string(), "restart of etcd.service was not over within 300ms");
}

#[tokio::test]
async fn a_refused_job_is_told_in_systemds_words() {
    let bench = bench(vec![("", "refuse")]).await;
    let error = bench.systemd.run("etcd.service", Verb::Start, Others::Respect, LONG).await.unwrap_err();
    assert_eq!(error.to_string(), "systemd refused to start etcd.service: a start job is queued");
}

#[tokio::test]
async fn a_failure_is_reset_by_name() {
    let bench = bench(Vec::new()).await;
    bench.systemd.reset_failed("etcd.service").await.unwrap();
    assert_eq!(*bench.calls.lock().unwrap(), ["reset etcd.service"]);
}

#[tokio::test]
async fn a_lost_connection_is_noticed_and_dialled_anew() {
    let bench = bench(Vec::new()).await;
    drop(bench._server);
    // There may be no system bus here: what counts is that the dead connection is not asked for ever.
    let _ = bench.systemd.load("etcd.service").await;
    let connected = bench.systemd.connection.lock().await.is_some();
    let bus = std::path::Path::new("/run/dbus/system_bus_socket").exists();
    assert!(!connected || bus);
}

/// A message bus of our own, killed with the test.
struct Bus {
    daemon: std::process::Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn bus() -> Option<Bus> {
    use std::io::BufRead as _;
    let program = crate::sys::exec::find("dbus-daemon")?;
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = std::process::Command::new(program)
        .args(["--session", "--nofork", "--print-address"])
        .arg(format!("--address=unix:path={}/bus", dir.path().display()))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .ok()?;
    let mut address = String::new();
    std::io::BufReader::new(daemon.stdout.take()?).read_line(&mut address).ok()?;
    Some(Bus { daemon, address: address.trim().to_owned(), _dir: dir }).filter(|bus| !bus.address.is_empty())
}

async fn bench_on(bus: &Bus, ends: Ends) -> Bench {
    let to = |address: &str| connection::Builder::address(address).unwrap();
    let server = to(&bus.address).name(SYSTEMD).unwrap();
    served(ends, (server, to(&bus.address))).await
}

#[tokio::test]
async fn over_a_real_bus_a_job_is_over_with_its_own_removal_too() {
    let Some(bus) = bus() else { return };
    let bench = bench_on(&bus, vec![(OTHER_JOB, "failed"), (JOB, "done")]).await;
    let info = bench.systemd.load("alias.service").await.unwrap();
    assert_eq!(info.stops_with, ["api.service", "web.service"]);
    for _ in 0..3 {
        let end = bench.systemd.run(&info.id, Verb::Restart, Others::Respect, LONG).await.unwrap();
        assert_eq!(end, JobEnd::Done);
    }
}

#[tokio::test]
async fn a_bus_that_dies_while_a_job_runs_ends_at_the_deadline_and_not_later() {
    let Some(bus) = bus() else { return };
    let bench = bench_on(&bus, Vec::new()).await;
    let begun = Instant::now();
    let job = bench.systemd.run("etcd.service", Verb::Restart, Others::Respect, Duration::from_secs(1));
    let death = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(bus);
    };
    let (ended, ()) = tokio::join!(job, death);
    assert!(matches!(ended, Err(UnitsError::Deadline { .. })), "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(3));
}
