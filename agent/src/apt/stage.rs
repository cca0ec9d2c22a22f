//! Staging: the archives read, what would change judged, the files of both versions fetched and kept.
//!
//! Up to the fetch nothing is changed but our own lists. One at a time in this agent: a rehearsal waits for a stage.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use drydock_types::{PackageName, outcome::Evidence, packages::StagedPackage};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{
    archives::{self, Archives, Offered},
    database::Database,
    judge::{Goal, Order, Place, Planned, Scene},
    simulate::Simulation,
    staged::{Change, Kept, Staged, Store, disk},
    tool::{self, Apt},
};
use crate::{
    actions::Problem,
    sys::{
        blocking,
        exec::{self, Program},
        files, packages,
    },
};

/// All files of one stage together.
const MAX_BYTES: u64 = 16 << 30;
/// How often it is looked whether somebody else is still at work.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Where the node's own apt keeps what it has fetched.
const NODES_CACHE: &str = "/var/cache/apt/archives";

/// Our lists are read and written by one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// apt, and where files are kept.
#[derive(Debug, Clone)]
pub struct Stager {
    apt: Apt,
    store: Store,
    dir: PathBuf,
}

/// What would change, and the files of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// The archives.
    archives: Archives,
    /// Each change, with the files of both versions.
    changes: Vec<(Change, [Option<Offered>; 2])>,
}

impl Foreseen {
    /// In words, for a person.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let word = |change: &Change| {
            let version = |it: &Option<drydock_types::Version>| {
                it.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
            };
            format!("{} {} → {}", change.name, version(&change.from), version(&change.to))
        };
        self.changes.iter().map(|(change, _)| word(change)).collect()
    }
}

impl Stager {
    /// On this node, below the agent's state directory.
    ///
    /// # Errors
    /// When there is no apt here.
    pub fn here(state_dir: &Path) -> Result<Self, Problem> {
        let store = Store::of(state_dir);
        Ok(Self { apt: Apt::here(&store.apt_dir())?, dir: state_dir.to_owned(), store })
    }

    /// On another root, with more of apt's configuration.
    ///
    /// # Errors
    /// When there is no apt here.
    pub fn under(root: &Path, config: &str, state_dir: &Path) -> Result<Self, Problem> {
        let store = Store::of(state_dir);
        Ok(Self { apt: Apt::under(root, config, &store.apt_dir())?, dir: state_dir.to_owned(), store })
    }

    /// Reads the archives and sees what would change. Nothing of the node is changed; our own lists are.
    ///
    /// # Errors
    /// Everything that would be refused, the first of it.
    pub async fn foresee(&self, order: Order<'_>, until: Instant) -> Result<Foreseen, Problem> {
        let _alone = alone(until).await?;
        self.foresee_alone(order, until).await
    }

    async fn foresee_alone(&self, order: Order<'_>, until: Instant) -> Result<Foreseen, Problem> {
        let database = Database::look_in(self.apt.root()).await?;
        may_begin(&database, order)?;
        archives::update(&self.apt, left(until)?).await?;
        let all = Archives::read(&self.apt, wanted(&database, order)).await?;
        let archives = all.clone().pinned(&order.asked.release)?;
        let (native, kept) = (native().await?, self.store.sets().await?);
        let scene = Scene { native: &native, database: &database, archives: &archives, kept: &kept };
        let goals = scene.goals(order)?;
        if let Some(goal) = goals.iter().find(|it| matches!(it.file, Place::Pool(_)))
            && !order.asked.release.is_empty()
        {
            return Err(Problem::new(format!(
                "the pinned archive has no {} {}: it is only among what earlier changes have kept",
                goal.name, goal.version
            ))
            .next("leave out `release:` where that is meant"));
        }
        let planned = if goals.is_empty() {
            Vec::new()
        } else {
            scene.judge(order, &goals, &self.simulate(&goals, until).await?)?
        };
        let auto = self.auto(until).await?;
        // The way back may come from any archive of the node.
        let scene = Scene { archives: &all, ..scene };
        let mut changes = Vec::new();
        for planned in planned {
            changes.push(change(&scene, &archives, order, &auto, planned)?);
        }
        Ok(Foreseen { archives: all, changes })
    }

