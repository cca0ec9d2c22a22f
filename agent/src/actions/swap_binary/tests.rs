use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use drydock_types::{
    ComponentName, EffectId, Millis, Section, SectionKind, UnitName, Version,
    section::{ArtifactLabel, CommitConfirmed},
};
use nix::fcntl::{Flock, FlockArg};

use super::*;
use crate::{
    artifacts::{ArtifactStore, Limits},
    host::Host,
    policy::Policy,
    remote::remote,
    revert::plan::Plan,
    section,
    sys::{files::tests::ground, network::Network, units::Units},
};

/// A node with one service `x.service`, which runs a copy of `sleep`, and a signed artifact: the same program
/// with another end.
pub(crate) struct Bench {
    pub(crate) host: Host,
    pub(crate) section: Section,
    pub(crate) path: AbsPath,
    pub(crate) _dir: tempfile::TempDir,
}

pub(crate) fn bench_with(args: &str, extra: &str) -> Bench {
    let dir = ground();
    let (bin, store) = (dir.path().join("bin"), dir.path().join("store"));
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&store).unwrap();
    fs::set_permissions(&bin, Permissions::from_mode(0o755)).unwrap();
    let path = bin.join("x");
    let old = fs::read("/bin/sleep").unwrap();
    fs::write(&path, &old).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let new = [old.as_slice(), b"the new one"].concat();
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let artifact = sign(&pair, "x", &new);
    fs::write(store.join(artifact.sha256.to_string()), &new).unwrap();
    let path = AbsPath::parse(path.to_str().unwrap()).unwrap();
    let policy = format!(
        "units = [\"x.service\", \"y.service\"]\nbinaries.\"{path}\".component = \"x\"\n{extra}\n\
         [[signing_keys]]\nkey = \"{}\"\n\
         [supervisor]\nas_root_beside_systemd = true\n[supervisor.services.\"x.service\"]\npath = \"{path}\"\nargs = {args}\nautostart = false\n",
        pair.pk.to_base64()
    );
    let policy = Arc::new(Policy::parse(&policy, Path::new("agent.toml")).unwrap());
    let units = Units::of(&policy).unwrap();
    let (_, remote) = remote();
    let artifacts = ArtifactStore::new(&store, Limits::default());
    let host =
        Host { policy, units, artifacts, remote, state_dir: dir.path().into(), ending: Default::default() };
    Bench { host, section: section(artifact), path, _dir: dir }
}

fn bench() -> Bench {
    bench_with("[\"600\"]", "")
}

fn sign(pair: &minisign::KeyPair, component: &str, bytes: &[u8]) -> ArtifactRef {
    let label = ArtifactLabel {
        component: ComponentName::parse(component).unwrap(),
        version: Version::parse("2.0.0").unwrap(),
        os: "linux".into(),
        arch: std::env::consts::ARCH.into(),
        size: bytes.len() as u64,
        sha256: Sha256::of(bytes),
    };
    let signature = minisign::sign(Some(&pair.pk), &pair.sk, bytes, Some(&label.to_comment()), None).unwrap();
    ArtifactRef { sha256: label.sha256, size: label.size, signature: signature.into_string() }
}

fn section(artifact: ArtifactRef) -> Section {
    Section {
        effect: EffectId([7; 32]),
        stage: "x".into(),
        component: ComponentName::parse("x").unwrap(),
        to: Version::parse("2.0.0").unwrap(),
        artifact: Some(artifact),
        ..section::empty(SectionKind::Apply)
    }
}

impl Bench {
    pub(crate) fn cx(&self) -> Cx<'_> {
        Cx { host: &self.host, section: &self.section, progress: &|_, _| {} }
    }

    pub(crate) fn step(&self) -> SwapBinary {
        SwapBinary { path: self.path.clone() }
    }

    pub(crate) fn unit() -> UnitName {
        UnitName::parse("x.service").unwrap()
    }

    pub(crate) fn digest(&self) -> Sha256 {
        Sha256::of(&fs::read(self.path.as_str()).unwrap())
    }

    /// Check, note and apply, as the executor does.
    pub(crate) async fn run(&self, action: &dyn Action) -> Result<(Note, Vec<Evidence>), Problem> {
        let cx = self.cx();
        action.check(&cx).await?;
        let note = action.note(&cx).await?;
        let evidence = action.apply(&cx, &note).await?;
        Ok((note, evidence))
    }

    fn due(&self) -> Sha256 {
        self.section.artifact.as_ref().unwrap().sha256
    }
}

