//! Open vSwitch, and the steps of OVN's controller on a chassis. What is seen of that is in [`crate::ovn`].

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{Millis, Sha256, UnitName};

/// What the flows are compared with after Open vSwitch was reloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FlowsMust {
    /// Equal to those before: nobody else writes flows, or whoever does writes the same.
    #[default]
    Equal,
    /// A controller writes them: OVN's has caught up again.
    CaughtUp,
}

/// A reload of Open vSwitch that keeps its flows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReloadOpenvswitch {
    /// The unit whose reload keeps flows.
    #[serde(default = "openvswitch_switch")]
    pub unit: UnitName,
    /// What the flows are compared with.
    #[serde(default)]
    pub flows: FlowsMust,
    /// How long it may take, until everything is as before.
    #[serde(default = "crate::step::two_minutes")]
    pub within: Millis,
}

impl Default for ReloadOpenvswitch {
    fn default() -> Self {
        Self { unit: openvswitch_switch(), flows: FlowsMust::default(), within: crate::step::two_minutes() }
    }
}

fn openvswitch_switch() -> UnitName {
    UnitName::known("openvswitch-switch.service")
}

/// A restart of ovn-controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestartOvnController {
    /// Its unit.
    #[serde(default = "ovn_controller")]
    pub unit: UnitName,
    /// How long it may take, until it has caught up.
    #[serde(default = "crate::step::two_minutes")]
    pub within: Millis,
}

impl Default for RestartOvnController {
    fn default() -> Self {
        Self { unit: ovn_controller(), within: crate::step::two_minutes() }
    }
}

fn ovn_controller() -> UnitName {
    UnitName::known("ovn-controller.service")
}

/// Open vSwitch on one host. It knows nothing of how its daemons were started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenvswitchView {
    /// The version that the running ovs-vswitchd answers.
    pub version: Result<String, String>,
    /// The version that the running ovsdb-server answers.
    pub db_version: Result<String, String>,
    /// The database's schema.
    pub schema: String,
    /// `other_config` of the whole switch.
    pub other_config: BTreeMap<String, String>,
    /// Does it hold flows back (`flow-restore-wait`)?
    pub flow_restore_wait: bool,
    /// Is DPDK initialised, or a bridge's ports of its kind?
    pub dpdk: bool,
    /// Each bridge, by name.
    pub bridges: BTreeMap<String, Bridge>,
}

/// One bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bridge {
    /// `system`, `netdev`.
    pub datapath_type: String,
    /// `secure`, `standalone`; empty where it is not set.
    pub fail_mode: String,
    /// Addresses of its controllers.
    pub controllers: Vec<String>,
    /// `other_config`.
    pub other_config: BTreeMap<String, String>,
    /// Its interfaces by name.
    pub ports: BTreeMap<String, Port>,
    /// How many flows.
    pub flows: u64,
    /// A digest over all flows that does not depend on their order and not on what they have counted.
    pub flows_digest: Sha256,
    /// The same of groups and meters.
    pub groups: u64,
    /// Digest of them.
    pub groups_digest: Sha256,
    /// How many meters.
    pub meters: u64,
    /// Digest of them.
    pub meters_digest: Sha256,
    /// Does the bridge's own interface carry an address of the host?
    pub has_address: bool,
}

/// One interface of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// Its number in flows; -1 where it has none.
    pub ofport: i64,
    /// What Open vSwitch says is wrong with it; empty where nothing is.
    pub error: String,
    /// `internal`, `geneve`, …; empty for a device of the system.
    pub kind: String,
    /// The bond that it is a member of.
    pub bond: Option<String>,
}
