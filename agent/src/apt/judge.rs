//! What is asked for, in files; and whether what apt would do is that and nothing else. Pure.

use std::cmp::Ordering;

use drydock_types::{PackageName, Version, packages::Packages};

use super::{
    archives::{Archives, Offered},
    database::{Database, Known},
    simulate::{Simulation, To, Would},
    staged::{Kept, Staged},
};
use crate::actions::Problem;

/// So many packages change at once.
const MAX_CHANGES: usize = 512;

/// A package that is to be at a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// Which.
    pub name: PackageName,
    /// Behind its name, where it is not of the node's own architecture.
    pub qualifier: Option<String>,
    /// The version.
    pub version: Version,
    /// Where its file is.
    pub file: Place,
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An archive offers it.
    Archive(Offered),
    /// No archive has it; an earlier set of ours has kept it.
    Pool(Kept),
}

/// A change that was found to be as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Which.
    pub name: PackageName,
    /// Of the new one; where it is removed, of the old one.
    pub architecture: String,
    /// What is installed, and for which architecture.
    pub from: Option<(Version, String)>,
    /// What will be.
    pub to: Option<Version>,
    /// It is on hold.
    pub held: bool,
}

/// What is known of the node.
#[derive(Debug)]
pub struct Scene<'a> {
    /// Its own architecture: `amd64`.
    pub native: &'a str,
    /// What dpkg knows.
    pub database: &'a Database,
    /// What is offered.
    pub archives: &'a Archives,
    /// What we have kept, the newest set first.
    pub kept: &'a [Staged],
}

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// The step.
    pub asked: &'a Packages,
    /// The section's target.
    pub to: &'a Version,
    /// May versions go down?
    pub allow_downgrade: bool,
    /// The node's policy.
    pub may_change: &'a (dyn Fn(&PackageName) -> Result<(), Problem> + Send + Sync),
}

impl std::fmt::Debug for Order<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Order").field("asked", self.asked).field("to", self.to).finish_non_exhaustive()
    }
}

impl<'a> Scene<'a> {
    /// Which architectures a package may have that stands in the place of this one.
    #[must_use]
    pub fn fitting(&self, architecture: &'a str) -> Vec<&'a str> {
        if architecture == "all" || architecture == self.native {
            vec![self.native, "all"]
        } else {
            vec![architecture]
        }
    }

    fn qualifier(&self, architecture: &str) -> Option<String> {
        (architecture != "all" && architecture != self.native).then(|| architecture.to_owned())
    }

    /// A file of an earlier set.
    #[must_use]
    pub fn in_pool(&self, name: &PackageName, version: &Version, fitting: &[&str]) -> Option<&'a Kept> {
        let changes = self.kept.iter().flat_map(|set| &set.changes);
        let mut fits = changes.filter(|it| it.name == *name && fitting.contains(&it.architecture.as_str()));
        fits.find_map(|change| match (&change.from, &change.to) {
            (_, Some(to)) if to == version && change.new.is_some() => change.new.as_ref(),
            (Some(from), _) if from == version => change.old.as_ref(),
            _ => None,
        })
    }

    fn place(
        &self,
        name: &PackageName,
        version: &Version,
        fitting: &[&str],
    ) -> Result<Option<Place>, Problem> {
        let offered = self.archives.file(name, version, fitting)?.cloned().map(Place::Archive);
        Ok(offered.or_else(|| self.in_pool(name, version, fitting).cloned().map(Place::Pool)))
    }

