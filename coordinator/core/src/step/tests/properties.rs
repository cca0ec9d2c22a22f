//! Any sequence of events, sensible or not, in any order, at any time: after each of them the rules hold.
//!
//! The seed is fixed, so that every build walks the same corpus; what ever failed stays in
//! `proptest-regressions/` beside the sources.

use alloc::{boxed::Box, format, string::ToString, vec, vec::Vec};

use drydock_types::{EffectId, Millis, UnitName, Verdict, outcome::SectionResult};
use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence, RngSeed},
};

use super::world::{World, failure, journal, outcome, undone};
use crate::{
    bundle::Bundle,
    inventory::{Inventory, Role, Seen},
    moves::{Doing, KubernetesDrain, Move, MoveEnd},
    plan::tests::fixture::*,
    plan_file::{
        Allow, ApprovalBy, ApprovalSpec, BudgetSpec, Count, OnFailure, Order, TimeOfDay, WindowSpec,
    },
    recipe::{Check, UnitCheck},
    run::{Change, Disrupted, Event, WaitFor},
    step::step,
    view::{Phase, RunStatus},
};

/// What may happen. Numbers choose among what there is, so that most of it means something.
#[derive(Debug, Clone)]
enum Act {
    Look {
        which: u8,
        verdict: u8,
        seen: u8,
        disrupted: u8,
    },
    End {
        which: u8,
        how: u8,
    },
    Lapse {
        which: u8,
    },
    /// What becomes of moves.
    Move {
        which: u8,
        how: u8,
    },
    Decline {
        which: u8,
    },
    Connect {
        which: u8,
        memory: u8,
    },
    Foreign {
        what: u8,
    },
    Again {
        back: u8,
    },
    Pause,
    Resume,
    Abort,
    Restart,
    Start,
    Tick {
        ms: u32,
    },
    Wake,
    Approve {
        by: u8,
        wave: u8,
    },
    Amend {
        what: u8,
        how: u8,
    },
    Skip {
        which: u8,
    },
    Extend {
        which: u8,
    },
    /// Somebody sets the wall clock.
    Clock {
        by: u8,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let look = (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>());
    prop_oneof![
        30 => look.prop_map(|(which, verdict, seen, disrupted)| Act::Look { which, verdict, seen, disrupted }),
        30 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Act::End { which, how }),
        4 => any::<u8>().prop_map(|which| Act::Lapse { which }),
        1 => any::<u8>().prop_map(|which| Act::Decline { which }),
        16 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Act::Move { which, how }),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(which, memory)| Act::Connect { which, memory }),
        2 => any::<u8>().prop_map(|what| Act::Foreign { what }),
        3 => any::<u8>().prop_map(|back| Act::Again { back }),
        2 => Just(Act::Pause),
        6 => Just(Act::Resume),
        1 => Just(Act::Abort),
        2 => Just(Act::Restart),
        1 => Just(Act::Start),
        8 => prop_oneof![0u32..30, 0u32..20_000, 0u32..2_000_000].prop_map(|ms| Act::Tick { ms }),
        14 => Just(Act::Wake),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(by, wave)| Act::Approve { by, wave }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(what, how)| Act::Amend { what, how }),
        1 => any::<u8>().prop_map(|which| Act::Skip { which }),
        1 => any::<u8>().prop_map(|which| Act::Extend { which }),
        1 => any::<u8>().prop_map(|by| Act::Clock { by }),
    ]
}

#[derive(Debug, Clone)]
struct Shape {
    nodes: usize,
    waves: usize,
    soak_ms: u64,
    staged: bool,
    protected: bool,
    listed: bool,
    hold: bool,
    blind: bool,
    crowd: Crowd,
    guard: Guard,
}

/// How many at once, and of whom.
#[derive(Debug, Clone)]
struct Crowd {
    concurrency: u32,
    budget: u32,
    /// By node: its zone, if it has one.
    zones: [Option<u8>; 5],
    labelled: bool,
    split: bool,
}

/// What stands before a wave, and during its soak.
#[derive(Debug, Clone)]
struct Guard {
    window: bool,
    approval: Option<bool>,
    soak_checks: bool,
    outage: bool,
    drained: bool,
}

