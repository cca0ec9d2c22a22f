//! What stands on record about a node beyond any run, and about the fleet as a whole. It belongs to a node's
//! key: a name that is enrolled again inherits nothing.
//!
//! [`release`] has what a person ends of it. Here are the values only; the coordinator's driver keeps them, and they are never read by the reducer.

mod release;

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use drydock_types::{ClusterName, ComponentName, NodeKey, NodeName, RunId, Version};
use serde::{Deserialize, Serialize};

pub use self::release::{OnRecord, Release, Released};

/// Checks that the coordinator answers by itself, at every gate. Their names stand in holds and waits.
pub mod checks {
    /// The fleet is frozen.
    pub const FREEZE: &str = "freeze";
    /// So many nodes have left service within the hour.
    pub const HOURLY_LIMIT: &str = "hourlyLimit";
    /// A person set the node aside.
    pub const SET_ASIDE: &str = "setAside";
    /// The version failed on the node before.
    pub const QUARANTINE: &str = "quarantine";
    /// The node that the plan means is no longer in the fleet.
    pub const RETIRED: &str = "retired";
    /// Two machines hold the node's identity.
    pub const TWO_MACHINES: &str = "twoMachines";
}

/// Those that hold for the whole fleet: they keep nodes in service for as long as they last, and no gate's
/// deadline runs meanwhile.
pub const KEEPS_IN_SERVICE: [&str; 2] = [checks::FREEZE, checks::HOURLY_LIMIT];

/// A person's decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    /// Who.
    pub by: String,
    /// Why, in their words.
    pub why: String,
    /// When.
    pub unix_ms: u64,
}

/// A version that failed on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quarantined {
    /// Of which component.
    pub component: ComponentName,
    /// Which version.
    pub version: Version,
    /// In which run.
    pub run: u64,
    /// What happened.
    pub why: String,
    /// When.
    pub unix_ms: u64,
}

/// A component that a run left in doubt on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Unsettled {
    /// Which component.
    pub component: ComponentName,
    /// Which run.
    pub run: u64,
    /// What is in doubt.
    pub why: String,
    /// When.
    pub unix_ms: u64,
}

/// What a run marked on other people's objects for the node, and did not take back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Marked {
    /// Which run, as the mark says it.
    pub run_id: RunId,
    /// Its number.
    pub run: u64,
    /// When the run ended.
    pub unix_ms: u64,
}

/// A machine, as its agent names it. Shown and compared, never trusted for anything else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Machine {
    /// Its machine id; empty where it has none.
    pub machine_id: String,
    /// Its name for itself.
    pub hostname: String,
    /// Where its stream came from.
    pub address: String,
}

impl core::fmt::Display for Machine {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let id = if self.machine_id.is_empty() { "without a machine id" } else { &self.machine_id };
        write!(out, "{} ({id}, from {})", self.hostname, self.address)
    }
}

/// Two machines that hold one identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Twins {
    /// Both.
    pub machines: Vec<Machine>,
    /// When the second was seen.
    pub unix_ms: u64,
}

impl Twins {
    /// Have both the same machine id, so that it cannot say which is meant?
    #[must_use]
    pub fn look_alike(&self) -> bool {
        self.machines.windows(2).all(|pair| pair[0].machine_id == pair[1].machine_id)
    }
}

/// What stands on record about a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Standing {
    /// Its name when something was last recorded.
    pub name: NodeName,
    /// Out of every count, and never worked on.
    pub set_aside: Option<Decision>,
    /// Versions that are not put on it again.
    pub quarantined: Vec<Quarantined>,
    /// What runs left in doubt: it counts as out of service until it is seen well.
    pub unsettled: Vec<Unsettled>,
    /// What runs have marked for it and left: it counts as out of service until that is taken back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Marked>,
    /// Two machines hold its identity: neither is listened to.
    pub twins: Option<Twins>,
    /// A person said that only this machine is the node.
    pub only_machine: Option<String>,
}

impl Standing {
    /// Of a node that nothing is on record about.
    #[must_use]
    pub const fn new(name: NodeName) -> Self {
        Self {
            name,
            set_aside: None,
            quarantined: Vec::new(),
            unsettled: Vec::new(),
            marks: Vec::new(),
            twins: None,
            only_machine: None,
        }
    }

    /// Is there anything that an operator should see?
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.set_aside.is_none()
            && self.quarantined.is_empty()
            && self.unsettled.is_empty()
            && self.marks.is_empty()
            && self.twins.is_none()
            && self.only_machine.is_none()
    }

    /// Is this version of the component not to be put on the node?
    #[must_use]
    pub fn quarantine_of(&self, component: &ComponentName, version: &Version) -> Option<&Quarantined> {
        self.quarantined.iter().find(|bad| &bad.component == component && &bad.version == version)
    }

    /// What a person does about two machines.
    #[must_use]
    pub fn twins_way_on(&self, twins: &Twins) -> String {
        let name = &self.name;
        if twins.look_alike() {
            format!(
                "both say the same machine id: stop the agent that is not the node, then drydock node release {name} --any-machine; or drydock node retire {name} and enrol it anew"
            )
        } else {
            format!(
                "see which one is the node, and say so: drydock node release {name} --machine ID, where ID begins its machine id; or drydock node retire {name} and enrol it anew"
            )
        }
    }
}