#[tokio::test]
async fn an_exchange_is_done_probed_and_taken_back_twice() {
    let bench = bench();
    let (step, old, new, cx) = (bench.step(), bench.digest(), bench.due(), bench.cx());
    let swap = Swap(&step);
    swap.check(&cx).await.unwrap();
    let note = swap.note(&cx).await.unwrap();
    assert_eq!(swap.probe(&cx, &note).await, Found::NotBegun);
    for _ in 0..2 {
        let evidence = swap.apply(&cx, &note).await.unwrap();
        let Evidence::Swapped { old_sha256, new_sha256, kept, .. } = &evidence[0] else {
            panic!("{evidence:?}")
        };
        assert_eq!((*old_sha256, *new_sha256, bench.digest()), (old, new, new));
        assert_eq!(Sha256::of(&fs::read(kept.as_str()).unwrap()), old);
        assert_eq!(swap.probe(&cx, &note).await, Found::Done);
    }
    assert_eq!(swap.undo(&cx, &note).await.unwrap().len(), 1);
    assert_eq!(swap.undo(&cx, &note).await.unwrap(), []);
    assert_eq!((bench.digest(), swap.probe(&cx, &note).await), (old, Found::NotBegun));
}

#[test]
fn an_exchange_whose_time_is_over_does_not_take_place_any_more() {
    let bench = bench();
    let (step, old, cx) = (bench.step(), bench.digest(), bench.cx());
    let bin = Path::new(bench.path.as_str()).parent().unwrap();
    let staged = |end: &str| bin.join(format!(".x.drydock-07070707.{end}")).exists();
    // Whoever holds the lock keeps the exchange right before its end, however long its files took.
    let held = Flock::lock(fs::File::open(bin).unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let note = runtime.block_on(async {
        let note = Swap(&step).note(&cx).await.unwrap();
        let swap = Swap(&step);
        let mut exchange = swap.apply(&cx, &note);
        while !(staged("new") && staged("old")) {
            let soon = tokio::time::timeout(Duration::from_millis(5), &mut exchange).await;
            assert!(soon.is_err(), "{soon:?}");
        }
        drop(exchange);
        note
    });
    drop(held);
    // Waits for the thread that was left behind.
    drop(runtime);
    assert_eq!(bench.digest(), old);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let evidence = runtime.block_on(Swap(&step).undo(&cx, &note)).unwrap();
    assert_eq!((evidence, bench.digest()), (Vec::new(), old));
    assert!(!staged("new") && !staged("old"));
}

#[tokio::test]
async fn a_change_that_the_reverter_has_claimed_is_not_exchanged_any_more() {
    let mut bench = bench();
    let (step, old) = (bench.step(), bench.digest());
    bench.section.commit_confirmed = Some(CommitConfirmed { within: Millis(60_000), witness: Vec::new() });
    let reverts = Reverts::of(&bench.host.state_dir);
    reverts.make().unwrap();
    let plan = Plan {
        effect: bench.section.effect,
        run_number: 7,
        component: bench.section.component.clone(),
        to: bench.section.to.clone(),
        boot_id: "this boot".into(),
        armed_unix_ms: 0,
        armed_age_ms: 0,
        within: Millis(60_000),
        witness: Vec::new(),
        program_sha256: Sha256::of(b"the reverter"),
        files: Vec::new(),
        units: Vec::new(),
        packages: None,
        switch: None,
        network: Network::default(),
    };
    reverts.arm(&plan).unwrap();
    let note = Swap(&step).note(&bench.cx()).await.unwrap();
    assert!(reverts.claim_revert().unwrap().is_some());
    let problem = Swap(&step).apply(&bench.cx(), &note).await.unwrap_err();
    assert!(problem.what.contains("it is being taken back"), "{problem}");
    assert_eq!(bench.digest(), old);
}

#[tokio::test]
async fn where_the_new_file_lies_already_nothing_is_done_and_nothing_taken_back() {
    let bench = bench();
    let step = bench.step();
    bench.run(&Swap(&step)).await.unwrap();
    let (note, _) = bench.run(&Swap(&step)).await.unwrap();
    assert_eq!(Swap(&step).undo(&bench.cx(), &note).await.unwrap(), []);
    assert_eq!(bench.digest(), bench.due());
}

#[tokio::test]
async fn a_third_file_is_undecidable_and_left_alone() {
    let bench = bench();
    let step = bench.step();
    let note = Swap(&step).note(&bench.cx()).await.unwrap();
    fs::write(bench.path.as_str(), b"somebody's").unwrap();
    assert!(matches!(Swap(&step).probe(&bench.cx(), &note).await, Found::Undecidable(_)));
    let problem = Swap(&step).apply(&bench.cx(), &note).await.unwrap_err();
    assert!(problem.what.contains("changed by somebody else since it was looked at"), "{problem}");
    assert!(Swap(&step).undo(&bench.cx(), &note).await.is_err());
    assert_eq!(fs::read(bench.path.as_str()).unwrap(), b"somebody's");
}

#[tokio::test]
async fn a_path_that_the_policy_does_not_list_is_refused_in_every_step() {
    let bench = bench();
    let step = SwapBinary { path: AbsPath::parse("/usr/bin/env").unwrap() };
    let note = Swap(&bench.step()).note(&bench.cx()).await.unwrap();
    for problem in [
        demand(&step, &bench.cx()).await.unwrap_err(),
        Swap(&step).note(&bench.cx()).await.unwrap_err(),
        Swap(&step).apply(&bench.cx(), &note).await.unwrap_err(),
    ] {
        assert!(problem.what.contains("/usr/bin/env is not among the binaries"), "{problem}");
    }
}

#[tokio::test]
async fn a_stored_artifact_of_another_component_is_refused() {
    let mut bench = bench();
    bench.section.component = ComponentName::parse("y").unwrap();
    let problem = demand(&bench.step(), &bench.cx()).await.unwrap_err();
    assert!(problem.what.contains("for x") && problem.what.contains("for y"), "{problem}");
}

#[tokio::test]
async fn a_label_that_its_key_did_not_sign_is_refused() {
    let mut bench = bench();
    bench.section.to = Version::parse("9.9.9").unwrap();
    let artifact = bench.section.artifact.as_mut().unwrap();
    artifact.signature = artifact.signature.replace("version=2.0.0", "version=9.9.9");
    assert!(demand(&bench.step(), &bench.cx()).await.unwrap_err().what.contains("not ready"));
}

#[tokio::test]
async fn an_artifact_that_rotted_in_the_store_is_refused() {
    let bench = bench();
    let stored = bench.host.artifacts.verified(bench.section.artifact.as_ref().unwrap()).unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(stored).unwrap();
    file.write_all(b"\x7fELX").unwrap();
    assert!(demand(&bench.step(), &bench.cx()).await.unwrap_err().what.contains("not ready"));
}

#[tokio::test]
async fn a_binary_of_a_package_is_refused_unless_the_policy_says_so() {
    if crate::sys::exec::find("dpkg-query").is_none() {
        return;
    }
    let step = SwapBinary { path: AbsPath::parse("/usr/bin/dpkg-query").unwrap() };
    let refused = bench_with("[\"600\"]", "binaries.\"/usr/bin/dpkg-query\" = {}");
    let problem = demand(&step, &refused.cx()).await.unwrap_err();
    assert!(problem.what.contains("belongs to a package (dpkg: dpkg)"), "{problem}");
    let allowed =
        bench_with("[\"600\"]", "binaries.\"/usr/bin/dpkg-query\" = { allow_package_owned = true }");
    assert_eq!(demand(&step, &allowed.cx()).await, Ok(()));
}

#[tokio::test]
async fn the_dry_check_changes_nothing_and_says_what_the_exchange_would() {
    let bench = bench();
    let step = bench.step();
    let old = bench.digest();
    let check = crate::actions::check_swap::Check(&step);
    bench.run(&check).await.unwrap();
    assert_eq!(bench.digest(), old);
    fs::set_permissions(bench.path.as_str(), Permissions::from_mode(0o4755)).unwrap();
    assert!(bench.run(&check).await.unwrap_err().what.contains("setuid"));
}
