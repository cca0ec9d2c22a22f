//! systemd over D-Bus: load, job, wait for its `JobRemoved`. Kept thin: what it means is judged elsewhere.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use futures_util::StreamExt as _;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout_at},
};
use zbus::{
    Connection, Proxy,
    fdo::PropertiesProxy,
    names::InterfaceName,
    proxy::{CacheProperties, SignalStream},
    zvariant::{OwnedObjectPath, OwnedValue, Value},
};

mod services;
mod survey;
mod transient;

use super::{JobEnd, LOOK_AGAIN, Others, Started, UnitInfo, UnitsError, Verb};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";

/// How long one answer of the bus may take; a job's wait has its own deadline.
const CALL: Duration = Duration::from_secs(10);
/// How many units are followed when it is asked what would stop along.
const MAX_ALONG: usize = 64;

/// The dependencies along which systemd passes a stop on (`UNIT_ATOM_PROPAGATE_STOP` in its source). The last
/// is missing before 249.
const STOP_ALONG: [&str; 5] = ["RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", "PropagatesStopTo"];
/// What a start of the unit stops.
const STOP_BY_START: [&str; 2] = ["Conflicts", "ConflictedBy"];

type Properties = HashMap<String, OwnedValue>;

/// The connection to systemd, made when it is first needed and made again after it was lost.
#[derive(Debug, Default)]
pub struct Systemd {
    connection: Mutex<Option<Connection>>,
}

/// A failed call: of the bus itself, or an answer with an error's name and words.
enum Failed {
    Bus(String),
    Said { name: String, words: String },
}

impl From<zbus::Error> for Failed {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, words, _) => {
                Self::Said { name: name.to_string(), words: words.unwrap_or_default() }
            }
            zbus::Error::FDO(error) => match *error {
                zbus::fdo::Error::ZBus(error) => error.into(),
                other => Self::Said { name: "org.freedesktop.DBus.Error".into(), words: other.to_string() },
            },
            other => Self::Bus(other.to_string()),
        }
    }
}

impl Failed {
    fn of(self, doing: &'static str, unit: &str) -> UnitsError {
        match self {
            Self::Said { name, .. } if name.ends_with(".NoSuchUnit") => {
                UnitsError::NotFound { unit: unit.into() }
            }
            Self::Said { words, .. } => UnitsError::Refused { doing, unit: unit.into(), why: words },
            Self::Bus(why) => UnitsError::Bus { why },
        }
    }
}

impl Systemd {
    /// Not connected yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[cfg(test)]
    fn with(connection: Connection) -> Self {
        Self { connection: Mutex::new(Some(connection)) }
    }

