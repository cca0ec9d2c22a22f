//! What apt says that it would do (`apt-get -qq -s install …`), read strictly.
//!
//! The form is that of apt's simulator (apt 1.8 to 2.9, `apt-pkg/algorithms.cc`), recorded from apt 2.6.1:
//!
//! ```text
//! Inst NAME[:ARCH] [OLD] (NEW WHERE-FROM [ARCH]) [WHAT-IS-BROKEN-MEANWHILE]
//! Remv NAME[:ARCH] [OLD] [WHAT-IS-BROKEN-MEANWHILE]
//! Purg NAME[:ARCH] [OLD] [WHAT-IS-BROKEN-MEANWHILE]
//! Conf NAME[:ARCH] (NEW WHERE-FROM [ARCH])
//! ```
//!
//! `WHERE-FROM` is the archive's own words and may hold brackets of its own. The exit code proves nothing: it is 0 also
//! where the real call would refuse.

use std::collections::BTreeSet;

use drydock_types::{PackageName, Version};

use crate::{actions::Problem, sys::units::printable_line};

/// So many lines are read: a machine that has more packages than this is none.
const MAX_LINES: usize = 50_000;

/// Everything that would take place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Simulation {
    /// What would be installed, changed or removed, in apt's order. No package stands here twice.
    pub changes: Vec<Would>,
    /// What would only be configured: an earlier dpkg has left it half-way.
    pub configures: Vec<PackageName>,
}

/// One package that would be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Would {
    /// Which.
    pub name: PackageName,
    /// Behind the name, where it is not the node's own architecture: `i386`.
    pub qualifier: Option<String>,
    /// What is installed; `None`: nothing.
    pub from: Option<Version>,
    /// What would be.
    pub to: To,
}

/// What would be of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// This version for this architecture (`amd64`, `all`) would be installed.
    Version(Version, String),
    /// It would be removed, its configuration kept.
    Removed,
    /// It would be removed with its configuration.
    Purged,
}

impl Simulation {
    /// Reads what apt said.
    ///
    /// # Errors
    /// A line of another form, shown; a package that stands there twice; one that would be unpacked and not configured.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut read = Self::default();
        let (mut seen, mut unpacked) = (BTreeSet::new(), BTreeSet::new());
        for (number, line) in text.lines().enumerate() {
            if number >= MAX_LINES {
                return Err(strange(&format!("more than {MAX_LINES} lines")));
            }
            match Line::parse(line).ok_or_else(|| strange(&format!("{:?}", printable_line(line))))? {
                Line::Change(would) => {
                    let key = (would.name.clone(), would.qualifier.clone());
                    if matches!(would.to, To::Version(..)) {
                        unpacked.insert(key.clone());
                    }
                    if !seen.insert(key) {
                        // apt takes a package away for a moment where it sees no other order.
                        return Err(strange(&format!("two changes of {}", would.name)));
                    }
                    read.changes.push(would);
                }
                Line::Configure(name, qualifier) => {
                    if !unpacked.remove(&(name.clone(), qualifier)) {
                        read.configures.push(name);
                    }
                }
            }
        }
        if let Some((name, _)) = unpacked.first() {
            return Err(strange(&format!("that {name} is unpacked, and not that it is configured")));
        }
        Ok(read)
    }
}

fn strange(what: &str) -> Problem {
    Problem::new(format!("apt's simulation says {what}, which this build of the agent does not understand"))
        .next("nothing was changed; look at it: apt-get -s install PACKAGE=VERSION")
}

enum Line {
    Change(Would),
    Configure(PackageName, Option<String>),
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let (verb, rest) = line.split_once(' ')?;
        let (named, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let (name, qualifier) = match named.split_once(':') {
            Some((name, qualifier)) => (name, Some(architecture(qualifier)?)),
            None => (named, None),
        };
        let name = PackageName::parse(name).ok()?;
        match verb {
            "Inst" => {
                let (from, rest) = bracketed(rest);
                let from = optional(from)?;
                let (to, broken) = candidate(rest)?;
                is_broken_list(broken)?;
                Some(Self::Change(Would { name, qualifier, from, to }))
            }
            "Remv" | "Purg" => {
                let to = if verb == "Purg" { To::Purged } else { To::Removed };
                let (from, rest) = bracketed(rest);
                // A package of which only the configuration is left has no version.
                let from = optional(from)?;
                is_broken_list(rest)?;
                Some(Self::Change(Would { name, qualifier, from, to }))
            }
            // `Conf NAME broken` is another form, and an error of the archive.
            "Conf" => {
                let (_, rest) = candidate(rest)?;
                rest.is_empty().then_some(Self::Configure(name, qualifier))
            }
            _ => None,
        }
    }
}

