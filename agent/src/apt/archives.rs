//! The archives that this node is set up with, as apt has read them into our lists: which are signed, by the digest of
//! each signed file, and what of the packages that are looked for each has.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufReader, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use drydock_types::{PackageName, Sha256, Version, packages::ReleasePin};

use super::{
    index::{self, Entry},
    staged::disk,
    tool::{self, Apt},
};
use crate::{
    actions::Problem,
    sys::{blocking, units::printable_line},
};

/// One line an index; tabs stand in none of these.
const FORMAT: &str = "$(FILENAME)\t$(METAKEY)\t$(REPO_URI)\t$(SUITE)\t$(CODENAME)";
/// How long apt may take to say which indexes there are.
const LISTING: Duration = Duration::from_secs(60);
/// The largest signed file.
const MAX_RELEASE: u64 = 16 << 20;
/// So many archives are named.
const NAMED: usize = 20;
/// A release's name is cut behind so many characters.
const LONGEST_NAME: usize = 100;

/// All that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archives {
    /// Each signed file, once.
    pub releases: Vec<Release>,
    /// What they have of what is looked for.
    pub files: Vec<Offered>,
}

/// A suite of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// By its codename where it has one, else its suite, else its address.
    pub pin: ReleasePin,
    /// All its names: a pin may use any.
    pub names: Vec<String>,
    /// Where: `http://deb.example/debian/`.
    pub at: String,
}

/// A file that an archive offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// What.
    pub entry: Entry,
    /// Its whole address.
    pub address: String,
    /// Which of the releases.
    pub release: usize,
}

/// Has apt fetch and verify the indexes of all archives of this node into our lists. Any that fails, for whatever
/// reason, is an error: an archive that cannot be read may be the one that has the fix.
///
/// # Errors
/// Apt's word, with the archive's address.
pub async fn update(apt: &Apt, within: Duration) -> Result<(), Problem> {
    apt.prepare().await?;
    let program = apt.get(["-q", "update"]);
    let Err(problem) = tool::said(program, "reading the archives", within).await else { return Ok(()) };
    // One that hangs may have said nothing that names it. What apt would ask for is known without asking anybody.
    let addresses = apt.get(["--print-uris", "update"]);
    let addresses = tool::said(addresses, "asking apt for its archives", LISTING).await.unwrap_or_default();
    let quoted =
        |line: &str| line.strip_prefix('\'')?.split_once('\'').map(|(address, _)| printable_line(address));
    let names: BTreeSet<_> = addresses.lines().filter_map(quoted).take(NAMED).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    Err(problem
        .next(format!("see that each archive of this node answers and is signed: {names}"))
        .next("on the node: apt-get update; its sources lie in /etc/apt"))
}

impl Archives {
    /// Reads what the last [`update`] brought, of these packages.
    ///
    /// # Errors
    /// An archive that is not signed, or an index that is not in order.
    pub async fn read(apt: &Apt, wanted: BTreeSet<PackageName>) -> Result<Self, Problem> {
        let program = apt.get(["indextargets", "--format", FORMAT, "Created-By: Packages"]);
        let text = tool::said(program, "asking apt for its archives", LISTING).await?;
        let lists = apt.lists();
        blocking(move || Self::of(&text, &lists, &wanted)).await
    }

    fn of(text: &str, lists: &Path, wanted: &BTreeSet<PackageName>) -> Result<Self, Problem> {
        let (mut read, mut known) = (Self::default(), BTreeMap::new());
        for line in text.lines() {
            let [file, key, base, suite, codename] = line.split('\t').collect::<Vec<_>>()[..] else {
                return Err(Problem::new(format!("apt says {line:?} of an archive")));
            };
            let (file, signed) = (Path::new(file), signed(Path::new(file), key)?);
            if !file.starts_with(lists) {
                return Err(Problem::new(format!("{} is not among our lists", file.display())));
            }
            let release = match known.get(&signed) {
                Some(release) => *release,
                None => {
                    read.releases.push(release(&signed, base, [codename, suite])?);
                    known.insert(signed, read.releases.len() - 1);
                    read.releases.len() - 1
                }
            };
            let index = match File::open(file) {
                Ok(index) => BufReader::with_capacity(256 << 10, index),
                // An archive without packages of this architecture has no index of them.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(disk(file)(error)),
            };
            let wants = |name: &str| PackageName::parse(name).is_ok_and(|name| wanted.contains(&name));
            let entries = index::read(index, &wants)
                .map_err(|error| Problem::new(format!("the index of {base}: {error}")))?;
            read.files.extend(entries.into_iter().map(|entry| {
                let address = index::address(base, &entry.filename);
                Offered { entry, address, release }
            }));
        }
        if read.releases.is_empty() {
            return Err(Problem::new("this node has no archive of packages")
                .next("see /etc/apt/sources.list and /etc/apt/sources.list.d"));
        }
        Ok(read)
    }

