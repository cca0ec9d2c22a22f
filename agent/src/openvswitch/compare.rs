//! What differs between two looks at a switch, in words.

use std::collections::BTreeMap;

use drydock_types::openvswitch::{Bridge, FlowsMust, OpenvswitchView};

use super::{Seen, database::FLOW_RESTORE_WAIT};

/// Where a controller writes the flows, so many of ten must be there again.
const OF_TEN: u64 = 9;
/// The most differences that are said.
const MOST: usize = 12;

/// What is not as before. What was added by others and works is none.
#[must_use]
pub fn differences(before: &Seen, now: &Seen, must: FlowsMust) -> Vec<String> {
    let mut all = Vec::new();
    if now.view.flow_restore_wait {
        all.push(format!("{FLOW_RESTORE_WAIT} is set: the switch holds its flows back"));
    }
    for (daemon, version) in [("ovs-vswitchd", &now.view.version), ("ovsdb-server", &now.view.db_version)] {
        if let Err(why) = version {
            all.push(format!("{daemon} does not answer: {why}"));
        }
    }
    if settings(&before.view) != settings(&now.view) {
        all.push("other_config of the switch is another one".into());
    }
    for (name, was) in &before.view.bridges {
        let Some(is) = now.view.bridges.get(name) else {
            all.push(format!("bridge {name} is gone"));
            continue;
        };
        bridge(name, was, is, &mut all);
        flows(name, was, is, is_controlled(before, name, must), &mut all);
    }
    all.truncate(MOST);
    all
}

/// Are the flows of this bridge somebody else's to write?
#[must_use]
pub fn is_controlled(before: &Seen, bridge: &str, must: FlowsMust) -> bool {
    must == FlowsMust::CaughtUp && before.controlled.iter().any(|name| name == bridge)
}

/// Are all bridges that are ours to keep as they were told, by digest?
#[must_use]
pub fn same_flows(before: &Seen, now: &Seen, must: FlowsMust) -> bool {
    let same = |(name, was): (&String, &Bridge)| {
        is_controlled(before, name, must)
            || now.view.bridges.get(name).is_some_and(|is| told(was) == told(is))
    };
    before.view.bridges.iter().all(same)
}

/// All flows of a look.
#[must_use]
pub fn count(view: &OpenvswitchView) -> u64 {
    view.bridges.values().map(|bridge| bridge.flows).sum()
}

type Told = [(u64, drydock_types::Sha256); 3];

const fn told(bridge: &Bridge) -> Told {
    [
        (bridge.flows, bridge.flows_digest),
        (bridge.groups, bridge.groups_digest),
        (bridge.meters, bridge.meters_digest),
    ]
}

fn settings(view: &OpenvswitchView) -> BTreeMap<&String, &String> {
    view.other_config.iter().filter(|(key, _)| *key != FLOW_RESTORE_WAIT).collect()
}

fn bridge(name: &str, was: &Bridge, is: &Bridge, all: &mut Vec<String>) {
    if was.datapath_type != is.datapath_type {
        all.push(format!("{name}: its datapath was {:?} and is {:?}", was.datapath_type, is.datapath_type));
    }
    if was.fail_mode != is.fail_mode {
        all.push(format!("{name}: its fail mode was {:?} and is {:?}", was.fail_mode, is.fail_mode));
    }
    if was.controllers != is.controllers {
        all.push(format!("{name}: its controllers are others"));
    }
    if was.other_config != is.other_config {
        all.push(format!("{name}: its other_config is another one"));
    }
    if was.has_address && !is.has_address {
        all.push(format!("{name}: its own interface has lost the host's address"));
    }
    for (port, before) in &was.ports {
        match is.ports.get(port) {
            None => all.push(format!("{name}: port {port} is gone")),
            Some(now) if now.ofport != before.ofport => {
                all.push(format!("{name}: port {port} was {} in flows and is {}", before.ofport, now.ofport));
            }
            Some(now) if !now.error.is_empty() && now.error != before.error => {
                all.push(format!("{name}: port {port}: {}", now.error));
            }
            Some(now) if (&now.kind, &now.bond) != (&before.kind, &before.bond) => {
                all.push(format!("{name}: port {port} is of another kind or bond"));
            }
            Some(_) => {}
        }
    }
}

fn flows(name: &str, was: &Bridge, is: &Bridge, controlled: bool, all: &mut Vec<String>) {
    if controlled {
        if is.flows < was.flows.saturating_mul(OF_TEN).div_ceil(10) {
            all.push(format!(
                "{name}: its controller had written {} flows and has {} so far",
                was.flows, is.flows
            ));
        }
        return;
    }
    for (what, (before, digest), (now, now_digest)) in ["flows", "groups", "meters"]
        .into_iter()
        .zip(told(was))
        .zip(told(is))
        .map(|((what, before), now)| (what, before, now))
    {
        if before != now {
            all.push(format!("{name}: it had {before} {what} and has {now}"));
        } else if digest != now_digest {
            all.push(format!("{name}: its {now} {what} are others than before"));
        }
    }
}

#[cfg(test)]
mod tests {
    use drydock_types::{Sha256, openvswitch::Port};

