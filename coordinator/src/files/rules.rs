//! What a plan must keep beyond its form. Each rule says where it is broken.

use std::collections::BTreeMap;

use drydock_core::plan_file::{PlanFile, StageSpec};
use drydock_types::Label;

use super::{
    diagnostic::{Diagnostic, Diagnostics, Place, quoted},
    tree::{At, Node},
    wave_rules, words,
};

/// More stages than this are a mistake.
pub(crate) const MAX_STAGES: usize = 100;

/// All rules that need nothing but the plan.
pub(super) fn check(plan: &PlanFile, tree: &Node, found: &mut Diagnostics) {
    let places = Places(tree);
    let stages = &plan.spec.stages;
    if stages.is_empty() {
        found.push(|| Diagnostic::at(places.at(&[At::Key("stages")]), "the plan has no stages"));
    }
    if stages.len() > MAX_STAGES {
        let place = places.stage(MAX_STAGES, &[]);
        found.push(|| Diagnostic::at(place, format!("the plan has more than {MAX_STAGES} stages")));
        return;
    }
    if plan.spec.budget.per_failure_domain == 0 {
        let place = places.at(&[At::Key("budget"), At::Key("perFailureDomain")]);
        found.push(|| {
            Diagnostic::at(place, "a budget of 0 lets no node leave service")
                .help("1 or more; 1 when left out".to_owned())
        });
    }
    wave_rules::window(plan, &places, found);
    let names = stages
        .iter()
        .enumerate()
        .map(|(i, stage)| (stage.name.as_str(), places.stage(i, &[At::Key("name")])));
    unique("stage", names, found);
    needs(stages, &places, found);
    for (i, stage) in stages.iter().enumerate() {
        no_slash("stage", &stage.name, places.stage(i, &[At::Key("name")]), found);
        waves(i, stage, &places, found);
        outages(i, stage, &places, found);
    }
}

/// Where the parts of a plan stand.
pub(super) struct Places<'a>(pub(super) &'a Node);

