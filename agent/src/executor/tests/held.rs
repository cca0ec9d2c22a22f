//! What the journal says of sections that changed the node.

use drydock_types::Step;

use super::bench::{Bench, run, section};
use crate::executor::{admit::changes, held::HARMLESS};

#[test]
fn what_changed_the_node_is_told_and_what_was_refused_is_not() {
    run(async {
        let bench = Bench::new().await;
        bench.node.with(|world| world.failing.insert("swapBinary.check".into()));
        bench.done(&section()).await;
        assert_eq!(bench.executor.held(8).await.unwrap(), []);
        let bench = Bench::new().await;
        bench.done(&section()).await;
        let held = bench.executor.held(8).await.unwrap();
        assert_eq!(held.len(), 1);
        assert!(held[0].ended && held[0].effect == section().effect, "{held:?}");
        assert!(held[0].what.contains("swapBinary, restartUnit"), "{held:?}");
        assert_eq!(bench.executor.held(0).await.unwrap(), []);
    });
}

#[test]
fn a_step_that_changes_the_node_is_never_called_harmless() {
    let known: Vec<&str> = HARMLESS.to_vec();
    assert!(known.iter().all(|name| Step::ALL.contains(name)), "a name that no step has");
    let change: Vec<&str> = Step::ALL.into_iter().filter(|name| !known.contains(name)).collect();
    let want = [
        "swapBinary",
        "stopUnit",
        "startUnit",
        "restartUnit",
        "moveEtcdLeader",
        "restartAgent",
        "reboot",
        "moveK3sLeader",
        "placeK3sImages",
        "installPackages",
        "restartLibvirt",
        "reloadOpenvswitch",
        "restartOvnController",
    ];
    assert_eq!(change, want, "each step is one or the other");
    for step in section().steps.iter().filter(|step| changes(step)) {
        assert!(!known.contains(&step.name()), "{}", step.name());
    }
}
