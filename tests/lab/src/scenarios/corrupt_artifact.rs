//! The artifact is not what was signed: changed before it is sent (refused before any connection), and
//! changed on the coordinator's disk after it was taken (refused by the node, before it leaves service).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::proofs::Proofs;
use super::scene::{self, PLAN, Scene, code};

pub(super) fn play() -> Result<()> {
    let lab = scene::boot()?;
    let scene = Scene::set(&lab, "fleet")?;
    let (starts, binaries) = (scene.starts()?, scene.binaries()?);
    let watch = scene.watch("corrupt")?;
    let mut proofs = Proofs::default();

    let changed = scene.fleet.sign(&scene.newer.path, "changed", &scene.newer.version)?;
    flip_a_byte(&scene.fleet.dir().join(&changed))?;
    scene.plan("changed.yaml", "etcd", &changed, "3s")?;
    let output = scene.show(&["run", "start", "changed.yaml"])?;
    proofs.exit(&output, 2, "a file that was changed after it was signed is refused: `run start`");

    ensure!(code(&scene.show(&["artifact", "add", "newer/etcd"])?) == 0, "the artifact was not taken");
    flip_a_byte(&stored(&scene)?)?;
    println!("a byte of the artifact on the coordinator's disk is another one now");
    let output = scene.show(&["run", "start", PLAN, "--wait"])?;
    proofs.exit(&output, 3, "the run holds: `run start`");
    let why = scene.show(&["why"])?.text();
    let run = scene.fleet.run(0)?;
    proofs.check(run.status == "held", format!("run {} is {}", run.number, run.status));
    let hold = run.hold.context("a held run says why")?;
    let told = format!("{} {}", hold.reason, hold.happened).to_lowercase();
    let names = ["sha-256", "sha256", "digest", "damaged", "corrupt"].iter().any(|word| told.contains(word));
    proofs.check(names, format!("`why` names the damage: {}", hold.happened));
    proofs.check(why.contains(&hold.reason), "`why` gives the hold's reason");

    proofs.check(scene.starts()? == starts, "etcd was restarted nowhere: nobody left service");
    proofs.check(scene.binaries()? == binaries, "no binary was exchanged");
    let seen = watch.finish(&scene)?;
    proofs.untouched_service(&seen);
    let undisturbed = seen.summary.fewest_answering == 3;
    proofs.check(undisturbed, "all three members answered all the time");
    proofs.all_answer(&scene.versions()?, "3.4.23");
    proofs.conclude()
}

fn stored(scene: &Scene<'_>) -> Result<PathBuf> {
    let dir = scene.fleet.state_dir().join("artifacts");
    let largest = fs::read_dir(&dir)
        .with_context(|| format!("read {}", dir.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .max_by_key(|path| fs::metadata(path).map_or(0, |meta| meta.len()));
    largest.with_context(|| format!("there is no artifact in {}", dir.display()))
}

/// In the middle of the file, the size left as it is.
fn flip_a_byte(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let middle = bytes.len() / 2;
    let byte = bytes.get_mut(middle).with_context(|| format!("{} is empty", path.display()))?;
    *byte ^= 1;
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}
