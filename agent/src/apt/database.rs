//! What is installed: dpkg's own database, read strictly.

use std::time::Duration;

use drydock_types::{PackageName, Version};

use super::root::Root;
use crate::{actions::Problem, sys::units::printable_line};

/// One line a package. Tabs stand in none of these fields.
const FORMAT: &str =
    r"${db:Status-Abbrev}\t${Package}\t${Architecture}\t${Version}\t${source:Package}\t${source:Version}\n";
/// A node with ten thousand packages needs a tenth of it.
const MAX_OUTPUT: usize = 16 << 20;
/// How long dpkg's database may take to be read.
const PATIENCE: Duration = Duration::from_secs(20);

/// What dpkg knows of the packages of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Database {
    /// Every package that is not merely known by name, also those in half a state.
    pub packages: Vec<Known>,
    /// Packages that dpkg itself calls neither installed nor not, with its word: `x: half-configured`.
    pub half_done: Vec<String>,
}

/// One package as dpkg knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Which.
    pub name: PackageName,
    /// For which architecture: `amd64`, `all`.
    pub architecture: String,
    /// Its version; `None` where it is not installed, or in half a state without one, or the version has no form.
    pub version: Option<Version>,
    /// What it was built from.
    pub source: String,
    /// The version of that; without the suffix of a rebuild.
    pub source_version: Option<Version>,
    /// Wholly installed: unpacked and configured, nothing pending.
    pub installed: bool,
    /// dpkg was ended while it was unpacking this; it must be unpacked anew before anything else is done with it.
    pub half_unpacked: bool,
    /// On hold.
    pub held: bool,
}

impl Database {
    /// Asks dpkg.
    ///
    /// # Errors
    /// When there is no dpkg here, it does not answer, or in another form.
    pub async fn look() -> Result<Self, Problem> {
        Self::look_in(&Root::here()).await
    }

    /// Asks dpkg about a root.
    ///
    /// # Errors
    /// As [`Database::look`].
    pub async fn look_in(root: &Root) -> Result<Self, Problem> {
        let ask = root.query(&["-W", "-f", FORMAT], PATIENCE)?.max_output(MAX_OUTPUT);
        let unknown = |why: String| {
            Problem::new(format!("what is installed cannot be seen: {why}"))
                .next("dpkg --audit; dpkg-query -W")
        };
        let output = ask.run().await.map_err(|error| unknown(error.to_string()))?;
        if !output.status.success() {
            let said = printable_line(String::from_utf8_lossy(&output.stderr).trim());
            return Err(unknown(format!("dpkg-query ended with {}: {said}", output.status)));
        }
        if output.stdout.len() >= MAX_OUTPUT {
            return Err(unknown(format!("dpkg-query said more than {MAX_OUTPUT} bytes")));
        }
        let text =
            String::from_utf8(output.stdout).map_err(|_| unknown("dpkg-query's answer is no text".into()))?;
        Self::parse(&text).map_err(unknown)
    }

    /// Reads its answer.
    ///
    /// # Errors
    /// A line that is of another form, shown.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut database = Self::default();
        for line in text.lines() {
            let bad = || format!("dpkg-query said {:?}", printable_line(line));
            let fields: Vec<&str> = line.split('\t').collect();
            let [status, name, architecture, version, source, source_version] = fields[..] else {
                return Err(bad());
            };
            let (want, state, error) = abbreviation(status).ok_or_else(bad)?;
            if state == 'n' && error == ' ' {
                continue;
            }
            if let Some(word) = half(state, error) {
                database.half_done.push(format!("{}: {word}", printable_line(name)));
            }
            let known = Known {
                name: PackageName::parse(name).map_err(|_| bad())?,
                architecture: architecture.to_owned(),
                version: Version::parse(version).ok().filter(|_| state != 'c' && state != 'n'),
                source: source.to_owned(),
                source_version: Version::parse(source_version).ok(),
                installed: state == 'i' && error == ' ',
                half_unpacked: state == 'H' || error == 'R',
                held: want == 'h',
            };
            database.packages.push(known);
        }
        if database.packages.is_empty() {
            return Err("dpkg-query names no package at all".into());
        }
        Ok(database)
    }

    /// Everything under this name: one for each architecture that it is here for.
    pub fn named<'a>(&'a self, name: &'a PackageName) -> impl Iterator<Item = &'a Known> {
        self.packages.iter().filter(move |known| known.name == *name)
    }

    /// Everything that is here and was built from this source, and be it in half a state.
    pub fn built_from<'a>(&'a self, source: &'a PackageName) -> impl Iterator<Item = &'a Known> {
        let here = |known: &&Known| known.installed || known.version.is_some();
        self.packages.iter().filter(here).filter(move |known| known.source == source.as_str())
    }
}