fn crowd() -> impl Strategy<Value = Crowd> {
    let zone = prop::option::weighted(0.8, 0u8..3);
    let zones = [zone.clone(), zone.clone(), zone.clone(), zone.clone(), zone];
    (1u32..4, 1u32..3, zones, any::<bool>(), prop::bool::weighted(0.3)).prop_map(
        |(concurrency, budget, zones, labelled, split)| Crowd { concurrency, budget, zones, labelled, split },
    )
}

fn guard() -> impl Strategy<Value = Guard> {
    let approval = prop::option::weighted(0.2, any::<bool>());
    (prop::bool::weighted(0.2), approval, any::<bool>(), any::<bool>(), prop::bool::weighted(0.4)).prop_map(
        |(window, approval, soak_checks, outage, drained)| Guard {
            window,
            approval,
            soak_checks,
            outage,
            drained,
        },
    )
}

fn shape() -> impl Strategy<Value = Shape> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.2));
    let soak = prop_oneof![Just(0), Just(10_000), Just(700)];
    (1usize..6, 1usize..3, soak, flags, crowd(), guard()).prop_map(
        |(nodes, waves, soak_ms, (staged, protected, listed, hold, blind), crowd, guard)| Shape {
            nodes,
            waves: waves.min(nodes),
            soak_ms,
            staged,
            protected,
            listed,
            hold,
            blind,
            crowd,
            guard,
        },
    )
}

fn build(shape: &Shape) -> (Bundle, Inventory) {
    let names: Vec<_> = (1..=shape.nodes).map(|i| format!("ctl-{i}")).collect();
    let (first, second) = names.split_at(shape.nodes / shape.waves);
    let waves = [first, second].into_iter().filter(|part| !part.is_empty()).enumerate();
    let waves = waves.map(|(i, part)| {
        let names: Vec<&str> = part.iter().map(|name| name.as_str()).collect();
        let mut wave = wave(&format!("w{i}"), named(&names));
        wave.soak = Millis(shape.soak_ms);
        wave.order = if shape.listed { Order::Listed } else { Order::FollowersFirst };
        wave.concurrency = Count::Nodes(shape.crowd.concurrency);
        if shape.crowd.split {
            wave.split = vec![Count::Nodes(1), Count::Percent(50)];
        }
        if shape.guard.soak_checks {
            let unit = UnitName::parse("kubelet.service").unwrap();
            wave.soak_checks = vec![Check::Unit(UnitCheck { unit })];
        }
        let by = |anybody| if anybody { ApprovalBy::Anybody } else { ApprovalBy::SomebodyElse };
        let within = Millis::secs(3600);
        wave.approval = shape.guard.approval.map(|anybody| ApprovalSpec { by: by(anybody), within });
        wave
    });
    let mut bundle = bundle(vec![stage("etcd", waves.collect())]);
    bundle.plan.spec.stages[0].on_failure = if shape.hold { OnFailure::Hold } else { OnFailure::Rollback };
    if shape.guard.outage {
        bundle.plan.spec.stages[0].outage.insert("etcd".to_string(), Millis::secs(300));
    }
    let spec = &mut bundle.stages[0].recipe.spec;
    if !shape.staged {
        spec.stage.clear();
    }
    if shape.guard.drained {
        spec.drain = vec![Move::KubernetesDrain(KubernetesDrain::default())];
    }
    if !shape.protected {
        spec.protect.clear();
    }
    if shape.blind {
        spec.detect.version = None;
        bundle.stages[0].artifact = None;
    }
    let domain_label = shape.crowd.labelled.then(|| label("zone"));
    bundle.plan.spec.budget = BudgetSpec { per_failure_domain: shape.crowd.budget, domain_label };
    bundle.plan.spec.allow = vec![Allow::Extend, Allow::Skip, Allow::Soak, Allow::Concurrency, Allow::Window];
    if shape.guard.window {
        // Open for two hours from when the run begins, and again a day later.
        let time = |text| TimeOfDay::parse(text).unwrap();
        let (from, to, time_zone) = (time("22:00"), time("00:30"), "UTC".to_string());
        bundle.plan.spec.window = Some(WindowSpec { days: Vec::new(), from, to, time_zone });
    }
    let mut inventory = inventory(shape.nodes);
    for (node, zone) in inventory.nodes.values_mut().zip(shape.crowd.zones) {
        node.labels.extend(zone.map(|zone| (label("zone"), label(&format!("z{zone}")))));
    }
    (bundle, inventory)
}

/// A member that may have been changed, and what it would say of itself.
struct Truth {
    new: Vec<bool>,
}