    /// Sees that every pin is met, and leaves only the files of pinned releases. Without pins nothing is done.
    ///
    /// # Errors
    /// A pin that no archive of this node meets.
    pub fn pinned(mut self, pins: &[ReleasePin]) -> Result<Self, Problem> {
        if pins.is_empty() {
            return Ok(self);
        }
        let mut allowed = BTreeSet::new();
        for pin in pins {
            let named = |release: &Release| release.names.contains(&pin.suite);
            let of_name: Vec<_> = self.releases.iter().enumerate().filter(|(_, it)| named(it)).collect();
            let met = of_name.iter().filter(|(_, it)| it.pin.sha256 == pin.sha256).map(|(at, _)| *at);
            let before = allowed.len();
            allowed.extend(met);
            if allowed.len() == before {
                let is: Vec<_> =
                    of_name.iter().map(|(_, it)| format!("{} at {}", it.pin.sha256, it.at)).collect();
                let is = if is.is_empty() { "no archive of this node".to_owned() } else { is.join(", ") };
                return Err(Problem::new(format!(
                    "the archive has changed: release {} is {is}, and the plan pins {}",
                    pin.suite, pin.sha256
                ))
                .next("look at what has changed there, then pin the new digest in a new plan (release:)"));
            }
        }
        self.files.retain(|file| allowed.contains(&file.release));
        Ok(self)
    }

    /// The file of a package at a version for one of these architectures.
    ///
    /// # Errors
    /// When archives offer different files under the same name and version: nobody knows which is meant.
    pub fn file(
        &self,
        name: &PackageName,
        version: &Version,
        architectures: &[&str],
    ) -> Result<Option<&Offered>, Problem> {
        let mut fitting = self.files.iter().filter(|file| {
            let it = &file.entry;
            it.name == *name && it.version == *version && architectures.contains(&it.architecture.as_str())
        });
        let Some(first) = fitting.next() else { return Ok(None) };
        match fitting.find(|other| other.entry.sha256 != first.entry.sha256) {
            None => Ok(Some(first)),
            Some(other) => Err(Problem::new(format!(
                "{name} {version} is another file at {} than at {}",
                other.address, first.address
            ))
            .next("take one of the two archives out of the node's sources, or pin one: release:")),
        }
    }

