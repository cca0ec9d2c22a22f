//! Who goes first in an upgrade of OVN: what a plan breaks of the order that it says, and what that order costs.
//!
//! Both orders stand in OVN's own guide to upgrades: controllers before databases and northd is the rolling one; the other one is
//! for those who cannot rely on a new controller beside an old northd, and stops every change to networks in between.

use alloc::{format, string::String};

use super::FindingView;
use crate::{
    plan::{Plan, PlanStage},
    recipe::{Check, OvnOrder},
    view::PlanView,
};

/// The components whose upgrade is that of the databases and northd.
const DATABASES: [&str; 3] = ["ovn-central", "ovn-northd", "ovn-databases"];
const MATCH: &str = "ovn-match-northd-version";

pub(super) fn look(plan: &Plan, view: &mut PlanView) {
    let mut first: Option<(&PlanStage, OvnOrder)> = None;
    for (index, stage) in plan.stages.iter().enumerate().filter(|(_, stage)| has_work(stage)) {
        let Some(order) = order(stage) else { continue };
        match first {
            Some((other, of)) if of != order => view.blockers.push(FindingView {
                node: None,
                what: format!(
                    "stage {} follows ovnOrder {}, and stage {} {}: a plan follows one",
                    other.name,
                    word(of),
                    stage.name,
                    word(order)
                ),
                next: format!("write the same `with: {{ovnOrder: …}}` in {} and {}", other.name, stage.name),
            }),
            _ => {}
        }
        if first.is_none() {
            first = Some((stage, order));
            view.warnings.push(cost(stage, order));
        }
        out_of_order(plan, index, stage, order, view);
    }
}

/// Which of the orders a stage of controllers follows; `None` where it is none.
fn order(stage: &PlanStage) -> Option<OvnOrder> {
    stage.recipe.spec.gate.iter().find_map(|check| match check {
        Check::OvnController(config) => Some(config.order),
        _ => None,
    })
}

fn has_work(stage: &PlanStage) -> bool {
    stage.waves.iter().flat_map(|wave| &wave.nodes).any(|node| node.skip.is_none())
}

fn is_databases(stage: &PlanStage) -> bool {
    DATABASES.contains(&stage.component.as_str())
}

/// Where the plan has the databases too, they stand on the side of it that the order says.
fn out_of_order(plan: &Plan, index: usize, stage: &PlanStage, order: OvnOrder, view: &mut PlanView) {
    let databases =
        plan.stages.iter().enumerate().filter(|(_, other)| is_databases(other) && has_work(other));
    for (at, other) in databases {
        let (earlier, later) = match order {
            OvnOrder::ControllersFirst if at < index => (stage, other),
            OvnOrder::DatabasesFirst if at > index => (other, stage),
            _ => continue,
        };
        view.blockers.push(FindingView {
            node: None,
            what: format!(
                "ovnOrder is {}, and stage {} comes before stage {}",
                word(order),
                later.name,
                earlier.name
            ),
            next: format!(
                "write `needs: [{}]` in stage {}, or `with: {{ovnOrder: {}}}` in stage {}",
                earlier.name,
                later.name,
                word(the_other(order)),
                stage.name
            ),
        });
    }
}

/// What it costs, and what the other one would.
fn cost(stage: &PlanStage, order: OvnOrder) -> FindingView {
    let (mine, other) = (text(order), text(the_other(order)));
    let next = match order {
        OvnOrder::ControllersFirst => {
            format!("the other order: `with: {{ovnOrder: databasesFirst}}` in stage {}", stage.name)
        }
        OvnOrder::DatabasesFirst => format!(
            "when all is done, on every chassis: ovs-vsctl remove Open_vSwitch . external_ids {MATCH}; until then each \
             stands still at any mismatch with northd"
        ),
    };
    let what = format!("ovnOrder {}: {mine}. {} would cost: {other}", word(order), word(the_other(order)));
    FindingView { node: None, what, next }
}

fn text(order: OvnOrder) -> String {
    match order {
        OvnOrder::ControllersFirst => {
            "new controllers follow the old northd until its turn, and networks go on changing; what the release adds \
             works when the databases have it"
                .into()
        }
        OvnOrder::DatabasesFirst => format!(
            "from northd's upgrade until its own turn each chassis stands still: flows stay, but no port is bound there and no \
             change to a network arrives; {MATCH}=true must be set on every chassis before (the check ovnController \
             names those without it; `drydock rehearse` asks all)"
        ),
    }
}