/// `two machines hold this identity: a (…) and b (…)`
#[must_use]
pub fn two_machines(twins: &Twins) -> String {
    let machines: Vec<String> = twins.machines.iter().map(ToString::to_string).collect();
    format!("two machines hold this identity: {}", machines.join(" and "))
}

/// What stands about the whole fleet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetState {
    /// Nothing leaves service while it is there.
    pub frozen: Option<Decision>,
}

/// What happened to the fleet outside of any run. It stands in the same record as the runs' events, under
/// run 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum FleetEvent {
    /// A person took a node out of every count.
    NodeSetAside {
        /// Why.
        why: String,
    },
    /// A person ended what stood on record about a node.
    NodeReleased {
        /// What that was, a line each.
        from: Vec<String>,
        /// The one machine that is the node from now on, where that was said.
        machine: Option<String>,
    },
    /// A person took a node out of the fleet for good.
    NodeRetired {
        /// Why.
        why: String,
    },
    /// A version failed on a node.
    Quarantined {
        /// Of which component.
        component: ComponentName,
        /// Which version.
        version: Version,
        /// In which run.
        run: u64,
    },
    /// A run left a component in doubt.
    Unsettled {
        /// Which component.
        component: ComponentName,
        /// Which run.
        run: u64,
    },
    /// A run ended and left what it had marked for a node.
    MarkLeft {
        /// Which run.
        run: u64,
    },
    /// That was taken back since.
    MarkTakenBack {
        /// Which run's it was.
        run: u64,
    },
    /// It was seen well since.
    Settled {
        /// Which component.
        component: ComponentName,
        /// The run whose look saw it.
        run: u64,
    },
    /// Two machines hold one identity.
    TwinsSeen {
        /// Both.
        machines: Vec<Machine>,
    },
    /// A person froze the fleet.
    Frozen {
        /// Why.
        why: String,
    },
    /// A person ended that.
    Thawed {},
    /// A person made a cluster known, or gave it other credentials or endpoints.
    ClusterAdded {
        /// Which.
        cluster: ClusterName,
        /// URLs, the preferred one first.
        endpoints: Vec<String>,
    },
    /// A person had a cluster forgotten.
    ClusterRemoved {
        /// Which.
        cluster: ClusterName,
    },
    /// A person said which Node of a cluster a machine is.
    NodeBound {
        /// Which cluster.
        cluster: ClusterName,
        /// The Node's name there.
        kube_node: String,
    },
    /// A person ended that.
    NodeUnbound {},
}

/// A fleet's event as it stands in the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetRecorded {
    /// Itself.
    pub fleet: FleetEvent,
    /// Who, where a person did it.
    pub by: Option<String>,
    /// At which node.
    pub node: Option<NodeName>,
    /// That node's identity.
    pub key: Option<NodeKey>,
    /// One line for people.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing() -> Standing {
        Standing::new(NodeName::parse("ctl-1").unwrap())
    }

    fn machine(id: &str) -> Machine {
        Machine { machine_id: id.to_string(), hostname: "h".to_string(), address: "192.0.2.1".to_string() }
    }

    #[test]
    fn whatever_stands_on_record_is_told_with_the_command_that_ends_it() {
        let said = || Decision { by: "anna".to_string(), why: "disk".to_string(), unix_ms: 1 };
        let component = || ComponentName::parse("etcd").unwrap();
        let version = || Version::parse("3.5.16").unwrap();
        let bad = || Quarantined {
            component: component(),
            version: version(),
            run: 7,
            why: "exit 1".to_string(),
            unix_ms: 1,
        };
        let left = || Unsettled { component: component(), run: 7, why: "silent".to_string(), unix_ms: 1 };
        let twins = || Twins { machines: [machine("aa"), machine("bb")].to_vec(), unix_ms: 1 };
        let plain = standing();
        assert!(plain.is_plain() && plain.lines().is_empty());
        let marked = [
            Standing { set_aside: Some(said()), ..standing() },
            Standing { quarantined: [bad()].to_vec(), ..standing() },
            Standing { unsettled: [left()].to_vec(), ..standing() },
            Standing { twins: Some(twins()), ..standing() },
            Standing { only_machine: Some("aa".to_string()), ..standing() },
        ];
        for standing in marked {
            assert!(!standing.is_plain());
            let lines = standing.lines();
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains("drydock node release ctl-1"), "{lines:?}");
        }
        let standing = Standing { quarantined: [bad()].to_vec(), ..standing() };
        assert!(standing.quarantine_of(&component(), &version()).is_some());
        assert!(standing.quarantine_of(&component(), &Version::parse("3.5.17").unwrap()).is_none());
    }

    #[test]
    fn machines_that_look_alike_are_not_told_apart_by_their_id() {
        let twins = |a: &str, b: &str| Twins { machines: [machine(a), machine(b)].to_vec(), unix_ms: 1 };
        assert!(!standing().twins_way_on(&twins("aa", "aa")).contains("--machine"));
        let way_on = standing().twins_way_on(&twins("aa", "bb"));
        assert!(way_on.contains("drydock node release ctl-1 --machine ID"), "{way_on}");
        assert!(!way_on.contains("--machine aa") && !way_on.contains("--machine bb"), "{way_on}");
    }
}
