//! One plan takes all servers, then the agents, to the next version, while the cluster is used and watched. The last
//! node's budget lets nobody go: it is held with that budget's name, and goes when somebody has repaired it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use drydock_test_cluster::objects;
use serde_json::{Value, json};

use super::Datastore;
use super::budgets::Budgets;
use super::canary;
use super::kubelet;
use super::network::SOON;
use super::site::{self, PLAN, RUN, Site};
use super::witness::{self, Witness};
use super::workloads::{self, BLOCKING, BUDGETS, GUARDED};
use crate::fleet::run::RunSeen;
use crate::scenarios::proofs::Proofs;
use crate::scenarios::scene::code;
use crate::scenarios::table;

/// The aim: an endpoint that is upgraded is away for this much of a restart by hand. A figure in the table and no proof:
/// on a machine that does other things too both times vary by more than that.
const OF_BARE: f64 = 1.05;
const SERVERS: usize = 3;
const PEACE: Duration = Duration::from_secs(2);

pub(in crate::scenarios) fn play() -> Result<()> {
    drydock_test_cluster::available().map_err(anyhow::Error::msg)?;
    let lab = site::boot(SERVERS)?;
    let site = Site::set(&lab, Datastore::Etcd)?;
    site.write_plan("", "")?;
    let mut proofs = Proofs::default();
    let last = site.last().name();
    ensure!(
        workloads::node_of(&site.network, site.admin(), BLOCKING)? == last,
        "{BLOCKING} is not on {last}"
    );
    let witness = Witness::begin(&site.network, &site.endpoints)?;
    let bare = bare_restarts(&site, &witness)?;
    let budgets = Budgets::watch(&site.network, &site.endpoints);
    std::thread::sleep(PEACE);

    let began = witness.now();
    ensure!(code(&site.show(&["plan", PLAN])?) == 0, "the plan was not clear");
    rehearsed(&site, &last, &mut proofs)?;
    let held = site.show(&["run", "start", PLAN, "--wait"])?;
    proofs.exit(&held, 3, "the run, which holds at the node that nobody may leave,");
    site.show(&["why"])?;
    blocked(&site, &last, &mut proofs)?;
    repair(&site)?;
    ensure!(code(&site.show(&["run", "resume", "1"])?) == 0, "the run was not resumed");
    let run = until_ended(&site)?;
    site.show(&["run", "report"])?;

    let seen = conclude(&site, witness, budgets, &bare, began, &run, &mut proofs)?;
    let (samples, nobody) = (seen.samples(), seen.nobody());
    proofs.check(
        nobody.is_empty(),
        format!("the API was never away at all endpoints at once ({samples:?} questions): {nobody:?}"),
    );
    proofs.conclude()
}

/// What must hold at the end of every run, however many servers there are.
pub(super) fn conclude(
    site: &Site<'_>,
    witness: Witness,
    budgets: Budgets,
    bare: &BTreeMap<String, Duration>,
    began: Duration,
    run: &RunSeen,
    proofs: &mut Proofs,
) -> Result<witness::Seen> {
    std::thread::sleep(PEACE);
    let seen = witness.finish(&site.network)?;
    let counted = budgets.finish();
    print(site, &seen, bare, began);
    println!(
        "\nReady pods, counted at each change: {:?}, the fewest {:?}\n",
        counted.counted, counted.fewest
    );
    proofs.check(run.status == "done", format!("run {} is {}", run.number, run.status));
    at_target(site, proofs)?;
    given_back(site, proofs)?;
    canary::flown(site, proofs)?;
    writes(&seen, site.servers().len(), proofs);
    let watched =
        counted.counted.len() == site.servers().len() && counted.counted.values().all(|times| *times > 1);
    proofs.check(watched, format!("pods were counted through every endpoint: {:?}", counted.counted));
    let violated = counted.violated();
    proofs.check(violated.is_empty(), format!("no budget of {} was violated: {violated:?}", GUARDED.len()));
    Ok(seen)
}

