//! Four changes that cut their node off, or would: each comes back alone, within its limit and a second.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::site::{self, AGENT, BINARY, Plan, Site};
use super::watcher::{Seen, Watcher, armed_at, now_ms};
use crate::Node;
use crate::scenarios::proofs::Proofs;

/// The change is taken back so long after it was armed.
const WITHIN: Duration = Duration::from_secs(12);
/// And may be late by this much.
const TOLERANCE_MS: u64 = 1000;

pub(in crate::scenarios) fn play() -> Result<()> {
    let lab = site::boot(3)?;
    let site = Site::set(&lab)?;
    site.write_recipe(WITHIN)?;
    let mut proofs = Proofs::default();
    println!("\n-- a package manager at work");
    package_manager(&site, 1, &mut proofs)?;
    println!("\n-- a service that takes its link down");
    service(&site, 1, "2.0", "ip link set host0 down", &mut proofs)?;
    println!("\n-- a service that deletes a route");
    service(&site, 2, "3.0", "ip route del 10.99.0.0/24 dev host0", &mut proofs)?;
    println!("\n-- an agent that crashes at its start");
    agent(&site, 3, &mut proofs)?;
    println!("\n-- a power cut in the middle");
    power_cut(&site, 1, &mut proofs)?;
    proofs.conclude()
}

/// While one runs, nothing is begun; when it has ended the run goes on.
fn package_manager(site: &Site<'_>, number: usize, proofs: &mut Proofs) -> Result<()> {
    let node = site.lab.node(number);
    let before = site.digest(node, BINARY)?;
    // Its name and that it runs are what tells; what it does is nobody's business.
    node.run(&["cp", "/bin/sleep", "/run/dpkg"])?;
    let mut manager = node.spawn("dpkg", &["/run/dpkg", "600"])?;
    start(site, "cutter", "./cutter.yaml", "", "1.1", &site.newer_service("1.1", "")?, node)?;
    let watch = site.show(&["run", "watch"])?;
    proofs.exit(&watch, 3, "the run holds: `run watch`");
    let happened = site.fleet.run(0)?.hold.context("a held run says why")?.happened;
    let named = happened.contains("a package manager is at work: dpkg (pid ");
    proofs.check(named, format!("it names the package manager: {happened}"));
    proofs.check(site.digest(node, BINARY)? == before, "nothing was changed");
    manager.kill()?;
    let number = site.fleet.run(0)?.number.to_string();
    let resumed = site.show(&["run", "resume", &number])?;
    proofs.exit(&resumed, 0, "the package manager has ended: `run resume`");
    let watch = site.show(&["run", "watch"])?;
    proofs.exit(&watch, 0, "and the run ends: `run watch`");
    let shown = site.show(&["run", "show", "--node", &node.name()])?.text();
    proofs.check(
        shown.contains("confirmed") && shown.contains("answered"),
        "a change that is well is confirmed",
    );
    Ok(())
}

/// A newer version of the service cuts the node off.
fn service(site: &Site<'_>, number: usize, version: &str, at_start: &str, proofs: &mut Proofs) -> Result<()> {
    let node = site.lab.node(number);
    let network = network(node)?;
    let before = site.digest(node, BINARY)?;
    start(site, "cutter", "./cutter.yaml", "", version, &site.newer_service(version, at_start)?, node)?;
    let watcher = Watcher::start(site.lab, node, BINARY)?;
    let watch = site.show(&["run", "watch"])?;
    let seen = watcher.finish()?;
    proofs.exit(&watch, 3, "the run holds: `run watch`");

    let armed = seen.armed.context("the revert was not seen to be armed")?;
    let (gone, back) = seen.silence.context("the node never answered")?;
    println!(
        "  armed, +{} ms cut off, +{} ms answering again (limit {} ms; asked {} times)",
        gone.saturating_sub(armed),
        back.saturating_sub(armed),
        WITHIN.as_millis(),
        seen.tries
    );
    proofs.check(
        back - gone > 3000,
        format!("seen from outside it was cut off for {} ms", back.saturating_sub(gone)),
    );
    in_time(armed, back, "it answered again", proofs);
    proofs.check(site.digest(node, BINARY)? == before, "its binary is the one from before");
    let now = self::network(node)?;
    proofs.check(now == network, format!("its link, addresses and routes are the ones from before ({now})"));
    told(site, node, proofs)?;
    end(site, proofs)
}

