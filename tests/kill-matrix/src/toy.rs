//! A service manager on a bus of its own that speaks as much of systemd's D-Bus interface as the agent does. What it
//! runs outlives the agent, as with systemd, so that each start of the service is one that somebody asked for.
//!
//! It is no judge of anything: whether the agent speaks systemd's language is for the lab, with a real one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use drydock_system_tests::{
    process::{self, Process},
    wait,
};
use tempfile::TempDir;
use tokio::sync::oneshot;
use zbus::{connection, fdo, interface, object_server::SignalEmitter, zvariant::OwnedObjectPath};

const MANAGER: &str = "/org/freedesktop/systemd1";

/// What is not here for it.
pub(crate) fn missing() -> Option<&'static str> {
    let there = ["/usr/bin/dbus-daemon", "/bin/dbus-daemon"].iter().any(|path| Path::new(path).exists());
    (!there).then_some("no dbus-daemon: on Debian, apt-get install dbus-daemon")
}

/// What it runs.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    /// `demo.service`.
    pub(crate) unit: String,
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// Where it runs and what it says goes to.
    pub(crate) dir: PathBuf,
}

/// The running manager with its bus and its service; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Toy {
    /// For `DBUS_SYSTEM_BUS_ADDRESS`.
    pub(crate) address: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    _bus: Process,
    /// Goes after the bus has ended.
    _socket: TempDir,
}

impl Toy {
    /// Starts bus and service, and answers.
    ///
    /// # Panics
    /// When one of them does not come up.
    #[must_use]
    pub(crate) fn start(service: Service) -> Self {
        let (bus, socket, address) = bus(&service.dir);
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let to = address.clone();
        // The service's processes die with this thread.
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap_or_else(|error| panic!("a runtime: {error}"));
            runtime.block_on(async {
                let manager = serve(service, &to).await.unwrap_or_else(|error| panic!("{to}: {error}"));
                let _ = ready.send(());
                let _ = stopped.await;
                drop(manager);
            });
        });
        is_ready.recv_timeout(wait::SOON).unwrap_or_else(|_| panic!("the service manager did not come up"));
        Self { address, stop: Some(stop), thread: Some(thread), _bus: bus, _socket: socket }
    }
}

impl Drop for Toy {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bus(dir: &Path) -> (Process, TempDir, String) {
    // The way to a socket is short or refused: not below the fleet's directory.
    let socket = tempfile::Builder::new().prefix("drydock-bus-").tempdir();
    let socket = socket.unwrap_or_else(|error| panic!("a directory for a socket: {error}"));
    let (config, address) = (dir.join("bus.conf"), format!("unix:path={}/bus", socket.path().display()));
    let text = format!(
        "<busconfig><type>system</type><listen>{address}</listen><auth>EXTERNAL</auth>\
         <policy context=\"default\"><allow own=\"*\"/><allow send_destination=\"*\"/><allow receive_sender=\"*\"/>\
         <allow user=\"*\"/></policy></busconfig>"
    );
    fs::write(&config, text).unwrap_or_else(|error| panic!("{}: {error}", config.display()));
    let mut command = process::command(Path::new("dbus-daemon"), dir);
    command.args(["--nofork", "--nopidfile", "--config-file"]).arg(&config);
    let process = Process::start("dbus-daemon (of Debian's dbus-daemon)", command, &dir.join("bus.log"));
    // Not that its socket is there: between that and its listening a connection is refused.
    let listens = || std::os::unix::net::UnixStream::connect(socket.path().join("bus")).is_ok();
    wait::until_true("the bus to listen", wait::SOON, listens);
    (process, socket, address)
}

async fn serve(service: Service, address: &str) -> zbus::Result<zbus::Connection> {
    let path = unit_path(&service.unit)?;
    let state = Arc::new(Mutex::new(State { child: None, starts: 0, job: 0, service }));
    lock(&state).start();
    connection::Builder::address(address)?
        .name("org.freedesktop.systemd1")?
        .serve_at(MANAGER, Manager(state.clone()))?
        .serve_at(path.as_ref(), Unit(state.clone()))?
        .serve_at(path.as_ref(), Details(state))?
        .build()
        .await
}

fn unit_path(unit: &str) -> zbus::Result<OwnedObjectPath> {
    let escaped: String = unit
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("_{b:02x}") })
        .collect();
    Ok(OwnedObjectPath::try_from(format!("{MANAGER}/unit/{escaped}"))?)
}

struct State {
    service: Service,
    child: Option<Process>,
    starts: u32,
    job: u32,
}

