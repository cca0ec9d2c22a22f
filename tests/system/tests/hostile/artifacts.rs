//! Artifacts that are not what they should be, before a real agent that trusts only its own keys.

use std::{fs, sync::Arc, time::Instant};

use drydock_system_tests::{Behaviour, node::COMPONENT};
use drydock_types::{
    ArtifactRef, EffectId, Outcome, SectionKind, Step, document,
    outcome::SectionResult,
    step::{FetchArtifact, SwapBinary},
};

use super::double::{Double, Serves, fence};

fn fetch() -> Vec<Step> {
    vec![Step::FetchArtifact(FetchArtifact {})]
}

/// Has the agent fetch it, and says why it would not.
#[track_caller]
fn refused(double: &Double, number: u8, to: &str, artifact: &ArtifactRef, says: &str) {
    let section = double.section(number, SectionKind::Stage, to, Some(artifact.clone()), fetch());
    let outcome = double.dispatch(fence(5, 1), section.effect, &document::encode(&section)).ended();
    assert!(failed(&outcome).contains(says), "wanted {says:?}: {outcome:#?}");
    let store = double.node.state_dir().join("artifacts");
    let left: Vec<_> =
        fs::read_dir(store).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    assert!(
        left.iter().all(|path| !path.to_string_lossy().contains(&artifact.sha256.to_string())
            || fs::metadata(path).unwrap().len() < artifact.size),
        "{left:?}"
    );
    double.untouched();
}

fn failed(outcome: &Outcome) -> String {
    match &outcome.result {
        SectionResult::Done { .. } => panic!("it was done: {outcome:#?}"),
        other => format!("{other:?}"),
    }
}

/// Hostile input 19, end to end: wrong digest, truncated, larger than declared, endless, missing.
#[test]
fn an_artifact_that_is_not_what_was_signed_is_never_taken_and_an_endless_one_is_cut_off() {
    let double = Double::start();
    let (bytes, artifact) = double.artifact("2.0.0", Behaviour::Well);
    let mut wrong = bytes.clone();
    let middle = wrong.len() / 2;
    wrong[middle] ^= 1;
    double.serves(Serves::Bytes(Arc::new(wrong)));
    refused(&double, 1, "2.0.0", &artifact, "digest");
    double.serves(Serves::Bytes(Arc::new([bytes.clone(), vec![0; 4096]].concat())));
    refused(&double, 2, "2.0.0", &artifact, "more");
    let began = Instant::now();
    double.serves(Serves::Endless);
    refused(&double, 3, "2.0.0", &artifact, "more");
    assert!(double.sent_bytes() < artifact.size + (8 << 20), "{} bytes were taken", double.sent_bytes());
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    double.serves(Serves::Bytes(Arc::new(bytes[..bytes.len() / 3].to_vec())));
    refused(&double, 4, "2.0.0", &artifact, "");
    double.serves(Serves::Nothing);
    refused(&double, 5, "2.0.0", &artifact, "no such artifact");

    // The same agent, the right bytes.
    double.serves(Serves::Bytes(Arc::new(bytes)));
    let section = double.section(6, SectionKind::Stage, "2.0.0", Some(artifact), fetch());
    let outcome = double.dispatch(fence(5, 1), section.effect, &document::encode(&section)).ended();
    assert!(matches!(outcome.result, SectionResult::Done { .. }), "{outcome:#?}");
}

/// Hostile input 16, end to end: an older signed version below the floor, another component's artifact, a
/// signature by a key that the node does not know, and one whose comment was rewritten.
#[test]
fn a_signed_artifact_of_another_version_component_or_key_is_refused_by_the_node() {
    let mut double = Double::start();
    double.node.kill();
    let policy =
        format!("{}[version_floor]\n{COMPONENT} = \"1.5.0\"\n", double.node.policy(&double.files.public_key));
    double.node.write_policy(&policy);
    fs::remove_file(double.node.dir.join("starts")).unwrap();
    double.node.start();

    let (bytes, old) = double.artifact("1.2.0", Behaviour::Well);
    double.serves(Serves::Bytes(Arc::new(bytes)));
    refused(&double, 1, "1.2.0", &old, "below this node's floor 1.5.0");
    // Replayed as if it were the new one.
    refused(&double, 2, "2.0.0", &old, "1.2.0");

    let file = double.files.release("2.0.0", Behaviour::Well);
    double.files.sign(&file, "etcd", "2.0.0");
    let (bytes, other) = double.signed(&file);
    double.serves(Serves::Bytes(Arc::new(bytes)));
    refused(&double, 3, "2.0.0", &other, "etcd");

    double.files.sign(&file, COMPONENT, "2.0.0");
    let (_, good) = double.signed(&file);
    let mut rewritten = good.clone();
    rewritten.signature = good.signature.replace("version=2.0.0", "version=2.0.1");
    refused(&double, 4, "2.0.1", &rewritten, "signature");

    fs::remove_file(double.files.dir().join("signing.key")).unwrap();
    fs::remove_file(double.files.dir().join("signing.key.pub")).unwrap();
    double.files.drydock(&["artifact", "keygen", "--no-password", "signing.key"]).exits(0);
    double.files.sign(&file, COMPONENT, "2.0.0");
    let (_, stranger) = double.signed(&file);
    refused(&double, 5, "2.0.0", &stranger, "key");
    let mut none = good.clone();
    none.signature = String::new();
    refused(&double, 6, "2.0.0", &none, "signature");
}

/// Hostile input 16: what was fetched and proven for one section is proven anew for the exchange.
#[test]
fn an_exchange_without_a_proven_artifact_is_refused_and_changes_nothing() {
    let double = Double::start();
    let (_, artifact) = double.artifact("2.0.0", Behaviour::Well);
    let path = double.node.binary().display().to_string().parse().unwrap();
    let swap = vec![Step::SwapBinary(SwapBinary { path })];
    let section = double.section(1, SectionKind::Apply, "2.0.0", Some(artifact), swap);
    let outcome = double.dispatch(fence(5, 1), EffectId([1; 32]), &document::encode(&section)).ended();
    assert!(failed(&outcome).contains("is not ready"), "{outcome:#?}");
    double.untouched();
}
