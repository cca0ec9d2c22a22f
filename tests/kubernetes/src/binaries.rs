//! The programs of a cluster, built by Go from pinned modules and kept in the cache.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sha2::{Digest as _, Sha256};

use crate::{Error, Result, cache::Cache};

/// The oldest Go that fetches the one it is asked for by itself.
const OLDEST_GO: (u32, u32) = (1, 21);

/// What the server says that it is: `v1.36.3+k3s1`. Its minor decides from which modules it is built, the rest is a
/// stamp: two stamps of one minor are the same code under two versions, and cost one link each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    minor: Minor,
    stamp: String,
}

/// A minor that there are pinned modules for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Minor {
    V1_35,
    V1_36,
}

impl Minor {
    /// Its module file, below the directory of the server's sources.
    const fn module(self) -> &'static str {
        match self {
            Self::V1_35 => "minor-1.35.mod",
            Self::V1_36 => "go.mod",
        }
    }
}

impl Release {
    /// What a cluster runs unless it is told otherwise.
    #[must_use]
    pub fn usual() -> Self {
        Self { minor: Minor::V1_36, stamp: "v1.36.3+k3s1".into() }
    }

    /// The same code as [`Self::usual`] under the version before it.
    #[must_use]
    pub fn usual_before() -> Self {
        Self { minor: Minor::V1_36, stamp: "v1.36.2+k3s1".into() }
    }

    /// The minor before, of other code: a second long build.
    #[must_use]
    pub fn minor_before() -> Self {
        Self { minor: Minor::V1_35, stamp: "v1.35.4+k3s1".into() }
    }

    /// Any version of a minor that there are modules for.
    ///
    /// # Errors
    /// When it is no version, or of another minor.
    pub fn parse(stamp: &str) -> Result<Self> {
        let unfit = |why: &str| Error::Unfit(format!("{stamp:?} {why}; write it as v1.36.3 or v1.36.3+k3s1"));
        let plain = stamp.strip_prefix('v').ok_or_else(|| unfit("is no version"))?;
        let (core, build) = plain.split_once('+').unwrap_or((plain, "k3s1"));
        let numbers: Vec<&str> = core.split('.').collect();
        let well = numbers.len() == 3 && numbers.iter().all(|part| part.parse::<u32>().is_ok());
        if !well || build.is_empty() || !build.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(unfit("is no version"));
        }
        let minor = match numbers.as_slice() {
            ["1", "35", _] => Minor::V1_35,
            ["1", "36", _] => Minor::V1_36,
            _ => return Err(unfit("is of a minor without modules here (there are 1.35 and 1.36)")),
        };
        Ok(Self { minor, stamp: stamp.into() })
    }

    /// As `/version` has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.stamp
    }

    fn minor_number(&self) -> &'static str {
        match self.minor {
            Minor::V1_35 => "35",
            Minor::V1_36 => "36",
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.stamp)
    }
}

/// Can clusters be had on this machine?
///
/// # Errors
/// When not: why, and what to do.
pub fn available() -> Result<(), String> {
    let how = "install Go 1.21 or later and have `go` in PATH";
    let said = Command::new("go").arg("version").stdin(Stdio::null()).output();
    let said = said.map_err(|error| format!("no real control plane: `go version`: {error}; {how}"))?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    match go_version(&text) {
        Some(version) if version >= OLDEST_GO => Ok(()),
        Some((major, minor)) => Err(format!("no real control plane: Go {major}.{minor} is too old; {how}")),
        None => Err(format!("no real control plane: `go version` said {:?}; {how}", text.trim())),
    }
}

/// Can they? If not, that the caller is left out is said aloud, for a test to return.
///
/// # Panics
/// When they cannot and `CI=true`: there nothing may be left out.
#[must_use]
#[expect(clippy::print_stderr, reason = "a test that is left out must not look like one that passed")]
pub fn here() -> bool {
    let Err(why) = available() else { return true };
    assert_ne!(
        env::var("CI").as_deref(),
        Ok("true"),
        "in CI tests against a real control plane must run: {why}"
    );
    eprintln!("LEFT OUT: {why}");
    false
}

/// The same for a test that takes minutes: only where everything was asked for (`tests/run --all`, which sets this variable).
#[must_use]
#[expect(clippy::print_stderr, reason = "a test that is left out must not look like one that passed")]
pub fn here_with_all(variable: &str) -> bool {
    if env::var_os(variable).is_some_and(|set| !set.is_empty()) {
        return here();
    }
    eprintln!("LEFT OUT: it takes minutes, and runs with tests/run --all ({variable}=1)");
    false
}

fn go_version(said: &str) -> Option<(u32, u32)> {
    let word = said.split_whitespace().nth(2)?.strip_prefix("go")?;
    let mut parts = word.split('.');
    let major = parts.next()?.parse().ok()?;
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    Some((major, digits(parts.next()?).parse().ok()?))
}

/// The server that says it is `release`.
///
/// # Errors
/// When it is not in the cache and cannot be built.
pub fn server(cache: &Cache, release: &Release) -> Result<PathBuf> {
    of_release(cache, release, "drydock-test-server", ".")
}

/// Kubernetes' own kubelet, unchanged, that says it is `release`. It needs what any kubelet needs: root, cgroups and a
/// container runtime.
///
/// # Errors
/// When it is not in the cache and cannot be built.
pub fn kubelet(cache: &Cache, release: &Release) -> Result<PathBuf> {
    of_release(cache, release, "kubelet", "k8s.io/kubernetes/cmd/kubelet")
}

