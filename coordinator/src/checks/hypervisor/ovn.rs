//! `ovnController`: it is connected and has caught up, and the chassis is set up for the order that the plan follows.

use drydock_core::recipe::{OvnControllerCheck, OvnOrder};
use drydock_types::{
    Verdict,
    ovn::{MATCH_NORTHD, OvnView},
};

/// Judges what was seen.
pub(super) fn judge(view: &OvnView, config: OvnControllerCheck) -> Verdict {
    for (what, answer) in [("its version", &view.version), ("its connection", &view.connection)] {
        if let Err(why) = answer {
            return Verdict::Unknown(format!("ovn-controller does not say {what}: {why}"));
        }
    }
    if let Err(why) = &view.southbound {
        return Verdict::Unknown(format!(
            "whether chassis {} has caught up only the southbound database knows, and the node cannot read it: {why}",
            view.chassis
        ));
    }
    if let Some(why) = is_not_set_up_for(view, config.order) {
        return Verdict::Refused(why);
    }
    match &view.flows {
        Err(why) => {
            return Verdict::Unknown(format!("the flows of {} cannot be counted: {why}", view.bridge));
        }
        Ok(0) => {
            return Verdict::Waiting(format!(
                "{} has no flows: its controller has written none",
                view.bridge
            ));
        }
        Ok(_) => {}
    }
    match view.caught_up() {
        Ok(_) => Verdict::Clear,
        // Northd has gone first, and this controller waits for its own turn: `ovnControllerReady` sees that it ends.
        Err(_) if config.order == OvnOrder::DatabasesFirst && waits_for_its_turn(view) => Verdict::Clear,
        Err(why) => Verdict::Waiting(why),
    }
}

fn waits_for_its_turn(view: &OvnView) -> bool {
    view.stands_still().is_some() && view.connection.as_deref() == Ok("connected")
}

fn is_not_set_up_for(view: &OvnView, order: OvnOrder) -> Option<String> {
    let chassis = &view.chassis;
    match (order, view.matches_northd) {
        (OvnOrder::ControllersFirst, true) => Some(format!(
            "{MATCH_NORTHD} is set on chassis {chassis}: with ovnOrder controllersFirst it would stand still from its upgrade \
             until northd's; on that node: ovs-vsctl remove Open_vSwitch . external_ids {MATCH_NORTHD}"
        )),
        (OvnOrder::DatabasesFirst, false) => Some(format!(
            "{MATCH_NORTHD} is not set on chassis {chassis}, which ovnOrder databasesFirst demands of every chassis before the \
             databases are upgraded; on that node: ovs-vsctl set Open_vSwitch . external_ids:{MATCH_NORTHD}=true"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use drydock_types::ovn::Southbound;

    use super::*;

    const FIRST: OvnControllerCheck = OvnControllerCheck { order: OvnOrder::ControllersFirst };
    const LAST: OvnControllerCheck = OvnControllerCheck { order: OvnOrder::DatabasesFirst };

    fn view(change: impl FnOnce(&mut OvnView)) -> OvnView {
        let southbound =
            Southbound { wanted: 7, reached: Some(7), northd: Some("23.03.1-20.27.0-70.6".to_owned()) };
        let mut view = OvnView {
            version: Ok("23.03.1".to_owned()),
            connection: Ok("connected".to_owned()),
            chassis: "n1".to_owned(),
            bridge: "br-int".to_owned(),
            flows: Ok(145),
            matches_northd: false,
            southbound: Ok(southbound),
        };
        change(&mut view);
        view
    }

    fn told(verdict: Verdict) -> (&'static str, String) {
        match verdict {
            Verdict::Clear => ("clear", String::new()),
            Verdict::Waiting(why) => ("waiting", why),
            Verdict::Refused(why) => ("refused", why),
            Verdict::Unknown(why) => ("unknown", why),
        }
    }

    #[test]
    fn each_thing_that_is_in_the_way() {
        assert_eq!(judge(&view(|_| {}), FIRST), Verdict::Clear);
        for (view, kind, word) in [
            (view(|it| it.version = Err("gone".to_owned())), "unknown", "gone"),
            (view(|it| it.connection = Err("hangs".to_owned())), "unknown", "hangs"),
            (view(|it| it.southbound = Err("no route".to_owned())), "unknown", "no route"),
            (view(|it| it.flows = Err("no bridge".to_owned())), "unknown", "no bridge"),
            (view(|it| it.connection = Ok("not connected".to_owned())), "waiting", "not connected"),
            (view(|it| it.flows = Ok(0)), "waiting", "br-int has no flows"),
            (
                view(|it| it.southbound.as_mut().unwrap().reached = Some(6)),
                "waiting",
                "the southbound database asks for 7, chassis n1 is at 6",
            ),
            (view(|it| it.southbound.as_mut().unwrap().reached = None), "waiting", "knows no chassis n1"),
        ] {
            let (found, why) = told(judge(&view, FIRST));
            assert_eq!(found, kind, "{why}");
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn each_order_wants_its_setting_and_names_the_command() {
        let matching = view(|it| it.matches_northd = true);
        let (kind, why) = told(judge(&matching, FIRST));
        assert!(kind == "refused" && why.contains("ovs-vsctl remove") && why.contains("chassis n1"), "{why}");
        let (kind, why) = told(judge(&view(|_| {}), LAST));
        assert!(kind == "refused" && why.contains("ovs-vsctl set") && why.contains("chassis n1"), "{why}");
        assert_eq!(judge(&matching, LAST), Verdict::Clear);
    }

    #[test]
    fn one_that_waits_for_its_turn_behind_northd_is_clear_and_one_that_lags_is_not() {
        let still = |change: fn(&mut OvnView)| {
            view(|it| {
                it.matches_northd = true;
                let southbound = it.southbound.as_mut().unwrap();
                (southbound.wanted, southbound.northd) = (9, Some("23.09.1-20.28.0-71.0".to_owned()));
                change(it);
            })
        };
        assert_eq!(judge(&still(|_| {}), LAST), Verdict::Clear);
        assert_eq!(
            told(judge(&still(|it| it.connection = Ok("not connected".to_owned())), LAST)).0,
            "waiting"
        );
        let lags =
            still(|it| it.southbound.as_mut().unwrap().northd = Some("23.03.1-20.27.0-70.6".to_owned()));
        assert!(told(judge(&lags, LAST)).1.contains("asks for 9"));
    }
}
