//! What an operator sees of a hypervisor: `node show` of one that is well, beside what the node itself says; and
//! `check node` of one with faults that are really there, each with its object, its age and what to do, until it is mended.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::faults::{Fault, Planted};
use super::rest::until_true;
use super::site::{self, Scene};
use crate::Node;
use crate::hypervisor::observe::Facts;
use crate::scenarios::proofs::Proofs;

const NODES: usize = 3;
/// Not the one with OVN's databases.
const NUMBER: usize = 2;
/// An age may be off by so much: figures are whole seconds, and a question takes a moment.
const OFF_S: u64 = 3;

const LIBVIRT_STOPPED: &str =
    "systemctl stop --quiet libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket";
const LIBVIRT_STARTED: &str =
    "systemctl start libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service";

/// What `check node -o json` shows.
#[derive(Debug, Deserialize)]
struct Seen {
    findings: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    weight: String,
    what: String,
    for_s: Option<u64>,
    next: Vec<String>,
}

pub(in crate::scenarios) fn play() -> Result<()> {
    let lab = site::boot(NODES)?;
    let scene = Scene::set(&lab)?;
    let (node, other) = (lab.node(NUMBER), lab.node(NODES));
    let mut proofs = Proofs::default();
    println!("\n-- a hypervisor that is well");
    shown(&scene, node, &mut proofs)?;
    nothing_of(Fault::ALL, &scene, node, &mut proofs)?;
    scene.show(&["check", "node", &node.name()])?;

    println!("\n-- faults");
    let guest = guest_of(node)?;
    let mut planted = Vec::new();
    for fault in Fault::ALL {
        planted.push(fault.plant(&scene, node)?);
    }
    named(&scene, node, &planted, &mut proofs)?;
    let faulty = scene.show(&["check", "node", &node.name()])?;
    proofs.exit(&faulty, 3, "`check node` of a node that a person must look at");
    nothing_of(Fault::ALL, &scene, other, &mut proofs)?;

    println!("\n-- mended one after the other");
    let mut kept = Vec::new();
    while let Some(there) = planted.pop() {
        let fault = there.fault;
        kept.extend(there.mend(&scene, node)?);
        until_true(&format!("nothing of {fault:?} to be left"), || {
            Ok(findings(&scene, node)?.iter().all(|found| !fault.is_named_by(&found.what)))
        })?;
        proofs.check(true, format!("{fault:?} was mended, and its line is gone"));
        let rest: Vec<Fault> = planted.iter().map(|there| there.fault).collect();
        let left = findings(&scene, node)?;
        let all = rest.iter().all(|fault| left.iter().any(|found| fault.is_named_by(&found.what)));
        proofs.check(all, format!("those of {rest:?} are still there"));
    }
    scene.show(&["check", "node", &node.name()])?;
    nothing_of(Fault::ALL, &scene, node, &mut proofs)?;
    proofs.check(guest_of(node)? == guest, "its guest is the same process as before");
    scene.site.guest_boot(NUMBER).context("the guest answers")?;

    println!("\n-- libvirt is stopped, or its tools are away");
    without_libvirt(&scene, other, &mut proofs)?;
    proofs.conclude()
}

fn findings(scene: &Scene<'_>, node: &Node) -> Result<Vec<Finding>> {
    let seen: Seen = scene.fleet.json(&["check", "node", &node.name()])?;
    Ok(seen.findings)
}

fn guest_of(node: &Node) -> Result<String> {
    Ok(Facts::of(node)?.get(&format!("guest guest{NUMBER}"))?.to_owned())
}

