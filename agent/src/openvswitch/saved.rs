//! What is saved before anything stops, and its replay: the picture, each bridge's flows, groups and meters, and the
//! database. It lies under the agent's state directory in a folder named by the effect, so that also the reverter
//! finds it; the picture is written last and holds the digests of the others.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use drydock_failpoint::{durable, effect};
use drydock_types::{EffectId, Sha256, openvswitch::FlowsMust};
use serde::{Deserialize, Serialize};

use super::{
    Seen, compare,
    flows::{self, Dialect, Kind},
    tool,
};
use crate::{
    actions::Problem,
    sys::{
        blocking,
        exec::Program,
        files::{self, kept},
        units::printable_line,
    },
};

/// The folder of all that is saved.
const DIR: &str = "openvswitch";
/// So many changes' folders are kept. One with ten thousand flows takes some megabytes.
const KEPT: usize = 4;
const BACK: &str = "-back";
const DONE: &str = "done.json";
const PICTURE: &str = "picture.json";
/// The largest picture that is read.
const MAX_PICTURE: u64 = 32 << 20;
/// Flows of one line take so many bytes on the disk at the most, by far.
const PER_FLOW: u64 = 1024;
/// How long one replay may take.
const REPLAY: Duration = Duration::from_secs(60);

/// What was saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Saved {
    /// The switch as it was.
    pub seen: Seen,
    /// What its flows are compared with.
    pub must: FlowsMust,
    /// Each bridge's files.
    pub bridges: Vec<SavedBridge>,
}

/// One bridge's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedBridge {
    /// Its name.
    pub name: String,
    /// The OpenFlow version of the files.
    pub dialect: Dialect,
    /// Digests of its flows', groups' and meters' files.
    pub sha256: [Sha256; 3],
}

/// Where it lies.
#[derive(Debug, Clone)]
pub struct Store(PathBuf);

fn disk(path: &Path) -> impl Fn(io::Error) -> Problem {
    let path = path.display().to_string();
    move |error| Problem::new(format!("{path}: {error}")).next("df -h; look at the agent's state directory")
}

/// Of these three kinds, in the order of their files.
const FILES: [(Kind, &str); 3] = [(Kind::Flow, "flows"), (Kind::Group, "groups"), (Kind::Meter, "meters")];

impl Store {
    /// Of an effect.
    #[must_use]
    pub fn of(state_dir: &Path, effect: EffectId) -> Self {
        Self(state_dir.join(DIR).join(effect.to_string()))
    }

    /// Of the way back of an effect that had come to its end.
    #[must_use]
    pub fn back(state_dir: &Path, effect: EffectId) -> Self {
        Self(state_dir.join(DIR).join(format!("{effect}{BACK}")))
    }

    /// Keeps that the switch was as before afterwards: from then on its flows are others' to change.
    ///
    /// # Errors
    /// When the disk says no.
    pub async fn keep_done(&self) -> Result<(), Problem> {
        let path = self.0.join(DONE);
        blocking(move || kept::write(&path, &true).map(drop).map_err(disk(&path))).await
    }