impl Truth {
    fn seen(&self, node: usize, how: u8, blind: bool) -> Seen {
        let role = if how & 1 == 1 { Role::Leader } else { Role::Follower };
        let mut seen = if self.new[node] { seen_new(role) } else { seen_old(role) };
        match how >> 1 {
            0 => seen.version = Some(Err("refused".to_string())),
            1 => seen.version = None,
            2 => seen.version = Some(Ok(version("3.6.0"))),
            3 => seen.version = Some(Ok(version("3.4.27"))),
            4 => seen.exe_sha256 = None,
            5 => seen = seen_new(role),
            _ => {}
        }
        if blind {
            seen.version = None;
        }
        seen
    }
}

fn moved_well(doing: Doing) -> MoveEnd {
    match doing {
        Doing::Leave => MoveEnd::Left { seen: "no pod is left there".to_string() },
        Doing::GiveBack => MoveEnd::GivenBack { seen: "it is uncordoned".to_string() },
    }
}

fn nth<T>(list: Vec<T>, which: u8) -> Option<T> {
    let many = list.len();
    list.into_iter().nth(usize::from(which).checked_rem(many)?)
}

fn with_open(world: &World, which: u8) -> Option<(usize, EffectId)> {
    let open =
        world.run.nodes.iter().enumerate().filter_map(|(i, node)| Some((i, node.open.as_ref()?.effect)));
    nth(open.collect(), which)
}