    async fn simulate(&self, goals: &[Goal], until: Instant) -> Result<Simulation, Problem> {
        // Both are permitted here and judged afterwards, so that the refusal is ours and names the way on.
        let flags = ["-qq", "-s", "--allow-downgrades", "--allow-change-held-packages", "install"];
        let program = self.apt.get(flags).args(goals.iter().map(|goal| self.named(goal)));
        Simulation::parse(&tool::said(program, "asking apt what would change", left(until)?).await?)
    }

    /// As apt is told it: by name and version, or by its file.
    fn named(&self, goal: &Goal) -> String {
        match (&goal.file, &goal.qualifier) {
            (Place::Pool(kept), _) => self.store.path(kept).display().to_string(),
            (Place::Archive(_), Some(architecture)) => {
                format!("{}:{architecture}={}", goal.name, goal.version)
            }
            (Place::Archive(_), None) => format!("{}={}", goal.name, goal.version),
        }
    }

    /// Packages that apt has installed for others' sake: `name` or `name:arch`.
    async fn auto(&self, until: Instant) -> Result<BTreeSet<String>, Problem> {
        let text = tool::said(self.apt.mark(["showauto"])?, "asking apt for its marks", left(until)?).await?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Does it all: reads, judges, fetches, keeps. On return the set is on the disk.
    ///
    /// # Errors
    /// What was refused, or could not be fetched. What was fetched until then stays in the pool for the next try.
    pub async fn stage(
        &self,
        order: Order<'_>,
        until: Instant,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Staged, Problem> {
        let _alone = alone(until).await?;
        let foreseen = self.foresee_alone(order, until).await?;
        let needs = self.needs(&foreseen).await?;
        self.has_room(&needs).await?;
        let total = needs.iter().map(|need| need.kept.size).sum();
        let mut done = 0;
        for need in &needs {
            self.fetch(need, until).await?;
            done += need.kept.size;
            progress(done, total);
        }
        let set = Staged {
            asked: order.asked.clone(),
            to: order.to.clone(),
            releases: foreseen.archives.releases.iter().map(|release| release.pin.clone()).collect(),
            changes: foreseen.changes.into_iter().map(|(change, _)| change).collect(),
        };
        self.store.write(&set).await?;
        match self.store.prune().await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "removed packages that no kept set names any more"),
            Err(problem) => tracing::warn!(%problem, "packages of earlier sets could not be removed"),
        }
        Ok(set)
    }

