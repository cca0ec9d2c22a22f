//! What the API server's audit log says that was asked, and when.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The log of one server, and whose requests count.
#[derive(Debug)]
pub(super) struct Audited {
    log: PathBuf,
    user: &'static str,
}

/// Requests of ours, each once, in the order in which they came.
#[derive(Debug)]
pub(super) struct Requests(Vec<Value>);

impl Audited {
    pub(super) const fn new(log: PathBuf, user: &'static str) -> Self {
        Self { log, user }
    }

    /// How many bytes there are now.
    pub(super) fn length(&self) -> Result<usize> {
        Ok(usize::try_from(fs::metadata(&self.log)?.len())?)
    }

    /// What was written since.
    pub(super) fn since(&self, start: usize) -> Result<Requests> {
        let log = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        let new = String::from_utf8_lossy(log.get(start..).unwrap_or_default()).into_owned();
        Ok(Requests(once(&new, self.user)))
    }
}

/// A watch is written when it is opened and when it ends, under one id.
fn once(log: &str, user: &str) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = lines.filter(|line| line["user"]["username"] == user);
    let mut ours: Vec<Value> =
        ours.filter(|line| seen.insert(line["auditID"].as_str().unwrap_or_default().to_owned())).collect();
    ours.sort_by_key(|line| line["requestReceivedTimestamp"].as_str().unwrap_or_default().to_owned());
    ours
}

impl Requests {
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// How many of a verb and a subresource: `create`, `pods/eviction`.
    pub(super) fn of(&self, verb: &str, what: &str) -> usize {
        self.0.iter().filter(|line| line["verb"] == verb && resource(line) == what).count()
    }

    /// From the arrival of the first patch of a Node to the answer of the last one, in milliseconds.
    pub(super) fn between_patches_ms(&self) -> Result<f64> {
        let patches: Vec<&Value> =
            self.0.iter().filter(|line| line["verb"] == "patch" && resource(line) == "nodes").collect();
        let (first, last) = patches.first().zip(patches.last()).context("no Node was patched")?;
        let began = stamp_ms(&first["requestReceivedTimestamp"]).context("a request has no time")?;
        let ended = stamp_ms(&last["stageTimestamp"]).context("an answer has no time")?;
        Ok((ended - began).rem_euclid(DAY_MS))
    }

    /// What was asked, for whoever wonders: `get nodes 3, …`.
    pub(super) fn in_words(&self) -> String {
        let mut counts = std::collections::BTreeMap::new();
        for line in &self.0 {
            let what = format!("{} {}", line["verb"].as_str().unwrap_or_default(), resource(line));
            *counts.entry(what).or_insert(0_usize) += 1;
        }
        counts.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
    }
}

const DAY_MS: f64 = 86_400_000.0;

fn resource(line: &Value) -> String {
    let of = &line["objectRef"];
    let sub = of["subresource"].as_str().map(|sub| format!("/{sub}")).unwrap_or_default();
    format!("{}{sub}", of["resource"].as_str().unwrap_or_default())
}

/// The time of day of `2026-11-21T06:25:13.123456Z`, in milliseconds.
fn stamp_ms(stamp: &Value) -> Option<f64> {
    let time = stamp.as_str()?.split_once('T')?.1.strip_suffix('Z')?;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(((hours * 60.0 + minutes) * 60.0 + seconds) * 1000.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(id: &str, user: &str, verb: &str, what: (&str, Option<&str>), time: &str) -> String {
        let line = json!({
            "auditID": id, "verb": verb, "user": {"username": user},
            "objectRef": {"resource": what.0, "subresource": what.1},
            "requestReceivedTimestamp": format!("2026-11-21T{time}.000000Z"),
            "stageTimestamp": format!("2026-11-21T{time}.250000Z"),
        });
        line.to_string() + "\n"
    }

    #[test]
    fn each_request_of_ours_counts_once_and_a_drains_time_is_from_patch_to_patch() {
        let log = line("1", "drydock", "patch", ("nodes", None), "23:59:59")
            + &line("2", "kubelet", "patch", ("nodes", None), "23:59:58")
            + &line("3", "drydock", "watch", ("pods", None), "23:59:59")
            + &line("4", "drydock", "create", ("pods", Some("eviction")), "23:59:59")
            + &line("3", "drydock", "watch", ("pods", None), "23:59:59")
            + &line("5", "drydock", "patch", ("nodes", None), "00:00:00")
            + "half a li";
        let mut requests = Requests(once(&log, "drydock"));
        assert_eq!((requests.count(), requests.of("create", "pods/eviction")), (4, 1));
        assert!(requests.in_words().contains("patch nodes 2"), "{}", requests.in_words());
        // By time, the one after midnight comes first: only a day of the same date is sorted right.
        requests.0.sort_by_key(|line| line["auditID"].to_string());
        assert!((requests.between_patches_ms().unwrap() - 1250.0).abs() < 0.001);
        assert!(Requests(Vec::new()).between_patches_ms().is_err());
    }
}
