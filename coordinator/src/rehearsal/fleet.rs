//! What the fleet was when a plan was rehearsed, and what is another by now.

use std::collections::BTreeMap;

use drydock_core::{
    inventory::Seen,
    plan::{Plan, PlanNode},
    view::FindingView,
};
use drydock_types::{Label, NodeKey, NodeName, Sha256, document};
use serde::{Deserialize, Serialize};

use crate::store::registry::RehearsalRow;

/// Of a plan's nodes what the plan depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetSeen {
    /// By name.
    pub nodes: BTreeMap<NodeName, NodeSeen>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSeen {
    /// Its identity.
    pub key: NodeKey,
    /// Those of its labels that the recipe names.
    pub labels: BTreeMap<Label, Label>,
    /// Its failure domain.
    pub domain: Option<Label>,
    /// What ran there, by stage.
    pub versions: BTreeMap<Label, String>,
    /// Digest of its policy, where its agent said it.
    pub policy: Option<Sha256>,
}

impl FleetSeen {
    /// As a compiled plan has it.
    #[must_use]
    pub fn of(plan: &Plan, policies: &BTreeMap<NodeName, Sha256>) -> Self {
        let mut seen = Self::default();
        for stage in &plan.stages {
            for node in stage.waves.iter().flat_map(|wave| &wave.nodes) {
                let entry =
                    seen.nodes.entry(node.name.clone()).or_insert_with(|| NodeSeen::of(node, policies));
                entry.labels.extend(node.labels.clone());
                if let Some(version) = node.seen.as_ref().and_then(Seen::answered) {
                    entry.versions.insert(stage.name.clone(), version.to_string());
                }
            }
        }
        seen
    }
}

impl NodeSeen {
    fn of(node: &PlanNode, policies: &BTreeMap<NodeName, Sha256>) -> Self {
        Self {
            key: node.key,
            labels: BTreeMap::new(),
            domain: node.domain.clone(),
            versions: BTreeMap::new(),
            policy: policies.get(&node.name).copied(),
        }
    }

    /// What is another; empty where nothing is. A policy that an agent did not say is not
    /// compared.
    fn differs(&self, now: &Self) -> Vec<String> {
        let mut told = Vec::new();
        if self.key != now.key {
            told.push("it was enrolled anew: it is another machine".to_string());
        }
        if self.domain != now.domain {
            let word = |domain: &Option<Label>| {
                domain.as_ref().map_or_else(|| "none".to_string(), ToString::to_string)
            };
            told.push(format!("its failure domain was {} and is {}", word(&self.domain), word(&now.domain)));
        }
        let labels: std::collections::BTreeSet<&Label> =
            self.labels.keys().chain(now.labels.keys()).collect();
        for label in labels {
            let (was, is) = (self.labels.get(label), now.labels.get(label));
            if was != is {
                let word =
                    |value: Option<&Label>| value.map_or_else(|| "not set".to_string(), ToString::to_string);
                told.push(format!("its label {label} was {} and is {}", word(was), word(is)));
            }
        }
        for (stage, version) in &now.versions {
            if let Some(was) = self.versions.get(stage).filter(|was| *was != version) {
                told.push(format!("it ran {was} and runs {version}"));
            }
        }
        if let (Some(was), Some(is)) = (self.policy, now.policy)
            && was != is
        {
            let (was, is) = (was.short(), is.short());
            told.push(format!("its agent's policy was changed ({was} → {is}), and only that one is obeyed"));
        }
        told
    }
}