fn lock(state: &Arc<Mutex<State>>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.ended().is_none())
    }

    fn start(&mut self) {
        let Service { program, args, dir, .. } = &self.service;
        let mut command: Command = process::command(program, dir);
        command.args(args).current_dir(dir);
        let child = Process::start("the service", command, &dir.join("service.log"));
        let exe = format!("/proc/{}/exe", child.pid());
        // As `Type=exec`: until the program itself runs.
        let program = fs::canonicalize(program).unwrap_or_default();
        wait::until_true("the service's program to run", wait::SOON, || {
            fs::read_link(&exe).is_ok_and(|link| link == program)
        });
        self.child = Some(child);
        self.starts += 1;
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.terminate(Duration::from_secs(10));
        }
    }
}

struct Manager(Arc<Mutex<State>>);

impl Manager {
    fn known(&self, unit: &str) -> fdo::Result<OwnedObjectPath> {
        match lock(&self.0).service.unit == unit {
            true => Ok(unit_path(unit)?),
            false => Err(fdo::Error::UnknownObject(format!("Unit {unit} not found."))),
        }
    }

    async fn job(
        &self,
        unit: &str,
        to: SignalEmitter<'_>,
        work: impl FnOnce(&mut State),
    ) -> fdo::Result<OwnedObjectPath> {
        self.known(unit)?;
        let id = {
            let mut state = lock(&self.0);
            state.job += 1;
            work(&mut state);
            state.job
        };
        let path = OwnedObjectPath::try_from(format!("{MANAGER}/job/{id}")).map_err(zbus::Error::from)?;
        Self::job_removed(&to, id, path.clone(), unit, "done").await?;
        Ok(path)
    }
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn subscribe(&self) {}

    fn load_unit(&self, name: &str) -> fdo::Result<OwnedObjectPath> {
        self.known(name)
    }

    fn get_unit(&self, name: &str) -> fdo::Result<OwnedObjectPath> {
        self.known(name)
    }

    async fn start_unit(
        &self,
        name: &str,
        _mode: &str,
        #[zbus(signal_emitter)] to: SignalEmitter<'_>,
    ) -> fdo::Result<OwnedObjectPath> {
        let start = |state: &mut State| {
            if !state.alive() {
                state.start();
            }
        };
        self.job(name, to, start).await
    }

    async fn stop_unit(
        &self,
        name: &str,
        _mode: &str,
        #[zbus(signal_emitter)] to: SignalEmitter<'_>,
    ) -> fdo::Result<OwnedObjectPath> {
        self.job(name, to, State::stop).await
    }

    async fn restart_unit(
        &self,
        name: &str,
        _mode: &str,
        #[zbus(signal_emitter)] to: SignalEmitter<'_>,
    ) -> fdo::Result<OwnedObjectPath> {
        let restart = |state: &mut State| {
            state.stop();
            state.start();
        };
        self.job(name, to, restart).await
    }

    fn reset_failed_unit(&self, name: &str) -> fdo::Result<()> {
        self.known(name).map(drop)
    }

    #[zbus(signal)]
    async fn job_removed(
        to: &SignalEmitter<'_>,
        id: u32,
        job: OwnedObjectPath,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

struct Unit(Arc<Mutex<State>>);

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn id(&self) -> String {
        lock(&self.0).service.unit.clone()
    }

    #[zbus(property)]
    fn names(&self) -> Vec<String> {
        vec![self.id()]
    }

    #[zbus(property)]
    fn load_state(&self) -> String {
        "loaded".into()
    }

    #[zbus(property)]
    fn active_state(&self) -> String {
        if lock(&self.0).alive() { "active".into() } else { "inactive".into() }
    }

    #[zbus(property)]
    fn sub_state(&self) -> String {
        if lock(&self.0).alive() { "running".into() } else { "dead".into() }
    }

    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        (0, OwnedObjectPath::default())
    }

    #[zbus(property, name = "InvocationID")]
    fn invocation_id(&self) -> Vec<u8> {
        u128::from(lock(&self.0).starts).to_be_bytes().to_vec()
    }
}

struct Details(Arc<Mutex<State>>);

#[interface(name = "org.freedesktop.systemd1.Service")]
impl Details {
    #[zbus(property, name = "MainPID")]
    fn main_pid(&self) -> u32 {
        let mut state = lock(&self.0);
        if state.alive() { state.child.as_ref().map_or(0, Process::pid) } else { 0 }
    }

    #[zbus(property)]
    fn kill_mode(&self) -> String {
        "control-group".into()
    }

    #[zbus(property)]
    fn result(&self) -> String {
        "success".into()
    }

    #[zbus(property, name = "NRestarts")]
    fn n_restarts(&self) -> u32 {
        0
    }
}
