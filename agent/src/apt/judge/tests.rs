use drydock_types::{Sha256, packages::PackageAt};

use super::*;
use crate::apt::index::Entry;

const INSTALLED: &str = "ii \ttool\tamd64\t1.0-1\ttoolsrc\t1.0-1\n\
    ii \tlibtool0\tamd64\t1.0-1+b1\ttoolsrc\t1.0-1\n\
    ii \tlibtool0\ti386\t1.0-1+b1\ttoolsrc\t1.0-1\n\
    ii \tenemy\tall\t1.0\tenemy\t1.0\n\
    hi \theldp\tall\t1.0\theldp\t1.0\n";

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn name(text: &str) -> PackageName {
    PackageName::parse(text).unwrap()
}

fn names(list: &[&str]) -> Vec<PackageName> {
    list.iter().map(|it| name(it)).collect()
}

/// `NAME VERSION ARCH SOURCE SOURCE-VERSION`
fn offered(lines: &[&str]) -> Archives {
    let files = lines.iter().map(|line| {
        let [package, at, architecture, source, source_version] = line.split(' ').collect::<Vec<_>>()[..]
        else {
            panic!("{line}")
        };
        let entry = Entry {
            name: name(package),
            architecture: architecture.into(),
            version: version(at),
            source: source.into(),
            source_version: version(source_version),
            filename: format!("{package}.deb"),
            size: 1,
            sha256: Sha256::of(line.as_bytes()),
        };
        Offered { entry, address: format!("http://a/{package}.deb"), release: 0 }
    });
    Archives { releases: Vec::new(), files: files.collect() }
}

const OFFERED: [&str; 7] = [
    "tool 2.0-1 amd64 toolsrc 2.0-1",
    "libtool0 2.0-1 amd64 toolsrc 2.0-1",
    "libtool0 2.0-1+b2 amd64 toolsrc 2.0-1",
    "libtool0 2.0-1+b2 i386 toolsrc 2.0-1",
    "newdep 1.5 all newdep 1.5",
    "heldp 2.0 all heldp 2.0",
    "enemy 0.9 all enemy 0.9",
];

const WOULD: &str = "Inst libtool0 [1.0-1+b1] (2.0-1+b2 x [amd64])\nInst libtool0:i386 [1.0-1+b1] (2.0-1+b2 x [i386])\n\
    Inst tool [1.0-1] (2.0-1 x [amd64])\nConf libtool0 (2.0-1+b2 x [amd64])\nConf libtool0:i386 (2.0-1+b2 x [i386])\n\
    Conf tool (2.0-1 x [amd64])\n";

struct Asked {
    packages: Packages,
    to: &'static str,
    down: bool,
    policy: &'static [&'static str],
}

impl Asked {
    fn source(name: &str) -> Self {
        let packages = Packages { source: Some(self::name(name)), ..Packages::default() };
        Self { packages, to: "2.0-1", down: false, policy: &["tool", "libtool0", "newdep", "enemy", "heldp"] }
    }

    fn package(text: &str, to: &'static str) -> Self {
        let packages = vec![PackageAt { name: name(text), version: None }];
        Self { packages: Packages { packages, ..Packages::default() }, to, ..Self::source("xx") }
    }

    fn try_with(
        &self,
        installed: &str,
        would: &str,
        kept: &[Staged],
    ) -> Result<(Vec<Goal>, Vec<Planned>), Problem> {
        let database = Database::parse(installed).unwrap();
        let archives = offered(&OFFERED);
        let scene = Scene { native: "amd64", database: &database, archives: &archives, kept };
        let (to, policy) = (version(self.to), self.policy);
        let may_change = move |package: &PackageName| {
            if policy.contains(&package.as_str()) {
                return Ok(());
            }
            Err(Problem::new(format!("{package} is not among those of the policy")))
        };
        let order =
            Order { asked: &self.packages, to: &to, allow_downgrade: self.down, may_change: &may_change };
        let goals = scene.goals(order)?;
        let planned = scene.judge(order, &goals, &Simulation::parse(would)?)?;
        Ok((goals, planned))
    }

    fn refused(&self, would: &str) -> String {
        let problem = self.try_with(INSTALLED, would, &[]).unwrap_err();
        assert!(!problem.next.is_empty() || problem.what.contains("policy"), "{problem}: no way on");
        format!("{} → {}", problem.what, problem.next.join("; "))
    }
}

#[test]
fn a_source_is_all_that_is_here_of_it_for_every_architecture_and_its_newest_rebuild() {
    let (goals, planned) = Asked::source("toolsrc").try_with(INSTALLED, WOULD, &[]).unwrap();
    let seen: Vec<_> = goals
        .iter()
        .map(|goal| format!("{} {:?} {}", goal.name, goal.qualifier.as_deref().unwrap_or("-"), goal.version))
        .collect();
    assert_eq!(seen, ["tool \"-\" 2.0-1", "libtool0 \"-\" 2.0-1+b2", "libtool0 \"i386\" 2.0-1+b2"]);
    let seen: Vec<_> = planned
        .iter()
        .map(|it| (it.name.as_str(), it.architecture.as_str(), it.from.as_ref().unwrap().0.as_str()))
        .collect();
    assert_eq!(
        seen,
        [("libtool0", "amd64", "1.0-1+b1"), ("libtool0", "i386", "1.0-1+b1"), ("tool", "amd64", "1.0-1")]
    );
}

#[test]
fn what_is_so_already_is_no_goal() {
    let installed = INSTALLED
        .replace("\t1.0-1\ttoolsrc\t1.0-1", "\t2.0-1\ttoolsrc\t2.0-1")
        .replace("\t1.0-1+b1\ttoolsrc\t1.0-1", "\t2.0-1+b1\ttoolsrc\t2.0-1");
    let (goals, planned) = Asked::source("toolsrc").try_with(&installed, "", &[]).unwrap();
    assert_eq!((goals, planned), (Vec::new(), Vec::new()));
}

