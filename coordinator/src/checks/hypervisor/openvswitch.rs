//! `openvswitch`: it is well, and of a kind that can be reloaded.

use drydock_core::recipe::OpenvswitchCheck;
use drydock_types::{Verdict, openvswitch::OpenvswitchView};

/// Judges what was seen. The agent looks once more right before the change, and refuses more (meters).
pub(super) fn judge(view: &OpenvswitchView, _config: OpenvswitchCheck) -> Verdict {
    for (daemon, version) in [("ovs-vswitchd", &view.version), ("ovsdb-server", &view.db_version)] {
        if let Err(why) = version {
            return Verdict::Unknown(format!("{daemon} does not answer: {why}"));
        }
    }
    if view.flow_restore_wait {
        return Verdict::Refused(
            "flow-restore-wait is set: a reload was begun and not ended, and the switch holds its flows back; see that \
             the bridges have their flows, then: ovs-vsctl remove Open_vSwitch . other_config flow-restore-wait"
                .to_owned(),
        );
    }
    if view.dpdk {
        return Verdict::Refused(
            "Open vSwitch uses DPDK there, whose reload has not been tried: upgrade this node by hand, drained"
                .to_owned(),
        );
    }
    Verdict::Clear
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn view(change: impl FnOnce(&mut OpenvswitchView)) -> Verdict {
        let mut view = OpenvswitchView {
            version: Ok("3.1.0".to_owned()),
            db_version: Ok("3.1.0".to_owned()),
            schema: "8.3.1".to_owned(),
            other_config: BTreeMap::new(),
            flow_restore_wait: false,
            dpdk: false,
            bridges: BTreeMap::new(),
        };
        change(&mut view);
        judge(&view, OpenvswitchCheck {})
    }

    #[test]
    fn each_thing_that_forbids_a_reload() {
        assert!(view(|_| {}).is_clear());
        assert!(
            matches!(view(|it| it.version = Err("no".to_owned())), Verdict::Unknown(why) if why.contains("vswitchd"))
        );
        assert!(
            matches!(view(|it| it.db_version = Err("no".to_owned())), Verdict::Unknown(why) if why.contains("ovsdb"))
        );
        assert!(
            matches!(view(|it| it.flow_restore_wait = true), Verdict::Refused(why) if why.contains("ovs-vsctl remove"))
        );
        assert!(matches!(view(|it| it.dpdk = true), Verdict::Refused(why) if why.contains("DPDK")));
    }
}