    /// What the step asks for, with a file of each. What is so already is left out.
    ///
    /// # Errors
    /// When it names nothing that is here, or a version is nowhere to be had.
    pub fn goals(&self, order: Order<'_>) -> Result<Vec<Goal>, Problem> {
        let (asked, to) = (order.asked, order.to);
        if asked.source.is_none() && asked.packages.is_empty() {
            return Err(Problem::new("the step names no package").next("give it `source:` or `packages:`"));
        }
        let mut goals = Vec::new();
        if let Some(source) = &asked.source {
            let mut built = self.database.built_from(source).peekable();
            if built.peek().is_none() {
                return Err(Problem::new(format!(
                    "no package that was built from {source} is installed here"
                ))
                .next("name the source as `dpkg-query -f '${source:Package}\\n' -W PACKAGE` says it"));
            }
            for known in built {
                goals.extend(self.of_source(known, source, to)?);
            }
        }
        for package in &asked.packages {
            let version = package.version.as_ref().unwrap_or(to);
            let here: Vec<_> =
                self.database.named(&package.name).filter(|known| known.version.is_some()).collect();
            let architectures = here.iter().map(|known| known.architecture.as_str());
            let architectures: Vec<&str> =
                architectures.chain(here.is_empty().then_some(self.native)).collect();
            for architecture in architectures {
                let known = here.iter().find(|known| known.architecture == architecture);
                if known.is_some_and(|known| known.installed && known.version.as_ref() == Some(version)) {
                    continue;
                }
                let file = self
                    .place(&package.name, version, &self.fitting(architecture))?
                    .ok_or_else(|| self.nowhere(&package.name, version.as_str()))?;
                let qualifier = self.qualifier(architecture);
                goals.push(Goal { name: package.name.clone(), qualifier, version: version.clone(), file });
            }
        }
        goals.dedup();
        Ok(goals)
    }

    /// A package of the source, at whatever version it has where the source has the target's: rebuilds (`+b1`) differ.
    fn of_source(&self, known: &Known, source: &PackageName, to: &Version) -> Result<Option<Goal>, Problem> {
        let at_target = known.source_version.as_ref() == Some(to) || known.version.as_ref() == Some(to);
        if known.installed && at_target {
            return Ok(None);
        }
        let fitting = self.fitting(&known.architecture);
        let of_target = self.archives.files.iter().map(|file| &file.entry).filter(|it| {
            it.name == known.name
                && fitting.contains(&it.architecture.as_str())
                && it.source == source.as_str()
                && (it.source_version == *to || it.version == *to)
        });
        let newest = of_target
            .map(|it| &it.version)
            .reduce(|a, b| if b.compare_debian(a) == Some(Ordering::Greater) { b } else { a });
        let version = newest.unwrap_or_else(|| self.kept_rebuild(known, &fitting, to).unwrap_or(to));
        let file = self
            .place(&known.name, version, &fitting)?
            .ok_or_else(|| self.nowhere(&known.name, &format!("of the source {source} {to}")))?;
        let qualifier = self.qualifier(&known.architecture);
        Ok(Some(Goal { name: known.name.clone(), qualifier, version: version.clone(), file }))
    }

