//! What is put back, until when, and what came of it. Strict documents: the copy of the agent that reads them
//! is the one that wrote them.

use drydock_types::{AbsPath, ComponentName, EffectId, Millis, Sha256, UnitName, Version};
use serde::{Deserialize, Serialize};

use crate::{apt::staged::Change, sys::network::Network};

/// What is put back, and until when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// Of which effect.
    pub effect: EffectId,
    /// The run's number, for people.
    pub run_number: u64,
    /// What is changed.
    pub component: ComponentName,
    /// To which version.
    pub to: Version,
    /// The boot in which it was armed: in another one it strikes at once.
    pub boot_id: String,
    /// When, by the wall clock: for people.
    pub armed_unix_ms: u64,
    /// When, by the boot's own clock.
    pub armed_age_ms: u64,
    /// It strikes so long after.
    pub within: Millis,
    /// Who may answer in the coordinator's place.
    pub witness: Vec<String>,
    /// The digest of the reverter.
    pub program_sha256: Sha256,
    /// Files that are exchanged; each has its old content kept beside it by then.
    pub files: Vec<FileBack>,
    /// Units that are stopped, started or restarted, in the order in which they are put back.
    pub units: Vec<UnitBack>,
    /// Packages, where the change installs some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<PackagesBack>,
    /// Open vSwitch, where the change reloads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<SwitchBack>,
    /// Links, addresses, routes and rules before the change.
    pub network: Network,
}

/// Open vSwitch, whose flows are replayed. What was saved lies in the agent's state directory under the effect; where
/// nothing lies there, nothing had been stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SwitchBack {
    /// The unit whose reload keeps flows.
    pub unit: UnitName,
    /// How long the reload may take.
    pub within: Millis,
}

/// Packages that are put back, from files in the agent's own pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackagesBack {
    /// What the change is; the way back is the other way round.
    pub changes: Vec<Change>,
    /// How long each way may take.
    pub within: Millis,
    /// Services that ran and that the node's policy lets be started: of those, what the packages' scripts have ended is started.
    pub may_start: Vec<UnitName>,
}

/// A file that is put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileBack {
    /// Where it lies.
    pub path: AbsPath,
    /// What lay there.
    pub old_sha256: Sha256,
    /// What is put there by the change.
    pub new_sha256: Sha256,
}

/// A unit that is put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnitBack {
    /// Which.
    pub unit: UnitName,
    /// Did it run?
    pub active: bool,
    /// Its invocation: one that is still the same was not touched.
    pub invocation: String,
}

/// Units that the reverter has begun to put back, each with its invocation right before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Begun {
    /// Of which effect.
    pub effect: EffectId,
    /// In order.
    pub units: Vec<UnitBack>,
}

/// That the change was confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Confirmed {
    /// Of which effect.
    pub effect: EffectId,
    /// Who answered.
    pub by: String,
    /// From the arming.
    pub after: Millis,
}

/// What a revert did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Report {
    /// Of which effect.
    pub effect: EffectId,
    /// When it began, by the node's own clock.
    pub at_unix_ms: u64,
    /// From the arming; 0 when the node was started anew in between.
    pub after: Millis,
    /// Why.
    pub because: String,
    /// What was put back.
    pub restored: Vec<String>,
    /// What could not be, and why.
    pub failed: Vec<String>,
}

/// `2026-11-21 08:22:33 UTC`.
#[must_use]
pub fn utc(unix_ms: u64) -> String {
    let (seconds, days) = (unix_ms / 1000, unix_ms / 86_400_000);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    // Days since 0000-03-01, so that the leap day is a year's last one; in eras of 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) =
        (era * 400 + year + u64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    format!("{year:04}-{month:02}-{of_month:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// By the wall clock, for people; 0 before 1970.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_people_read_it() {
        for (unix_ms, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399_999, "2000-02-28 23:59:59 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_795_249_353_000, "2026-11-21 08:22:33 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(unix_ms), text);
        }
    }
}