/// A newer agent that ends at once.
fn agent(site: &Site<'_>, number: usize, proofs: &mut Proofs) -> Result<()> {
    let node = site.lab.node(number);
    let version = format!("{}9", &site.version[..site.version.len() - 1]);
    let before = site.digest(node, AGENT)?;
    let with = format!("{{within: {}s, witness: {}}}", WITHIN.as_secs(), site.witnesses());
    start(site, "drydock-agent", "drydock-agent", &with, &version, &site.broken_agent(&version)?, node)?;
    let watcher = Watcher::start(site.lab, node, AGENT)?;
    let watch = site.show(&["run", "watch"])?;
    let seen = watcher.finish()?;
    proofs.exit(&watch, 3, "the run holds: `run watch`");

    let armed = seen.armed.context("the revert was not seen to be armed")?;
    let (exchanged, restored) = exchanged_and_restored(&seen)?;
    let runs = started_last(node)?;
    println!(
        "  armed, +{} ms exchanged, +{} ms old file back, +{} ms old agent started (limit {} ms)",
        exchanged.saturating_sub(armed),
        restored.saturating_sub(armed),
        runs.saturating_sub(armed),
        WITHIN.as_millis()
    );
    in_time(armed, restored, "the old agent's file was back", proofs);
    in_time(armed, runs, "the old agent was started", proofs);
    let log = node.run(&["journalctl", "-q", "-o", "cat", "-u", "drydock-agent.service"])?;
    let crashes = log.matches("broken on purpose").count();
    proofs.check(crashes > 0, format!("the new agent crashed at its start {crashes} times"));
    proofs.check(site.digest(node, AGENT)? == before, "the agent's binary is the one from before");
    told(site, node, proofs)?;
    end(site, proofs)
}

/// The power goes when the change is made and not confirmed.
fn power_cut(site: &Site<'_>, number: usize, proofs: &mut Proofs) -> Result<()> {
    let node = site.lab.node(number);
    let before = site.digest(node, BINARY)?;
    let version = "4.0";
    let artifact = site.newer_service(version, "ip link set host0 down")?;
    start(site, "cutter", "./cutter.yaml", "", version, &artifact, node)?;
    let root = node.root()?;
    let armed = root.join("var/lib/drydock-agent/revert/armed.json");
    wait_for("the revert to be armed", || Ok(armed_at(&armed).is_some()))?;
    wait_for("the new version to have cut its node off", || {
        Ok(node.exec(&["ip", "-o", "link", "show", "dev", "host0"])?.text().contains("state DOWN"))
    })?;
    let swapped = site.digest(node, BINARY)? != before;
    proofs.check(swapped, "when the power goes the new binary is in place, and the node is cut off");
    node.power_loss()?;
    let on = now_ms();
    node.start()?;
    let up = now_ms();
    proofs.check(site.digest(node, BINARY)? == before, "after the next start the old binary lies there");
    let order = node.run(&[
        "systemctl",
        "show",
        "drydock-revert.service",
        "systemd-networkd.service",
        "drydock-agent.service",
        "cutter.service",
        "--property=Id,Result,ExecMainStartTimestampMonotonic,ExecMainExitTimestampMonotonic",
    ])?;
    println!("  up {} ms after the power came back\n  {}", up - on, order.replace('\n', "\n  "));
    proofs.check(first(&order), "the revert ended before network, agent and service began");
    let watch = site.show(&["run", "watch"])?;
    proofs.exit(&watch, 3, "the run holds: `run watch`");
    told(site, node, proofs)?;
    end(site, proofs)
}