impl<'a> Places<'a> {
    pub(super) fn at(&self, path: &[At<'_>]) -> &'a Place {
        self.0.get("spec").unwrap_or(self.0).place_of(path)
    }

    pub(super) fn stage_node(&self, stage: usize) -> &'a Node {
        let stages = self.0.get("spec").and_then(|spec| spec.get("stages"));
        stages.and_then(|stages| stages.items().get(stage)).unwrap_or(self.0)
    }

    pub(super) fn stage(&self, stage: usize, path: &[At<'_>]) -> &'a Place {
        self.stage_node(stage).place_of(path)
    }

    pub(super) fn wave(&self, stage: usize, wave: usize, path: &[At<'_>]) -> &'a Place {
        let mut full = vec![At::Key("waves"), At::Item(wave)];
        full.extend_from_slice(path);
        self.stage(stage, &full)
    }
}

/// No two of the same name.
fn unique<'a>(what: &str, names: impl Iterator<Item = (&'a str, &'a Place)>, found: &mut Diagnostics) {
    let mut seen = BTreeMap::new();
    for (name, place) in names {
        if let Some(first) = seen.get(name) {
            found.push(|| {
                Diagnostic::at(place, format!("a second {what} is named {}", quoted(name)))
                    .note(format!("first at {first}"))
            });
        } else {
            seen.insert(name, place);
        }
    }
}

/// `needs` names stages, and no stage waits for itself.
fn needs(stages: &[StageSpec], places: &Places<'_>, found: &mut Diagnostics) {
    let index: BTreeMap<_, _> =
        stages.iter().enumerate().map(|(i, stage)| (stage.name.as_str(), i)).collect();
    let mut edges: Vec<Vec<usize>> = Vec::with_capacity(stages.len());
    for (i, stage) in stages.iter().enumerate() {
        let mut to = Vec::new();
        for (j, need) in stage.needs.iter().enumerate() {
            if let Some(known) = index.get(need.as_str()) {
                to.push(*known);
                continue;
            }
            found.push(|| {
                let names: Vec<_> = index.keys().copied().collect();
                Diagnostic::at(
                    places.stage(i, &[At::Key("needs"), At::Item(j)]),
                    format!("there is no stage {}", quoted(need.as_str())),
                )
                .help(words::suggestion(need.as_str(), names.iter().copied()))
                .note(format!("the stages are: {}", names.join(", ")))
            });
        }
        edges.push(to);
    }
    if let Some(circle) = circle(&edges) {
        let names: Vec<_> =
            circle.iter().filter_map(|i| stages.get(*i)).map(|stage| stage.name.as_str()).collect();
        let place = places.stage(circle[0], &[At::Key("needs")]);
        found.push(|| {
            Diagnostic::at(
                place,
                format!("stages wait for each other in a circle: {}", names.join(" needs ")),
            )
        });
    }
}

/// A circle, its first stage again at its end.
fn circle(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut left: Vec<bool> = vec![true; edges.len()];
    // Take away whatever waits for nothing that is left, until nothing changes.
    while let Some(free) = (0..edges.len()).find(|i| left[*i] && edges[*i].iter().all(|to| !left[*to])) {
        left[free] = false;
    }
    let next = |i: usize| edges[i].iter().copied().find(|to| left[*to]);
    let mut path = vec![(0..edges.len()).find(|i| left[*i])?];
    loop {
        let to = next(*path.last()?)?;
        if let Some(begin) = path.iter().position(|i| *i == to) {
            path.drain(..begin);
            path.push(to);
            return Some(path);
        }
        path.push(to);
    }
}

fn waves(i: usize, stage: &StageSpec, places: &Places<'_>, found: &mut Diagnostics) {
    if stage.waves.is_empty() {
        found.push(|| {
            Diagnostic::at(
                places.stage(i, &[At::Key("waves")]),
                format!("stage `{}` has no waves", stage.name),
            )
        });
    }
    let names = stage.waves.iter().enumerate();
    unique(
        "wave of this stage",
        names.map(|(j, wave)| (wave.name.as_str(), places.wave(i, j, &[At::Key("name")]))),
        found,
    );
    let mut nodes = Vec::new();
    for (j, wave) in stage.waves.iter().enumerate() {
        if wave.nodes.labels.is_empty() && wave.nodes.names.is_empty() {
            found.push(|| {
                Diagnostic::at(
                    places.wave(i, j, &[At::Key("nodes")]),
                    format!("wave `{}` takes no nodes", wave.name),
                )
                .help("name labels or names".to_owned())
                .note("nodes: {labels: {role: etcd}}   or   nodes: {names: [ctl-1, ctl-2]}")
            });
        }
        no_slash("wave", &wave.name, places.wave(i, j, &[At::Key("name")]), found);
        wave_rules::wave(i, j, stage, places, found);
        for (k, name) in wave.nodes.names.iter().enumerate() {
            nodes.push((name.as_str(), (j, k)));
        }
    }
    twice(i, &nodes, places, found);
}

/// Commands name a wave as STAGE/WAVE.
fn no_slash(what: &str, name: &Label, place: &Place, found: &mut Diagnostics) {
    if name.as_str().contains('/') {
        found.push(|| {
            Diagnostic::at(place, format!("the name of {what} {} has a slash in it", quoted(name.as_str())))
                .help("commands name a wave as STAGE/WAVE: write - or . in its place".to_owned())
        });
    }
}

/// An outage that is accepted has a length.
fn outages(i: usize, stage: &StageSpec, places: &Places<'_>, found: &mut Diagnostics) {
    for (name, _) in stage.outage.iter().filter(|(_, length)| length.0 == 0) {
        let place = places.stage(i, &[At::Key("outage"), At::Key(name)]);
        found.push(|| {
            Diagnostic::at(place, format!("an outage of 0s accepts nothing of {}", quoted(name)))
                .help("say how long it may be out, as `5m`, or leave it out".to_owned())
        });
    }
}

/// A node has one turn in a stage.
fn twice(i: usize, nodes: &[(&str, (usize, usize))], places: &Places<'_>, found: &mut Diagnostics) {
    let place =
        |(j, k): (usize, usize)| places.wave(i, j, &[At::Key("nodes"), At::Key("names"), At::Item(k)]);
    let mut seen = BTreeMap::new();
    for (name, at) in nodes {
        if let Some(first) = seen.get(name) {
            found.push(|| {
                Diagnostic::at(place(*at), format!("node {} stands in this stage twice", quoted(name)))
                    .note(format!("first at {}", place(*first)))
            });
        } else {
            seen.insert(*name, *at);
        }
    }
}