    async fn connect(&self) -> Result<Connection, Failed> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref() {
            return Ok(connection.clone());
        }
        let connection = within(CALL, Connection::system()).await?;
        Ok(slot.insert(connection).clone())
    }

    /// Drops a connection that failed, so that the next call dials anew.
    async fn forget(&self) {
        self.connection.lock().await.take();
    }

    /// The unit as systemd has it, by any of its names.
    pub(super) async fn load(&self, unit: &str) -> Result<UnitInfo, UnitsError> {
        let mut answer = self.try_load(unit).await;
        if matches!(answer, Err(UnitsError::Bus { .. })) {
            // Reading twice does no harm: once more over a new connection.
            self.forget().await;
            answer = self.try_load(unit).await;
        }
        answer
    }

    async fn try_load(&self, unit: &str) -> Result<UnitInfo, UnitsError> {
        let connection = self.connect().await.map_err(|failed| failed.of("load", unit))?;
        let path =
            unit_path(&connection, "LoadUnit", unit).await.map_err(|failed| failed.of("load", unit))?;
        let read = |interface| properties(&connection, &path, interface);
        let general = read(UNIT).await.map_err(|failed| failed.of("look at", unit))?;
        match text(&general, "LoadState").as_str() {
            "loaded" => {}
            "not-found" => return Err(UnitsError::NotFound { unit: unit.into() }),
            state => return Err(UnitsError::NotLoaded { unit: unit.into(), state: state.into() }),
        }
        let service = read(SERVICE).await.map_err(|failed| failed.of("look at", unit))?;
        let mut info = describe(&general, &service);
        info.stops_with = self.stops_with(&connection, &info.id, &general).await?;
        Ok(info)
    }

    /// Everything active that would go down with the unit, or when it is started; followed to the end.
    async fn stops_with(
        &self,
        connection: &Connection,
        id: &str,
        unit: &Properties,
    ) -> Result<Vec<String>, UnitsError> {
        let next =
            |unit: &Properties| STOP_ALONG.iter().flat_map(|name| list(unit, name)).collect::<Vec<_>>();
        let mut open: VecDeque<String> = next(unit).into();
        open.extend(STOP_BY_START.iter().flat_map(|name| list(unit, name)));
        let mut seen = BTreeSet::from([id.to_owned()]);
        let mut along = Vec::new();
        while let Some(name) = open.pop_front() {
            if !seen.insert(name.clone()) {
                continue;
            }
            if seen.len() > MAX_ALONG {
                return Err(UnitsError::TooMany { unit: id.into(), limit: MAX_ALONG });
            }
            // Not `LoadUnit`: what is not loaded is not active.
            let path = match unit_path(connection, "GetUnit", &name).await {
                Ok(path) => path,
                Err(Failed::Said { name, .. }) if name.ends_with(".NoSuchUnit") => continue,
                Err(failed) => return Err(failed.of("look at", &name)),
            };
            let other =
                properties(connection, &path, UNIT).await.map_err(|failed| failed.of("look at", &name))?;
            if matches!(text(&other, "ActiveState").as_str(), "inactive" | "failed") {
                continue;
            }
            let other_id = text(&other, "Id");
            seen.insert(other_id.clone());
            along.push(other_id);
            open.extend(next(&other));
        }
        along.retain(|name| name != id);
        Ok(along)
    }

    /// Queues a job and waits for its end. It is listened for before it is asked for.
    pub(super) async fn run(
        &self,
        id: &str,
        verb: Verb,
        others: Others,
        deadline: Duration,
    ) -> Result<JobEnd, UnitsError> {
        let until = Instant::now() + deadline;
        let late = || UnitsError::Deadline { doing: verb.word(), unit: id.into(), deadline };
        let asked = timeout_at(until, self.ask(id, verb, others)).await.map_err(|_| late())?;
        let (job, mut removed) = match asked {
            Ok(asked) => asked,
            Err(Failed::Bus(why)) => {
                self.forget().await;
                return Err(UnitsError::Bus { why });
            }
            Err(said) => return Err(said.of(verb.word(), id)),
        };
        loop {
            match timeout_at(until, removed.next()).await {
                Ok(Some(message)) => {
                    let body = message.body();
                    if let Ok((_, path, _, result)) = body.deserialize::<(u32, OwnedObjectPath, &str, &str)>()
                        && path == job
                    {
                        return Ok(if result == "done" { JobEnd::Done } else { JobEnd::Not(result.into()) });
                    }
                }
                // The bus was restarted, or systemd executed itself anew: its word is lost, the unit is not.
                Ok(None) => {
                    self.forget().await;
                    return self.over(id, until).await.ok_or_else(late);
                }
                Err(_) => return Err(late()),
            }
        }
    }

    async fn ask(
        &self,
        id: &str,
        verb: Verb,
        others: Others,
    ) -> Result<(OwnedObjectPath, SignalStream<'static>), Failed> {
        let connection = self.connect().await?;
        let manager = manager(&connection).await?;
        match manager.call_method("Subscribe", &()).await.map_err(Failed::from) {
            Ok(_) => {}
            Err(Failed::Said { name, .. }) if name.ends_with(".AlreadySubscribed") => {}
            Err(failed) => return Err(failed),
        }
        // Only jobs of this unit: a storm of others cannot fill the queue.
        let removed = manager.receive_signal_with_args("JobRemoved", &[(2, id)]).await?;
        let method = match verb {
            Verb::Start => "StartUnit",
            Verb::Stop => "StopUnit",
            Verb::Restart => "RestartUnit",
            Verb::Reload => "ReloadUnit",
        };
        let mode = match others {
            Others::Respect => "fail",
            Others::Replace => "replace",
        };
        let job: OwnedObjectPath = manager.call(method, &(id, mode)).await?;
        Ok((job, removed))
    }

    /// Waits until no job is on the unit, over whatever connection there is by then.
    async fn over(&self, id: &str, until: Instant) -> Option<JobEnd> {
        while Instant::now() < until {
            if let Ok(info) = self.load(id).await
                && !info.job_pending
            {
                return Some(JobEnd::Unseen);
            }
            sleep(LOOK_AGAIN).await;
        }
        None
    }

    /// Forgets a failure and its start limit.
    pub(super) async fn reset_failed(&self, id: &str) -> Result<(), UnitsError> {
        let call = async {
            let connection = self.connect().await?;
            let manager = manager(&connection).await?;
            within(CALL, manager.call_method("ResetFailedUnit", &(id))).await.map(drop)
        };
        let done = call.await;
        if matches!(done, Err(Failed::Bus(_))) {
            self.forget().await;
        }
        done.map_err(|failed| failed.of("reset the failure of", id))
    }
}

