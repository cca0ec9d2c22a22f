//! How it begins: three members at one version, a plan to the next, and the run accepted.

use std::rc::Rc;

use drydock_core::{bundle::Bundle, inventory::Seen, plan::plan};
use drydock_types::{
    ArtifactRef, ComponentName, Label, NodeName, RunId, Version, document, section::ArtifactLabel,
};
use serde_json::json;

use super::{
    Wanted,
    act::{agents, first_place},
    cluster::Node,
    coordinator::{VERSIONS, abilities, exe},
    rules::Truth,
    store::Desk,
    world::{NODES, Service, World, name},
};

fn bundle(drains: bool) -> Result<Bundle, String> {
    let (unit, path) = ("etcd.service", "/usr/bin/etcd");
    let label = ArtifactLabel {
        component: ComponentName::parse("etcd").map_err(|error| error.to_string())?,
        version: Version::parse(VERSIONS[1]).map_err(|error| error.to_string())?,
        os: "linux".to_string(),
        arch: "x86_64".to_string(),
        size: 1 << 20,
        sha256: exe(VERSIONS[1]),
    };
    let signature = format!("untrusted comment: x\nAAAA\ntrusted comment: {}\nBBBB\n", label.to_comment());
    let artifact = ArtifactRef { sha256: exe(VERSIONS[1]), size: 1 << 20, signature };
    let names: Vec<&str> = (0..NODES).map(name).collect();
    let plan = json!({
        "apiVersion": "drydock/v1", "kind": "Plan", "metadata": {"name": "small"},
        "spec": {"budget": {"perFailureDomain": 1}, "stages": [{
            "name": "etcd", "component": "etcd", "recipe": "etcd", "to": VERSIONS[1], "onFailure": "rollback",
            "waves": [{"name": "w", "nodes": {"names": names}, "order": "listed", "soak": "0s"}],
        }]},
    });
    // As `coordinator/recipes/etcd.yaml`, without what is done while a member serves; deadlines so short that a wait
    // is a few looks long.
    let mut recipe = json!({
        "apiVersion": "drydock/v1", "kind": "Recipe", "metadata": {"name": "etcd", "summary": "as built in"},
        "spec": {
            "detect": {"unit": unit, "path": path, "version": {"etcd": {}}},
            "gate": [{"etcdQuorum": {}}],
            "apply": [{"swapBinary": {"path": path}}, {"restartUnit": {"unit": unit}}],
            "verify": [{"runningExecutable": {"unit": unit, "path": path}}, {"etcdMemberHealthy": {"within": "2m"}}],
            "returned": [{"etcdQuorum": {}}],
            "deadlines": {"gate": "3s", "apply": "10s", "returned": "3s"},
        },
    });
    if drains {
        recipe["spec"]["drain"] = json!([{"kubernetesDrain": {}}]);
        recipe["spec"]["deadlines"]["drain"] = json!("3s");
    }
    let bundle = json!({
        "file": "small.yaml", "plan": plan,
        "stages": [{"stage": "etcd", "recipe": recipe, "artifact": artifact}],
    });
    document::decode("bundle", &document::encode(&bundle)).map_err(|error| error.to_string())
}

/// On the first one runs a pod.
fn nodes() -> [Node; NODES] {
    let mut nodes = [Node::default(); NODES];
    nodes[0].full = true;
    nodes
}

/// The world with the run just accepted, everybody connected.
///
/// # Errors
/// When the core does not know a plan or a recipe of this form any more.
pub(super) fn begin(wanted: &Wanted, traced: bool) -> Result<World, String> {
    let (place, disk) = first_place();
    let mut truth = Truth::default();
    truth.with_disk(None);
    let mut world = World {
        desk: Desk::new(),
        lacks: wanted.lacks,
        now_ms: 0,
        services: Rc::new(std::array::from_fn(|_| Service::default())),
        agents: agents(),
        disks: vec![disk],
        backup: None,
        places: vec![place],
        links: Vec::new(),
        last_session: 0,
        looks: Vec::new(),
        drains: wanted.trouble.cluster,
        nodes: Rc::new(nodes()),
        moves: Vec::new(),
        lengths: wanted.trouble.journals,
        left: wanted.faults,
        truth,
        story: traced.then(Vec::new),
    };
    world.start_coordinator(0);
    for node in 0..NODES {
        world.connects(node);
    }
    world.accepts_run(wanted.trouble.cluster)?;
    world.backup = Some(Rc::new(world.disks[0].copy()));
    Ok(world)
}

impl World {
    /// Dialled, heard and welcomed.
    fn connects(&mut self, node: usize) {
        use super::choice::Choice;
        self.act(Choice::Dial { node: u8::try_from(node).unwrap_or_default(), place: 0 });
    }

    fn accepts_run(&mut self, drains: bool) -> Result<(), String> {
        let Some(running) = self.places[0].running.clone() else { return Err("nobody runs".to_string()) };
        let now = self.now_of(&running);
        let mut inventory = running.driver.inventory(now);
        let stage = Label::parse("etcd").map_err(|error| error.to_string())?;
        let version = Version::parse(VERSIONS[0]).map_err(|error| error.to_string())?;
        let (steps, requirements) = abilities();
        for node in inventory.nodes.values_mut() {
            let seen = Seen {
                version: Some(Ok(version.clone())),
                exe_sha256: Some(exe(VERSIONS[0])),
                role: None,
                down: false,
            };
            node.seen.insert(stage.clone(), seen);
            (node.steps, node.requirements) = (steps.clone(), requirements.clone());
            (node.arch, node.free_bytes) = ("x86_64".to_string(), 1 << 40);
        }
        let (planned, view) = plan(&bundle(drains)?, &inventory).map_err(|error| format!("{error:?}"))?;
        if !view.blockers.is_empty() {
            return Err(format!("the plan has blockers: {:?}", view.blockers));
        }
        let mut refused = None;
        self.with(0, None, |driver, now| {
            match driver.start_run(planned, "anna", false, RunId([1; 16]), now) {
                Ok((_, _, outputs)) => Ok(outputs),
                Err(error) => {
                    refused = Some(error.to_string());
                    Ok(Vec::new())
                }
            }
        });
        // Its name is of use where somebody reads the story.
        let first = NodeName::parse(name(0)).map_err(|error| error.to_string())?;
        self.say(|| format!("operator: the run is accepted; {first} is the first"));
        refused.map_or(Ok(()), Err)
    }
}
