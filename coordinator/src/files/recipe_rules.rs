//! What a recipe must keep beyond its form, alone and together with the stage that uses it.

use drydock_core::{plan_file::StageSpec, recipe::Recipe};
use drydock_types::Step;

use super::{
    diagnostic::{Diagnostic, Diagnostics},
    recipes::Filled,
    rules::Places,
    tree::At,
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
    in_service(filled, "stage", &recipe.spec.stage, found);
    in_service(filled, "protect", &recipe.spec.protect, found);
}

fn place<'a>(filled: &'a Filled, phase: &str, item: Option<usize>) -> &'a super::diagnostic::Place {
    let path = [At::Key("spec"), At::Key(phase), At::Item(item.unwrap_or(usize::MAX))];
    filled.tree.place_of(&path)
}

/// While `stage` and `protect` run the node serves: nothing there stops it or exchanges its binary.
fn in_service(filled: &Filled, phase: &str, steps: &[Step], found: &mut Diagnostics) {
    let touches = |step: &Step| step.disrupts() || matches!(step, Step::SwapBinary(_));
    for (i, step) in steps.iter().enumerate().filter(|(_, step)| touches(step)) {
        found.push(|| {
            let message =
                format!("`{}` cannot stand under `{phase}`: the node is still in service then", step.name());
            Diagnostic::at(place(filled, phase, Some(i)), message).help("put it under apply".to_owned())
        });
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
    let wants =
        |step: &&Step| matches!(step, Step::FetchArtifact(_) | Step::CheckSwap(_) | Step::SwapBinary(_));
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

fn looks() -> [&'static str; 5] {
    ["checkSwap", "runningExecutable", "etcdMemberHealthy", "serviceVersion", "healthy"]
}