/// `node show` says of guests, bridges, OVN and packages what the node itself says.
fn shown(scene: &Scene<'_>, node: &Node, proofs: &mut Proofs) -> Result<()> {
    let output = scene.show(&["node", "show", &node.name()])?;
    proofs.exit(&output, 0, "`node show`");
    let text = output.text();
    let line = |word: &str| text.lines().find(|line| line.contains(word)).unwrap_or_default().to_owned();
    let facts = Facts::of(node)?;
    // By its own monitor: the program that it was started from may long be another.
    let guest = format!("guest{NUMBER}");
    let said = node.run(&["virsh", "qemu-monitor-command", &guest, "--hmp", "info version"])?;
    let qemu = said.split(|c: char| c != '.' && !c.is_ascii_digit()).next().unwrap_or_default();
    ensure!(qemu.split('.').count() == 3, "the guest's monitor names no version: {said}");
    let row = line(&guest);
    proofs.check(
        row.contains(qemu) && row.contains("running"),
        format!("{guest} runs QEMU {qemu} by its own monitor, and so its line says: {}", row.trim()),
    );
    for (what, of) in [
        ("libvirt", "says libvirtd"),
        ("Open vSwitch", "says ovs-vswitchd"),
        ("ovn-controller", "says ovn-controller"),
    ] {
        let version = facts.get(of)?;
        proofs.check(line(what).contains(version), format!("{what} {version}: {}", line(what).trim()));
    }
    for bridge in node.run(&["ovs-vsctl", "list-br"])?.lines() {
        let flows = facts.get(&format!("flows {bridge}"))?;
        let count = flows.split(' ').next().unwrap_or_default();
        let row = line(&format!("{bridge} "));
        proofs.check(row.contains(count), format!("{bridge} has {count} flows: {}", row.trim()));
    }
    for (what, says) in [("On hold", "none"), ("Half-way", "none"), ("Replaced", "no process")] {
        proofs.check(line(what).contains(says), format!("packages: {}", line(what).trim()));
    }
    Ok(())
}

/// A daemon that is stopped, and tools that are not installed, are said; all else is seen, and guests notice nothing.
fn without_libvirt(scene: &Scene<'_>, node: &Node, proofs: &mut Proofs) -> Result<()> {
    let boot = scene.site.guest_boot(NODES)?;
    for (without, with, says) in [
        (LIBVIRT_STOPPED, LIBVIRT_STARTED, "libvirt does not run here"),
        ("mv /usr/bin/virsh /root/virsh", "mv /root/virsh /usr/bin/virsh", "virsh is not installed"),
    ] {
        node.run(&["sh", "-ec", without])?;
        let text = scene.show(&["node", "show", &node.name()])?.text();
        node.run(&["sh", "-ec", with])?;
        let all = [says, "br-int", "ovn-controller", "On hold"].iter().all(|word| text.contains(word));
        proofs.check(all, format!("`node show` says that {says}, and all the rest"));
    }
    proofs.check(scene.site.guest_boot(NODES)? == boot, "the guest answers from the boot of before");
    Ok(())
}

/// Nothing of any of these is said of a node.
fn nothing_of(faults: &[Fault], scene: &Scene<'_>, node: &Node, proofs: &mut Proofs) -> Result<()> {
    let found = findings(scene, node)?;
    let named: Vec<&str> = found
        .iter()
        .map(|found| found.what.as_str())
        .filter(|what| faults.iter().any(|fault| fault.is_named_by(what)))
        .collect();
    proofs.check(named.is_empty(), format!("{}: none of these faults is named: {named:?}", node.name()));
    Ok(())
}

/// Each fault is one line, with its age and what to do.
fn named(scene: &Scene<'_>, node: &Node, planted: &[Planted], proofs: &mut Proofs) -> Result<()> {
    let found = findings(scene, node)?;
    for Planted { fault, between: (before, after), .. } in planted {
        let lines: Vec<&Finding> = found.iter().filter(|found| fault.is_named_by(&found.what)).collect();
        let [one] = lines.as_slice() else {
            proofs.check(false, format!("{fault:?} is one line: {lines:?}"));
            continue;
        };
        let (most_s, least_s) = (before.elapsed().as_secs(), after.elapsed().as_secs());
        let in_time = match (fault.has_age(), one.for_s) {
            (true, Some(for_s)) => for_s + OFF_S >= least_s && for_s <= most_s + OFF_S,
            (false, None) => true,
            _ => false,
        };
        let next = one.next.join("; ");
        let holds = in_time && one.weight == fault.weight() && next.contains(fault.next());
        let age = one.for_s.map_or_else(|| "-".to_owned(), |for_s| format!("{for_s} s"));
        proofs.check(
            holds,
            format!(
                "{fault:?}: {} · {age} (planted {most_s} to {least_s} s ago) · {} · {next}",
                one.what, one.weight
            ),
        );
    }
    if found.is_empty() {
        bail!("`check node` found nothing");
    }
    Ok(())
}
