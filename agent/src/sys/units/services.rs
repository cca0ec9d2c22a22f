//! The services that run, so that it can be told afterwards which of them was touched.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Units, UnitsError};

/// How the names of our own units begin.
const OURS: &str = "drydock-";

/// A service that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// Another one after each start.
    pub invocation: String,
    /// What it does by itself.
    pub by_itself: ByItself,
}

/// What a service does with nobody telling it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ByItself {
    /// It runs on.
    RunsOn,
    /// It may end: whoever asks for it over the bus has it started again.
    Ends,
    /// It comes and goes: a timer's work, somebody's session.
    ComesAndGoes,
}

impl Units {
    /// The services that run, by name.
    ///
    /// # Errors
    /// When systemd cannot be reached or does not answer.
    pub async fn services(&self) -> Result<BTreeMap<String, Service>, UnitsError> {
        match self {
            Self::Systemd(systemd) => systemd.services().await,
            Self::Supervised(supervisor) => Ok(supervisor
                .all()
                .filter(|unit| unit.active_state == "active")
                .map(|unit| {
                    (unit.id, Service { invocation: unit.invocation_id, by_itself: ByItself::RunsOn })
                })
                .collect()),
        }
    }
}

/// Which of those that ran, and would run on by themselves, do not run any more.
pub fn gone<'a>(
    before: &'a BTreeMap<String, Service>,
    now: &'a BTreeMap<String, Service>,
) -> impl Iterator<Item = &'a str> {
    let runs_on = |name: &str, was: &Service| {
        was.by_itself == ByItself::RunsOn && !name.starts_with(OURS) && !name.contains('@')
    };
    before
        .iter()
        .filter(move |(name, was)| runs_on(name, was) && !now.contains_key(*name))
        .map(|(name, _)| name.as_str())
}

/// Which of those that ran were restarted or stopped since, in words; those in `but` may have been.
#[must_use]
pub fn touched(
    before: &BTreeMap<String, Service>,
    now: &BTreeMap<String, Service>,
    but: &[String],
) -> Vec<String> {
    let mut told = Vec::new();
    for (name, was) in before {
        // Ours: this very installation, an armed revert.
        if but.contains(name) || name.starts_with(OURS) || was.by_itself == ByItself::ComesAndGoes {
            continue;
        }
        match now.get(name) {
            Some(is) if is.invocation == was.invocation => {}
            Some(_) => told.push(format!("{name} was restarted")),
            // One instance for each connection is gone with it, and nothing of it is left.
            None if was.by_itself == ByItself::Ends || name.contains('@') => {}
            None => told.push(format!("{name} does not run any more")),
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{policy::Policy, sys::process};

    fn all(list: &[(&str, &str, ByItself)]) -> BTreeMap<String, Service> {
        list.iter()
            .map(|(name, invocation, by_itself)| {
                ((*name).to_owned(), Service { invocation: (*invocation).into(), by_itself: *by_itself })
            })
            .collect()
    }

    #[test]
    fn a_service_that_nobody_named_is_told_when_it_was_restarted_or_stopped() {
        use ByItself::{ComesAndGoes, Ends, RunsOn};
        let before = all(&[
            ("libvirtd.service", "1", RunsOn),
            ("named.service", "1", RunsOn),
            ("stopped.service", "1", RunsOn),
            ("same.service", "1", RunsOn),
            ("idle.service", "1", Ends),
            ("bus.service", "1", Ends),
            ("timer.service", "1", ComesAndGoes),
            ("sshd@7.service", "1", RunsOn),
            ("drydock-agent.service", "1", RunsOn),
        ]);
        let now = all(&[
            ("libvirtd.service", "2", RunsOn),
            ("named.service", "2", RunsOn),
            ("same.service", "1", RunsOn),
            ("bus.service", "2", Ends),
            ("timer.service", "2", ComesAndGoes),
            ("new.service", "1", RunsOn),
        ]);
        assert_eq!(
            touched(&before, &now, &["named.service".into()]),
            [
                "bus.service was restarted",
                "libvirtd.service was restarted",
                "stopped.service does not run any more"
            ]
        );
        assert_eq!(touched(&before, &before, &[]), Vec::<String>::new());
        assert_eq!(gone(&before, &now).collect::<Vec<_>>(), ["stopped.service"]);
        assert_eq!(gone(&before, &before).count(), 0);
    }

    #[tokio::test]
    async fn systemd_itself_is_understood_where_there_is_one() {
        if !process::systemd_is_here() {
            return;
        }
        let units = Units::of(&Policy::default()).unwrap();
        let (one, other) = (units.services().await.unwrap(), units.services().await.unwrap());
        println!("{one:?}");
        assert!(one.len() > 3, "{one:?}");
        assert!(one.values().all(|service| service.invocation.len() == 32), "{one:?}");
        assert_eq!(touched(&one, &other, &[]), Vec::<String>::new());
    }
}
