//! Transient units: what must go on when the agent itself is stopped, with a cgroup of its own.

use std::time::Duration;

use zbus::{
    fdo,
    names::InterfaceName,
    zvariant::{OwnedObjectPath, Value},
};

use super::super::apart::Apart;
use super::{CALL, Failed, SERVICE, Systemd, UnitsError, manager, properties, text, unit_path, within};

type Property<'a> = (&'a str, Value<'a>);
type Command<'a> = (&'a str, Vec<&'a str>, bool);

/// How long after it was killed something is started again, in microseconds.
const AGAIN_USEC: u64 = 250_000;

impl Apart<'_> {
    fn properties(&self) -> Vec<Property<'_>> {
        let mut properties = vec![
            ("Description", Value::from(self.description)),
            ("Type", Value::from("oneshot")),
            ("ExecStart", Value::from(vec![command(self.command)])),
            // It is there until it is over, whatever else is stopped with the agent.
            ("CollectMode", Value::from("inactive-or-failed")),
        ];
        if self.until_done {
            // A signal, not its own exit code: what it says itself is its end.
            properties.push(("Restart", Value::from("on-abnormal")));
            properties.push(("RestartUSec", Value::from(AGAIN_USEC)));
        }
        if !self.afterwards.is_empty() {
            properties.push(("ExecStopPost", Value::from(vec![command(self.afterwards)])));
        }
        if let Some(within) = self.stop_within {
            // The signal goes to the program alone, which comes to its end: not to what it has started.
            properties.push(("KillMode", Value::from("mixed")));
            let micros = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
            properties.push(("TimeoutStopUSec", Value::from(micros)));
        }
        properties
    }
}

fn command(words: &[String]) -> Command<'_> {
    let program = words.first().map(String::as_str).unwrap_or_default();
    (program, words.iter().map(String::as_str).collect(), false)
}