/// What a restart costs by itself, on each server of this cluster, in this very run.
pub(super) fn bare_restarts(site: &Site<'_>, witness: &Witness) -> Result<BTreeMap<String, Duration>> {
    // A silence is from one good answer to the next: there must be a first one.
    std::thread::sleep(PEACE);
    let mut costs = BTreeMap::new();
    for node in site.servers() {
        let (name, since) = (node.name(), witness.now());
        site.restart_by_hand(node)?;
        let began = Instant::now();
        let silent = loop {
            match witness.silent_since(&name, since) {
                Some(silent) if witness.is_ready(&name) => break silent,
                _ if began.elapsed() > SOON => {
                    bail!("{name} did not come back from a restart by hand: {}", witness.said(&name))
                }
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        println!("{name}: restarted by hand, no answer for {} ms", silent.as_millis());
        costs.insert(name, silent);
        std::thread::sleep(PEACE);
    }
    Ok(costs)
}

/// A rehearsal names that budget, and nothing else: that no agent may go before the servers is what the plan sees to.
fn rehearsed(site: &Site<'_>, last: &str, proofs: &mut Proofs) -> Result<()> {
    let before = site.kube_nodes()?;
    proofs.exit(&site.show(&["rehearse", PLAN])?, 3, "the rehearsal, which finds that nobody may leave,");
    let seen = site.show(&["rehearse", PLAN, "-o", "json"])?;
    let seen: Value =
        serde_json::from_slice(&seen.stdout).context("the rehearsal's answer cannot be read")?;
    let blockers = seen["blockers"].as_array().context("a rehearsal without blockers")?;
    let named = |found: &Value| {
        let what = found["what"].as_str().unwrap_or_default();
        found["nodes"] == json!([last]) && what.contains(&format!("default/{BLOCKING}"))
    };
    proofs.check(
        !blockers.is_empty() && blockers.iter().all(named),
        format!("it names the budget at {last} and nothing else: {blockers:?}"),
    );
    let same = |(a, b): (&Value, &Value)| a["spec"] == b["spec"] && is_marked(a) == is_marked(b);
    let after = site.kube_nodes()?;
    proofs.check(before.iter().zip(&after).all(same), "it changed no Node".to_string());
    Ok(())
}

/// The run holds at the last node, with the budget's name, and has not touched it.
fn blocked(site: &Site<'_>, last: &str, proofs: &mut Proofs) -> Result<()> {
    let run = site.fleet.run(0)?;
    let hold = run.hold.context("the run does not hold")?;
    proofs.check(
        hold.node.as_deref() == Some(last) && hold.happened.contains(&format!("default/{BLOCKING}")),
        format!("the run holds at {last} and names the budget: {:?}: {}", hold.node, hold.happened),
    );
    let node = site.kube_nodes()?.into_iter().find(|node| objects::name(node) == last);
    let node = node.with_context(|| format!("no Node {last}"))?;
    proofs.check(
        !is_cordoned(&node) && !is_marked(&node),
        format!("{last} is neither cordoned nor marked meanwhile"),
    );
    let there = workloads::node_of(&site.network, site.admin(), BLOCKING)? == last;
    proofs.check(there, format!("the pod of {BLOCKING} is still on {last}"));
    let containers = kubelet::containers(site.last())?;
    proofs.check(
        containers.len() > 1,
        format!("{last} has a real kubelet: {} containers run there", containers.len()),
    );
    Ok(())
}

/// Its people give the budget room: one more pod.
pub(super) fn repair(site: &Site<'_>) -> Result<()> {
    println!("\nSomebody gives {BLOCKING} a second pod");
    let path = format!("/apis/apps/v1/namespaces/default/deployments/{BLOCKING}");
    site.network.patch(site.admin(), &path, json!({"spec": {"replicas": 2}}))?;
    site.network.until(site.admin(), "the budget to allow one", BUDGETS, |budgets| {
        let budget = budgets.iter().find(|budget| objects::name(budget) == BLOCKING);
        budget.is_some_and(|budget| budget["status"]["disruptionsAllowed"] == 1)
    })
}

pub(super) fn until_ended(site: &Site<'_>) -> Result<RunSeen> {
    let began = Instant::now();
    loop {
        let run = site.fleet.run(0)?;
        if run.status == "done" {
            return Ok(run);
        }
        if run.status != "running" || began.elapsed() > RUN {
            site.show(&["why"])?;
            bail!("run {} is {} after {} s", run.number, run.status, began.elapsed().as_secs());
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

fn is_cordoned(node: &Value) -> bool {
    node["spec"]["unschedulable"] == true
}

/// Is anything of ours written on it?
fn is_marked(node: &Value) -> bool {
    let annotations = node["metadata"]["annotations"].as_object();
    annotations.is_some_and(|annotations| annotations.keys().any(|key| key.starts_with("drydock/")))
}

/// By every server's own answer, by every kubelet's, and by the program that is in memory.
fn at_target(site: &Site<'_>, proofs: &mut Proofs) -> Result<()> {
    let wanted = site.newer.as_str();
    for (name, admin) in &site.endpoints {
        let version = site.network.get(admin, "/version")?;
        proofs.check(
            version["gitVersion"] == wanted,
            format!("{name} answers that it is {}", version["gitVersion"]),
        );
    }
    let nodes = site.kube_nodes()?;
    let kubelets: BTreeMap<&str, &str> = nodes
        .iter()
        .map(|node| {
            (objects::name(node), node["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap_or("?"))
        })
        .collect();
    let all = kubelets.len() == site.lab.nodes().len() && kubelets.values().all(|version| *version == wanted);
    proofs.check(all, format!("every kubelet says {wanted}: {kubelets:?}"));
    proofs.check(nodes.iter().all(|node| objects::is(node, "Ready")), "every Node is Ready");
    Ok(())
}

fn given_back(site: &Site<'_>, proofs: &mut Proofs) -> Result<()> {
    let nodes = site.kube_nodes()?;
    let left: Vec<&str> =
        nodes.iter().filter(|node| is_cordoned(node) || is_marked(node)).map(objects::name).collect();
    proofs.check(left.is_empty(), format!("every cordon and every mark is gone: {left:?}"));
    Ok(())
}

fn writes(seen: &witness::Seen, endpoints: usize, proofs: &mut Proofs) {
    let samples = seen.samples();
    let asked = samples.len() == endpoints && samples.iter().all(|count| *count > 100);
    proofs.check(asked, format!("every endpoint was asked all the time: {samples:?} questions"));
    proofs.check(
        seen.lost.is_empty() && seen.acknowledged > 100 && seen.read > 100,
        format!(
            "every one of {} acknowledged writes reads back through every endpoint ({} were read right after, {} got \
             no answer): {:?}",
            seen.acknowledged, seen.read, seen.unknown, seen.lost
        ),
    );
}

fn print(site: &Site<'_>, seen: &witness::Seen, bare: &BTreeMap<String, Duration>, since: Duration) {
    println!("\nTime without an answer, seen from outside every 100 ms");
    let mut rows = vec![table::row(["endpoint", "silent", "restarted by hand", "ratio"])];
    for (name, _) in &site.endpoints {
        let silent = seen.silent_since(name, since).unwrap_or_default();
        let by_hand = bare.get(name).copied().unwrap_or_default();
        let ratio = silent.as_secs_f64() / by_hand.as_secs_f64();
        let over = if ratio > OF_BARE { "  over the aim" } else { "" };
        rows.push(table::row([
            name,
            &format!("{} ms", silent.as_millis()),
            &format!("{} ms", by_hand.as_millis()),
            &format!("{ratio:.2}{over}"),
        ]));
    }
    table::print(&rows);
    println!("  (the aim: {OF_BARE} of a restart by hand of the same run)");
}