    /// The set that was staged for this, if it is whole and the node is still as it was then.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn staged(&self, order: Order<'_>) -> Result<Option<Staged>, Problem> {
        let Some(set) = self.store.read(order.asked, order.to).await? else { return Ok(None) };
        let database = Database::look_in(self.apt.root()).await?;
        let holds = |change: &Change| {
            let here = database.named(&change.name).find(|it| it.version.is_some());
            here.and_then(|it| it.version.as_ref()) == change.from.as_ref()
        };
        Ok(set.changes.iter().all(holds).then_some(set))
    }

    /// The files that are not in the pool yet.
    async fn needs(&self, foreseen: &Foreseen) -> Result<Vec<Need>, Problem> {
        let mut needs: Vec<Need> = Vec::new();
        for (change, [new, old]) in &foreseen.changes {
            let both = [(&change.new, &change.to, new), (&change.old, &change.from, old)];
            for (kept, version, offered) in both {
                let (Some(kept), Some(version)) = (kept, version) else { continue };
                if needs.iter().any(|need| need.kept == *kept) || self.store.has(kept).await? {
                    continue;
                }
                let escaped = version.as_str().replace(':', "%3a");
                let name = format!("{}_{escaped}_{}.deb", change.name, change.architecture);
                needs.push(Need { kept: kept.clone(), offered: offered.clone(), name });
            }
        }
        Ok(needs)
    }

    async fn has_room(&self, needs: &[Need]) -> Result<(), Problem> {
        let bytes: u64 = needs.iter().map(|need| need.kept.size).sum();
        // While one is copied into the pool it lies there twice.
        let twice = needs.iter().map(|need| need.kept.size).max().unwrap_or(0);
        if bytes > MAX_BYTES {
            return Err(Problem::new(format!(
                "the packages have {bytes} bytes together; {MAX_BYTES} are the limit"
            )));
        }
        let (dir, needed) = (self.dir.clone(), bytes + twice + files::RESERVE_BYTES);
        let free = blocking(move || files::free_bytes(&dir).map_err(disk(&dir))).await?;
        if free >= needed {
            return Ok(());
        }
        let dir = self.dir.display();
        Err(Problem::new(format!("the packages need {needed} bytes in {dir}, and {free} are free"))
            .next(format!("free some space there: df -h {dir}")))
    }

    /// From the node's own cache where it is the very same file, else from the archive.
    async fn fetch(&self, need: &Need, until: Instant) -> Result<(), Problem> {
        let cached = self.apt.path(NODES_CACHE).join(&need.name);
        if self.store.add(&cached, &need.kept).await? {
            return Ok(());
        }
        let Some(offered) = &need.offered else {
            return Err(Problem::new(format!("{} has gone from the pool and no archive has it", need.name)));
        };
        let part = self.store.apt_dir().join(format!("{}.part", need.kept.sha256));
        let target = part.display().to_string();
        let (digest, size) =
            (format!("SHA256:{}", need.kept.sha256), format!("Checksum-FileSize:{}", need.kept.size));
        let program = self.apt.fetch([offered.address.clone(), target, digest, size]);
        let doing = format!("fetching {}", offered.address);
        let fetched = tool::said(program, &doing, left(until)?).await;
        let added = match fetched {
            Ok(_) => self.store.add(&part, &need.kept).await,
            Err(problem) => Err(problem),
        };
        blocking(move || clear_away(&part).map_err(disk(&part))).await?;
        if added? {
            return Ok(());
        }
        Err(Problem::new(format!("{} is not the file that its archive's index names", offered.address)).next(
            "the archive is being changed, or somebody changes what it sends: look at it, then try again",
        ))
    }
}

/// A file that is not in the pool.
#[derive(Debug)]
struct Need {
    kept: Kept,
    offered: Option<Offered>,
    /// As apt would name it in its cache.
    name: String,
}

/// What apt leaves of a file: itself, and what failed.
fn clear_away(part: &Path) -> std::io::Result<()> {
    for path in [part.to_owned(), part.with_extension("part.FAILED")] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

async fn alone(until: Instant) -> Result<tokio::sync::MutexGuard<'static, ()>, Problem> {
    tokio::time::timeout_at(until, ONE_AT_A_TIME.lock()).await.map_err(|_| {
        Problem::new("another look at the archives is at work in this agent, and did not end in time")
            .next("try again; drydock why says what the node does")
    })
}

fn left(until: Instant) -> Result<Duration, Problem> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Problem::new("the step's time is over").next("give it more: within"));
    }
    Ok(left)
}

/// This node's architecture, as dpkg was built for it.
async fn native() -> Result<String, Problem> {
    let dpkg = exec::find("dpkg").ok_or_else(|| Problem::new("dpkg is not installed"))?;
    let program = Program::new(dpkg).args(["--print-architecture"]);
    let text = tool::said(program, "asking dpkg for its architecture", Duration::from_secs(10)).await?;
    super::simulate::architecture(text.trim())
        .ok_or_else(|| Problem::new(format!("dpkg says that its architecture is {:?}", text.trim())))
}

/// Who works on this node's packages, while we run nobody. Staging takes nothing from them and needs none of their locks; but what
/// they are changing just now cannot be compared with anything.
///
/// # Errors
/// When that cannot be seen.
pub async fn somebody_at_work() -> Result<Option<String>, Problem> {
    let unseen =
        |error| Problem::new(format!("whether a package manager is at work cannot be seen: {error}"));
    blocking(move || packages::at_work().map_err(unseen)).await
}

