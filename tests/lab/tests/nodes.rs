//! The lab itself, on real nodes: needs root, and `cargo build -p drydock-witness` before it.
//! `cargo test -p drydock-lab --test nodes -- --ignored --nocapture --test-threads=1`

#![expect(clippy::disallowed_methods, reason = "nodes are foreign machines, which can only be polled")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use drydock_lab::{EtcdCluster, Lab, LabOptions, Result, cache::Cache, etcd, etcd_binary};

/// A killed process stays as a zombie until the node's systemd gets round to it: not alive.
const ALIVE: [&str; 4] = ["pgrep", "--runstates", "DRS", "sleep"];

fn up(nodes: usize) -> Result<Lab> {
    let started = Instant::now();
    let lab = Lab::up(nodes, LabOptions::default())?;
    println!("up: {} ms", started.elapsed().as_millis());
    Ok(lab)
}

/// Everything that the kernel and the file system know of a lab by its id.
fn traces(id: &str) -> Vec<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut traces: Vec<String> = read("/proc/self/mountinfo")
        .lines()
        .filter(|line| line.contains(id))
        .map(|line| format!("mount: {line}"))
        .collect();
    for place in [
        "/run/drydock-lab",
        "/run/netns",
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/unified",
        "/run/systemd/nspawn/propagate",
    ] {
        let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
        traces
            .extend(entries.map(|entry| entry.path().display().to_string()).filter(|path| path.contains(id)));
    }
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = read(&format!("{}/cmdline", entry.path().display()));
        if line.contains(&format!("{id}-n")) || line.contains(&format!("drydocklab-{id}")) {
            traces.push(format!("process: {}", line.replace('\0', " ")));
        }
    }
    traces
}

#[test]
#[ignore = "boots nodes: needs root"]
fn nodes_boot_take_files_reboot_lose_power_and_leave_nothing() -> Result<()> {
    let lab = up(2)?;
    let id = lab.id().to_owned();
    let node = lab.node(1);
    assert_eq!(node.run(&["hostname"])?, "n1");
    node.write_file("/opt/a/b", b"written", 0o640)?;
    assert_eq!(node.run(&["stat", "-c", "%a %U", "/opt/a/b"])?, "640 root");
    assert!(node.read_file("/nowhere").is_err());

    let before = node.boot_id()?;
    let started = Instant::now();
    node.reboot()?;
    println!("reboot: {} ms", started.elapsed().as_millis());
    assert_ne!(node.boot_id()?, before);

    let started = Instant::now();
    node.power_loss()?;
    println!("power loss: {} ms", started.elapsed().as_millis());
    assert!(!node.is_on());
    let error = match node.exec(&["true"]) {
        Err(error) => error.to_string(),
        Ok(output) => panic!("a node without power answered {output:?}"),
    };
    assert!(error.contains("n1 has no running PID 1"), "{error}");
    node.start()?;
    assert_eq!(node.read_file("/opt/a/b")?, b"written");
    node.power_off()?;
    node.start()?;

    let script = "trap 'echo bye; exit 7' TERM; while :; do sleep 0.1; done";
    let mut polite = node.spawn("polite", &["sh", "-c", script])?;
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(polite.terminate(Duration::from_secs(5))?.code(), Some(7));
    assert!(polite.printed()?.contains("bye"));
    drop(polite);

    let mut sleeper = node.spawn("sleeper", &["sleep", "1000"])?;
    assert!(sleeper.is_running());
    drop(sleeper);
    assert!(!node.exec(&ALIVE)?.status.success());
    let slow = node.exec_within(Duration::from_millis(300), &["sleep", "1000"]);
    assert!(slow.is_err());
    assert!(!node.exec(&ALIVE)?.status.success());

    assert!(!traces(&id).is_empty());
    drop(lab);
    assert_eq!(traces(&id), Vec::<String>::new());
    Ok(())
}

#[test]
#[ignore = "boots nodes: needs root"]
fn two_labs_do_not_meet() -> Result<()> {
    let (one, other) = (up(2)?, up(2)?);
    one.node(2).write_file("/only-here", b"x", 0o600)?;
    assert!(other.node(2).read_file("/only-here").is_err());
    let id = other.id().to_owned();
    one.down()?;
    assert_eq!(other.node(1).run(&["hostname"])?, "n1");
    other.reset()?;
    other.down()?;
    assert_eq!(traces(&id), Vec::<String>::new());
    Ok(())
}