fn start(
    site: &Site<'_>,
    component: &str,
    recipe: &str,
    with: &str,
    to: &str,
    artifact: &str,
    node: &Node,
) -> Result<()> {
    let (file, nodes) = (format!("{component}-{to}.yaml"), format!("[{}]", node.name()));
    site.write_plan(&Plan {
        file: &file,
        component,
        recipe,
        with,
        to,
        artifact: Some(artifact),
        nodes: &nodes,
    })?;
    let started = site.show(&["run", "start", &file, "--detach"])?;
    anyhow::ensure!(started.status.success(), "the run was not started");
    Ok(())
}

fn in_time(armed: u64, happened: u64, what: &str, proofs: &mut Proofs) {
    let (limit, took) =
        (u64::try_from(WITHIN.as_millis()).unwrap_or(u64::MAX), happened.saturating_sub(armed));
    proofs.check(
        took.abs_diff(limit) <= TOLERANCE_MS,
        format!("{what} {took} ms after the revert was armed: {limit} ms and at most {TOLERANCE_MS} ms more or less"),
    );
}

/// The run holds, says that the node took the change back alone, when and why, and the node is as it was.
fn told(site: &Site<'_>, node: &Node, proofs: &mut Proofs) -> Result<()> {
    let run = site.fleet.run(0)?;
    let phase = run.node(&node.name()).map(|node| node.phase.clone()).unwrap_or_default();
    proofs.check(phase == "rolledBack", format!("{} is {phase}", node.name()));
    let hold = run.hold.context("a held run says why")?;
    let alone = hold.happened.contains("took the change back by itself at");
    proofs.check(alone, format!("`why` says what happened: {}", hold.happened));
    let show = site.show(&["run", "show", "--node", &node.name()])?.text();
    proofs.check(show.contains("took its change back by itself"), "the node's evidence says so too");
    Ok(())
}

fn end(site: &Site<'_>, proofs: &mut Proofs) -> Result<()> {
    let number = site.fleet.run(0)?.number.to_string();
    let output = site.show(&["run", "abort", &number])?;
    proofs.exit(&output, 0, "`run abort`");
    Ok(())
}

/// What an administrator would compare.
fn network(node: &Node) -> Result<String> {
    let script = "ip -o link show dev host0 | grep -o ',UP'; ip -4 -o addr show dev host0 | awk '{print $4}'; ip -4 route show";
    Ok(node.run(&["sh", "-c", script])?.replace('\n', "; "))
}

fn exchanged_and_restored(seen: &Seen) -> Result<(u64, u64)> {
    match seen.files.as_slice() {
        [(old, _), (_, exchanged), .., (last, restored)] if last == old => Ok((*exchanged, *restored)),
        other => bail!("the file was not seen to be exchanged and put back: {other:?}"),
    }
}

/// When the agent that runs now was started, by systemd.
fn started_last(node: &Node) -> Result<u64> {
    let words = [
        "systemctl",
        "show",
        "drydock-agent.service",
        "--property=ExecMainStartTimestamp",
        "--timestamp=us+utc",
    ];
    let text = node.run(&words)?;
    let stamp = text.trim_start_matches("ExecMainStartTimestamp=").to_owned();
    let date = node.run(&["date", "--date", &stamp, "+%s%3N"])?;
    date.trim().parse().with_context(|| format!("{stamp} as a time: {date}"))
}

/// Of `systemctl show` of the reverter and others: it ended before any of them began.
fn first(shown: &str) -> bool {
    let block = |id: &str| shown.split("\n\n").find(|block| block.contains(&format!("Id={id}")));
    let value = |id: &str, key: &str| -> Option<u64> {
        block(id)?.lines().find_map(|line| line.strip_prefix(key))?.parse().ok()
    };
    let ended = value("drydock-revert.service", "ExecMainExitTimestampMonotonic=").filter(|at| *at > 0);
    let well = block("drydock-revert.service").is_some_and(|block| block.contains("Result=success"));
    let later =
        ["systemd-networkd.service", "drydock-agent.service", "cutter.service"].into_iter().all(|unit| {
            let began = value(unit, "ExecMainStartTimestampMonotonic=");
            matches!((ended, began), (Some(ended), Some(began)) if ended <= began)
        });
    well && later
}

pub(super) fn wait_for(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(30) {
        if done()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("waited 30 s for {what}")
}