/// The event that an act is here and now, if it is any.
fn event(world: &World, truth: &mut Truth, act: &Act, blind: bool) -> Option<Event> {
    let by = || "anna".to_string();
    Some(match act {
        Act::Look { which, verdict, seen, disrupted } => {
            let asked = world.run.nodes.iter().enumerate().filter(|(_, node)| node.look.is_some());
            let index = nth(asked.map(|(index, _)| index).collect(), *which)?;
            let node = world.run.nodes[index].name.to_string();
            let mut event = world.clear(&node, truth.seen(index, *seen, blind));
            if let Event::Looked { results, disrupted: others, round, .. } = &mut event {
                match verdict {
                    0..10 => results[0].verdict = Verdict::Waiting("no leader".to_string()),
                    10..16 => results[0].verdict = Verdict::Unknown("silent".to_string()),
                    16..19 => results[0].verdict = Verdict::Refused("NOSPACE".to_string()),
                    19..24 => results.truncate(results.len() - 1),
                    24..30 => *round = round.wrapping_sub(1),
                    // Of a node that is drained: somebody has uncordoned it.
                    30..40 => {
                        if let Some(last) = results.last_mut() {
                            last.verdict = Verdict::Waiting("a pod has landed there".to_string());
                        }
                    }
                    _ => {}
                }
                let who = match disrupted {
                    0..20 => vec!["db-7"],
                    20..30 => vec![node.as_str()],
                    30..33 => vec!["db-7", "db-8", node.as_str()],
                    _ => vec![],
                };
                *others =
                    who.iter().map(|who| Disrupted { node: name(who), why: "silent".to_string() }).collect();
            }
            event
        }
        Act::End { which, how } => {
            let (index, effect) = with_open(world, *which)?;
            let apply = world.run.nodes[index].open.as_ref()?.kind == drydock_types::SectionKind::Apply;
            let result = match how {
                0..8 if apply => undone(),
                8..12 if apply => {
                    SectionResult::LeftAlone { failure: failure(), because: "risen".to_string() }
                }
                12..18 => SectionResult::Failed { failure: failure() },
                18..24 => SectionResult::Refused { failure: failure() },
                24..30 => {
                    SectionResult::Undecidable { step: "swapBinary".to_string(), because: "?".to_string() }
                }
                _ => SectionResult::Done {},
            };
            truth.new[index] |= apply && matches!(result, SectionResult::Done {});
            Event::Ended { outcome: outcome(effect, result) }
        }
        Act::Lapse { which } => {
            Event::Lapsed { effect: with_open(world, *which)?.1, why: "no stream".to_string() }
        }
        Act::Move { which, how } => {
            let moving = world.run.nodes.iter().filter_map(|node| node.moving.as_ref());
            let moving = nth(moving.collect(), *which)?;
            let (effect, why) = (moving.effect, || "shop/cart allows 0 disruptions".to_string());
            let end = match how {
                0..20 => MoveEnd::Refused { why: why() },
                20..35 => MoveEnd::Lapsed { why: why() },
                35..50 => MoveEnd::NeverBegun { why: why() },
                50..55 => MoveEnd::GivenBack { seen: "?".to_string() },
                55..60 => MoveEnd::Left { seen: "?".to_string() },
                60..90 => {
                    let what = "pods of shop/cart to leave".to_string();
                    return Some(Event::MoveWaits { effect, what, because: why() });
                }
                _ => moved_well(moving.doing),
            };
            Event::Moved { effect, end }
        }
        Act::Decline { which } => {
            Event::Declined { effect: with_open(world, *which)?.1, why: "policy".to_string() }
        }
        Act::Connect { which, memory } => {
            let node = &world.run.nodes[usize::from(*which) % world.run.nodes.len()];
            let journal = match memory {
                0..20 => journal(2, 5),
                20..40 => journal(1, u64::from(*memory) - 20),
                _ => journal(1, 1000),
            };
            Event::AgentConnected { node: node.name.clone(), key: node.key, journal }
        }
        Act::Foreign { what } => match what % 4 {
            0 => Event::Ended { outcome: outcome(EffectId([*what; 32]), SectionResult::Done {}) },
            1 => Event::Lapsed { effect: EffectId([*what; 32]), why: "x".to_string() },
            2 => {
                let seen = truth.seen(0, 255, blind);
                Event::Looked {
                    node: usize::from(*what),
                    round: 1,
                    results: Vec::new(),
                    seen,
                    disrupted: Vec::new(),
                }
            }
            _ => {
                let key = drydock_types::Sha256([*what; 32]);
                Event::AgentConnected { node: name("ctl-1"), key, journal: journal(7, 7) }
            }
        },
        Act::Again { back } => {
            let at = world.log.len().checked_sub(1 + usize::from(*back) % 8)?;
            world.log[at].0.clone()
        }
        Act::Pause => Event::Paused { by: by() },
        Act::Resume => Event::Resumed { by: by() },
        Act::Abort => Event::Aborted { by: by() },
        Act::Restart => Event::Restarted {},
        Act::Start => Event::Started {},
        Act::Tick { .. } | Act::Wake | Act::Clock { .. } => Event::Tick {},
        Act::Approve { by, wave } => {
            let by = if by % 2 == 0 { "anna" } else { "bert" };
            Event::Approved { by: by.to_string(), stage: 0, wave: usize::from(*wave) % 4 }
        }
        Act::Amend { what, how } => {
            let (stage, wave) = (0, usize::from(*how) % 4);
            let change = match what % 3 {
                0 => Change::Soak { stage, wave, soak: Millis(u64::from(*how) * 100) },
                1 => Change::Concurrency { stage, wave, concurrency: u32::from(*how) % 4 },
                _ => Change::NoWindow {},
            };
            Event::Amended { by: by(), change }
        }
        Act::Skip { which } => {
            Event::NodeSkipped { by: by(), node: usize::from(*which) % world.run.nodes.len() }
        }
        Act::Extend { which } => {
            let node = usize::from(*which) % world.run.nodes.len();
            Event::Extended { by: by(), node, more: Millis::secs(60) }
        }
    })
}

fn play(shape: &Shape, acts: &[Act]) -> World {
    let (bundle, inventory) = build(shape);
    let mut world = World::of(&bundle, &inventory);
    let mut truth = Truth { new: vec![false; shape.nodes] };
    world.tell(Event::Started {});
    for act in acts {
        match act {
            Act::Tick { ms } => world.pass(u64::from(*ms)),
            Act::Wake => {
                let wake = world.run.next_wake_ms().unwrap_or(0);
                world.pass(wake.saturating_sub(world.now.clock_ms));
            }
            Act::Clock { by } => {
                // An hour ahead, an hour back, or a day.
                world.pass(1);
                let jump = [3_600_000, 24 * 3_600_000][usize::from(by & 1)];
                let wall_ms = world.now.wall_ms;
                world.now.wall_ms = if by & 2 == 0 { wall_ms + jump } else { wall_ms - jump };
            }
            _ => world.pass(1),
        }
        if let Some(event) = event(&world, &mut truth, act, shape.blind) {
            world.tell(event);
        }
    }
    world
}