    /// Was it?
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.0.join(DONE).exists()
    }

    fn file(&self, bridge: &str, what: &str) -> PathBuf {
        self.0.join(format!("{bridge}.{what}"))
    }

    /// Is there room for what a switch of that many flows takes?
    ///
    /// # Errors
    /// When there is not, or nobody can tell.
    pub async fn has_room(state_dir: &Path, flows: u64) -> Result<(), Problem> {
        let (dir, needed) =
            (state_dir.to_owned(), flows.saturating_mul(PER_FLOW).saturating_add(files::RESERVE_BYTES));
        let free = blocking(move || files::free_bytes(&dir).map_err(disk(&dir))).await?;
        if free >= needed {
            return Ok(());
        }
        Err(Problem::new(format!(
            "{flows} flows are saved before the reload: that may take {needed} bytes in {}, and {free} are free",
            state_dir.display()
        ))
        .next("free some space there"))
    }

    /// Looks at the switch and saves it; on return it is on the disk. What changes before the last few have left is removed.
    ///
    /// # Errors
    /// When something cannot be seen or written.
    pub async fn save(&self, must: FlowsMust) -> Result<(Saved, Sha256), Problem> {
        let dir = self.0.clone();
        blocking(move || fresh(&dir).map_err(disk(&dir))).await?;
        self.save_database().await?;
        let seen = super::look().await?;
        let mut bridges = Vec::new();
        for (name, dialect) in &seen.dialects {
            bridges.push(self.save_bridge(name, *dialect, &seen).await?);
        }
        let saved = Saved { seen, must, bridges };
        let text =
            serde_json::to_vec(&saved).map_err(|error| Problem::new(format!("the picture: {error}")))?;
        let (digest, path) = (Sha256::of(&text), self.0.join(PICTURE));
        blocking(move || write_picture(&path, &text).map_err(disk(&path))).await?;
        Ok((saved, digest))
    }

    /// Flows and the picture of them must be of one moment: somebody who writes flows just now is waited out by
    /// the step's being refused.
    async fn save_bridge(&self, name: &str, dialect: Dialect, seen: &Seen) -> Result<SavedBridge, Problem> {
        let paths = FILES.map(|(_, what)| self.file(name, what));
        let make = |path: &PathBuf| File::create(path).map(BufWriter::new).map_err(disk(path));
        let mut out = [make(&paths[0])?, make(&paths[1])?, make(&paths[2])?];
        let tables = flows::read(name, dialect, |kind, line| {
            let at = FILES.iter().position(|(it, _)| *it == kind).unwrap_or_default();
            durable!(
                "agent.openvswitch.save-flows",
                out[at].write_all(line.as_bytes()).and_then(|()| out[at].write_all(b"\n"))
            )
        })
        .await?;
        let was = &seen.view.bridges[name];
        if !seen.controlled.iter().any(|it| it == name) && tables.flows.digest() != was.flows_digest {
            return Err(Problem::new(format!(
                "somebody writes flows to {name} just now, and no controller is known"
            ))
            .next("stop what writes them, or let the step wait for a controller: flows: caughtUp"));
        }
        let sha256 = blocking(move || {
            let mut digests = [Sha256([0; 32]); 3];
            for ((digest, out), path) in digests.iter_mut().zip(out).zip(&paths) {
                let file = out.into_inner().map_err(|error| disk(path)(error.into_error()))?;
                durable!("agent.openvswitch.save-flows-sync", file.sync_all()).map_err(disk(path))?;
                *digest = File::open(path).and_then(|file| files::hash(&file)).map_err(disk(path))?;
            }
            Ok::<_, Problem>(digests)
        })
        .await?;
        Ok(SavedBridge { name: name.to_owned(), dialect, sha256 })
    }

    /// A new schema converts the database in place; this copy is for people.
    async fn save_database(&self) -> Result<(), Problem> {
        let path = self.0.join("conf.db");
        let mut out = File::create(&path).map(BufWriter::new).map_err(disk(&path))?;
        let program = Program::new(tool("ovsdb-client")?)
            .args(["-t", "20", "backup", "unix:/run/openvswitch/db.sock", "Open_vSwitch"])
            .deadline(Duration::from_secs(25));
        let output = program
            .run_lines(64 << 20, |line| {
                durable!(
                    "agent.openvswitch.save-database",
                    out.write_all(line).and_then(|()| out.write_all(b"\n"))
                )
            })
            .await
            .map_err(|error| Problem::new(format!("a copy of Open vSwitch's database: {error}")))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            let why = printable_line(why.lines().next().unwrap_or_default());
            return Err(Problem::new(format!(
                "a copy of Open vSwitch's database: {} ({why})",
                output.status
            )));
        }
        blocking(move || {
            let file = out.into_inner().map_err(io::IntoInnerError::into_error);
            file.and_then(|file| durable!("agent.openvswitch.save-database-sync", file.sync_all()))
                .map_err(disk(&path))
        })
        .await
    }

    /// What was saved; `None` where nothing was, so that nothing had been stopped.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub async fn read(&self, expected: Option<Sha256>) -> Result<Option<Saved>, Problem> {
        let path = self.0.join(PICTURE);
        let text = blocking(move || match fs::metadata(&path) {
            Ok(meta) if meta.len() > MAX_PICTURE => Err(disk(&path)(io::Error::other("it is too large"))),
            Ok(_) => fs::read(&path).map(Some).map_err(disk(&path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(disk(&path)(error)),
        })
        .await?;
        let Some(text) = text else { return Ok(None) };
        if expected.is_some_and(|expected| expected != Sha256::of(&text)) {
            return Err(Problem::new(format!("{} is not what was saved", self.0.join(PICTURE).display())));
        }
        let saved = serde_json::from_slice(&text);
        saved.map(Some).map_err(|error| Problem::new(format!("{}: {error}", self.0.join(PICTURE).display())))
    }

    /// Tells each bridge again what it has lost, where nobody else does, and lets the flows go. In words, what had
    /// to be done.
    ///
    /// # Errors
    /// What could not be replayed. The flows are let go in any case: a switch that holds them back forwards nothing
    /// new.
    pub async fn replay(&self, saved: &Saved) -> Result<Vec<String>, Problem> {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for bridge in &saved.bridges {
            if compare::is_controlled(&saved.seen, &bridge.name, saved.must) {
                continue;
            }
            match self.replay_bridge(saved, bridge).await {
                Ok(line) => done.extend(line),
                Err(problem) => failed.push(problem.what),
            }
        }
        match let_go().await {
            Ok(line) => done.extend(line),
            Err(problem) => failed.push(problem.what),
        }
        if failed.is_empty() {
            return Ok(done);
        }
        Err(Problem::new(format!("flows could not be replayed: {}", failed.join("; ")))
            .next(format!("they lie in {}: ovs-ofctl replace-flows BRIDGE FILE", self.0.display())))
    }

    async fn replay_bridge(&self, saved: &Saved, bridge: &SavedBridge) -> Result<Option<String>, Problem> {
        let name = &bridge.name;
        let Some(was) = saved.seen.view.bridges.get(name) else { return Ok(None) };
        let now = flows::look(name, bridge.dialect).await?;
        let told = |it: &flows::Tables| [it.flows.digest(), it.groups.digest(), it.meters.digest()];
        let wanted = [was.flows_digest, was.groups_digest, was.meters_digest];
        // As many as before and others: somebody has written flows since, and they are not taken away from him.
        let fewer =
            now.flows.count < was.flows || now.groups.count < was.groups || now.meters.count < was.meters;
        if told(&now) == wanted || !fewer {
            return Ok(None);
        }
        for ((_, what), sha256) in FILES.iter().zip(bridge.sha256) {
            let path = self.file(name, what);
            let there =
                blocking(move || File::open(&path).and_then(|file| files::hash(&file)).map_err(disk(&path)));
            if there.await? != sha256 {
                return Err(Problem::new(format!("the saved {what} of {name} are not what was saved")));
            }
        }
        let before = now.flows.count;
        self.tell(bridge).await?;
        let now = flows::look(name, bridge.dialect).await?;
        if told(&now) != wanted {
            return Err(Problem::new(format!(
                "{name} had {} flows, {} groups, {} meters; after the replay it has {}, {}, {} or others",
                was.flows, was.groups, was.meters, now.flows.count, now.groups.count, now.meters.count
            )));
        }
        Ok(Some(format!("{name}: {before} of {} flows were there; all of them were replayed", was.flows)))
    }

    /// Meters, groups, flows: each may name what is before it.
    async fn tell(&self, bridge: &SavedBridge) -> Result<(), Problem> {
        let path = self.file(&bridge.name, "meters");
        let meters = blocking(move || fs::read_to_string(&path).map_err(disk(&path))).await?;
        for meter in meters.lines() {
            // One that is there is refused; whether all are there is seen afterwards.
            let _ = ofctl(bridge, &["add-meter", &bridge.name, meter]).await;
        }
        let bundle: &[&str] = if bridge.dialect.has_bundles() { &["--bundle"] } else { &[] };
        let groups = self.file(&bridge.name, "groups").display().to_string();
        ofctl(bridge, &[bundle, &["add-groups", &bridge.name, &groups]].concat()).await?;
        let flows = self.file(&bridge.name, "flows").display().to_string();
        ofctl(bridge, &[bundle, &["replace-flows", &bridge.name, &flows]].concat()).await
    }
}

