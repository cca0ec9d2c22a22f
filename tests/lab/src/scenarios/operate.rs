//! One night of an operator, typed as he would type it: a rehearsal, a run of two waves, an approval that another
//! operator gives, a pause in mid-wave, an amendment, a node that is waited for longer and then left out, a node
//! and then the run taken back, a hold for what was taken back, the report and the record. Writers and observers watch from outside.
//!
//! What is judged are exit codes, facts of `-o json`, and what happened on the nodes. And copying works: whatever
//! a screen offers as a command is typed as it stands there, by the shell ([`desk`]).

mod desk;
mod site;
mod story;

use anyhow::Result;

use super::proofs::Proofs;
use super::scene::{self, Scene};
use desk::Desk;
use site::Site;

pub(super) fn play() -> Result<()> {
    let lab = scene::boot()?;
    let scene = Scene::set(&lab, "fleet")?;
    let site = Site::prepare(&scene)?;
    let mut proofs = Proofs::default();
    let mut desk = Desk::at(&scene);
    let before = scene.starts()?;
    let watch = scene.watch("operate")?;

    story::unrehearsed(&mut desk, &mut proofs)?;
    story::rehearsed(&mut desk, &mut proofs)?;
    story::approved(&mut desk, &mut proofs)?;
    let paused = story::paused(&mut desk, &site, &mut proofs)?;
    story::amended(&mut desk, &site, &mut proofs)?;
    story::left_out(&mut desk, &site, &mut proofs)?;
    proofs.check(
        paused == scene.starts()?.get(&site.last).cloned(),
        format!("{}: nothing was started", site.last),
    );
    story::taken_back(&mut desk, &site, &mut proofs)?;
    story::held(&mut desk, &site, &mut proofs)?;
    story::told(&mut desk, &mut proofs)?;

    scene.cluster.wait_healthy(scene::MEMBERS, scene::RUN)?;
    let runs = scene.fleet.run(site::UPGRADE)?;
    let seen = watch.finish(&scene)?;
    println!("\nSeen from outside every 50 ms\n{}", seen.summary);
    proofs.untouched_service(&seen);
    proofs.watched_all_of(&runs, &seen)?;
    proofs.all_answer(&scene.versions()?, &site.old);
    let now = scene.starts()?;
    for (node, times) in [(&site.canary, 4), (&site.second, 2), (&site.last, 0)] {
        let starts = now[node].len().saturating_sub(before[node].len());
        proofs.check(
            starts == times,
            format!("{node}: {starts} starts of etcd, once for each way there or back"),
        );
    }
    desk.conclude(&mut proofs);
    proofs.conclude()
}
