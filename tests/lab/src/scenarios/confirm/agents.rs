//! Three agents upgrade themselves, one after the other; the coordinator is away for longer than the limit in
//! the middle of it, and nobody reverts. Then one node starts anew.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::cut_off::wait_for;
use super::site::{self, AGENT, Plan, Site};
use super::watcher::armed_at;
use crate::Node;
use crate::scenarios::proofs::Proofs;

/// A change is taken back so long after it was armed.
const WITHIN: Duration = Duration::from_secs(15);
/// How long the coordinator is away, in seconds, where something else is wanted than a little more than the limit.
const OUTAGE: &str = "DRYDOCK_LAB_OUTAGE";

pub(in crate::scenarios) fn play() -> Result<()> {
    let lab = site::boot(3)?;
    let mut site = Site::set(&lab)?;
    let mut proofs = Proofs::default();
    println!("\n-- three agents upgrade themselves");
    let version = next(&site.version, 1);
    write(&site, &version)?;
    let output = site.show(&["run", "start", "agents.yaml", "--wait"])?;
    proofs.exit(&output, 0, "`run start`");
    all_run(&site, &version, &mut proofs)?;
    site.show(&["run", "show", "--node", "n1"])?;

    println!("\n-- and once more, while the coordinator is away");
    let version = next(&site.version, 2);
    write(&site, &version)?;
    outage(&mut site, &version, &mut proofs)?;
    all_run(&site, &version, &mut proofs)?;

    println!("\n-- a node starts anew");
    reboot(&site, &mut proofs)?;
    proofs.conclude()
}

/// The same version with another last digit.
pub(super) fn next(version: &str, last: u8) -> String {
    let (head, digit) = version.split_at(version.len() - 1);
    let digit = digit.bytes().next().map_or(last, |digit| (digit - b'0' + last) % 10);
    format!("{head}{digit}")
}

fn write(site: &Site<'_>, version: &str) -> Result<()> {
    let artifact = site.newer_agent(version)?;
    let with = format!("{{within: {}s, witness: {}}}", WITHIN.as_secs(), site.witnesses());
    site.write_plan(&Plan {
        file: "agents.yaml",
        component: "drydock-agent",
        recipe: "drydock-agent",
        with: &with,
        to: version,
        artifact: Some(&artifact),
        nodes: "[n1, n2, n3]",
    })
}

/// Each node's agent is the new one: by its file, by what its process has in memory, by its own word.
fn all_run(site: &Site<'_>, version: &str, proofs: &mut Proofs) -> Result<()> {
    let run = site.fleet.run(0)?;
    proofs.check(run.status == "done", format!("run {} is {}", run.number, run.status));
    let wanted = site.fleet.dir().join(format!("drydock-agent-{version}"));
    let wanted = crate::exec::Cmd::new("the new agent's digest", "sha256sum").args([&wanted]).run()?;
    let wanted = wanted.split_whitespace().next().unwrap_or_default().to_owned();
    for node in site.lab.nodes() {
        let pid =
            node.run(&["systemctl", "show", "drydock-agent.service", "--property=MainPID", "--value"])?;
        let memory = site.digest(node, &format!("/proc/{}/exe", pid.trim()))?;
        let said = node.run(&[AGENT, "--version"])?;
        let shown = run.node(&node.name()).and_then(|node| node.now.clone()).unwrap_or_default();
        let all = memory == wanted && said.ends_with(version) && shown == version;
        proofs.check(
            all,
            format!("{}: process {} runs {said}, and the run says {shown}", node.name(), pid.trim()),
        );
        let left = node.run(&["sh", "-c", "ls /var/lib/drydock-agent/revert"])?;
        proofs.check(
            !left.contains("json"),
            format!(
                "{}: nothing was taken back, nothing is armed ({})",
                node.name(),
                left.replace('\n', " ")
            ),
        );
    }
    Ok(())
}