    /// The versions of a package that are offered, for a person.
    #[must_use]
    pub fn versions(&self, name: &PackageName) -> String {
        let versions: BTreeSet<_> = self
            .files
            .iter()
            .filter(|file| file.entry.name == *name)
            .map(|file| &file.entry.version)
            .collect();
        if versions.is_empty() {
            return "none at all".to_owned();
        }
        versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// The signed file that an index belongs to: beside it, named by the index's name without its key. apt keeps an
/// `InRelease` only when its signature was right; where the node's sources say `trusted=yes`, what is not signed lies
/// there as a bare `Release`.
fn signed(file: &Path, key: &str) -> Result<PathBuf, Problem> {
    let strange =
        || Problem::new(format!("apt keeps an index as {:?}, which has no archive", file.display()));
    let name = file.file_name().and_then(|name| name.to_str()).ok_or_else(strange)?;
    // As apt makes names of addresses.
    let tail = key.replace('_', "%5f").replace('/', "_");
    let stem = name.strip_suffix(&tail).ok_or_else(strange)?;
    let (inline, apart) = (file.with_file_name(format!("{stem}InRelease")), format!("{stem}Release"));
    if inline.is_file() {
        return Ok(inline);
    }
    let release = file.with_file_name(&apart);
    if release.is_file() && file.with_file_name(format!("{apart}.gpg")).is_file() {
        return Ok(release);
    }
    Err(Problem::new(format!("the archive {stem} is not signed, or not by a key that this node trusts"))
        .next("sign it; take `trusted=yes` and `allow-insecure=yes` out of the node's sources (/etc/apt)"))
}

fn release(path: &Path, base: &str, names: [&str; 2]) -> Result<Release, Problem> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(disk(path))?;
    file.take(MAX_RELEASE).read_to_end(&mut text).map_err(disk(path))?;
    let short = |name: &str| name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect::<String>();
    let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).map(short).collect();
    let suite = names.first().cloned().unwrap_or_else(|| short(base));
    Ok(Release { pin: ReleasePin { suite, sha256: Sha256::of(&text) }, names, at: short(base) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(suite: &str, of: &[u8]) -> ReleasePin {
        ReleasePin { suite: suite.into(), sha256: Sha256::of(of) }
    }

    fn two_archives() -> Archives {
        let entry = |sha: &[u8]| Entry {
            name: PackageName::parse("tool").unwrap(),
            architecture: "amd64".into(),
            version: Version::parse("2.0-1").unwrap(),
            source: "tool".into(),
            source_version: Version::parse("2.0-1").unwrap(),
            filename: "pool/tool.deb".into(),
            size: 3,
            sha256: Sha256::of(sha),
        };
        let offered = |release, sha: &[u8]| Offered {
            entry: entry(sha),
            address: format!("http://{release}/tool.deb"),
            release,
        };
        let release = |name: &str, at: &str| Release {
            pin: pin(name, at.as_bytes()),
            names: vec![name.into(), "stable".into()],
            at: at.into(),
        };
        Archives {
            releases: vec![release("rolling", "a"), release("other", "b")],
            files: vec![offered(0, b"one"), offered(1, b"two")],
        }
    }

    #[test]
    fn a_pin_leaves_only_its_archive_and_one_that_nobody_meets_is_an_error() {
        let tool = PackageName::parse("tool").unwrap();
        let version = Version::parse("2.0-1").unwrap();
        let both = two_archives();
        let problem = both.file(&tool, &version, &["amd64"]).unwrap_err();
        assert!(problem.what.contains("another file at http://1/tool.deb than at http://0/"), "{problem}");
        let one = both.clone().pinned(&[pin("stable", b"b")]).unwrap();
        let file = one.file(&tool, &version, &["amd64", "all"]).unwrap().unwrap();
        assert_eq!(file.entry.sha256, Sha256::of(b"two"));
        assert!(one.file(&tool, &version, &["i386"]).unwrap().is_none());
        let problem = both.clone().pinned(&[pin("rolling", b"changed")]).unwrap_err();
        assert!(problem.what.contains("release rolling is"), "{problem}");
        let problem = both.pinned(&[pin("nowhere", b"a")]).unwrap_err();
        assert!(problem.what.contains("release nowhere is no archive of this node"), "{problem}");
    }

    #[test]
    fn an_archive_that_apt_took_unsigned_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let index = dir.path().join("h_debian_dists_x_main_binary-amd64_Packages");
        let at = |name: &str| dir.path().join(name);
        std::fs::write(&index, "").unwrap();
        std::fs::write(at("h_debian_dists_x_Release"), "Suite: x").unwrap();
        let problem = signed(&index, "main/binary-amd64/Packages").unwrap_err();
        assert!(problem.what.contains("h_debian_dists_x_ is not signed"), "{problem}");
        std::fs::write(at("h_debian_dists_x_Release.gpg"), "").unwrap();
        assert_eq!(signed(&index, "main/binary-amd64/Packages").unwrap(), at("h_debian_dists_x_Release"));
        std::fs::write(at("h_debian_dists_x_InRelease"), "").unwrap();
        assert_eq!(signed(&index, "main/binary-amd64/Packages").unwrap(), at("h_debian_dists_x_InRelease"));
        assert!(signed(&index, "other/Packages").is_err());
    }
}
