//! One supervised service: its process, its state, its last lines.

use std::{
    collections::VecDeque,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{ServiceConfig, lock};
use crate::sys::{
    exec,
    process::{exe_file, file_at},
    units::{JobEnd, Started, UnitInfo, UnitsError, Verb, printable_line},
};

/// Lines that are kept.
const KEPT_LINES: usize = 100;
/// Bytes that are read of one line; the rest makes further lines.
const LINE_BYTES: u64 = 4096;
/// How long it may take until the program itself runs in the child.
const TO_BEGIN: Duration = Duration::from_secs(5);

/// One service.
#[derive(Debug)]
pub(super) struct Service {
    name: String,
    config: ServiceConfig,
    state: Arc<Mutex<State>>,
    /// One job at a time.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    pid: Option<Pid>,
    /// `true` while the process of this start is there.
    alive: watch::Sender<bool>,
    invocation: String,
    last: Option<ExitStatus>,
    stopping: bool,
    /// Its start with the agent is still to come.
    to_come: bool,
    lines: VecDeque<String>,
}

impl Service {
    pub(super) fn new(name: &str, config: ServiceConfig) -> Self {
        let state = State {
            pid: None,
            alive: watch::channel(false).0,
            invocation: String::new(),
            last: None,
            stopping: false,
            to_come: config.autostart,
            lines: VecDeque::new(),
        };
        Self {
            name: name.into(),
            config,
            state: Arc::new(Mutex::new(state)),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    pub(super) const fn starts_by_itself(&self) -> bool {
        self.config.autostart
    }

    pub(super) fn info(&self) -> UnitInfo {
        let state = lock(&self.state);
        let clean = state.last.is_none_or(|status| status.success());
        let (active, sub) = match state.pid {
            Some(_) if state.stopping => ("deactivating", "stop-sigterm"),
            Some(_) => ("active", "running"),
            None if clean || state.stopping => ("inactive", "dead"),
            None => ("failed", "failed"),
        };
        UnitInfo {
            id: self.name.clone(),
            names: vec![self.name.clone()],
            active_state: active.into(),
            sub_state: sub.into(),
            main_pid: state.pid.and_then(|pid| u32::try_from(pid.as_raw()).ok()).unwrap_or(0),
            invocation_id: state.invocation.clone(),
            job_pending: state.to_come || self.turn.try_lock().is_err(),
            kill_mode: "control-group".into(),
            result: if clean || state.stopping { "success".into() } else { "exit-code".into() },
            last_exit: state.last.map(words).unwrap_or_default(),
            started: Started {
                exec: core::iter::once(self.config.path.as_str().to_owned())
                    .chain(self.config.args.iter().cloned())
                    .collect(),
                environment: self.config.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
                environment_files: Vec::new(),
            },
            ..UnitInfo::default()
        }
    }

    pub(super) fn log_tail(&self, lines: usize) -> Vec<String> {
        let state = lock(&self.state);
        state.lines.iter().skip(state.lines.len().saturating_sub(lines)).cloned().collect()
    }

    /// Must run on the supervisor's thread: the children of a start die with the thread that started them.
    pub(super) async fn job(&self, verb: Verb) -> Result<JobEnd, UnitsError> {
        let _turn = self.turn.lock().await;
        lock(&self.state).to_come = false;
        if matches!(verb, Verb::Stop | Verb::Restart) {
            self.stop().await;
        }
        if matches!(verb, Verb::Start | Verb::Restart) && lock(&self.state).pid.is_none() {
            return self.start().await;
        }
        Ok(JobEnd::Done)
    }

    /// Ends the process group at once.
    pub(super) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// The child is reaped in the same turn of the runtime in which its number is forgotten, so a number that
    /// stands in the state is never somebody else's.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = lock(&self.state).pid {
            let _ = killpg(pid, signal);
        }
    }

    async fn stop(&self) {
        let mut alive = {
            let mut state = lock(&self.state);
            state.stopping = true;
            state.alive.subscribe()
        };
        self.signal(Signal::SIGTERM);
        let patience = Duration::from_millis(self.config.stop_timeout.0);
        if timeout(patience, alive.wait_for(|alive| !alive)).await.is_err() {
            self.signal(Signal::SIGKILL);
            let _ = alive.wait_for(|alive| !alive).await;
        }
    }

    async fn start(&self) -> Result<JobEnd, UnitsError> {
        let why = |why: String| UnitsError::Supervisor { unit: self.name.clone(), why };
        let invocation = invocation().ok_or_else(|| why("no random numbers for an invocation id".into()))?;
        let mut child = self.spawn().map_err(|error| why(format!("{}: {error}", self.config.path)))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        {
            let mut state = lock(&self.state);
            state.pid = pid;
            state.invocation = invocation;
            state.stopping = false;
            state.last = None;
            state.alive.send_replace(true);
        }
        tokio::spawn(collect(self.state.clone(), stdout));
        tokio::spawn(collect(self.state.clone(), stderr));
        tokio::spawn(watch(self.state.clone(), child));
        self.begun(pid).await.map_err(why)
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let path = self.config.path.as_str();
        let mut command = match exec::find("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--", path]);
                command
            }
            None => {
                tracing::warn!(
                    "setpriv (util-linux) is not installed: a killed agent leaves its services behind"
                );
                Command::new(path)
            }
        };
        command
            .args(&self.config.args)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(&self.config.env)
            .current_dir(self.config.directory.as_ref().map_or("/", drydock_types::AbsPath::as_str))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// Waits until the program itself is what runs in the child, as `Type=exec` does.
    async fn begun(&self, pid: Option<Pid>) -> Result<JobEnd, String> {
        let wrapper = exec::find("setpriv").and_then(|path| file_at(&path.display().to_string()).ok());
        let me = exe_file(std::process::id()).ok();
        let until = Instant::now() + TO_BEGIN;
        let pid = pid.and_then(|pid| u32::try_from(pid.as_raw()).ok()).unwrap_or(0);
        while Instant::now() < until {
            if lock(&self.state).pid.is_none() {
                return Ok(JobEnd::Not("failed".into()));
            }
            let now = exe_file(pid).ok();
            if now.is_some() && now != wrapper && now != me {
                return Ok(JobEnd::Done);
            }
            sleep(Duration::from_millis(2)).await;
        }
        Err(format!("{} did not begin to run within {TO_BEGIN:?}", self.config.path))
    }
}

/// Reaps the child and says so.
async fn watch(state: Arc<Mutex<State>>, mut child: Child) {
    let status = child.wait().await;
    let mut state = lock(&state);
    state.pid = None;
    state.last = status.ok();
    state.alive.send_replace(false);
}

/// Keeps the last lines of a stream.
async fn collect(state: Arc<Mutex<State>>, stream: Option<impl AsyncRead + Unpin>) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
        let mut state = lock(&state);
        if state.lines.len() == KEPT_LINES {
            state.lines.pop_front();
        }
        state.lines.push_back(printable_line(&String::from_utf8_lossy(&line)));
    }
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

/// 32 hex digits, as systemd's.
fn invocation() -> Option<String> {
    let mut bytes = [0u8; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
