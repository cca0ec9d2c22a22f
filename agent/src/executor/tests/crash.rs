//! The agent dies anywhere, once or in a row, and starts again.

use drydock_types::outcome::SectionResult;
use proptest::prelude::*;

use super::bench::*;
use crate::{
    executor::*,
    journal::memory::{Fault, MemoryDisk, Survives},
};

/// Lets the agent die once, at a point of the node's or at a write of the journal's, and starts it again.
/// `false` when there was no such point any more.
async fn die_and_recover(node: Node, death: Death, left: Survives) -> bool {
    let bench = Bench::on(MemoryDisk::new(), node).await;
    let Some((bench, outcome)) = carried_on(bench, &section(), death, left).await else { return false };
    judge(&bench.node, &outcome);
    true
}

/// Once, or held for a person; never twice.
fn judge(node: &Node, outcome: &Outcome) {
    node.with(|world| match &outcome.result {
        SectionResult::Done {} => {
            assert_eq!((world.applied["swapBinary"], world.applied["restartUnit"]), (1, 1), "{outcome:?}");
            assert_eq!(world.running, "new");
        }
        SectionResult::Undone { .. } => {
            let done = |step| world.applied.get(step).copied().unwrap_or(0);
            assert!(done("swapBinary") == 1 && done("restartUnit") <= 1, "{outcome:?}");
            let back = world.undone.iter().filter(|step| **step == "restartUnit").count();
            assert_eq!(back, done("restartUnit") as usize, "restarted back once: {outcome:?}");
            assert_eq!((world.file.as_str(), world.running.as_str()), ("old", "old"), "{outcome:?}");
        }
        SectionResult::Undecidable { .. } => {
            assert!(world.blind);
            assert!(world.applied.values().all(|count| *count == 1), "{outcome:?}");
        }
        other => panic!("{other:?}"),
    });
}

const LEFT: [Survives; 4] =
    [Survives::Nothing, Survives::Prefix(30), Survives::AllBut(40), Survives::Everything];

#[test]
fn an_agent_that_dies_anywhere_does_each_step_once() {
    for failing in [None, Some("healthy.apply"), Some("restartUnit.apply")] {
        for left in LEFT {
            let script = || {
                let node = Node::new();
                node.with(|world| world.failing.extend(failing.map(str::to_owned)));
                node
            };
            let died = |death| run(die_and_recover(script(), death, left));
            assert!((1..).take_while(|point| died(Death::AtPoint(*point))).count() > 8);
            for fault in Fault::DEATHS {
                assert!((0..).take_while(|write| died(Death::AtWrite(*write, fault))).count() >= 6);
            }
        }
    }
}

#[test]
fn what_nothing_can_tell_after_a_crash_is_held_for_a_person() {
    run(async {
        let bench = Bench::new().await;
        bench.node.with(|world| {
            world.blind = true;
            world.hanging.insert("swapBinary.apply".into());
        });
        let dispatch = Dispatch { section: encode(&section()), ..bench.dispatch(&section()) };
        assert!(dies(&bench, bench.executor.take(dispatch)).await);
        bench.disk.crash(Survives::Nothing);
        let bench = Bench::on(bench.disk, bench.node).await;
        let outcome = bench.executor.recover().await.unwrap().unwrap();
        assert!(matches!(outcome.result, SectionResult::Undecidable { .. }), "{outcome:?}");
        judge(&bench.node, &outcome);
    });
}

#[test]
fn a_section_that_kills_the_agent_each_time_is_not_carried_on_for_ever() {
    run(async {
        let mut bench = Bench::new().await;
        bench.node.with(|world| world.hanging.insert("swapBinary.check".into()));
        let take = bench.executor.take(bench.dispatch(&section()));
        assert!(dies(&bench, take).await);
        for _ in 0..MAX_RESUMED {
            bench.disk.crash(Survives::Nothing);
            bench = Bench::on(bench.disk, bench.node).await;
            assert!(dies(&bench, bench.executor.recover()).await);
        }
        bench.disk.crash(Survives::Nothing);
        let bench = Bench::on(bench.disk, bench.node).await;
        let outcome = bench.executor.recover().await.unwrap().unwrap();
        assert!(
            matches!(&outcome.result, SectionResult::Undecidable { because, .. } if because.contains("died"))
        );
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// However often the agent dies (below the limit), wherever, and whatever the disk keeps of it.
    #[test]
    fn any_row_of_deaths_ends_in_one_outcome_and_no_step_done_twice(
        deaths in prop::collection::vec((any::<bool>(), 0u64..14, 0usize..4, 0usize..3), 0..5),
        fails in any::<bool>(),
    ) {
        run(async {
            let mut bench = Bench::new().await;
            bench.node.with(|world| if fails { world.failing.insert("healthy.apply".into()); });
            for (at_write, point, left, fault) in deaths {
                let death = if at_write { Death::AtWrite(point, Fault::DEATHS[fault]) } else { Death::AtPoint(1 + point) };
                bench.arm(death);
                let work = async {
                    bench.executor.recover().await.unwrap();
                    bench.executor.take(bench.dispatch(&section())).await.unwrap();
                };
                dies(&bench, work).await;
                let before = bench.executor.memory().await.length;
                bench.node.with(|world| world.dies_at = None);
                bench.disk.crash(LEFT[left]);
                bench = Bench::on(bench.disk, bench.node).await;
                assert!(bench.executor.memory().await.length >= before);
            }
            bench.executor.recover().await.unwrap();
            let outcome = bench.done(&section()).await;
            judge(&bench.node, &outcome);
            assert_eq!(matches!(outcome.result, SectionResult::Done {}), !fails, "{outcome:?}");
        });
    }
}
