//! What an agent answers when it is asked to look. It tells the truth, late or not at all where that was drawn;
//! only a health probe may say ill of what is well.

use std::time::Duration;

use drydock_types::{
    Version,
    probe::{
        EtcdMember, EtcdStatus, EtcdView, HealthView, HostFacts, Observation, Probe, UnitView, VersionView,
    },
};
use tokio::time::sleep;

use crate::{
    cluster::{boot_id, machine_id},
    ground::By,
    scenario::Role,
    shared::{Inner, Life, Shared},
    workshop::{answers, running},
};

/// The host's facts: the same for all but for what tells machines and their starts apart.
pub(crate) fn facts(inner: &Inner, host: usize) -> HostFacts {
    let name = inner.ground.hosts[host].name.as_str();
    let boots = inner.kube.as_ref().map_or(0, |kube| kube.boots[host]);
    HostFacts {
        arch: "x86_64".to_string(),
        state_free_bytes: 64 << 30,
        machine_id: machine_id(name),
        boot_id: boot_id(name, boots),
        ..HostFacts::default()
    }
}

/// Looks, and takes its time.
pub(crate) async fn look(shared: &Shared, life: Life, probe: &Probe) -> Result<Observation, String> {
    let (before_ms, behind_ms) = {
        let mut inner = shared.lock();
        let stale = shared.now_ms() < inner.stale_until[life.host];
        let ms = inner.dice.between(1, 12);
        // Seen early and told late is as bad as not seen.
        if stale && inner.dice.chance(600) { (ms, inner.dice.between(2000, 40_000)) } else { (ms, 0) }
    };
    sleep(Duration::from_millis(before_ms)).await;
    let seen = see(shared, life.host, probe);
    if behind_ms > 0 {
        sleep(Duration::from_millis(behind_ms)).await;
    }
    seen
}

fn see(shared: &Shared, host: usize, probe: &Probe) -> Result<Observation, String> {
    let now_ms = shared.now_ms();
    let mut inner = shared.lock();
    let hosts = inner.ground.hosts.len();
    let all = matches!(probe, Probe::Etcd {});
    for other in (0..hosts).filter(|other| *other == host || all) {
        let by = inner.ground.hosts[other].touched_by.map_or(By::Others, By::Us);
        inner.settle(other, by, now_ms);
    }
    let inner = &mut *inner;
    match probe {
        Probe::Host {} => Ok(Observation::Host(facts(inner, host))),
        Probe::Unit { unit, .. } => {
            let running = running(inner, host);
            let state = if running.is_some() { ("active", "running") } else { ("failed", "failed") };
            Ok(Observation::Unit(UnitView {
                unit: unit.clone(),
                active_state: state.0.to_string(),
                sub_state: state.1.to_string(),
                running,
                runs_the_file: inner.ground.hosts[host]
                    .process
                    .map(|it| it.exe == inner.ground.hosts[host].file),
                runs_for_ms: inner.ground.hosts[host].process.map(|process| now_ms - process.since_ms),
            }))
        }
        Probe::Etcd {} => Ok(Observation::Etcd(etcd(inner, host, now_ms)?)),
        Probe::Version { .. } => {
            let version = answers(inner, host, now_ms)?;
            Ok(Observation::Version(VersionView { version, source: "it".to_string() }))
        }
        Probe::Health { .. } => {
            let flaps = now_ms < inner.flaps_until[host] && inner.dice.chance(400);
            let unclear = now_ms < inner.unclear_until[host];
            let well = inner.ground.serves(host, now_ms) && !flaps && !unclear;
            let detail = if well { "200" } else { "503" };
            Ok(Observation::Health(HealthView { well, detail: detail.to_string() }))
        }
        #[allow(unreachable_patterns, reason = "probes that are not of the simulated recipes")]
        _ => Err("this machine has nothing of that kind".to_string()),
    }
}

fn etcd(inner: &Inner, host: usize, now_ms: u64) -> Result<EtcdView, String> {
    if inner.ground.hosts[host].role != Role::Etcd {
        return Err("there is no etcd here".to_string());
    }
    let status = |member: usize| -> Result<EtcdStatus, String> {
        if !inner.ground.serves(member, now_ms) {
            return Err("connection refused".to_string());
        }
        let version = answers(inner, member, now_ms)?;
        let leader = inner.ground.cluster.leader.map_or("0".to_string(), id);
        Ok(EtcdStatus {
            cluster: "c".to_string(),
            member: id(member),
            version,
            leader,
            raft_term: inner.ground.cluster.term,
            raft_index: 1000,
            raft_applied: 1000,
            db_size: 1 << 20,
            errors: Vec::new(),
        })
    };
    let local = status(host);
    let members = inner.ground.voters().map(|member| EtcdMember {
        id: id(member),
        name: inner.ground.hosts[member].name.to_string(),
        learner: false,
        status: status(member),
    });
    let quorum = local.is_ok() && inner.ground.cluster.leader.is_some();
    let (major, minor) = inner.ground.cluster.minor;
    let flaps = now_ms < inner.unclear_until[host];
    let alarmed = now_ms < inner.alarm_until;
    Ok(EtcdView {
        members: members.collect(),
        alarms: Ok(if alarmed { vec!["NOSPACE".to_string()] } else { Vec::new() }),
        cluster_version: Version::parse(&format!("{major}.{minor}.0")).map_err(|error| error.to_string()),
        linearizable: if quorum && !flaps { Ok(()) } else { Err("no leader".to_string()) },
        local,
    })
}

fn id(member: usize) -> String {
    format!("{:x}", member + 0xa0)
}
