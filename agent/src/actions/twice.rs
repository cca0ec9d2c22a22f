//! Every action twice, and its undo twice: an agent that dies between doing a thing and writing that it was done does
//! it again. The second time leaves everything as the first one did.

use std::collections::BTreeMap;

use drydock_types::{
    Millis, Sha256, Step,
    step::{RunningExecutable, UnitStep},
};

use super::{
    Action, Note,
    check_swap::Check,
    fetch_artifact::Fetch,
    nothing::DoNothing,
    running_executable::Running,
    swap_binary::{
        Swap,
        tests::{Bench, bench_with},
    },
    unit::{Restart, Start, Stop},
};
use crate::sys::process;

/// Where each step's action is done twice. A step that is not here fails the test: nothing is added without it.
const TRIED: [(&str, &str); 29] = [
    ("fetchArtifact", HERE),
    ("checkSwap", HERE),
    ("swapBinary", HERE),
    ("stopUnit", HERE),
    ("startUnit", HERE),
    ("restartUnit", HERE),
    (
        "snapshotEtcd",
        "tests/kill-matrix, scenario etcd: killed behind the snapshot, it is taken up again and copied once",
    ),
    ("moveEtcdLeader", "agent/tests/etcd_real.rs: who does not lead any more has nothing to hand over"),
    ("runningExecutable", HERE),
    ("etcdMemberHealthy", LOOKS),
    ("serviceVersion", LOOKS),
    ("healthy", LOOKS),
    ("restartAgent", "agent/src/actions/restart_agent.rs, and the lab"),
    ("reboot", "agent/src/actions/reboot.rs, and the lab"),
    ("checkK3s", LOOKS),
    ("backupK3s", "agent/src/actions/backup_k3s/tests.rs: taken again, one is sent and none is left"),
    ("moveK3sLeader", "as moveEtcdLeader, which it does where the server has a member"),
    ("k3sReady", LOOKS),
    ("placeK3sImages", "agent/src/actions/place_k3s_images/tests.rs"),
    (
        "stagePackages",
        "agent/tests/apt_real.rs: staged twice it is one set, fetched once; it has nothing to undo",
    ),
    ("installPackages", "agent/src/apt/install/tests.rs: real dpkg, there twice and back twice"),
    ("packagesInstalled", LOOKS),
    (
        "restartLibvirt",
        "on a real hypervisor: applied again it restarts again beside the same guests, taken back too",
    ),
    ("libvirtReady", LOOKS),
    ("reloadOpenvswitch", "agent/src/actions/reload_openvswitch/tests.rs, on a node with Open vSwitch"),
    ("openvswitchReady", LOOKS),
    ("restartOvnController", "agent/src/actions/restart_ovn_controller/tests.rs, on a real chassis"),
    ("ovnControllerReady", LOOKS),
    ("nothing", HERE),
];
const HERE: &str = "here";
const LOOKS: &str = "it only looks, and has nothing to undo";

#[test]
fn no_step_is_forgotten() {
    let named: Vec<_> = TRIED.iter().map(|(step, _)| *step).collect();
    let missing: Vec<_> = Step::ALL.iter().filter(|step| !named.contains(step)).collect();
    assert!(missing.is_empty(), "try these twice, and say where in agent/src/actions/twice.rs: {missing:?}");
}

/// What can be seen of the node: its files by name, what runs, and from which file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    files: BTreeMap<String, Sha256>,
    active: String,
    in_memory: Option<Sha256>,
}

async fn look(bench: &Bench) -> Node {
    let bin = std::path::Path::new(bench.path.as_str()).parent().unwrap();
    let store = bench.host.state_dir.join("store");
    let entries = [bin, &store].map(|dir| std::fs::read_dir(dir).unwrap()).into_iter().flatten();
    let files = entries.map(|entry| entry.unwrap().path());
    let files = files.map(|path| (path.display().to_string(), Sha256::of(&std::fs::read(&path).unwrap())));
    let info = bench.host.units.load(&Bench::unit()).await.unwrap();
    let in_memory = process::exe(info.main_pid).ok().map(|exe| exe.sha256);
    Node { files: files.collect(), active: info.active_state, in_memory }
}

/// Applied twice on one note, then taken back twice: after each pair as after its first half. The node before, behind
/// the applies, and behind the undos.
async fn twice(bench: &Bench, action: &dyn Action) -> [Node; 3] {
    let (cx, before) = (bench.cx(), look(bench).await);
    action.check(&cx).await.unwrap();
    let note: Note = action.note(&cx).await.unwrap();
    let mut seen = vec![before];
    for _ in 0..2 {
        action.apply(&cx, &note).await.unwrap();
        seen.push(look(bench).await);
    }
    for _ in 0..2 {
        action.undo(&cx, &note).await.unwrap();
        seen.push(look(bench).await);
    }
    let [before, once, again, back, back_again] = seen.try_into().unwrap();
    assert_eq!(again, once, "applied again");
    assert_eq!(back_again, back, "taken back again");
    [before, once, back]
}

fn step() -> UnitStep {
    UnitStep { unit: Bench::unit(), within: Millis::secs(5) }
}

async fn started() -> Bench {
    let bench = bench_with("[\"600\"]", "");
    bench.run(&Start(&step())).await.unwrap();
    bench
}

#[tokio::test]
async fn an_exchange() {
    let bench = started().await;
    let [before, done, back] = twice(&bench, &Swap(&bench.step())).await;
    assert_ne!(done.files[bench.path.as_str()], before.files[bench.path.as_str()]);
    assert_eq!(done.in_memory, before.in_memory, "what runs goes on running");
    assert_eq!(back, before);
}

#[tokio::test]
async fn a_stop() {
    let bench = started().await;
    let [before, done, back] = twice(&bench, &Stop(&step())).await;
    assert_eq!((done.active.as_str(), done.in_memory), ("inactive", None));
    assert_eq!(back, before);
}

#[tokio::test]
async fn a_start() {
    let bench = bench_with("[\"600\"]", "");
    let [before, done, back] = twice(&bench, &Start(&step())).await;
    assert_eq!((before.active.as_str(), done.active.as_str()), ("inactive", "active"));
    assert_eq!(back, before);
}

#[tokio::test]
async fn a_restart_of_what_runs_and_of_what_does_not() {
    let bench = started().await;
    let [before, done, back] = twice(&bench, &Restart(&step())).await;
    assert_eq!((&done, &back), (&before, &before));
    let bench = bench_with("[\"600\"]", "");
    let [before, done, back] = twice(&bench, &Restart(&step())).await;
    assert_eq!(done.active, "active");
    assert_eq!(back, before);
}

#[tokio::test]
async fn a_fetch_and_what_only_looks() {
    let bench = started().await;
    let runs = RunningExecutable {
        unit: Bench::unit(),
        path: bench.path.clone(),
        stable_for: Millis(0),
        within: Millis::secs(5),
    };
    let swap = bench.step();
    let looks: [&dyn Action; 3] = [&Fetch, &Check(&swap), &DoNothing];
    for action in looks {
        let [before, done, back] = twice(&bench, action).await;
        assert_eq!((&done, &back), (&before, &before));
    }
    // What runs must be the new file: exchanged and restarted first, each once.
    bench.run(&Swap(&swap)).await.unwrap();
    bench.run(&Restart(&step())).await.unwrap();
    let [before, done, back] = twice(&bench, &Running(&runs)).await;
    assert_eq!((&done, &back), (&before, &before));
}
