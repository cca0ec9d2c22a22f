//! One run over all nodes, and each node's time in it.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{fleet::Fleet, process::wait_for};

/// What the coordinator's log says of nodes and of the run.
const ENTERED: &str = "a node entered another phase";
const STANDS: &str = "a run stands otherwise";

/// A wave is given up after this.
const WITHIN: Duration = Duration::from_secs(120);

/// A recipe without a stage section: what is left is the part of a node's life that is serial.
const RECIPE: &str = "apiVersion: drydock/v1
kind: Recipe
metadata:
  name: noop
  summary: one section that changes nothing
spec:
  detect: {}
  apply: [nothing]
";

/// Runs a wave over the whole fleet. Each node's time, in their order, in milliseconds.
pub(crate) fn run(fleet: &Fleet, number: u32) -> Result<Vec<f64>> {
    let names: Vec<String> = (1..=fleet.nodes()).map(crate::fleet::name).collect();
    let plan = format!(
        "apiVersion: drydock/v1
kind: Plan
metadata: {{name: wave-{number}}}
spec:
  stages:
    - name: noop
      component: noop
      recipe: ./noop.yaml
      to: \"1.0.{number}\"
      waves:
        - name: all
          nodes: {{names: [{}]}}
          soak: 0s
",
        names.join(", ")
    );
    fs::write(fleet.path("noop.yaml"), RECIPE)?;
    fs::write(fleet.path("wave.yaml"), plan)?;
    carry_out(fleet, "wave.yaml", &names)
}

/// Runs a plan over these nodes to its end. Each node's time, in their order, in milliseconds.
pub(crate) fn carry_out(fleet: &Fleet, plan: &str, names: &[String]) -> Result<Vec<f64>> {
    let start = fleet.log_length()?;
    let run = start_run(fleet, plan)?;
    // Told by the log alone: whoever asked the coordinator meanwhile would be measured too.
    let closed = || Ok(lines(&fleet.log_from(start)?).iter().any(is_end).then_some(()));
    wait_for(&format!("run {run}"), WITHIN, Duration::from_millis(50), closed)
        .with_context(|| not_done(fleet, run))?;
    all_done(fleet, run, names.len())?;
    times(&fleet.log_from(start)?, names)
}

/// Starts a run; its number.
pub(crate) fn start_run(fleet: &Fleet, plan: &str) -> Result<u64> {
    let started = fleet.operate(&["run", "start", &fleet.path(plan)])?;
    started["number"].as_u64().context("run start printed no number")
}

/// The run as far as it came, for an error.
fn not_done(fleet: &Fleet, run: u64) -> String {
    match fleet.operate(&["run", "show", &run.to_string()]) {
        Ok(view) => format!("run {run} stands so: {view:#}"),
        Err(error) => error.to_string(),
    }
}

/// By the run's own record: a bench of nodes that were skipped or failed would measure something else.
pub(crate) fn all_done(fleet: &Fleet, run: u64, nodes: usize) -> Result<()> {
    let view = fleet.operate(&["run", "show", &run.to_string()])?;
    let items = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let nodes_of = |stage: &Value| {
        items(stage, "waves").iter().flat_map(|wave| items(wave, "nodes")).collect::<Vec<_>>()
    };
    let all: Vec<Value> = items(&view, "stages").iter().flat_map(nodes_of).collect();
    let done = all.iter().filter(|node| node["phase"] == "done").count();
    if view["status"] != "done" || done != nodes {
        bail!("run {run} is {} with {done} of {nodes} nodes done", view["status"]);
    }
    Ok(())
}

fn lines(log: &str) -> Vec<Value> {
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn is_gate(line: &Value) -> bool {
    line["message"] == ENTERED && line["phase"] == "applying"
}

fn is_end(line: &Value) -> bool {
    line["message"] == STANDS && line["status"] == "Done"
}

/// From one node's section to the next one's, and from the last one's to the run's end.
fn times(log: &str, names: &[String]) -> Result<Vec<f64>> {
    const DAY_MS: f64 = 86_400_000.0;
    let lines = lines(log);
    let order: Vec<&str> =
        lines.iter().filter(|line| is_gate(line)).filter_map(|line| line["node"].as_str()).collect();
    let wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    if order.len() != names.len() || order.iter().copied().collect::<BTreeSet<_>>() != wanted {
        bail!("{} sections were handed out to {} nodes: {order:?}", order.len(), names.len());
    }
    let end = lines.iter().filter(|line| is_end(line)).take(1);
    let stamps: Option<Vec<f64>> =
        lines.iter().filter(|line| is_gate(line)).chain(end).map(stamp_ms).collect();
    let stamps = stamps.context("a line of the coordinator's log has no time")?;
    let times: Vec<f64> = stamps.windows(2).map(|pair| (pair[1] - pair[0]).rem_euclid(DAY_MS)).collect();
    if times.len() != names.len() {
        bail!("the coordinator's log does not say when the run ended");
    }
    Ok(times)
}

/// The time of day of a log line, in milliseconds: `2026-11-21T06:25:13.123456Z`.
fn stamp_ms(line: &Value) -> Option<f64> {
    let time = line["timestamp"].as_str()?.split_once('T')?.1.strip_suffix('Z')?;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(((hours * 60.0 + minutes) * 60.0 + seconds) * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(time: &str, rest: &str) -> String {
        format!("{{\"timestamp\":\"2026-11-21T{time}Z\",{rest}}}\n")
    }

    fn applying(time: &str, node: &str) -> String {
        line(time, &format!("\"message\":\"{ENTERED}\",\"phase\":\"applying\",\"node\":\"{node}\""))
    }

    fn done(time: &str) -> String {
        line(time, &format!("\"message\":\"{STANDS}\",\"status\":\"Done\""))
    }

    #[test]
    fn a_node_s_time_is_from_its_section_to_the_next_one_s() {
        let other = line(
            "23:59:59.999500",
            &format!("\"message\":\"{ENTERED}\",\"phase\":\"done\",\"node\":\"n01\""),
        );
        let log = applying("23:59:59.999000", "n01")
            + &other
            + &applying("00:00:00.001500", "n02")
            + &done("00:00:00.004500");
        let times = times(&log, &["n01".to_owned(), "n02".to_owned()]).unwrap();
        let rounded: Vec<String> = times.iter().map(|ms| format!("{ms:.3}")).collect();
        assert_eq!(rounded, ["2.500", "3.000"]);
    }

    #[test]
    fn a_section_too_many_or_too_few_or_a_run_without_end_is_no_measurement() {
        let names = ["n01".to_owned(), "n02".to_owned()];
        let (one, two) = (applying("10:00:00.1", "n01"), applying("10:00:00.2", "n02"));
        for log in
            [one.clone() + &done("10:00:00.3"), one.clone() + &one + &two + &done("10:00:00.3"), one + &two]
        {
            assert!(times(&log, &names).is_err(), "{log}");
        }
    }
}
