//! What a step asks for, and whether it is so.

use drydock_types::{Version, packages::Packages};

use super::database::{Database, Known};
use crate::actions::Problem;

/// Sees that everything that is asked for is installed at its version, whole, and that nothing on the node is
/// half-configured. What was seen, in words.
///
/// # Errors
/// The first thing that is not so.
pub fn installed(database: &Database, asked: &Packages, to: &Version) -> Result<String, Problem> {
    if let Some(first) = database.half_done.first() {
        return Err(Problem::new(format!("dpkg has not ended its work: {first}"))
            .next("see what hinders it: dpkg --audit; then: dpkg --configure -a"));
    }
    let mut seen = 0;
    if let Some(source) = &asked.source {
        let mut built = database.built_from(source).peekable();
        if built.peek().is_none() {
            return Err(Problem::new(format!("no package that was built from {source} is installed here"))
                .next("name the source as `dpkg-query -f '${source:Package}\\n' -W PACKAGE` says it"));
        }
        for known in built {
            // A rebuild of the same source (`+b1`) is that source's version.
            at(known, to, known.source_version.as_ref() == Some(to))?;
            seen += 1;
        }
    }
    for package in &asked.packages {
        let version = package.version.as_ref().unwrap_or(to);
        let mut named = database.named(&package.name).peekable();
        if named.peek().is_none() {
            return Err(Problem::new(format!("{} is not installed", package.name)));
        }
        for known in named {
            at(known, version, false)?;
            seen += 1;
        }
    }
    if seen == 0 {
        return Err(Problem::new("the step names no package").next("give it `source:` or `packages:`"));
    }
    Ok(format!("dpkg: {seen} packages at their versions, nothing half-configured"))
}

fn at(known: &Known, version: &Version, by_source: bool) -> Result<(), Problem> {
    if !known.installed {
        return Err(Problem::new(format!("{}:{} is not installed", known.name, known.architecture))
            .next(format!("dpkg-query -s {}", known.name)));
    }
    match &known.version {
        Some(there) if there == version || by_source => Ok(()),
        there => {
            let there =
                there.as_ref().map_or_else(|| "a version of no known form".into(), ToString::to_string);
            Err(Problem::new(format!(
                "{}:{} is installed at {there}, not {version}",
                known.name, known.architecture
            ))
            .next(format!("apt-cache policy {}", known.name)))
        }
    }
}

#[cfg(test)]
mod tests {
    use drydock_types::{PackageName, packages::PackageAt};

    use super::*;
    use crate::apt::database::tests::RECORDED;

    fn judged(text: &str, asked: &Packages, to: &str) -> Result<String, String> {
        let database = Database::parse(text).unwrap();
        installed(&database, asked, &Version::parse(to).unwrap()).map_err(|problem| problem.what)
    }

    fn source(name: &str) -> Packages {
        Packages { source: Some(PackageName::parse(name).unwrap()), ..Packages::default() }
    }

    fn package(name: &str, version: Option<&str>) -> Packages {
        let version = version.map(|version| Version::parse(version).unwrap());
        let packages = vec![PackageAt { name: PackageName::parse(name).unwrap(), version }];
        Packages { packages, ..Packages::default() }
    }

    #[test]
    fn a_source_is_there_when_all_that_was_built_from_it_is() {
        assert!(judged(RECORDED, &source("etcd"), "3.4.23-4").is_ok(), "a rebuild of it");
        assert!(judged(RECORDED, &source("etcd"), "3.4.23-4+b4").is_ok());
        let one_behind = RECORDED.replacen("3.4.23-4+b4\tetcd\t3.4.23-4", "3.5.16-4\tetcd\t3.5.16-4", 1);
        let why = judged(&one_behind, &source("etcd"), "3.5.16-4").unwrap_err();
        assert_eq!(why, "etcd-client:amd64 is installed at 3.4.23-4+b4, not 3.5.16-4");
        assert!(judged(RECORDED, &source("libvirt"), "9.0.0-4").unwrap_err().contains("built from libvirt"));
    }

    #[test]
    fn a_package_is_there_at_exactly_its_version() {
        assert!(judged(RECORDED, &package("etcd-server", None), "3.4.23-4+b4").is_ok());
        assert!(judged(RECORDED, &package("etcd-server", Some("3.4.23-4+b4")), "9").is_ok());
        assert!(judged(RECORDED, &package("etcd-server", None), "3.4.23-4").is_err());
        assert!(judged(RECORDED, &package("nowhere", None), "1.0").unwrap_err().contains("is not installed"));
        assert!(
            judged(RECORDED, &package("old-config", None), "1.0-1").unwrap_err().contains("is not installed")
        );
    }

    #[test]
    fn half_a_state_anywhere_and_a_step_that_asks_nothing_are_no_success() {
        let half = format!("{RECORDED}iF \tovs\tamd64\t1.0-1\tovs\t1.0-1\n");
        assert!(judged(&half, &source("etcd"), "3.4.23-4").unwrap_err().contains("ovs: half-configured"));
        assert!(judged(RECORDED, &Packages::default(), "1.0").unwrap_err().contains("names no package"));
    }
}