async fn within<T>(limit: Duration, call: impl Future<Output = zbus::Result<T>>) -> Result<T, Failed> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map_err(Failed::from),
        Err(_) => Err(Failed::Bus(format!("no answer within {limit:?}"))),
    }
}

async fn manager(connection: &Connection) -> Result<Proxy<'static>, Failed> {
    let builder = zbus::proxy::Builder::<Proxy<'static>>::new(connection)
        .destination(SYSTEMD)?
        .path(MANAGER_PATH)?
        .interface(MANAGER)?
        .cache_properties(CacheProperties::No);
    within(CALL, builder.build()).await
}

async fn unit_path(connection: &Connection, method: &str, unit: &str) -> Result<OwnedObjectPath, Failed> {
    let manager = manager(connection).await?;
    within(CALL, manager.call(method, &(unit))).await
}

async fn properties(
    connection: &Connection,
    path: &OwnedObjectPath,
    interface: &'static str,
) -> Result<Properties, Failed> {
    let call = async {
        let proxy = PropertiesProxy::builder(connection).destination(SYSTEMD)?.path(path)?.build().await?;
        Ok(proxy.get_all(InterfaceName::from_static_str(interface)?).await?)
    };
    within(CALL, call).await
}

fn describe(unit: &Properties, service: &Properties) -> UnitInfo {
    let job: Option<(u32, OwnedObjectPath)> = value(unit, "Job");
    let invocation: Vec<u8> = value(unit, "InvocationID").unwrap_or_default();
    UnitInfo {
        id: text(unit, "Id"),
        names: list(unit, "Names"),
        active_state: text(unit, "ActiveState"),
        sub_state: text(unit, "SubState"),
        main_pid: value(service, "MainPID").unwrap_or_default(),
        invocation_id: invocation.iter().map(|byte| format!("{byte:02x}")).collect(),
        // Without an answer to whether a job is there, one is assumed.
        job_pending: job.is_none_or(|(id, _)| id != 0),
        kill_mode: text(service, "KillMode"),
        stops_with: Vec::new(),
        result: text(service, "Result"),
        n_restarts: value(service, "NRestarts").unwrap_or_default(),
        last_exit: last_exit(
            value(service, "ExecMainCode").unwrap_or_default(),
            value(service, "ExecMainStatus").unwrap_or_default(),
        ),
        started: Started {
            exec: first_command(service, "ExecStart"),
            environment: list(service, "Environment"),
            environment_files: files(service, "EnvironmentFiles"),
        },
    }
}

/// The first of a unit's commands, with its arguments (`a(sasbttttuii)`).
fn first_command(from: &Properties, name: &str) -> Vec<String> {
    let Some(Value::Array(commands)) = from.get(name).map(|value| &**value) else { return Vec::new() };
    let Some(Value::Structure(first)) = commands.iter().next() else { return Vec::new() };
    match first.fields() {
        [_, Value::Array(args), ..] => args.iter().filter_map(plain).collect(),
        _ => Vec::new(),
    }
}

/// Files, and whether each may be missing (`a(sb)`).
fn files(from: &Properties, name: &str) -> Vec<(String, bool)> {
    let Some(Value::Array(files)) = from.get(name).map(|value| &**value) else { return Vec::new() };
    let each = files.iter().filter_map(|file| match file {
        Value::Structure(pair) => match pair.fields() {
            [path, Value::Bool(may_be_missing)] => Some((plain(path)?, *may_be_missing)),
            _ => None,
        },
        _ => None,
    });
    each.collect()
}

fn plain(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Str(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

/// `code` is the kernel's `si_code`: 1 exited, 2 killed, 3 dumped core.
fn last_exit(code: i32, status: i32) -> String {
    match code {
        1 => format!("exited {status}"),
        2 => format!("was killed by signal {status}"),
        3 => format!("dumped core on signal {status}"),
        _ => String::new(),
    }
}

fn value<T: TryFrom<OwnedValue>>(from: &Properties, name: &str) -> Option<T> {
    from.get(name).and_then(|value| value.try_clone().ok()).and_then(|value| T::try_from(value).ok())
}

fn text(from: &Properties, name: &str) -> String {
    value(from, name).unwrap_or_default()
}

fn list(from: &Properties, name: &str) -> Vec<String> {
    value(from, name).unwrap_or_default()
}

#[cfg(test)]
mod tests;