fn of_release(cache: &Cache, release: &Release, name: &str, package: &str) -> Result<PathBuf> {
    let sources = beside_this_crate("server");
    let module = release.minor.module();
    let mut files = vec![sources.join(module), sources.join(module).with_extension("sum")];
    if package == "." {
        files.extend(go_sources(&sources)?);
    }
    let mut ingredients = vec![release.as_str().as_bytes().to_vec()];
    for file in files {
        ingredients.push(read(&file)?);
    }
    let ingredients: Vec<&[u8]> = ingredients.iter().map(Vec::as_slice).collect();
    let dir = cache.get(&format!("{name}-{release}"), &ingredients, |half| {
        let ldflags = format!("-ldflags={}", ldflags(release));
        build(
            &format!("{name} {release}"),
            &sources,
            half,
            name,
            &[&format!("-modfile={module}"), &ldflags, package],
        )
    })?;
    Ok(dir.join(name))
}

/// kwok, at the version that `kwok/go.mod` pins.
///
/// # Errors
/// When it is not in the cache and cannot be built.
pub fn kwok(cache: &Cache) -> Result<PathBuf> {
    let sources = beside_this_crate("kwok");
    let ingredients = [read(&sources.join("go.mod"))?, read(&sources.join("go.sum"))?];
    let ingredients: Vec<&[u8]> = ingredients.iter().map(Vec::as_slice).collect();
    let dir = cache.get("kwok", &ingredients, |half| {
        build("kwok", &sources, half, "kwok", &["-ldflags=-s -w", "sigs.k8s.io/kwok/cmd/kwok"])
    })?;
    Ok(dir.join("kwok"))
}

/// Where Kubernetes' own build writes its version too.
fn ldflags(release: &Release) -> String {
    let package = "k8s.io/component-base/version";
    let minor = release.minor_number();
    [
        "-s -w".to_owned(),
        format!("-X {package}.gitVersion={release}"),
        format!("-X {package}.gitMajor=1"),
        format!("-X {package}.gitMinor={minor}"),
        format!("-X {package}.gitCommit=unknown"),
        format!("-X {package}.gitTreeState=clean"),
        // Nothing to a program that has no such variable, as the kubelet.
        format!("-X main.archive={}", archive(release)),
    ]
    .join(" ")
}

/// What a server that is called k3s calls that which it unpacks: text of the length of K3s's own, another for each version.
fn archive(release: &Release) -> String {
    Sha256::digest(release.as_str()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn build(what: &str, sources: &Path, into: &Path, name: &str, words: &[&str]) -> Result<()> {
    available().map_err(Error::Unfit)?;
    // -trimpath: the same objects whichever checkout they are built in, so Go's own cache serves them all.
    let out = Command::new("go")
        .args(["build", "-mod=readonly", "-trimpath", "-o"])
        .arg(into.join(name))
        .args(words)
        .current_dir(sources)
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null())
        .output();
    let out = out.map_err(|error| Error::Build {
        what: what.into(),
        outcome: format!("`go build`: {error}"),
        said: String::new(),
    })?;
    if out.status.success() {
        return Ok(());
    }
    Err(Error::Build {
        what: what.into(),
        outcome: format!("`go build` in {}: {}", sources.display(), out.status),
        said: crate::process::last_lines(&out.stderr),
    })
}

fn beside_this_crate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// In the order of their names.
fn go_sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).map_err(Error::io("read", dir))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "go"));
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_of_a_minor_with_modules_is_taken() {
        for stamp in ["v1.36.3", "v1.36.0+k3s1", "v1.35.4+rke2r2"] {
            assert_eq!(Release::parse(stamp).unwrap().as_str(), stamp);
        }
        for stamp in
            ["1.36.3", "v1.36", "v1.34.4", "v1.36.x", "v1.36.3+", "v1.36.3+k3s1 -X a=b", "v1.36.3-rc.1"]
        {
            Release::parse(stamp).unwrap_err();
        }
        for release in [Release::usual(), Release::usual_before(), Release::minor_before()] {
            assert_eq!(Release::parse(release.as_str()).unwrap(), release);
        }
    }

    #[test]
    fn every_minor_has_its_modules_pinned_with_their_sums() {
        for minor in [Minor::V1_35, Minor::V1_36] {
            let module = beside_this_crate("server").join(minor.module());
            assert!(module.exists() && module.with_extension("sum").exists(), "{}", module.display());
        }
    }

    #[test]
    fn a_stamp_of_ours_is_the_version_of_the_modules() {
        for release in [Release::usual(), Release::minor_before()] {
            let module = beside_this_crate("server").join(release.minor.module());
            let text = fs::read_to_string(&module).unwrap();
            let core = release.as_str().split('+').next().unwrap();
            assert!(text.contains(&format!("k8s.io/kubernetes {core}\n")), "{release}: {}", module.display());
        }
    }

    #[test]
    fn versions_of_go_are_read() {
        assert_eq!(go_version("go version go1.26.8 linux/amd64\n"), Some((1, 26)));
        assert_eq!(go_version("go version go1.27rc1 linux/arm64"), Some((1, 27)));
        assert_eq!(go_version("go version devel +abc"), None);
        assert_eq!(go_version(""), None);
    }
}