    use super::*;
    use crate::openvswitch::flows::Dialect;

    fn seen() -> Seen {
        let port = Port { ofport: 1, error: String::new(), kind: String::new(), bond: None };
        let bridge = Bridge {
            datapath_type: "netdev".into(),
            fail_mode: "secure".into(),
            controllers: vec![],
            other_config: BTreeMap::new(),
            ports: BTreeMap::from([("v1".to_owned(), port)]),
            flows: 200,
            flows_digest: Sha256::of(b"flows"),
            groups: 1,
            groups_digest: Sha256::of(b"groups"),
            meters: 0,
            meters_digest: Sha256([0; 32]),
            has_address: false,
        };
        Seen {
            view: OpenvswitchView {
                version: Ok("3.1.0".into()),
                db_version: Ok("3.1.0".into()),
                schema: "8.3.1".into(),
                other_config: BTreeMap::from([("vlan-limit".to_owned(), "0".to_owned())]),
                flow_restore_wait: false,
                dpdk: false,
                bridges: BTreeMap::from([("br-int".to_owned(), bridge.clone()), ("br0".to_owned(), bridge)]),
            },
            dialects: ["br-int", "br0"].map(|name| (name.to_owned(), Dialect::OpenFlow15)).into(),
            controlled: vec!["br-int".into()],
        }
    }

    fn after(change: impl FnOnce(&mut Seen)) -> String {
        let mut now = seen();
        change(&mut now);
        differences(&seen(), &now, FlowsMust::Equal).join("; ")
    }

    fn br0(seen: &mut Seen) -> &mut Bridge {
        seen.view.bridges.get_mut("br0").unwrap()
    }

    #[test]
    fn each_difference_is_said() {
        assert_eq!(after(|_| {}), "");
        assert!(after(|it| it.view.flow_restore_wait = true).contains("holds its flows back"));
        assert!(after(|it| it.view.version = Err("no".into())).contains("ovs-vswitchd does not answer: no"));
        assert!(after(|it| it.view.other_config.clear()).contains("other_config of the switch"));
        assert_eq!(after(|it| drop(it.view.bridges.remove("br0"))), "bridge br0 is gone");
        assert!(after(|it| br0(it).fail_mode = String::new()).contains("its fail mode was"));
        assert!(after(|it| br0(it).datapath_type = "system".into()).contains("its datapath was"));
        assert!(after(|it| br0(it).controllers.push("tcp:x".into())).contains("controllers"));
        assert!(after(|it| drop(br0(it).ports.remove("v1"))).contains("port v1 is gone"));
        let port = |it: &mut Seen| br0(it).ports.get_mut("v1").unwrap().clone();
        let set = |change: fn(&mut Port)| {
            after(|it| {
                let mut new = port(it);
                change(&mut new);
                br0(it).ports.insert("v1".into(), new);
            })
        };
        assert_eq!(set(|port| port.ofport = 2), "br0: port v1 was 1 in flows and is 2");
        assert_eq!(set(|port| port.error = "no device".into()), "br0: port v1: no device");
        assert_eq!(after(|it| br0(it).flows = 0), "br0: it had 200 flows and has 0");
        assert!(after(|it| br0(it).flows_digest = Sha256([0; 32])).contains("its 200 flows are others"));
        assert_eq!(after(|it| br0(it).groups = 0), "br0: it had 1 groups and has 0");
    }

    #[test]
    fn what_is_added_beside_it_is_no_difference() {
        let port = |it: &Seen| it.view.bridges["br0"].ports["v1"].clone();
        assert_eq!(
            after(|it| {
                let new = port(it);
                br0(it).ports.insert("v9".into(), new);
            }),
            ""
        );
    }

    #[test]
    fn a_controllers_flows_need_not_be_the_same_and_must_not_collapse() {
        let with = |flows, must| {
            let mut now = seen();
            let bridge = now.view.bridges.get_mut("br-int").unwrap();
            (bridge.flows, bridge.flows_digest) = (flows, Sha256::of(b"others"));
            (differences(&seen(), &now, must).len(), same_flows(&seen(), &now, must))
        };
        assert_eq!(with(190, FlowsMust::CaughtUp), (0, true));
        assert_eq!(with(0, FlowsMust::CaughtUp).0, 1);
        assert_eq!(with(200, FlowsMust::Equal), (1, false));
        // Nor of a bridge that has few of them.
        let (mut was, mut is) =
            (seen().view.bridges["br-int"].clone(), seen().view.bridges["br-int"].clone());
        for (before, now, wrong) in [(9, 0, 1), (9, 9, 0), (19, 9, 1), (19, 18, 0), (0, 0, 0)] {
            (was.flows, is.flows) = (before, now);
            let mut all = Vec::new();
            flows("br-int", &was, &is, true, &mut all);
            assert_eq!(all.len(), wrong, "{before} and then {now}: {all:?}");
        }
        let mut now = seen();
        br0(&mut now).flows = 0;
        assert!(!same_flows(&seen(), &now, FlowsMust::CaughtUp), "br0 has no controller");
    }
}
