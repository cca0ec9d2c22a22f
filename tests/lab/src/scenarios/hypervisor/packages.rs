//! What goes wrong with packages: one that would remove another, somebody else at work, a postinst that fails, an archive
//! that is another one on the next node. Guests and flows notice nothing of any of it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};

use super::judge;
use super::site::{self, Scene, Stage};
use super::watch::{self, Watch};
use crate::fleet::run::HoldSeen;
use crate::hypervisor::archive::Flavour;
use crate::hypervisor::bare::Part;
use crate::hypervisor::observe::Facts;
use crate::hypervisor::trace::{Span, now};
use crate::scenarios::answering;
use crate::scenarios::proofs::Proofs;
use crate::scenarios::scene::code;

const NODES: usize = 2;
/// Holds both of dpkg's locks as dpkg does, until its end.
const HOLD_LOCKS: &str = r#"use Fcntl; my @held; $| = 1;
for my $file ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock") {
    open(my $lock, ">>", $file) or die "$file: $!";
    my $whole = pack("s s x4 q q i x4", F_WRLCK, 0, 0, 0, 0);
    fcntl($lock, F_SETLK, $whole) or die "$file: $!";
    push @held, $lock;
}
print "held\n"; sleep 600;"#;

pub(in crate::scenarios) fn play() -> Result<()> {
    let lab = site::boot(NODES)?;
    let scene = Scene::set(&lab)?;
    let mut proofs = Proofs::default();
    let watch = Watch::begin(&scene.site)?;
    let from = now();
    println!("\n-- a higher version that would remove another package");
    removing(&scene, &mut proofs)?;
    println!("\n-- a postinst that fails");
    failing(&scene, &mut proofs)?;
    println!("\n-- somebody else at work");
    locked(&scene, &mut proofs)?;
    println!("\n-- an archive that is another one on the next node");
    changed(&scene, &mut proofs)?;
    let span = Span { from, until: now() };
    for trace in watch.finish()? {
        let seen = trace.within(span);
        let few = seen.longest_gap < Duration::from_secs(5) && seen.received * 2 > seen.sent;
        proofs.check(few, format!("guests and flows noticed little of all that: {seen}"));
    }
    proofs.conclude()
}

fn openvswitch(scene: &Scene<'_>) -> Stage<'static> {
    let with = format!("{{witness: {}, flows: caughtUp}}", answering::witnesses(scene.lab));
    let to = Part::Openvswitch.versions().newer;
    Stage { component: "openvswitch", recipe: "openvswitch", with, to, down: false }
}

fn libvirt(with: String) -> Stage<'static> {
    Stage { component: "libvirt", recipe: "libvirt", with, to: Part::Libvirt.versions().newer, down: false }
}

/// Starts a run that must hold, and gives why; it is aborted then.
fn held(
    scene: &Scene<'_>,
    name: &str,
    stage: Stage<'_>,
    nodes: &str,
    proofs: &mut Proofs,
) -> Result<HoldSeen> {
    let file = scene.write_plan(name, &[stage], Some(nodes))?;
    let mut log = scene.fleet.log();
    log.news()?;
    scene.begin(&file)?;
    let followed = watch::follow(scene, &mut log)?;
    proofs.check(followed.status == "Held", format!("the run is {}", followed.status));
    scene.show(&["why"])?;
    let run = scene.fleet.run(0)?;
    let hold = run.hold.context("a held run says why")?;
    ensure!(code(&scene.show(&["run", "abort", &run.number.to_string()])?) == 0, "the run was not ended");
    Ok(hold)
}

/// A node is as it was, but for what may be; and nothing of ours is there.
fn untouched(
    scene: &Scene<'_>,
    number: usize,
    before: &Facts,
    may_change: impl Fn(&str) -> bool,
    proofs: &mut Proofs,
) -> Result<()> {
    let node = scene.lab.node(number);
    let differences = before.differences(&Facts::of(node)?, may_change);
    proofs.check(differences.is_empty(), format!("{}: nothing was changed: {differences:?}", node.name()));
    judge::nothing_left(std::slice::from_ref(node), proofs)
}