#[test]
#[ignore = "boots nodes: needs root"]
fn etcd_survives_restart_power_loss_partition_and_an_upgrade() -> Result<()> {
    let lab = up(3)?;
    let started = Instant::now();
    let cluster = EtcdCluster::start(&lab)?;
    println!("etcd: {} ms", started.elapsed().as_millis());
    let mut observer = cluster.observe("all")?;
    let mut writer = cluster.write("all")?;
    writer.wait_started()?;

    let follower = match cluster.leader()?.name().as_str() {
        "n1" => lab.node(2),
        _ => lab.node(1),
    };
    println!("restart of a follower: {:?}", cluster.measure_bare_restart(follower)?.silent);
    let cost = cluster.measure_bare_restart(cluster.leader()?)?;
    println!("restart of the leader: {:?}, leaderless {:?}", cost.silent, cost.leaderless);
    assert!(cost.was_leader);

    let leader = cluster.leader()?;
    leader.power_loss()?;
    cluster.wait_healthy(2, Duration::from_secs(30))?;
    leader.start()?;
    cluster.wait_healthy(3, Duration::from_secs(30))?;

    let cut = lab.node(3);
    cut.cut()?;
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(
        cluster.wait_healthy(2, Duration::from_secs(30))?.endpoints.values().filter(|view| view.ok).count(),
        2
    );
    cut.heal()?;
    let started = Instant::now();
    cluster.wait_healthy(3, Duration::from_secs(30))?;
    println!("healthy after heal: {} ms", started.elapsed().as_millis());

    let newer = etcd_binary::debian_35(&Cache::open()?)?;
    for node in lab.nodes() {
        cluster.install(node, &newer)?;
        let cost = cluster.measure_bare_restart(node)?;
        println!("{} to {}: {:?}, leader: {}", node.name(), newer.version, cost.silent, cost.was_leader);
        let versions = &cost.summary.members[&cluster.endpoint(node)].first_seen_ms;
        assert_eq!(versions.len(), 2, "{versions:?}");
    }

    let acks = writer.finish()?;
    let report = cluster.verify(&acks)?;
    println!("{report:?}");
    assert!(report.is_intact());
    let summary = etcd::summarize(&observer.finish()?)?;
    println!("{summary}");
    assert_eq!(summary.fewest_answering, 2);
    assert!(verify_notices_a_loss(&lab, &cluster, &acks)?);
    Ok(())
}

/// The verifier must be able to fail: delete one acknowledged key behind its back.
fn verify_notices_a_loss(lab: &Lab, cluster: &EtcdCluster<'_>, acks: &Path) -> Result<bool> {
    let text = std::fs::read_to_string(acks).unwrap_or_default();
    let key = text.lines().next().and_then(|line| line.split('"').nth(3)).unwrap_or_default().to_owned();
    assert_eq!(lab.node(2).run(&["env", "ETCDCTL_API=3", "etcdctl", "del", &key])?, "1");
    let report = cluster.verify(acks)?;
    Ok(!report.is_intact() && report.members.values().all(|member| member.missing == 1))
}

/// Not a test of its own: the owner that the next test kills.
#[test]
#[ignore = "boots nodes: needs root"]
fn helper_that_holds_a_lab() -> Result<()> {
    if std::env::var_os(HOLD).is_some() {
        let lab = up(1)?;
        println!("holding {}", lab.id());
        std::thread::sleep(Duration::from_secs(60));
    }
    Ok(())
}

const HOLD: &str = "DRYDOCK_LAB_TEST_HOLD";

#[test]
#[ignore = "boots nodes: needs root"]
fn a_dead_owners_lab_is_removed_by_the_next() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut owner = Command::new(std::env::current_exe()?)
        .args(["--ignored", "--exact", "--nocapture", "helper_that_holds_a_lab"])
        .env(HOLD, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = owner.stdout.take().ok_or("no output")?;
    let id = BufReader::new(stdout)
        .lines()
        .map_while(std::io::Result::ok)
        .find_map(|line| line.strip_prefix("holding ").map(str::to_owned))
        .ok_or("the helper made no lab")?;
    let living = up(1)?;
    assert!(!traces(&id).is_empty(), "a living owner's lab was removed");
    owner.kill()?;
    owner.wait()?;
    assert!(!traces(&id).is_empty(), "nobody was there to remove it");
    drop(up(1)?);
    assert_eq!(traces(&id), Vec::<String>::new());
    drop(living);
    Ok(())
}