async fn ofctl(bridge: &SavedBridge, args: &[&str]) -> Result<(), Problem> {
    let program = Program::new(tool("ovs-ofctl")?)
        .args(["-O", bridge.dialect.word()])
        .args(args.iter().copied())
        .deadline(REPLAY);
    let said = effect!("agent.openvswitch.replay", super::said(program, "ovs-ofctl", 64 << 10).await);
    said.map(drop)
}

/// Clears `flow-restore-wait`, if it is set.
///
/// # Errors
/// When it cannot be.
pub async fn let_go() -> Result<Option<String>, Problem> {
    let key = super::database::FLOW_RESTORE_WAIT;
    if !super::database().await?.flow_restore_wait() {
        return Ok(None);
    }
    let program = Program::new(tool("ovs-vsctl")?).args([
        "--timeout=4",
        "--no-wait",
        "--if-exists",
        "remove",
        "Open_vSwitch",
        ".",
        "other_config",
        key,
    ]);
    let done = effect!("agent.openvswitch.let-go", super::said(program, "ovs-vsctl remove", 4096).await);
    done.map(|_| Some(format!("{key} was cleared")))
}

/// An empty folder, and those of the last few changes: each may still have to be taken back, also behind another's reload.
fn fresh(dir: &Path) -> io::Result<()> {
    let all = dir.parent().ok_or_else(|| io::Error::other("it has no parent"))?;
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    kept::make(dir)?;
    let own = dir.file_name().unwrap_or_default().to_string_lossy();
    kept::prune(all, KEPT, own.trim_end_matches(BACK))
}