const fn the_other(order: OvnOrder) -> OvnOrder {
    match order {
        OvnOrder::ControllersFirst => OvnOrder::DatabasesFirst,
        OvnOrder::DatabasesFirst => OvnOrder::ControllersFirst,
    }
}

const fn word(order: OvnOrder) -> &'static str {
    match order {
        OvnOrder::ControllersFirst => "controllersFirst",
        OvnOrder::DatabasesFirst => "databasesFirst",
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use drydock_types::ComponentName;

    use super::*;
    use crate::{
        plan::{plan, tests::fixture::*},
        recipe::OvnControllerCheck,
        view::PlanView,
    };

    use OvnOrder::{ControllersFirst, DatabasesFirst};

    /// Stages in this order, each of one node; of controllers with the order that they follow, or of the databases.
    fn planned(stages: &[(&str, Option<OvnOrder>)]) -> PlanView {
        let nodes = ["ctl-1", "ctl-2", "ctl-3"];
        let made =
            stages.iter().zip(nodes).map(|((of, _), node)| stage(of, vec![wave("all", named(&[node]))]));
        let mut bundle = bundle(made.collect());
        for ((spec, part), (_, order)) in
            bundle.plan.spec.stages.iter_mut().zip(&mut bundle.stages).zip(stages)
        {
            let name = if order.is_some() { "ovn-controller" } else { "ovn-central" };
            let component = ComponentName::parse(name).unwrap();
            (spec.component, part.recipe.metadata.component) = (component.clone(), Some(component));
            (spec.artifact, part.artifact) = (None, None);
            part.recipe.spec.stage.clear();
            part.recipe.spec.gate =
                order.map(|order| Check::OvnController(OvnControllerCheck { order })).into_iter().collect();
        }
        plan(&bundle, &inventory(3)).unwrap().1
    }

    fn blockers(stages: &[(&str, Option<OvnOrder>)]) -> Vec<(String, String)> {
        let ours = |finding: &FindingView| finding.what.contains("ovnOrder");
        planned(stages).blockers.into_iter().filter(ours).map(|it| (it.what, it.next)).collect()
    }

    #[test]
    fn stages_in_the_order_that_the_plan_says_stand_in_nobodys_way() {
        assert_eq!(blockers(&[("chassis", Some(ControllersFirst)), ("central", None)]), []);
        assert_eq!(blockers(&[("central", None), ("chassis", Some(DatabasesFirst))]), []);
        // Without a stage of databases nothing is demanded of the order.
        assert_eq!(blockers(&[("chassis", Some(DatabasesFirst))]), []);
        assert_eq!(blockers(&[("chassis", Some(ControllersFirst)), ("others", Some(ControllersFirst))]), []);
    }

    #[test]
    fn stages_in_the_other_order_are_refused_with_the_line_that_mends_it() {
        let found = blockers(&[("central", None), ("chassis", Some(ControllersFirst))]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "ovnOrder is controllersFirst, and stage central comes before stage chassis");
        assert_eq!(
            found[0].1,
            "write `needs: [chassis]` in stage central, or `with: {ovnOrder: databasesFirst}` in stage chassis"
        );
        let found = blockers(&[("chassis", Some(DatabasesFirst)), ("central", None)]);
        assert_eq!(found[0].0, "ovnOrder is databasesFirst, and stage chassis comes before stage central");
        assert!(found[0].1.starts_with("write `needs: [central]` in stage chassis"), "{found:?}");
    }

    #[test]
    fn a_plan_follows_one_order() {
        let found = blockers(&[("a", Some(ControllersFirst)), ("b", Some(DatabasesFirst))]);
        assert!(found[0].0.contains("a plan follows one"), "{found:?}");
    }

    #[test]
    fn the_cost_of_both_is_said_once_and_what_is_to_be_removed_afterwards() {
        let said = |order| {
            let view = planned(&[("chassis", Some(order)), ("more", Some(order))]);
            let mut ours = view.warnings.into_iter().filter(|it| it.what.starts_with("ovnOrder"));
            let one = ours.next().unwrap();
            assert_eq!(ours.next(), None);
            one
        };
        let first = said(ControllersFirst);
        assert!(first.what.contains("databasesFirst would cost") && first.what.contains("stands still"));
        assert!(first.next.contains("databasesFirst"), "{first:?}");
        let last = said(DatabasesFirst);
        assert!(last.next.contains("ovs-vsctl remove Open_vSwitch . external_ids ovn-match-northd-version"));
        assert!(last.what.contains("must be set on every chassis before"));
    }
}