    /// The version under which an earlier set has kept this source's package: a rebuild of it is named so.
    fn kept_rebuild(&self, known: &Known, fitting: &[&str], to: &Version) -> Option<&'a Version> {
        let rebuild = format!("{to}+b");
        let fits = |version: &&Version| {
            version.as_str().strip_prefix(&rebuild).is_some_and(|it| it.parse::<u32>().is_ok())
        };
        let changes = self.kept.iter().flat_map(|set| &set.changes).filter(|it| it.name == known.name);
        let versions = changes.flat_map(|it| it.from.iter().chain(&it.to)).filter(fits);
        versions
            .filter(|version| self.in_pool(&known.name, version, fitting).is_some())
            .reduce(|a, b| if b.compare_debian(a) == Some(Ordering::Greater) { b } else { a })
    }

    fn nowhere(&self, name: &PackageName, wanted: &str) -> Problem {
        Problem::new(format!(
            "no archive of this node has {name} {wanted}, and none of its earlier changes has kept it; offered: {}",
            self.archives.versions(name)
        ))
        .next(format!("on the node: apt-cache policy {name}; give an exact version that is there"))
    }

    /// Is what apt would do what is asked for, and nothing else?
    ///
    /// # Errors
    /// The first change that is not, with the line that would permit it.
    pub fn judge(
        &self,
        order: Order<'_>,
        goals: &[Goal],
        would: &Simulation,
    ) -> Result<Vec<Planned>, Problem> {
        if would.changes.len() > MAX_CHANGES {
            return Err(Problem::new(format!(
                "{} packages would change at once; {MAX_CHANGES} are the limit",
                would.changes.len()
            )));
        }
        if let Some(first) = would.configures.first().filter(|_| !order.asked.repair) {
            return Err(Problem::new(format!("{first} is not configured, and would be along with it")).next(
                "see what hinders it: dpkg --audit; then dpkg --configure -a, or `repair: true` in the step",
            ));
        }
        let planned = would.changes.iter().map(|would| self.change(order, goals, would));
        let planned = planned.collect::<Result<Vec<_>, _>>()?;
        for goal in goals {
            let reached = would.changes.iter().any(|it| {
                it.name == goal.name
                    && it.qualifier == goal.qualifier
                    && matches!(&it.to, To::Version(version, _) if *version == goal.version)
            });
            if !reached {
                return Err(Problem::new(format!("apt would not install {} {}", goal.name, goal.version))
                    .next(format!("on the node: apt-get -s install {}={}", goal.name, goal.version)));
            }
        }
        Ok(planned)
    }

    fn change(&self, order: Order<'_>, goals: &[Goal], would: &Would) -> Result<Planned, Problem> {
        let (name, asked) = (&would.name, order.asked);
        let goal = goals.iter().find(|goal| goal.name == *name && goal.qualifier == would.qualifier);
        let here = self
            .database
            .named(name)
            .find(|known| self.qualifier(&known.architecture) == would.qualifier && known.version.is_some());
        let from = here.and_then(|known| Some((known.version.clone()?, known.architecture.clone())));
        if would.from.as_ref() != from.as_ref().map(|(version, _)| version) {
            return Err(Problem::new(format!("apt and dpkg do not agree about what is installed of {name}"))
                .next("see that nobody installs packages just now; then: apt-get check"));
        }
        let held = here.is_some_and(|known| known.held);
        let is = from.as_ref().map(|(version, _)| version.to_string()).unwrap_or_default();
        let (to, architecture) = match &would.to {
            To::Version(to, architecture) => {
                may_change_along(asked, goal, would, to)?;
                if let Some((from, _)) = &from {
                    not_down(order, name, from, to)?;
                }
                (Some(to.clone()), architecture.clone())
            }
            To::Removed if goal.is_none() && asked.remove.contains(name) => (
                None,
                from.as_ref()
                    .map_or_else(|| self.native.to_owned(), |(_, architecture)| architecture.clone()),
            ),
            To::Removed | To::Purged => {
                return Err(Problem::new(format!("{name} {is} would be removed"))
                    .next(format!("where it may be: remove: [{name}]"))
                    .next("see why: apt-get -s install of what is asked for, on the node"));
            }
        };
        if held && !asked.held {
            return Err(Problem::new(format!("{name} {is} is on hold")).next(format!(
                "apt-mark unhold {name}; or `held: true` in the step: it is put on hold again afterwards"
            )));
        }
        (order.may_change)(name)?;
        Ok(Planned { name: name.clone(), architecture, from, to, held })
    }
}

fn may_change_along(
    asked: &Packages,
    goal: Option<&Goal>,
    would: &Would,
    to: &Version,
) -> Result<(), Problem> {
    let name = &would.name;
    match goal {
        Some(goal) if goal.version == *to => Ok(()),
        Some(goal) => {
            Err(Problem::new(format!("apt would install {name} {to}, and {} is asked for", goal.version)))
        }
        None if asked.along.contains(name) => Ok(()),
        None => {
            let what = match &would.from {
                Some(from) => format!("{name} would go from {from} to {to} along with it"),
                None => format!("{name} {to} would be added"),
            };
            Err(Problem::new(format!("{what}, and nobody asked for it"))
                .next(format!("where it may be: along: [{name}]")))
        }
    }
}

fn not_down(order: Order<'_>, name: &PackageName, from: &Version, to: &Version) -> Result<(), Problem> {
    match to.compare_debian(from) {
        Some(Ordering::Less) if !order.allow_downgrade => {
            Err(Problem::new(format!("{name} would go down from {from} to {to}"))
                .next("where it may: allowDowngrade: true in the plan's stage"))
        }
        Some(_) => Ok(()),
        None if order.allow_downgrade => Ok(()),
        None => {
            Err(Problem::new(format!("{name}: {from} and {to} have no order, so this may be a way down"))
                .next("where it may be: allowDowngrade: true in the plan's stage"))
        }
    }
}

#[cfg(test)]
mod tests;