fn write_picture(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    durable!("agent.openvswitch.save-write", file.write_all(text))?;
    durable!("agent.openvswitch.save-sync", file.sync_all())?;
    durable!("agent.openvswitch.save-rename", fs::rename(&new, path))?;
    for dir in path.ancestors().skip(1).take(3) {
        let dir = File::open(dir)?;
        durable!("agent.openvswitch.save-sync-dir", dir.sync_all())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_save_leaves_those_of_the_last_few_changes() {
        let dir = tempfile::tempdir().unwrap();
        let of = |number: u8| Store::of(dir.path(), EffectId([number; 32])).0;
        for number in 0..9 {
            fresh(&of(number)).unwrap();
            fs::write(of(number).join(PICTURE), "{}").unwrap();
        }
        let there = |number: u8| of(number).join(PICTURE).exists();
        assert!(there(7) && there(8), "a way back may come after another change");
        assert_eq!(fs::read_dir(dir.path().join(DIR)).unwrap().count(), KEPT);
        // The way back of an old one takes nothing of its own away.
        fresh(&Store::back(dir.path(), EffectId([5; 32])).0).unwrap();
        assert!(there(5));
        // Begun anew: nothing of the same change's first attempt is left.
        fresh(&of(8)).unwrap();
        assert!(!there(8));
    }
}