/// The coordinator stops when the first node is armed, and comes back after more than the limit.
fn outage(site: &mut Site<'_>, version: &str, proofs: &mut Proofs) -> Result<()> {
    let seconds = std::env::var(OUTAGE).ok().and_then(|text| text.parse().ok());
    let away = seconds.map_or(WITHIN + Duration::from_secs(8), Duration::from_secs);
    let output = site.show(&["run", "start", "agents.yaml", "--detach"])?;
    ensure!(output.status.success(), "the run was not started");
    let armed: Vec<PathBuf> = site.lab.nodes().iter().map(armed_on).collect::<Result<_>>()?;
    let first = wait_for_any(&armed)?;
    site.fleet.stop_coordinator()?;
    let stopped = Instant::now();
    println!("n{}: armed; the coordinator is stopped for {} s", first + 1, away.as_secs());
    let node = site.lab.node(first + 1);
    while armed_at(&armed[first]).is_some() && stopped.elapsed() < away {
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("n{}: not armed any more {} ms later", first + 1, stopped.elapsed().as_millis());
    std::thread::sleep(away.saturating_sub(stopped.elapsed()));
    let said = node.run(&[AGENT, "--version"])?;
    proofs.check(
        said.ends_with(version),
        format!("after {} s without a coordinator n{} still runs {said}", away.as_secs(), first + 1),
    );
    site.fleet.start_coordinator()?;
    site.fleet.wait_serving()?;
    let output = site.show(&["run", "watch"])?;
    proofs.exit(&output, 0, "the coordinator is back, and the run goes on: `run watch`");
    let confirmed = site.show(&["run", "show", "--node", &node.name()])?.text();
    proofs.check(confirmed.contains("witness 10.99.0."), "a witness confirmed it in the coordinator's place");
    Ok(())
}

fn armed_on(node: &Node) -> Result<PathBuf> {
    Ok(node.root()?.join("var/lib/drydock-agent/revert/armed.json"))
}

fn wait_for_any(armed: &[PathBuf]) -> Result<usize> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        if let Some(found) = armed.iter().position(|plan| armed_at(plan).is_some()) {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("no node was armed within 60 s")
}

fn reboot(site: &Site<'_>, proofs: &mut Proofs) -> Result<()> {
    let node = site.lab.node(2);
    let others = [site.lab.node(1).boot_id()?, site.lab.node(3).boot_id()?];
    let before = node.boot_id()?;
    site.write_plan(&Plan {
        file: "reboot.yaml",
        component: "machine",
        recipe: "reboot",
        with: "",
        to: "2026-11-21",
        artifact: None,
        nodes: "[n2]",
    })?;
    let why = "--why=a dump runs";
    let words = ["systemd-inhibit", "--what=shutdown", "--mode=block", "--who=backup", why, "sleep", "600"];
    let mut backup = node.spawn("inhibitor", &words)?;
    let blocked =
        || Ok(node.exec(&["systemd-inhibit", "--list", "--no-pager"])?.text().contains("a dump runs"));
    wait_for("the shutdown to be blocked", blocked)?;
    let output = site.show(&["run", "start", "reboot.yaml", "--wait"])?;
    proofs.exit(&output, 3, "while the shutdown is blocked the run holds: `run start`");
    let happened = site.fleet.run(0)?.hold.context("a held run says why")?.happened;
    proofs.check(
        happened.contains("blocked by backup (pid ") && happened.contains("a dump runs"),
        format!("it names who blocks it: {happened}"),
    );
    proofs.check(node.boot_id()? == before, "n2 was not started anew");
    backup.kill()?;
    wait_for("the shutdown to be free", || blocked().map(|blocked| !blocked))?;
    let number = site.fleet.run(0)?.number.to_string();
    let output = site.show(&["run", "resume", &number])?;
    proofs.exit(&output, 0, "nothing blocks it any more: `run resume`");
    let output = site.show(&["run", "watch"])?;
    proofs.exit(&output, 0, "and the run ends: `run watch`");
    let after = node.boot_id()?;
    proofs.check(after != before, format!("n2: boot {before} → {after}"));
    let same = others == [site.lab.node(1).boot_id()?, site.lab.node(3).boot_id()?];
    proofs.check(same, "the other nodes were not started anew");
    let shown = site.show(&["run", "show", "--node", "n2"])?.text();
    let short = |id: &str| id.chars().take(8).collect::<String>();
    let seen = shown.contains(&format!("boot {} → {}", short(&before), short(&after)));
    proofs.check(seen, "the run's evidence names both boots");
    site.fleet.wait_connected(3).context("all agents are connected at the end")?;
    Ok(())
}
