//! What would stand in the way of a section, without beginning it.
//!
//! Everything that the executor judges at a dispatch and everything that a step's `check` sees ahead, all of
//! it and not only the first. There is no way from here to the journal, and the agent's store is only read:
//! where an artifact is not here yet, what needs its bytes is seen when it is staged.

use std::{fs, path::Path};

use drydock_types::{
    Section, SectionKind, Step,
    probe::{Foreseen, Rehearsed},
};

use crate::{
    actions::{self, Cx, Problem, install_packages, place_k3s_images, swap_binary},
    artifacts::trust,
    executor::may_be_begun,
    host::Host,
    revert::arm,
    sys::packages,
};

/// Where Debian and its kin say whether packages upgrade themselves.
pub(super) const APT_CONF: &str = "/etc/apt/apt.conf.d";
/// A settings file of apt is never larger.
const MAX_BYTES: u64 = 64 << 10;

/// Looks. The caller bounds the time.
pub async fn look(host: &Host, section: &Section) -> Rehearsed {
    let mut seen = Rehearsed { policy: host.policy.digest, ..Rehearsed::default() };
    if let Err(why) = may_be_begun(section, &|path| host.policy.unpacks_itself(path)) {
        seen.refused.push(foreseen("", Problem::new(why)));
    }
    let cx = Cx { host, section, progress: &|_, _| {} };
    for step in section.steps.iter().chain(&section.verify) {
        let refused = refusals(step, &cx).await;
        seen.refused.extend(refused.into_iter().map(|problem| foreseen(step.name(), problem)));
    }
    // Witnesses are asked, nothing is armed.
    if section.commit_confirmed.is_some()
        && let Err(problem) = arm::may_arm(host, section).await
    {
        seen.refused.push(foreseen("commitConfirmed", problem));
    }
    if section.kind == SectionKind::Apply {
        let changes = section.steps.iter().any(|step| step.disrupts() || matches!(step, Step::SwapBinary(_)));
        seen.warnings.extend(others_at_work().filter(|_| changes));
        seen.warnings.extend(upgrades_itself(Path::new(APT_CONF)).filter(|_| changes));
    }
    seen
}

async fn refusals(step: &Step, cx: &Cx<'_>) -> Vec<Problem> {
    match step {
        // The exchange of a binary wants its bytes; whether they may be taken at all is the fetch's to say.
        Step::SwapBinary(config) => {
            let mut problems = swap_binary::foresee(config, cx).await;
            problems.extend(trust::judge(&cx.host.policy, cx.section).err());
            problems
        }
        Step::CheckSwap(config) => swap_binary::foresee(config, cx).await,
        // As with a binary: its bytes are looked at once they are fetched.
        Step::PlaceK3sImages(config) => place_k3s_images::foresee(config, cx).err().into_iter().collect(),
        // They are staged later; then all of it is seen.
        Step::InstallPackages(config) => install_packages::foresee(config, cx).await,
        step => actions::of(step).check(cx).await.err().into_iter().collect(),
    }
}

fn foreseen(step: &str, problem: Problem) -> Foreseen {
    Foreseen { step: step.to_owned(), what: problem.what, next: problem.next }
}

/// Beside a package manager nothing could be verified: by the time of the run it may be done.
fn others_at_work() -> Option<Foreseen> {
    let what = match packages::at_work() {
        Ok(None) => return None,
        Ok(Some(who)) => format!("a package manager is at work: {who}"),
        Err(why) => format!("whether a package manager is at work cannot be seen: {why}"),
    };
    let next = vec!["let it end before the run".to_owned()];
    Some(Foreseen { step: String::new(), what, next })
}

/// Packages that upgrade themselves restart services whenever they like.
pub(super) fn upgrades_itself(dir: &Path) -> Option<Foreseen> {
    // As apt reads them: by name, and the last word counts.
    let mut files: Vec<_> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    let enabled = files.iter().filter_map(|path| says(path)).next_back().unwrap_or(false);
    let what = "unattended-upgrades is enabled; it can start inside the window".to_owned();
    let next = vec![
        "hold the packages, or for the time of the run: systemctl stop apt-daily-upgrade.timer".to_owned(),
    ];
    enabled.then_some(Foreseen { step: String::new(), what, next })
}

/// `APT::Periodic::Unattended-Upgrade "1";`
fn says(path: &Path) -> Option<bool> {
    if fs::metadata(path).ok()?.len() > MAX_BYTES {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.starts_with('#'));
    let value =
        lines.filter_map(|line| line.strip_prefix("APT::Periodic::Unattended-Upgrade")).next_back()?;
    Some(value.trim().trim_end_matches(';').trim_matches(['"', ' ']) != "0")
}

