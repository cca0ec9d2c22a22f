//! Checks of a hypervisor: its packages, libvirt, Open vSwitch, OVN.

use drydock_types::libvirt::Quiescence;
use serde::{Deserialize, Serialize};

/// Configuration of `packages`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackagesCheck {
    /// What an earlier dpkg has left half-configured is let pass: the change repairs it.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub repair: bool,
}

/// Configuration of `libvirtQuiescence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LibvirtQuiescence {
    /// What must hold.
    #[serde(default)]
    pub quiescence: Quiescence,
}

/// Configuration of `openvswitch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenvswitchCheck {}

/// Configuration of `ovnController`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OvnControllerCheck {
    /// Which of the two orders the plan follows.
    pub order: OvnOrder,
}

/// Who goes first in an upgrade of OVN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OvnOrder {
    /// ovn-controller on every chassis, then databases and northd: upstream's rolling order.
    ControllersFirst,
    /// Databases and northd, then ovn-controller: every chassis must have `ovn-match-northd-version=true` and stands still
    /// until it has northd's version.
    DatabasesFirst,
}