/// None is fine; what is there must be a version.
fn optional(text: Option<&str>) -> Option<Option<Version>> {
    match text {
        None => Some(None),
        Some(text) => version(text).map(Some),
    }
}

/// What stands in the brackets at the beginning, and what follows.
fn bracketed(text: &str) -> (Option<&str>, &str) {
    let inner = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    inner.map_or((None, text), |(inner, rest)| (Some(inner), rest.strip_prefix(' ').unwrap_or(rest)))
}

/// `(VERSION WHERE-FROM [ARCH])`, and what follows. The archive's words lie between the first space and the last
/// bracket, so that nothing in them is read.
fn candidate(text: &str) -> Option<(To, &str)> {
    let inner = text.strip_prefix('(')?;
    let (inner, rest) = inner.rsplit_once("])")?;
    let (version_text, from_where) = inner.split_once(' ')?;
    let arch = from_where.rsplit_once('[')?.1;
    Some((To::Version(version(version_text)?, architecture(arch)?), rest.strip_prefix(' ').unwrap_or(rest)))
}

/// ` [a:amd64 on b:amd64]`: nothing, or one pair of brackets.
fn is_broken_list(text: &str) -> Option<()> {
    let fine = text.is_empty()
        || text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .is_some_and(|inner| !inner.contains(['[', ']', '(', ')']));
    fine.then_some(())
}

/// A version that stands for itself: what our type would read in another way (a leading `v`) is none of dpkg's.
pub(super) fn version(text: &str) -> Option<Version> {
    Version::parse(text).ok().filter(|version| version.as_str() == text)
}