fn config() -> Config {
    Config {
        cases: 150,
        rng_seed: RngSeed::Fixed(0x0D12_7D0C),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_rules_hold_after_any_sequence_of_events(shape in shape(), acts in prop::collection::vec(act(), 0..120)) {
        let world = play(&shape, &acts);
        let replayed = world.log.iter().fold(world.first.clone(), |run, (event, now)| step(run, event, *now).0);
        prop_assert_eq!(&replayed, &world.run, "the events alone give the run again");
    }

    #[test]
    fn a_run_that_was_aborted_comes_to_its_end(shape in shape(), acts in prop::collection::vec(act(), 0..80)) {
        let mut world = play(&shape, &acts);
        world.abort();
        for _ in 0..60 {
            if world.run.status.is_closed() {
                break;
            }
            match world.run.next_wake_ms() {
                Some(wake) => {
                    let ms = wake.saturating_sub(world.now.clock_ms);
                    world.tick(ms);
                }
                None => {
                    // Said again before a section is overdue it waits: nobody says it without end in one moment.
                    world.pass(3_600_000);
                    world.abort();
                }
            }
        }
        // Whatever else: nobody answered anything, and in the end nothing is waited for.
        let mut patience = 2000;
        while !world.run.status.is_closed() && patience > 0 {
            patience -= 1;
            match world.run.next_wake_ms() {
                Some(wake) => {
                    let ms = wake.saturating_sub(world.now.clock_ms);
                    world.tick(ms);
                }
                None => {
                    // Said again before a section is overdue it waits: nobody says it without end in one moment.
                    world.pass(3_600_000);
                    world.abort();
                }
            }
        }
        prop_assert!(world.run.status.is_closed(), "{:?} {:?}", world.run.status, world.phases());
    }

    #[test]
    fn a_run_to_which_everybody_answers_well_comes_to_its_end(shape in shape(), acts in prop::collection::vec(act(), 0..60)) {
        let mut world = play(&shape, &acts);
        prop_assume!(!matches!(world.run.status, RunStatus::Aborting));
        // From here on everything goes well, and somebody resumes whatever holds.
        let mut new: Vec<bool> = world.run.nodes.iter().map(|node| node.phase == Phase::Done).collect();
        for _ in 0..2000 {
            if world.run.status.is_closed() {
                break;
            }
            world.pass(1);
            let waits = world.run.waiting.as_ref().filter(|_| world.run.status == RunStatus::Running);
            match waits.map(|waiting| (waiting.what.clone(), waiting.stage, waiting.wave)) {
                Some((WaitFor::Approval { .. }, stage, wave)) => {
                    world.tell(Event::Approved { by: "bert".to_string(), stage, wave });
                    continue;
                }
                Some((WaitFor::Window { opens_ms, .. }, ..)) => {
                    // The night passes.
                    world.now.wall_ms = opens_ms.expect("a window that opens one day");
                    world.tell(Event::Tick {});
                }
                None => {}
            }
            let looked = world.run.nodes.iter().position(|node| node.look.is_some());
            let open = world.run.nodes.iter().position(|node| node.open.is_some());
            let moving = world.run.nodes.iter().find_map(|node| node.moving.clone());
            if matches!(world.run.status, RunStatus::Held | RunStatus::Paused) {
                world.resume();
            } else if let Some(index) = open {
                let of = world.run.nodes[index].name.to_string();
                new[index] |= world.phase(&of) == Phase::Applying;
                world.done(&of);
            } else if let Some(moving) = moving {
                world.tell(Event::Moved { effect: moving.effect, end: moved_well(moving.doing) });
            } else if let Some(index) = looked {
                let node = world.run.nodes[index].clone();
                let back_to = if node.undone { node.from.clone() } else { None };
                let returning = matches!(node.phase, Phase::Returning | Phase::Soaking);
                let mut seen = if new[index] || returning { seen_new(Role::Follower) } else { seen_old(Role::Follower) };
                if let (Some(version), true) = (back_to, returning) {
                    seen = Seen { version: Some(Ok(version)), ..seen_old(Role::Follower) };
                }
                if shape.blind {
                    seen.version = None;
                }
                world.look_clear(node.name.as_str(), seen);
            } else if let Some(wake) = world.run.next_wake_ms() {
                let ms = wake.saturating_sub(world.now.clock_ms);
                world.tick(ms);
            } else {
                prop_assert!(false, "nothing is waited for and nothing happens: {:?} {:?}", world.run.status, world.phases());
            }
        }
        prop_assert!(world.run.status.is_closed(), "{:?} {:?} {:?}", world.run.status, world.phases(), world.run.hold);
    }
}
