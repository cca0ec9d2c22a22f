//! What a recipe must keep beyond its form, alone and together with the stage that uses it.

use drydock_core::{
    plan_file::{OnFailure, StageSpec},
    recipe::Recipe,
};
use drydock_types::Step;

use super::{
    diagnostic::{Diagnostic, Diagnostics},
    package_rules,
    recipes::Filled,
    rules::Places,
    tree::At,
    wave_rules,
};

/// All rules of one stage and its recipe.
pub(super) fn check(
    index: usize,
    stage: &StageSpec,
    filled: &Filled,
    places: &Places<'_>,
    found: &mut Diagnostics,
) {
    let recipe = &filled.recipe;
    component(index, stage, recipe, places, found);
    artifact(index, stage, recipe, places, found);
    if recipe.spec.apply.is_empty() {
        found.push(|| {
            Diagnostic::at(place(filled, "apply", None), "a recipe's `apply` changes something")
                .help("name at least one step".to_owned())
        });
    }
    for (i, step) in recipe.spec.verify.iter().enumerate().filter(|(_, step)| !step.only_looks()) {
        found.push(|| {
            let name = step.name();
            Diagnostic::at(
                place(filled, "verify", Some(i)),
                format!("`{name}` changes the node, and `verify` only looks"),
            )
            .help("put it under apply".to_owned())
            .note(format!("steps that only look are: {}", looks().join(", ")))
        });
    }
    for (phase, checks) in [("gate", &recipe.spec.gate), ("returned", &recipe.spec.returned)] {
        for (i, check) in checks.iter().enumerate() {
            wave_rules::check_rules(check, place(filled, phase, Some(i)), found);
        }
    }
    for (phase, checks) in [("gate", &stage.gate), ("returned", &stage.returned)] {
        for (i, check) in checks.iter().enumerate() {
            wave_rules::check_rules(check, places.stage(index, &[At::Key(phase), At::Item(i)]), found);
        }
    }
    let observers = [
        (&recipe.spec.observe, 0, filled.tree.place_of(&[At::Key("spec"), At::Key("observe")])),
        (&stage.observe, recipe.spec.observe.len(), places.stage(index, &[At::Key("observe")])),
    ];
    for (observers, before, whole) in observers {
        wave_rules::observed(observers, before, whole, found);
    }
    for (i, of) in recipe.spec.observe.iter().enumerate() {
        wave_rules::observer_rules(of, place(filled, "observe", Some(i)), found);
    }
    for (i, of) in stage.observe.iter().enumerate() {
        wave_rules::observer_rules(of, places.stage(index, &[At::Key("observe"), At::Item(i)]), found);
    }
    in_service(filled, "stage", &recipe.spec.stage, found);
    in_service(filled, "protect", &recipe.spec.protect, found);
    only_once(filled, found);
    confirmed(index, stage, filled, places, found);
    package_rules::staged(filled, found);
}

pub(super) fn place<'a>(
    filled: &'a Filled,
    phase: &str,
    item: Option<usize>,
) -> &'a super::diagnostic::Place {
    let path = [At::Key("spec"), At::Key(phase), At::Item(item.unwrap_or(usize::MAX))];
    filled.tree.place_of(&path)
}

/// While `stage` and `protect` run the node serves: nothing there stops it or exchanges its binary.
fn in_service(filled: &Filled, phase: &str, steps: &[Step], found: &mut Diagnostics) {
    let touches = |step: &Step| {
        step.disrupts()
            || matches!(step, Step::SwapBinary(_) | Step::PlaceK3sImages(_) | Step::InstallPackages(_))
    };
    for (i, step) in steps.iter().enumerate().filter(|(_, step)| touches(step)) {
        found.push(|| {
            let message =
                format!("`{}` cannot stand under `{phase}`: the node is still in service then", step.name());
            Diagnostic::at(place(filled, phase, Some(i)), message).help("put it under apply".to_owned())
        });
    }
}

/// What keeps its way back by its section stands in it once.
fn only_once(filled: &Filled, found: &mut Diagnostics) {
    let steps = &filled.recipe.spec.apply;
    for (i, step) in steps.iter().enumerate().filter(|(_, step)| step.only_once()) {
        if steps[..i].iter().any(|other| other.name() == step.name()) {
            found.push(|| {
                let message =
                    format!("`{}` stands twice under apply, and only one can be taken back", step.name());
                Diagnostic::at(place(filled, "apply", Some(i)), message)
                    .help("put it into a stage of its own, or ask for both in one step".to_owned())
            });
        }
    }
}