/// Waits until nobody does any more.
///
/// # Errors
/// When it takes longer: who, and what could not be done beside them.
pub async fn until_nobody_is_at_work(beside: &Problem, until: Instant) -> Result<(), Problem> {
    while let Some(who) = somebody_at_work().await? {
        if Instant::now() >= until {
            return Err(Problem::new(format!(
                "a package manager is at work: {who}; beside it: {}",
                beside.what
            ))
            .next("let it end, then let the run stage this node again"));
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// What can be refused before any archive is asked.
fn may_begin(database: &Database, order: Order<'_>) -> Result<(), Problem> {
    if let Some(first) = database.half_done.first().filter(|_| !order.asked.repair) {
        return Err(Problem::new(format!("dpkg has not ended its work: {first}")).next(
            "see what hinders it: dpkg --audit; then: dpkg --configure -a; or `repair: true` in the step",
        ));
    }
    for package in &order.asked.packages {
        (order.may_change)(&package.name)?;
    }
    Ok(())
}

/// Packages whose index entries are read: nothing else may change.
fn wanted(database: &Database, order: Order<'_>) -> BTreeSet<PackageName> {
    let asked = order.asked;
    let built = asked.source.iter().flat_map(|source| database.built_from(source)).map(|known| &known.name);
    let named = asked.packages.iter().map(|package| &package.name);
    built.chain(named).chain(&asked.along).chain(&asked.remove).cloned().collect()
}

/// A change with the files of both versions.
fn change(
    scene: &Scene<'_>,
    pinned: &Archives,
    order: Order<'_>,
    auto: &BTreeSet<String>,
    planned: Planned,
) -> Result<(Change, [Option<Offered>; 2]), Problem> {
    let name = planned.name;
    let mut offered = [None, None];
    let mut new = None;
    if let Some(to) = &planned.to {
        let fitting = [planned.architecture.as_str()];
        offered[0] = pinned.file(&name, to, &fitting)?.cloned();
        new = offered[0].as_ref().map(kept).or_else(|| scene.in_pool(&name, to, &fitting).cloned());
        if new.is_none() {
            return Err(Problem::new(format!("{name} {to} is in no archive that the step may take it from"))
                .next(format!("on the node: apt-cache policy {name}")));
        }
    }
    let mut old = None;
    if let Some((from, architecture)) = &planned.from {
        let fitting = [architecture.as_str()];
        offered[1] = scene.archives.file(&name, from, &fitting)?.cloned();
        old = offered[1].as_ref().map(kept).or_else(|| scene.in_pool(&name, from, &fitting).cloned());
        if old.is_none() && order.asked.old_versions.is_required() {
            return Err(Problem::new(format!(
                "{name} {from}, which is installed, is in no archive and was not kept by an earlier change: there would be \
                 no way back"
            ))
            .next("offer it in an archive of the node")
            .next("or write `oldVersions: ifThere` in the step, and do without the way back"));
        }
    }
    let marked = auto.contains(name.as_str()) || auto.contains(&format!("{name}:{}", planned.architecture));
    let change = Change {
        auto: marked,
        held: planned.held,
        architecture: planned.architecture,
        from: planned.from.map(|(version, _)| version),
        to: planned.to,
        name,
        new,
        old,
    };
    Ok((change, offered))
}

fn kept(offered: &Offered) -> Kept {
    Kept { sha256: offered.entry.sha256, size: offered.entry.size }
}

/// What is reported of a set.
#[must_use]
pub fn evidence(set: &Staged) -> Evidence {
    let staged = |change: &Change| {
        Some(StagedPackage {
            name: change.name.clone(),
            architecture: change.architecture.clone(),
            from: change.from.clone(),
            to: change.to.clone()?,
            sha256: change.new.as_ref()?.sha256,
        })
    };
    Evidence::PackagesStaged {
        packages: set.changes.iter().filter_map(staged).collect(),
        releases: set.releases.clone(),
    }
}