/// What is wanted, how it stands, what is wrong: `ii `, `hi `, `iF `, `iHR`.
fn abbreviation(text: &str) -> Option<(char, char, char)> {
    let mut letters = text.chars();
    let found = (letters.next()?, letters.next()?, letters.next()?);
    let known = "uihrp".contains(found.0) && "ncHUFWti".contains(found.1) && " R".contains(found.2);
    (known && letters.next().is_none()).then_some(found)
}

/// dpkg's word for a state that is neither.
fn half(state: char, error: char) -> Option<&'static str> {
    match state {
        'H' => Some("half-installed"),
        'U' => Some("unpacked, not configured"),
        'F' => Some("half-configured"),
        'W' => Some("triggers-awaited"),
        't' => Some("triggers-pending"),
        _ if error == 'R' => Some("has to be installed anew"),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// In the form that dpkg-query 1.21.22 has.
    pub(crate) const RECORDED: &str = "ii \tlibc6\tamd64\t2.36-9+deb12u14\tglibc\t2.36-9+deb12u14\n\
        ii \tlibdevmapper1.02.1\tamd64\t2:1.02.185-2\tlvm2\t2.03.16-2\n\
        ii \tetcd-server\tamd64\t3.4.23-4+b4\tetcd\t3.4.23-4\n\
        hi \tetcd-client\tamd64\t3.4.23-4+b4\tetcd\t3.4.23-4\n\
        un \tnewt\t\t\tnewt\t\n\
        rc \told-config\tall\t1.0-1\told\t1.0-1\n";

    #[test]
    fn an_answer_is_read() {
        let database = Database::parse(RECORDED).unwrap();
        assert_eq!(database.packages.len(), 5, "what is only known by name is no package");
        let etcd = PackageName::parse("etcd").unwrap();
        let versions: Vec<_> = database.built_from(&etcd).map(|it| (it.name.as_str(), it.held)).collect();
        assert_eq!(versions, [("etcd-server", false), ("etcd-client", true)]);
        let old = PackageName::parse("old-config").unwrap();
        assert!(database.named(&old).all(|it| !it.installed && it.version.is_none()));
        assert_eq!(database.half_done, [""; 0]);
    }

    /// Recorded from dpkg-query 1.21.22 in a root of its own: a postinst that fails, a hold, a rebuild of its source, and
    /// one that was only unpacked.
    #[test]
    fn a_database_in_disorder_is_read_as_it_was_recorded() {
        let text = "iF \tbreaks\tall\t2:1.0-1\tbreaks\t2:1.0-1\nhi \theldp\tall\t1.0-1\theldp\t1.0-1\n\
                    ii \tplain\tall\t1.0-1+b1\tsrcx\t1.0-1\niU \tunp\tall\t1.0-1\tunp\t1.0-1\n";
        let database = Database::parse(text).unwrap();
        assert_eq!(database.half_done, ["breaks: half-configured", "unp: unpacked, not configured"]);
        let seen: Vec<_> = database.packages.iter().map(|it| (it.installed, it.held)).collect();
        assert_eq!(seen, [(false, false), (true, true), (true, false), (false, false)]);
        assert_eq!(database.packages[2].source_version, Version::parse("1.0-1").ok());
    }

    #[test]
    fn every_half_state_is_named() {
        for (status, word) in [
            ("iH ", "half-installed"),
            ("iU ", "unpacked, not configured"),
            ("iF ", "half-configured"),
            ("iW ", "triggers-awaited"),
            ("it ", "triggers-pending"),
            ("iiR", "has to be installed anew"),
        ] {
            let database = Database::parse(&format!("{status}\tovs\tamd64\t1.0-1\tovs\t1.0-1\n")).unwrap();
            assert_eq!(database.half_done, [format!("ovs: {word}")]);
            assert!(!database.packages[0].installed);
        }
    }

    #[test]
    fn an_answer_of_another_form_is_no_answer() {
        for bad in
            ["", "ii libc6 amd64", "xx \tlibc6\tamd64\t1\tglibc\t1", "ii \t$(id)\tamd64\t1\tx\t1", "ii"]
        {
            assert!(Database::parse(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[tokio::test]
    async fn the_real_database_is_read_whole() {
        if crate::sys::exec::find("dpkg-query").is_none() {
            return;
        }
        let database = Database::look().await.unwrap();
        let dpkg = PackageName::parse("dpkg").unwrap();
        assert!(database.named(&dpkg).any(|it| it.installed && it.version.is_some()));
    }
}