#[cfg(test)]
mod tests {
    use drydock_types::step::{FetchArtifact, SwapBinary};

    use super::*;
    use crate::actions::swap_binary::tests::bench_with;

    /// Fetched, checked, exchanged.
    fn whole(bench: &crate::actions::swap_binary::tests::Bench) -> Section {
        let steps = vec![
            Step::FetchArtifact(FetchArtifact {}),
            Step::CheckSwap(bench.step()),
            Step::SwapBinary(bench.step()),
        ];
        Section { steps, ..bench.section.clone() }
    }

    fn files(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut left = vec![dir.to_path_buf()];
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => left.push(entry.path()),
                    false => found.push((entry.path(), fs::read(entry.path()).unwrap())),
                }
            }
        }
        found.sort();
        found
    }

    #[tokio::test]
    async fn a_section_that_nothing_stands_in_the_way_of_is_refused_nowhere_and_leaves_every_file_alone() {
        let bench = bench_with("[\"600\"]", "");
        let before = files(&bench.host.state_dir);
        let seen = look(&bench.host, &whole(&bench)).await;
        assert_eq!(seen.refused, []);
        assert_eq!(seen.policy, bench.host.policy.digest);
        assert!(seen.policy.is_some());
        assert_eq!(files(&bench.host.state_dir), before);
    }

    #[tokio::test]
    async fn an_artifact_that_is_not_here_yet_is_no_reason_to_refuse_and_one_that_is_wrong_stays() {
        let bench = bench_with("[\"600\"]", "");
        let (section, artifact) = (whole(&bench), bench.section.artifact.clone().unwrap());
        let stored = bench.host.state_dir.join("store").join(artifact.sha256.to_string());
        let size = usize::try_from(artifact.size).unwrap();
        fs::write(&stored, vec![0; size]).unwrap();
        assert_eq!(look(&bench.host, &section).await.refused, []);
        assert!(stored.exists(), "a rehearsal removes nothing");
        fs::remove_file(&stored).unwrap();
        assert_eq!(look(&bench.host, &section).await.refused, []);
    }

    #[tokio::test]
    async fn everything_that_is_in_the_way_is_told_with_the_line_for_the_policy() {
        let bench = bench_with("[\"600\"]", "");
        let mut section = whole(&bench);
        section.requires.push("somethingNew".into());
        let path = drydock_types::AbsPath::parse("/usr/bin/other").unwrap();
        section.steps = vec![Step::SwapBinary(SwapBinary { path })];
        let seen = look(&bench.host, &section).await;
        let told: Vec<_> = seen.refused.iter().map(|refused| refused.what.as_str()).collect();
        assert!(told[0].contains("somethingNew"), "{told:?}");
        let swap = seen.refused.iter().find(|refused| refused.step == "swapBinary").expect("the exchange");
        assert!(swap.next.iter().any(|next| next.contains("/usr/bin/other")), "{swap:?}");
    }

    #[tokio::test]
    async fn a_program_that_unpacks_itself_is_refused_in_a_commit_confirmed_section() {
        let mut bench = bench_with("[\"600\"]", "");
        let section = Section {
            commit_confirmed: Some(drydock_types::section::CommitConfirmed {
                within: drydock_types::Millis::secs(5),
                witness: vec!["127.0.0.1:1".into()],
            }),
            ..whole(&bench)
        };
        let refused = |seen: Rehearsed| seen.refused.into_iter().any(|it| it.what.contains("unpacks itself"));
        assert!(!refused(look(&bench.host, &section).await));
        let mut policy = (*bench.host.policy).clone();
        let data = drydock_types::AbsPath::parse("/var/lib/rancher/k3s/data").unwrap();
        policy.binaries.get_mut(&bench.path).unwrap().unpacks_under = vec![data];
        bench.host.policy = policy.into();
        assert!(refused(look(&bench.host, &section).await));
    }

    #[test]
    fn packages_upgrade_themselves_where_the_last_file_says_so() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(upgrades_itself(dir.path()), None);
        fs::write(dir.path().join("20auto-upgrades"), "APT::Periodic::Unattended-Upgrade \"1\";\n").unwrap();
        assert!(upgrades_itself(dir.path()).is_some());
        fs::write(
            dir.path().join("99off"),
            "// APT::Periodic::Unattended-Upgrade \"1\";\nAPT::Periodic::Unattended-Upgrade \"0\";\n",
        )
        .unwrap();
        assert_eq!(upgrades_itself(dir.path()), None);
    }
}
