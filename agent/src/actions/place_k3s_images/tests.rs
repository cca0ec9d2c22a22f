use std::fs;

use super::*;
use crate::actions::swap_binary::tests::{Bench, bench_with};

/// A node whose policy lets an archive lie in `agent/images`, which is not there yet.
fn bench() -> (Bench, PlaceK3sImages) {
    let bench = bench_with("[\"600\"]", "");
    let agent = bench.host.state_dir.join("agent");
    fs::create_dir(&agent).unwrap();
    let path = AbsPath::parse(agent.join("images/airgap.tar.zst").to_str().unwrap()).unwrap();
    let mut policy = (*bench.host.policy).clone();
    policy.binaries.insert(path.clone(), BinaryRule::default());
    let host = crate::host::Host { policy: policy.into(), ..bench.host };
    (Bench { host, ..bench }, PlaceK3sImages { path })
}

fn names(step: &PlaceK3sImages) -> Vec<String> {
    let dir = std::path::Path::new(step.path.as_str()).parent().unwrap();
    let mut names: Vec<_> = fs::read_dir(dir)
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

#[tokio::test]
async fn the_first_archive_is_put_twice_and_taken_away_twice() {
    let (bench, step) = bench();
    let (cx, action, due) = (bench.cx(), Place(&step), bench.section.artifact.as_ref().unwrap().sha256);
    action.check(&cx).await.unwrap();
    let note = action.note(&cx).await.unwrap();
    assert_eq!(action.probe(&cx, &note).await, Found::NotBegun);
    for _ in 0..2 {
        let seen = action.apply(&cx, &note).await.unwrap();
        assert!(matches!(&seen[..], [Evidence::Placed { sha256, replaced: None, .. }] if *sha256 == due));
        assert_eq!(names(&step), ["airgap.tar.zst"]);
        assert_eq!(Sha256::of(&fs::read(step.path.as_str()).unwrap()), due);
        assert_eq!(action.probe(&cx, &note).await, Found::Done);
    }
    for _ in 0..2 {
        action.undo(&cx, &note).await.unwrap();
        assert!(names(&step).is_empty());
        assert_eq!(action.probe(&cx, &note).await, Found::NotBegun);
    }
}

#[tokio::test]
async fn an_archive_of_the_same_name_is_displaced_and_comes_back() {
    let (bench, step) = bench();
    let (cx, action) = (bench.cx(), Place(&step));
    fs::create_dir(std::path::Path::new(step.path.as_str()).parent().unwrap()).unwrap();
    fs::write(step.path.as_str(), "the old images").unwrap();
    let note = action.note(&cx).await.unwrap();
    for _ in 0..2 {
        action.apply(&cx, &note).await.unwrap();
        let imported: Vec<_> =
            names(&step).into_iter().filter(|name| KINDS.iter().any(|kind| name.ends_with(kind))).collect();
        assert_eq!(imported, ["airgap.tar.zst"], "what is kept has no name that K3s imports");
    }
    for _ in 0..2 {
        action.undo(&cx, &note).await.unwrap();
        assert_eq!(fs::read(step.path.as_str()).unwrap(), b"the old images");
        assert_eq!(names(&step), ["airgap.tar.zst"]);
    }
}

#[tokio::test]
async fn what_somebody_else_put_there_meanwhile_is_left_alone() {
    let (bench, step) = bench();
    let (cx, action) = (bench.cx(), Place(&step));
    let note = action.note(&cx).await.unwrap();
    fs::create_dir(std::path::Path::new(step.path.as_str()).parent().unwrap()).unwrap();
    fs::write(step.path.as_str(), "somebody's").unwrap();
    assert!(action.apply(&cx, &note).await.unwrap_err().what.contains("somebody else"));
    assert!(matches!(action.probe(&cx, &note).await, Found::Undecidable(_)));
    assert!(action.undo(&cx, &note).await.unwrap_err().what.contains("left alone"));
    assert_eq!(fs::read(step.path.as_str()).unwrap(), b"somebody's");
}

#[tokio::test]
async fn an_archive_of_another_name_or_place_is_refused_with_the_line_for_the_policy() {
    let (bench, step) = bench();
    let named = |path: String| PlaceK3sImages { path: AbsPath::parse(&path).unwrap() };
    let other = named(format!("{}.part", step.path));
    let problem = Place(&other).check(&bench.cx()).await.unwrap_err();
    assert!(problem.what.contains("imports") && problem.next[0].contains(".tar.zst"), "{problem:?}");
    let other = named(format!("{}.tar", step.path));
    let problem = Place(&other).check(&bench.cx()).await.unwrap_err();
    assert!(problem.next.iter().any(|next| next.contains("[binaries.")), "{problem:?}");
    assert!(foresee(&other, &bench.cx()).is_err());
    assert_eq!(foresee(&step, &bench.cx()), Ok(()));
}