fn component(index: usize, stage: &StageSpec, recipe: &Recipe, places: &Places<'_>, found: &mut Diagnostics) {
    let Some(made_for) = recipe.metadata.component.as_ref().filter(|made_for| **made_for != stage.component)
    else {
        return;
    };
    found.push(|| {
        let message =
            format!("recipe `{}` upgrades {made_for}, not {}", recipe.metadata.name, stage.component);
        Diagnostic::at(places.stage(index, &[At::Key("recipe")]), message)
            .help(format!("write `component: {made_for}`, or another recipe"))
    });
}

fn artifact(index: usize, stage: &StageSpec, recipe: &Recipe, places: &Places<'_>, found: &mut Diagnostics) {
    let spec = &recipe.spec;
    let all = spec.stage.iter().chain(&spec.protect).chain(&spec.apply).chain(&spec.verify);
    let wants = |step: &&Step| {
        matches!(
            step,
            Step::FetchArtifact(_) | Step::CheckSwap(_) | Step::SwapBinary(_) | Step::PlaceK3sImages(_)
        )
    };
    let name = &recipe.metadata.name;
    match (all.into_iter().find(wants), &stage.artifact) {
        (Some(step), None) => found.push(|| {
            let message = format!("stage `{}` has no artifact, and recipe `{name}` needs one", stage.name);
            Diagnostic::at(places.stage(index, &[At::Key("recipe")]), message)
                .help(format!("for its step {}", step.name()))
                .note("artifact: {path: ./FILE}   with FILE.minisig beside it: drydock artifact sign FILE")
        }),
        (None, Some(_)) => found.push(|| {
            let message = format!("recipe `{name}` has no step that uses an artifact");
            Diagnostic::at(places.stage(index, &[At::Key("artifact")]), message)
                .help("leave it out".to_owned())
        }),
        _ => {}
    }
}

/// What the agent would refuse of a section that is taken back from outside of it.
fn confirmed(index: usize, stage: &StageSpec, filled: &Filled, places: &Places<'_>, found: &mut Diagnostics) {
    let spec = &filled.recipe.spec;
    let at = |item: Option<usize>| place(filled, "apply", item);
    let whole = filled.tree.place_of(&[At::Key("spec"), At::Key("commitConfirmed")]);
    let Some(wanted) = &spec.commit_confirmed else {
        let cuts = spec.apply.iter().enumerate().find(|(_, step)| step.can_cut_off());
        if let Some((i, step)) = cuts {
            found.push(|| {
                Diagnostic::at(at(Some(i)), format!("`{}` can cut the node off", step.name()))
                    .help("add commitConfirmed: {within: 60s, witness: [HOST:PORT]} to the recipe".to_owned())
            });
        }
        return;
    };
    if wanted.witness.is_empty() {
        found.push(|| {
            Diagnostic::at(whole, "`witness` names nobody")
                .help("name a gateway's or peer's HOST:PORT".to_owned())
                .note("without one an outage of the coordinator would take back a change that is well")
        });
    }
    if wanted.within.0 < 5_000 || wanted.within.0 > 3_600_000 || wanted.within > spec.deadlines.apply {
        found.push(|| {
            Diagnostic::at(whole, format!("`within` is {}", wanted.within)).note(format!(
                "it is 5s to 1h, and no longer than deadlines.apply ({})",
                spec.deadlines.apply
            ))
        });
    }
    if !spec.can_undo.is_empty() || stage.on_failure == OnFailure::Hold {
        found.push(|| {
            let message = "a change that is commit-confirmed is always taken back";
            Diagnostic::at(places.stage(index, &[At::Key("onFailure")]), message)
                .help("leave out `canUndo` in the recipe and `onFailure: hold` in the plan".to_owned())
        });
    }
    for (i, step) in spec.apply.iter().enumerate().filter(|(_, step)| is_not_reverted(step)) {
        found.push(|| {
            let message = format!("`{}` cannot be taken back from outside of the agent", step.name());
            Diagnostic::at(at(Some(i)), message).help("put it into a stage of its own".to_owned())
        });
    }
}

const fn is_not_reverted(step: &Step) -> bool {
    matches!(
        step,
        Step::Reboot(_)
            | Step::MoveEtcdLeader(_)
            | Step::MoveK3sLeader(_)
            | Step::PlaceK3sImages(_)
            | Step::RestartLibvirt(_)
            | Step::RestartOvnController(_)
    )
}

fn looks() -> [&'static str; 11] {
    [
        "checkSwap",
        "runningExecutable",
        "etcdMemberHealthy",
        "serviceVersion",
        "healthy",
        "checkK3s",
        "k3sReady",
        "packagesInstalled",
        "libvirtReady",
        "openvswitchReady",
        "ovnControllerReady",
    ]
}
