//! What a restart of libvirt waits for, by name, and goes on when it is over: a full `/run`, a migration in flight, as
//! source and as destination, of both kinds. A guest that somebody has paused is let be. The packages were exchanged by
//! hand before.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::judge;
use super::site::{self, Scene, Stage};
use super::watch;
use crate::Node;
use crate::fleet::log::CoordinatorLog;
use crate::guard::ChildGuard;
use crate::hypervisor::bare::{self, Part};
use crate::hypervisor::observe::Facts;
use crate::scenarios::proofs::Proofs;

const NODES: usize = 2;
/// How long a cause may take until somebody is told of it.
const NAMED: Duration = Duration::from_secs(60);
const MIGRATED: Duration = Duration::from_secs(90);
/// libvirt over plain TCP, for migrations between these nodes: on nobody's network but the lab's.
const OVER_TCP: &str = r#"printf 'auth_tcp = "none"\n' >>/etc/libvirt/libvirtd.conf
systemctl stop --quiet libvirtd.service
systemctl enable --quiet --now libvirtd-tcp.socket
systemctl start libvirtd.service"#;
/// What is left of `/run` when it is full for a daemon that writes its state there.
const FILL: &str = "mount -o remount,size=40M /run && \
    fallocate -l $(( $(df --output=avail -B1 /run | tail -n 1) - 2097152 )) /run/full && df /run";

pub(in crate::scenarios) fn play() -> Result<()> {
    let lab = site::boot(NODES)?;
    let scene = Scene::set(&lab)?;
    for node in lab.nodes() {
        node.run(&["sh", "-ec", OVER_TCP])?;
    }
    let mut proofs = Proofs::default();
    println!("\n-- a paused guest");
    paused(&scene, &mut proofs)?;
    println!("\n-- /run is full");
    full(&scene, &mut proofs)?;
    for (kind, peer_to_peer) in [("peer to peer", true), ("by its client", false)] {
        println!("\n-- a guest migrates away, {kind}");
        in_flight(&scene, (2, 1), 2, peer_to_peer, &mut proofs)?;
        println!("\n-- a guest comes, {kind}");
        in_flight(&scene, (1, 2), 2, peer_to_peer, &mut proofs)?;
    }
    proofs.conclude()
}

/// Puts packages in place by hand, the other ones of the two, and gives the stage that restarts the daemon onto them.
fn other<'a>(scene: &'a Scene<'_>, number: usize) -> Result<Stage<'a>> {
    let (node, part) = (scene.lab.node(number), Part::Libvirt);
    let installed = node.run(&["dpkg-query", "-W", "-f", "${Version}", "libvirt-daemon"])?;
    let up = installed != part.versions().newer;
    let packages = if up { part.newer() } else { part.installed(&scene.stock[number - 1])? };
    bare::install(node, &packages)?;
    let to = if up { part.versions().newer } else { scene.stock_version(part)? };
    Ok(Stage { component: "libvirt", recipe: "./libvirtOnly.yaml", with: String::new(), to, down: !up })
}

fn begin(scene: &Scene<'_>, number: usize, name: &str) -> Result<CoordinatorLog> {
    let stage = other(scene, number)?;
    let file = scene.write_plan(name, &[stage], Some(&format!("n{number}")))?;
    let mut log = scene.fleet.log();
    log.news()?;
    scene.begin(&file)?;
    Ok(log)
}

pub(super) fn ends_well(scene: &Scene<'_>, log: &mut CoordinatorLog, proofs: &mut Proofs) -> Result<()> {
    let followed = watch::follow(scene, log)?;
    if followed.status != "Done" {
        scene.show(&["why"])?;
    }
    proofs.check(followed.status == "Done", format!("the run is {} at the end", followed.status));
    Ok(())
}

/// Its owner has paused it: that is no reason to wait, and it is the same paused guest afterwards.
fn paused(scene: &Scene<'_>, proofs: &mut Proofs) -> Result<()> {
    let (node, boot) = (scene.lab.node(1), scene.site.guest_boot(1)?);
    node.run(&["virsh", "-q", "suspend", "guest1"])?;
    let before = Facts::of(node)?;
    ensure!(before.get("guest guest1")?.ends_with("paused"), "guest1 is not paused: {before:?}");
    let mut log = begin(scene, 1, "paused")?;
    ends_well(scene, &mut log, proofs)?;
    let after = Facts::of(node)?;
    let differences = before.differences(&after, |of| Part::Libvirt.may_change(of));
    proofs.check(
        differences.is_empty(),
        format!("guest1 is paused as before, the same process: {differences:?}"),
    );
    proofs.check(after.get("says libvirtd")? == Part::Libvirt.versions().said, "the daemon is the new one");
    node.run(&["virsh", "-q", "resume", "guest1"])?;
    proofs.check(scene.site.guest_boot(1)? == boot, "resumed, it answers from the boot of before");
    Ok(())
}

