//! What a node of a Kubernetes cluster costs, through the real coordinator against a real control plane.
//!
//! | module | what lives there |
//! |---|---|
//! | [`scene`] | the cluster, the fleet whose nodes are its Nodes, pods to be evicted, a large cluster |
//! | [`audited`] | what the API server's audit log says that was asked, and when |
//! | [`bare`] | the least that a drain can cost: a client that does nothing else |
//! | [`figures`] | the table, `kubernetes.json` |
//!
//! **A drained node's time** is taken by the API server's own clock, from its audit log: from the arrival of the request
//! that cordons the Node to the answer of the one that gives it back. Between the two Drydock reads each pod again before
//! it evicts it, looks a second time at Node and pods, asks the agent which machine it is, has an empty section done, and
//! commits what it decides; the bare client does none of that. The two take turns on Nodes with as many pods each.
//!
//! **Requests** are counted there too, over the whole of a run of one node: from its gate to its end.
//!
//! **The wave** is as in `wave-bench`, with a Node cordoned and given back for each agent, and no pods to evict.
//!
//! **Memory** is what the coordinator held at the most while it looked at gates in a cluster of many nodes and pods, less
//! what it held before that cluster was so large.

mod audited;
mod bare;
mod figures;
mod scene;

use std::path::Path;

use anyhow::Result;
use clap::Args;

use self::{
    figures::{Drained, Figures},
    scene::{PODS, Scene},
};
use crate::{bench::Bench, fleet::Programs};

#[derive(Debug, Args)]
pub(crate) struct Kubernetes {
    #[command(flatten)]
    bench: Bench,
    /// How many drains of each kind are counted; one more goes before them
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    drains: u32,
    /// How many waves are counted; one more goes before them
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    waves: u32,
    /// Nodes of the large cluster
    #[arg(long, default_value_t = 1_000)]
    large_nodes: usize,
    /// Pods of the large cluster
    #[arg(long, default_value_t = 20_000)]
    large_pods: usize,
}

pub(crate) fn run(args: &Kubernetes) -> Result<()> {
    drydock_test_cluster::available().map_err(|why| anyhow::anyhow!(why))?;
    args.bench.run("kubernetes", |programs, state| measure(args, programs, state))
}

fn measure(args: &Kubernetes, programs: &Programs, state: &Path) -> Result<Figures> {
    let nodes = args.bench.nodes;
    eprintln!("kubernetes-bench: a control plane and {nodes} Nodes …");
    let mut scene = Scene::start(programs, state, nodes)?;
    let mut drains = Vec::new();
    // They take turns, so that a machine that is slow for a while is slow for both.
    for number in 0..=args.drains {
        let counted = if number == 0 { "not counted" } else { "counted" };
        let bare_ms = scene.drained_by_hand()?;
        let ours = scene.drained_by_drydock(number)?;
        let drained = Drained { ours_ms: ours.ms, bare_ms, requests: ours.requests };
        eprintln!(
            "kubernetes-bench: drain {number} of {} ({counted}): {:.0} ms and {} requests, bare {:.0} ms, {PODS} pods each",
            args.drains, drained.ours_ms, drained.requests, drained.bare_ms
        );
        if number > 0 {
            drains.push(drained);
        }
    }
    let (mut waves, mut wave_requests) = (Vec::new(), Vec::new());
    for number in 0..=args.waves {
        let (times, requests) = scene.wave(number)?;
        let whole: f64 = times.iter().sum();
        eprintln!(
            "kubernetes-bench: wave {number} of {}: {whole:.0} ms for {} Nodes",
            args.waves,
            times.len()
        );
        if number > 0 {
            waves.extend(times);
            wave_requests.push(requests);
        }
    }
    let before = scene.coordinator_kb()?;
    eprintln!("kubernetes-bench: {} nodes and {} pods …", args.large_nodes, args.large_pods);
    scene.grow(args.large_nodes, args.large_pods)?;
    let after = scene.coordinator_peak_after_gates()?;
    let memory_kb = after.saturating_sub(before);
    Ok(Figures { nodes, pods: PODS, drains, waves, wave_requests, memory_kb })
}