/// What an operator who starts a plan should know of its rehearsal: that there was none, what it found, and
/// what has changed since. Never a reason not to start.
#[must_use]
pub fn warnings(
    plan: &Plan,
    rehearsed: Option<&RehearsalRow>,
    policies: &BTreeMap<NodeName, Sha256>,
) -> Vec<FindingView> {
    let next = || format!("drydock rehearse {}", plan.file);
    let told = |node: Option<NodeName>, what: String| FindingView { node, what, next: next() };
    let Some(row) = rehearsed else {
        return vec![told(None, "this plan was not rehearsed".to_string())];
    };
    let mut warnings = Vec::new();
    if row.digest != plan.digest {
        let what = format!(
            "this plan was not rehearsed as it is now: what was rehearsed under the name {} is digest {}, this is {}",
            row.plan,
            row.digest.short(),
            plan.digest.short()
        );
        warnings.push(told(None, what));
    } else if row.blockers > 0 {
        let many =
            if row.blockers == 1 { "1 blocker".to_string() } else { format!("{} blockers", row.blockers) };
        warnings.push(told(None, format!("its rehearsal by {} found {many}", row.by)));
    }
    match document::decode_own::<FleetSeen>("rehearsal", row.fleet.as_bytes()) {
        Ok(before) => {
            let changes = changes(&before, &FleetSeen::of(plan, policies));
            warnings.extend(changes.into_iter().map(|(node, what)| told(Some(node), what)));
        }
        Err(error) => warnings.push(told(None, format!("what its rehearsal saw cannot be read: {error}"))),
    }
    warnings
}

fn changes(before: &FleetSeen, now: &FleetSeen) -> Vec<(NodeName, String)> {
    let mut changes = Vec::new();
    for (name, is) in &now.nodes {
        match before.nodes.get(name) {
            None => changes.push((name.clone(), "it was not there when the plan was rehearsed".to_string())),
            Some(was) => {
                changes.extend(
                    was.differs(is)
                        .into_iter()
                        .map(|what| (name.clone(), format!("since the rehearsal: {what}"))),
                );
            }
        }
    }
    let gone = before.nodes.keys().filter(|name| !now.nodes.contains_key(*name));
    changes.extend(
        gone.map(|name| (name.clone(), "it was rehearsed and is not in the plan any more".to_string())),
    );
    changes.sort();
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(key: u8, zone: &str, version: &str) -> NodeSeen {
        let label = |text| Label::parse(text).unwrap();
        NodeSeen {
            key: Sha256([key; 32]),
            labels: BTreeMap::from([(label("port"), label("80"))]),
            domain: Some(label(zone)),
            versions: BTreeMap::from([(label("etcd"), version.to_string())]),
            policy: None,
        }
    }

    fn fleet(nodes: &[(&str, NodeSeen)]) -> FleetSeen {
        let nodes = nodes.iter().map(|(name, seen)| (NodeName::parse(name).unwrap(), seen.clone()));
        FleetSeen { nodes: nodes.collect() }
    }

    #[test]
    fn what_is_another_since_the_rehearsal_is_named_node_by_node() {
        let mut obeyed = node(3, "z1", "1.0");
        obeyed.policy = Some(Sha256([7; 32]));
        let before = fleet(&[
            ("a", node(1, "z1", "1.0")),
            ("b", node(2, "z1", "1.0")),
            ("c", node(3, "z1", "1.0")),
            ("e", obeyed),
        ]);
        assert_eq!(changes(&before, &before), []);
        let mut moved = node(2, "z2", "1.1");
        moved.labels.clear();
        let mut stricter = node(3, "z1", "1.0");
        stricter.policy = Some(Sha256([8; 32]));
        let now =
            fleet(&[("a", node(9, "z1", "1.0")), ("b", moved), ("d", node(4, "z1", "1.0")), ("e", stricter)]);
        let told: Vec<_> =
            changes(&before, &now).into_iter().map(|(node, what)| format!("{node}: {what}")).collect();
        let want = [
            "a: since the rehearsal: it was enrolled anew: it is another machine",
            "b: since the rehearsal: it ran 1.0 and runs 1.1",
            "b: since the rehearsal: its failure domain was z1 and is z2",
            "b: since the rehearsal: its label port was 80 and is not set",
            "c: it was rehearsed and is not in the plan any more",
            "d: it was not there when the plan was rehearsed",
            "e: since the rehearsal: its agent's policy was changed (07070707 → 08080808), and only that one is obeyed",
        ];
        assert_eq!(told, want);
    }
}