/// A daemon that cannot write below `/run` does not come up again: it is not restarted before there is room.
fn full(scene: &Scene<'_>, proofs: &mut Proofs) -> Result<()> {
    let node = scene.lab.node(2);
    let said = node.run(&["sh", "-ec", FILL])?;
    println!("{said}");
    let mut log = begin(scene, 2, "full")?;
    let before = Facts::of(node)?;
    let followed = watch::follow(scene, &mut log)?;
    proofs.check(followed.status == "Held", format!("the run is {}", followed.status));
    named(scene, &["/run has ", "KiB free", "drydock run resume"])?;
    let same = Facts::of(node)?;
    let differences = before.differences(&same, |_| false);
    proofs.check(differences.is_empty(), format!("meanwhile nothing was restarted: {differences:?}"));
    node.run(&["rm", "/run/full"])?;
    let number = scene.fleet.run(0)?.number.to_string();
    proofs.exit(&scene.show(&["run", "resume", &number])?, 0, "there is room again: `run resume`");
    ends_well(scene, &mut log, proofs)?;
    let after = Facts::of(node)?;
    let differences = before.differences(&after, |of| Part::Libvirt.may_change(of));
    proofs.check(differences.is_empty(), format!("all else is as before: {differences:?}"));
    proofs.check(after.get("says libvirtd")? == Part::Libvirt.versions().said, "the daemon is the new one");
    Ok(())
}

/// guest2 migrates slowly when the restart would come on node `restarted`: it is waited for by the guest's name, and
/// not cut off.
fn in_flight(
    scene: &Scene<'_>,
    (from, to): (usize, usize),
    restarted: usize,
    peer_to_peer: bool,
    proofs: &mut Proofs,
) -> Result<()> {
    let boot = scene.site.guest_boot(2)?;
    let (source, node) = (scene.lab.node(from), scene.lab.node(restarted));
    let stage = other(scene, restarted)?;
    let name = format!("flight-{from}-{to}-{}", if peer_to_peer { "peer" } else { "client" });
    let file = scene.write_plan(&name, &[stage], Some(&format!("n{restarted}")))?;
    let mut log = scene.fleet.log();
    log.news()?;
    let mut migration = migrate(scene, from, to, peer_to_peer)?;
    let before = invocation(node)?;
    scene.begin(&file)?;
    named(scene, &["guest2", "migrati"])?;
    proofs.check(
        migration.is_running() && invocation(node)? == before,
        "it still migrates, and the daemon was not restarted",
    );
    source.run(&["virsh", "-q", "migrate-setspeed", "guest2", "1000"])?;
    let ended = migration.wait(MIGRATED)?;
    proofs.check(ended.success(), format!("the migration ends well: {ended}, {:?}", migration.printed()?));
    ends_well(scene, &mut log, proofs)?;
    let homes: Vec<usize> = (1..=NODES).filter(|number| runs_on(scene, *number).unwrap_or(false)).collect();
    proofs.check(homes == [to], format!("guest2 runs on n{to} and nowhere else: {homes:?}"));
    proofs.check(scene.site.guest_boot(2)? == boot, "it answers from the boot of before");
    proofs.check(invocation(node)? != before, "and then the daemon was restarted");
    judge::nothing_left(std::slice::from_ref(node), proofs)?;
    Ok(())
}

/// Which start of its daemon this is: a node whose guest has left shows no facts of a hypervisor.
fn invocation(node: &Node) -> Result<String> {
    Ok(node.run(&["systemctl", "show", "-P", "InvocationID", "libvirtd.service"])?)
}

/// Is its QEMU process on that node?
fn runs_on(scene: &Scene<'_>, number: usize) -> Result<bool> {
    let said = scene.lab.node(number).exec(&["pgrep", "-f", "guest=guest2"])?;
    Ok(said.status.success())
}

/// Begins a migration that would take minutes, and waits until it is under way.
fn migrate(scene: &Scene<'_>, from: usize, to: usize, peer_to_peer: bool) -> Result<ChildGuard> {
    let source = scene.lab.node(from);
    // Both guests write their console into a file of the same name, and a file has one writer.
    let xml = "virsh dumpxml --migratable guest2 | sed \"s,/guest[0-9]*\\.console,/guest2.console,\" >/etc/drydock-lab/away.xml";
    source.run(&["sh", "-ec", xml])?;
    source.run(&["virsh", "-q", "migrate-setspeed", "guest2", "1"])?;
    let there = format!("qemu+tcp://n{to}/system");
    let mut words = vec!["virsh", "migrate", "--live", "--xml", "/etc/drydock-lab/away.xml"];
    if peer_to_peer {
        words.push("--p2p");
    }
    words.extend(["guest2", &there]);
    let kind = if peer_to_peer { "peer" } else { "client" };
    let mut guard = source.spawn(&format!("migrate-{from}-{to}-{kind}"), &words)?;
    let began = Instant::now();
    while began.elapsed() < NAMED {
        let job = source.exec(&["virsh", "domjobinfo", "guest2"])?.text();
        if job.contains("Outgoing migration") {
            return Ok(guard);
        }
        ensure!(guard.is_running(), "the migration has ended at once: {}", guard.printed()?);
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("the migration was not under way within {} s: {}", NAMED.as_secs(), guard.printed()?)
}

/// Asks `why` until it says all of these words.
pub(super) fn named(scene: &Scene<'_>, words: &[&str]) -> Result<()> {
    let began = Instant::now();
    loop {
        let said = scene.fleet.cli(&["why"])?;
        let text = format!("{}\n{}", said.text(), said.error_text());
        if words.iter().all(|word| text.contains(word)) {
            println!("$ drydock why\n{}", text.trim());
            return Ok(());
        }
        if began.elapsed() > NAMED {
            let run = scene.fleet.run(0).context("the run")?;
            bail!("`why` did not say {words:?} within {} s, but: {text}\n{run:#?}", NAMED.as_secs());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Waits for what takes a moment, and not for long.
pub(super) fn until_true(what: &str, mut question: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !question()? {
        ensure!(began.elapsed() < NAMED, "waited {} s for {what}", NAMED.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
