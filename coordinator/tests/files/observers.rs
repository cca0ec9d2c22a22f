//! Who is to ask from outside while a node is changed, in plans: what they say, and what cannot be meant.

use drydock_core::observe::{Observer, Reach};
use drydock_types::{Millis, reach::ReachTarget};

use crate::desk::{Desk, edit, said, same};

/// The good plan with these observers before its waves.
fn in_stage(observers: &str) -> String {
    edit("      waves:\n", &format!("      observe: [{observers}]\n      waves:\n"))
}

#[test]
fn observers_of_a_stage_stand_behind_its_recipes_own() {
    let plan = in_stage(
        "{reach: {from: \"{label:peer}\", to: [{ping: {address: \"{label:vtep}\"}}, {tcp: {address: \"10.0.0.7:22\"}}], every: 200ms, maxGap: 2s}}, {controlPlane: {maxGap: 30s}}",
    );
    let (bundle, _) = Desk::new().compile(plan).unwrap();
    let [Observer::Reach(reach), Observer::ControlPlane(_)] = &*bundle.stages[0].recipe.spec.observe else {
        panic!("{:?}", bundle.stages[0].recipe.spec.observe)
    };
    let to = vec![
        ReachTarget::Ping { address: "{label:vtep}".to_owned() },
        ReachTarget::Tcp { address: "10.0.0.7:22".to_owned() },
    ];
    let want = Reach { from: "{label:peer}".to_owned(), to, every: Millis(200), max_gap: Millis::secs(2) };
    assert_eq!(reach, &want);
}

#[test]
fn who_can_never_be_asked_is_refused_with_its_place() {
    same(
        &said(in_stage("{reach: {from: net-1, to: [{ping: {address: 127.0.0.1}}], maxGap: 2s}}")),
        r#"
error: etcd.yaml:11:17: no agent asks 127.0.0.1: loopback, link-local, multicast and unspecified addresses are refused
   |
11 |       observe: [{reach: {from: net-1, to: [{ping: {address: 127.0.0.1}}], maxGap: 2s}}]
   |                 ^ name an address by which other machines reach it
"#,
    );
    for (observer, why) in [
        ("{reach: {from: net-1, to: [], maxGap: 2s}}", "asks nobody"),
        ("{reach: {from: Net_1, to: [{ping: {address: 10.0.0.7}}], maxGap: 2s}}", "node name"),
        ("{reach: {from: net-1, to: [{ping: {address: db}}], maxGap: 2s}}", "\"db\" is no address"),
        ("{reach: {from: net-1, to: [{ping: {address: 10.0.0.7}}], every: 50ms, maxGap: 2s}}", "100ms to 1m"),
        ("{reach: {from: net-1, to: [{ping: {address: 10.0.0.7}}], every: 3s, maxGap: 2s}}", "maxGap"),
        ("{reach: {from: net-1, to: [{ping: {address: 10.0.0.7}}], maxGap: 2s, evry: 1s}}", "evry"),
        ("{reach: {from: net-1, to: [{ping: {host: 10.0.0.7}}], maxGap: 2s}}", "host"),
    ] {
        let text = said(in_stage(observer));
        assert!(text.contains(why), "{observer}: {text}");
    }
}

#[test]
fn there_are_eight_at_most() {
    let one = "{reach: {from: net-1, to: [{ping: {address: 10.0.0.7}}], maxGap: 2s}}";
    Desk::new().compile(in_stage(&[one; 8].join(", "))).unwrap();
    let text = said(in_stage(&[one; 9].join(", ")));
    assert!(text.contains("9 observers of one node's change; there are 8 at most"), "{text}");
}