/// dpkg's word for an architecture.
pub(super) fn architecture(text: &str) -> Option<String> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    (begins && text.len() <= 32 && text.chars().all(fine)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from apt 2.6.1, of an archive whose label is full of brackets: an upgrade of two, an addition, a removal
    /// and a foreign architecture.
    const RECORDED: &str = "Remv enemy [1.0]\n\
        Inst libtool0 [1.0-1] (2.0-1+b1 Te st) [amd64]) [:stable [amd64])\n\
        Inst libtool0:i386 (2.0-1+b1 Te st) [amd64]) [:stable [i386])\n\
        Inst newdep (1.5 Te st) [amd64]) [:stable [all])\n\
        Inst tool [1.0-1] (2.0-1 Te st) [amd64]) [:stable [amd64])\n\
        Conf libtool0 (2.0-1+b1 Te st) [amd64]) [:stable [amd64])\n\
        Conf libtool0:i386 (2.0-1+b1 Te st) [amd64]) [:stable [i386])\n\
        Conf newdep (1.5 Te st) [amd64]) [:stable [all])\n\
        Conf tool (2.0-1 Te st) [amd64]) [:stable [amd64])\n";

    fn words(text: &str) -> Vec<String> {
        let word = |would: &Would| {
            let qualifier = would.qualifier.as_deref().map(|it| format!(":{it}")).unwrap_or_default();
            let from = would.from.as_ref().map_or("-", Version::as_str);
            match &would.to {
                To::Version(to, arch) => format!("{}{qualifier} {from} -> {to} {arch}", would.name),
                To::Removed => format!("{}{qualifier} {from} removed", would.name),
                To::Purged => format!("{}{qualifier} {from} purged", would.name),
            }
        };
        Simulation::parse(text).unwrap().changes.iter().map(word).collect()
    }

    #[test]
    fn what_apt_would_do_is_read_whatever_an_archive_calls_itself() {
        assert_eq!(
            words(RECORDED),
            [
                "enemy 1.0 removed",
                "libtool0 1.0-1 -> 2.0-1+b1 amd64",
                "libtool0:i386 - -> 2.0-1+b1 i386",
                "newdep - -> 1.5 all",
                "tool 1.0-1 -> 2.0-1 amd64",
            ]
        );
        assert_eq!(Simulation::parse(RECORDED).unwrap().configures, []);
    }

    /// Recorded from apt 2.6.1 on Debian 12, with its lists of what is broken meanwhile and packages of two archives.
    #[test]
    fn what_is_broken_meanwhile_and_packages_of_two_archives_are_read() {
        let text = "Inst dpkg-dev [1.21.22] (1.21.23 Debian:12.15/oldstable [all]) []\n\
            Inst libperl5.36 [5.36.0-7+deb12u2] (5.36.0-7+deb12u4 Debian-Security:12/oldstable-security [amd64]) [perl:amd64 ]\n\
            Inst libgcrypt20 [1.10.1-3] (1.10.1-3+deb12u1 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64])\n\
            Conf dpkg-dev (1.21.23 Debian:12.15/oldstable [all])\n\
            Conf libperl5.36 (5.36.0-7+deb12u4 Debian-Security:12/oldstable-security [amd64])\n\
            Conf libgcrypt20 (1.10.1-3+deb12u1 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64])\n";
        assert_eq!(words(text).len(), 3);
        assert_eq!(words(text)[1], "libperl5.36 5.36.0-7+deb12u2 -> 5.36.0-7+deb12u4 amd64");
    }

    /// Recorded: files that are given by their path, and a downgrade.
    #[test]
    fn files_and_downgrades_are_read() {
        let text = "Inst newdep (1.5 Te st) [amd64]) [:stable, local-deb [all])\nConf newdep (1.5 Te st) [amd64]) [:stable, local-deb [all])\n";
        assert_eq!(words(text), ["newdep - -> 1.5 all"]);
        let text = "Inst lib [3.0-1] (2.0-1+b1 x:stable [amd64])\nConf lib (2.0-1+b1 x:stable [amd64])\nPurg old [1:2]\n";
        assert_eq!(words(text), ["lib 3.0-1 -> 2.0-1+b1 amd64", "old 1:2 purged"]);
    }

    #[test]
    fn what_an_earlier_dpkg_left_half_way_is_told_apart() {
        let text = format!("{RECORDED}Conf enemy2 (1.0 x [all])\n");
        let names: Vec<_> =
            Simulation::parse(&text).unwrap().configures.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["enemy2"]);
    }

    #[test]
    fn any_other_line_is_a_refusal_that_shows_it() {
        for bad in [
            "",
            "NOTE: This is only a simulation!",
            "Inst",
            "Inst tool",
            "Inst tool 2.0",
            "Inst tool (2.0)",
            "Inst tool [1.0] (2.0 x [amd64]",
            "Inst tool [1.0] (2.0 x [am/d64])",
            "Inst tool [--x] (2.0 x [amd64])",
            "Inst tool (v2.0 x [amd64])",
            "Inst -tool (2.0 x [amd64])",
            "Inst tool:../x (2.0 x [amd64])",
            "Inst tool (2.0 x [amd64]) trailing",
            "Inst tool (2.0 x [amd64]) [a] [b]",
            "Conf tool broken",
            "Conf tool (2.0 x [amd64]) [b]",
            "Remv tool [1.0] (2.0)",
            "Frob tool [1.0]",
            "inst tool (2.0 x [amd64])",
        ] {
            let problem = Simulation::parse(&format!("{bad}\n")).unwrap_err();
            assert!(problem.what.contains("does not understand"), "{bad:?}: {problem}");
            assert!(problem.what.contains(&format!("{bad:?}")), "{bad:?}: {problem}");
        }
    }

    #[test]
    fn a_package_twice_or_never_configured_is_a_refusal() {
        let once = "Inst tool (2.0 x [amd64])\nConf tool (2.0 x [amd64])\n";
        assert!(Simulation::parse(once).is_ok());
        let twice = format!("Remv tool [1.0]\n{once}");
        assert!(Simulation::parse(&twice).unwrap_err().what.contains("two changes of tool"));
        let never = "Inst tool (2.0 x [amd64])\n";
        assert!(Simulation::parse(never).unwrap_err().what.contains("tool is unpacked"));
        let many = "Conf yy (1 x [all])\n".repeat(MAX_LINES + 1);
        assert!(Simulation::parse(&many).unwrap_err().what.contains("more than"));
    }
}