#[test]
fn what_nobody_asked_for_is_refused_with_the_line_that_would_permit_it() {
    let added = format!("{WOULD}Inst newdep (1.5 x [all])\nConf newdep (1.5 x [all])\n");
    let removed = format!("Remv enemy [1.0]\n{WOULD}");
    let asked = Asked::source("toolsrc");
    assert!(
        asked.refused(&added).contains(
            "newdep 1.5 would be added, and nobody asked for it → where it may be: along: [newdep]"
        )
    );
    assert!(
        asked.refused(&removed).contains("enemy 1.0 would be removed → where it may be: remove: [enemy]")
    );
    let mut asked = Asked::source("toolsrc");
    asked.packages.along = names(&["newdep", "enemy"]);
    let (_, planned) = asked.try_with(INSTALLED, &added, &[]).unwrap();
    assert_eq!(planned.last().map(|it| (it.name.as_str(), it.from.clone())), Some(("newdep", None)));
    assert!(asked.refused(&removed).contains("would be removed"), "along removes nothing");
    asked.packages.remove = names(&["enemy", "tool"]);
    let (_, planned) = asked.try_with(INSTALLED, &removed, &[]).unwrap();
    assert_eq!((planned[0].to.clone(), planned[0].architecture.as_str()), (None, "all"));
    assert!(
        asked.refused(&removed.replace("Remv", "Purg")).contains("would be removed"),
        "nothing is purged"
    );
    let goal_gone = WOULD
        .replace("Inst tool [1.0-1] (2.0-1 x [amd64])\n", "Remv tool [1.0-1]\n")
        .replace("Conf tool (2.0-1 x [amd64])\n", "");
    assert!(
        asked.refused(&goal_gone).contains("tool 1.0-1 would be removed"),
        "what is asked for is never removed"
    );
    asked.policy = &["tool", "libtool0"];
    assert!(asked.refused(&added).contains("newdep is not among those of the policy"));
}

#[test]
fn a_way_down_and_a_hold_want_a_word_of_the_plan() {
    let down = "Inst enemy [1.0] (0.9 x [all])\nConf enemy (0.9 x [all])\n";
    let mut asked = Asked::package("enemy", "0.9");
    assert!(
        asked
            .refused(down)
            .contains("enemy would go down from 1.0 to 0.9 → where it may: allowDowngrade: true")
    );
    asked.down = true;
    assert!(asked.try_with(INSTALLED, down, &[]).is_ok());
    let held = "Inst heldp [1.0] (2.0 x [all])\nConf heldp (2.0 x [all])\n";
    let mut asked = Asked::package("heldp", "2.0");
    assert!(asked.refused(held).contains("heldp 1.0 is on hold → apt-mark unhold heldp; or `held: true`"));
    asked.packages.held = true;
    assert!(asked.try_with(INSTALLED, held, &[]).unwrap().1[0].held);
}

#[test]
fn what_apt_would_leave_undone_or_do_otherwise_is_refused() {
    let asked = Asked::source("toolsrc");
    assert!(asked.refused("").contains("apt would not install tool 2.0-1"));
    let other = WOULD.replace("(2.0-1 x [amd64])", "(2.0-2 x [amd64])");
    assert!(
        asked
            .try_with(INSTALLED, &other, &[])
            .unwrap_err()
            .what
            .contains("apt would install tool 2.0-2, and 2.0-1")
    );
    let disagree = WOULD.replace("tool [1.0-1]", "tool [1.0-0]");
    assert!(asked.refused(&disagree).contains("do not agree about what is installed of tool"));
    let half = format!("{WOULD}Conf enemy (1.0 x [all])\n");
    assert!(asked.refused(&half).contains("enemy is not configured"));
}

#[test]
fn a_version_that_no_archive_has_is_refused_or_taken_from_what_was_kept() {
    let mut asked = Asked::source("toolsrc");
    asked.to = "1.0-0";
    asked.down = true;
    let why = asked.refused("");
    assert!(why.contains("has tool of the source toolsrc 1.0-0"), "{why}");
    assert!(why.contains("offered: 2.0-1 → "), "{why}");
    assert!(Asked::package("nowhere", "1").refused("").contains("offered: none at all"));
    let kept = |text: &[u8]| Kept { sha256: Sha256::of(text), size: 4 };
    let change = |package: &str, architecture: &str, from: &str| crate::apt::staged::Change {
        name: name(package),
        architecture: architecture.into(),
        from: Some(version(from)),
        to: Some(version("1.0-1")),
        new: None,
        old: Some(kept(format!("{package}:{architecture}").as_bytes())),
        held: false,
        auto: false,
    };
    let set = Staged {
        asked: Packages::default(),
        to: version("1.0-1"),
        releases: Vec::new(),
        changes: vec![
            change("tool", "amd64", "1.0-0"),
            change("libtool0", "amd64", "1.0-0+b3"),
            change("libtool0", "i386", "1.0-0+b3"),
        ],
    };
    let would = WOULD.replace("2.0-1+b2", "1.0-0+b3").replace("2.0-1", "1.0-0");
    let (goals, _) = asked.try_with(INSTALLED, &would, &[set]).unwrap();
    let places: Vec<_> = goals.iter().map(|goal| goal.file.clone()).collect();
    let pool = |text: &[u8]| Place::Pool(kept(text));
    assert_eq!(places, [pool(b"tool:amd64"), pool(b"libtool0:amd64"), pool(b"libtool0:i386")]);
}