/// Refused by the other's name, in the rehearsal and in the run, before anything is done.
fn removing(scene: &Scene<'_>, proofs: &mut Proofs) -> Result<()> {
    let node = scene.lab.node(1);
    scene.archive.offer(node, Flavour::Removing)?;
    let before = Facts::of(node)?;
    let hold = held(scene, "removing", openvswitch(scene), "n1", proofs)?;
    proofs.check(hold.happened.contains("ovn-host"), format!("it names what would go: {}", hold.happened));
    untouched(scene, 1, &before, |_| false, proofs)?;
    Ok(scene.archive.offer(node, Flavour::Newer)?)
}

/// Undone by the old packages: dpkg is whole, no daemon was restarted.
fn failing(scene: &Scene<'_>, proofs: &mut Proofs) -> Result<()> {
    let node = scene.lab.node(1);
    scene.archive.offer(node, Flavour::Broken)?;
    let before = Facts::of(node)?;
    let hold = held(scene, "failing", openvswitch(scene), "n1", proofs)?;
    // Not only that the version is unknown: why the packages were taken back.
    let named = ["openvswitch-switch", "half-configured"].iter().all(|word| hold.happened.contains(word));
    proofs.check(named, format!("it names the package and what dpkg left of it: {}", hold.happened));
    // The files were exchanged twice, under daemons that run what they ran.
    let exchanged = ["running ovs-vswitchd", "running ovsdb-server"];
    untouched(scene, 1, &before, |of| exchanged.contains(&of), proofs)?;
    Ok(scene.archive.offer(node, Flavour::Newer)?)
}

/// Whoever holds dpkg's lock is named; when he has ended the run goes on by itself.
fn locked(scene: &Scene<'_>, proofs: &mut Proofs) -> Result<()> {
    let node = scene.lab.node(1);
    let mut other = node.spawn("hold-locks", &["perl", "-e", HOLD_LOCKS])?;
    super::rest::until_true("the locks to be held", || Ok(other.printed()?.contains("held")))?;
    let before = Facts::of(node)?;
    let file = scene.write_plan("locked", &[libvirt("{quiescence: restartSafe}".into())], Some("n1"))?;
    let mut log = scene.fleet.log();
    log.news()?;
    scene.begin(&file)?;
    super::rest::named(scene, &["perl", "/var/lib/dpkg/lock"])?;
    untouched(scene, 1, &before, |_| false, proofs)?;
    other.kill()?;
    super::rest::ends_well(scene, &mut log, proofs)?;
    let after = Facts::of(node)?;
    proofs.check(
        after.get("says libvirtd")? == Part::Libvirt.versions().said,
        "when the lock is free the run goes on by itself, and the daemon is the new one",
    );
    untouched(scene, 1, &before, |of| Part::Libvirt.may_change(of), proofs)
}

/// The plan pins the archive of the first node; the second, whose archive was changed since, is held by name.
fn changed(scene: &Scene<'_>, proofs: &mut Proofs) -> Result<()> {
    let pinned = scene.archive.flavour(Flavour::Newer).join("InRelease");
    let digest = Sha256::digest(fs::read(&pinned).with_context(|| format!("read {}", pinned.display()))?);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    scene.archive.offer(scene.lab.node(2), Flavour::Changed)?;
    let before = Facts::of(scene.lab.node(2))?;
    let with = format!("{{quiescence: restartSafe, release: [{{suite: lab, sha256: {digest}}}]}}");
    let hold = held(scene, "pinned", libvirt(with), "n2", proofs)?;
    proofs.check(hold.node.as_deref() == Some("n2"), format!("it holds at n2: {:?}", hold.node));
    let named = hold.happened.contains("lab") && hold.happened.contains(&digest[..8]);
    proofs.check(named, format!("it names the archive and the digest that the plan pins: {}", hold.happened));
    untouched(scene, 2, &before, |_| false, proofs)
}