impl Systemd {
    /// Starts a service apart from the agent, now.
    pub(in crate::sys::units) async fn start_apart(&self, apart: &Apart<'_>) -> Result<(), UnitsError> {
        let aux: Vec<(&str, Vec<Property<'_>>)> = Vec::new();
        self.transient(&apart.service(), apart.properties(), aux).await
    }

    /// Has systemd start it after a time, by the monotonic clock and as punctually as it can.
    pub(in crate::sys::units) async fn start_apart_after(
        &self,
        apart: &Apart<'_>,
        after: Duration,
    ) -> Result<(), UnitsError> {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let timer = vec![
            ("Description", Value::from(apart.description)),
            ("TimersMonotonic", Value::from(vec![("OnActiveSec", micros)])),
            // The default is a minute.
            ("AccuracyUSec", Value::from(100_000_u64)),
            ("RemainAfterElapse", Value::from(false)),
        ];
        let service = apart.service();
        self.transient(&apart.timer(), timer, vec![(service.as_str(), apart.properties())]).await
    }

    async fn transient(
        &self,
        name: &str,
        properties: Vec<Property<'_>>,
        aux: Vec<(&str, Vec<Property<'_>>)>,
    ) -> Result<(), UnitsError> {
        let call = async {
            let connection = self.connect().await?;
            let manager = manager(&connection).await?;
            let wanted = (name, "fail", properties, aux);
            let job = manager.call("StartTransientUnit", &wanted);
            let _job: OwnedObjectPath = within(CALL, job).await?;
            Ok(())
        };
        self.forgetting(call.await).await.map_err(|failed: Failed| failed.of("start", name))
    }

    /// Starts a unit that is there, without waiting for its end.
    pub(in crate::sys::units) async fn kick(&self, unit: &str) -> Result<(), UnitsError> {
        let call = async {
            let connection = self.connect().await?;
            let manager = manager(&connection).await?;
            let _job: OwnedObjectPath = within(CALL, manager.call("StartUnit", &(unit, "replace"))).await?;
            Ok(())
        };
        self.forgetting(call.await).await.map_err(|failed: Failed| failed.of("start", unit))
    }

    /// Stops a timer of ours. Not there is as good.
    pub(in crate::sys::units) async fn stop_timer(&self, apart: &Apart<'_>) -> Result<(), UnitsError> {
        let timer = apart.timer();
        let call = async {
            let connection = self.connect().await?;
            let manager = manager(&connection).await?;
            let _job: OwnedObjectPath =
                within(CALL, manager.call("StopUnit", &(timer.as_str(), "replace"))).await?;
            Ok(())
        };
        match self.forgetting(call.await).await {
            Err(Failed::Said { name, .. }) if name.ends_with(".NoSuchUnit") => Ok(()),
            other => other.map_err(|failed: Failed| failed.of("stop", &timer)),
        }
    }

    /// What a unit starts (program and arguments), and whether it is enabled (systemd's word).
    pub(in crate::sys::units) async fn what_it_starts(
        &self,
        unit: &str,
    ) -> Result<(Vec<String>, String), UnitsError> {
        let call = async {
            let connection = self.connect().await?;
            let path = unit_path(&connection, "LoadUnit", unit).await?;
            let general = properties(&connection, &path, super::UNIT).await?;
            if text(&general, "LoadState") != "loaded" {
                return Ok(None);
            }
            let proxy = fdo::PropertiesProxy::builder(&connection)
                .destination(super::SYSTEMD)?
                .path(path)?
                .build()
                .await?;
            let interface = InterfaceName::from_static_str(SERVICE).map_err(zbus::Error::from)?;
            let value = proxy.get(interface, "ExecStart").await.map_err(zbus::Error::from)?;
            Ok(Some((commands(&value), text(&general, "UnitFileState"))))
        };
        match self.forgetting(call.await).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(UnitsError::NotFound { unit: unit.into() }),
            Err(failed) => Err(failed.of("look at", unit)),
        }
    }

    /// What keeps the machine from being shut down: who, and why.
    pub(in crate::sys::units) async fn shutdown_blockers(&self) -> Result<Vec<String>, UnitsError> {
        type Inhibitor = (String, String, String, String, u32, u32);
        let call = async {
            let connection = self.connect().await?;
            let builder = zbus::proxy::Builder::<zbus::Proxy<'static>>::new(&connection)
                .destination("org.freedesktop.login1")?
                .path("/org/freedesktop/login1")?
                .interface("org.freedesktop.login1.Manager")?
                .cache_properties(zbus::proxy::CacheProperties::No);
            let logind = within(CALL, builder.build()).await?;
            let held: Vec<Inhibitor> = within(CALL, logind.call("ListInhibitors", &())).await?;
            Ok(held)
        };
        match self.forgetting(call.await).await {
            Ok(held) => Ok(held.iter().filter_map(blocks).collect()),
            // Where there is no logind nobody can hold anything there.
            Err(Failed::Said { name, .. }) if name.ends_with(".ServiceUnknown") => Ok(Vec::new()),
            Err(failed) => Err(failed.of("ask for what blocks a shutdown of", "this node")),
        }
    }

    /// A connection that failed is dialled anew by the next call.
    async fn forgetting<T>(&self, done: Result<T, Failed>) -> Result<T, Failed> {
        if matches!(done, Err(Failed::Bus(_))) {
            self.forget().await;
        }
        done
    }
}

/// The arguments of the first command, its program first.
fn commands(value: &Value<'_>) -> Vec<String> {
    let Value::Array(list) = value else { return Vec::new() };
    let Some(Value::Structure(command)) = list.iter().next() else { return Vec::new() };
    let Some(Value::Array(words)) = command.fields().get(1) else { return Vec::new() };
    let word = |word: &Value<'_>| match word {
        Value::Str(word) => Some(word.to_string()),
        _ => None,
    };
    words.iter().filter_map(word).collect()
}

fn blocks((what, who, why, mode, _uid, pid): &(String, String, String, String, u32, u32)) -> Option<String> {
    let shutdown = what.split(':').any(|what| what == "shutdown");
    (shutdown && mode.starts_with("block")).then(|| format!("{who} (pid {pid}): {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_blocks_a_shutdown_is_named() {
        let held = |what: &str, mode: &str| {
            (what.to_owned(), "backup".to_owned(), "a dump runs".to_owned(), mode.to_owned(), 0, 7)
        };
        assert_eq!(blocks(&held("sleep:shutdown", "block")).unwrap(), "backup (pid 7): a dump runs");
        assert_eq!(blocks(&held("shutdown", "delay")), None);
        assert_eq!(blocks(&held("sleep", "block")), None);
    }
}
