//! A plan with everything that it names.

use std::path::{Path, PathBuf};

use drydock_core::{
    bundle::{Bundle, StageBundle},
    plan_file::{PlanFile, StageSpec},
};

use super::{
    artifact::{self, LocalArtifact},
    decode::decode,
    diagnostic::{Diagnostic, Diagnostics, quoted},
    parameters::Given,
    recipe_rules,
    recipes::{self, Filled, Origin, Shelf},
    rules::{self, Places},
    tree::{At, Node},
    yaml,
};

/// A plan whose own rules are kept. Recipes and artifacts have not been looked at.
#[derive(Debug)]
pub struct LoadedPlan {
    /// The file's name, for screens.
    pub file: String,
    /// The plan.
    pub plan: PlanFile,
    base: PathBuf,
    tree: Node,
}

/// Reads a plan and checks all that needs no other file.
///
/// # Errors
/// Everything that is wrong with it, as far as it could be understood.
pub fn load_plan(path: &Path) -> Result<LoadedPlan, Diagnostics> {
    let source = yaml::read(path)?;
    let tree = yaml::parse(&source)?;
    let plan: PlanFile = decode(&tree)?;
    let mut found = Diagnostics::default();
    rules::check(&plan, &tree, &mut found);
    if !found.is_empty() {
        return Err(found);
    }
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok(LoadedPlan { file, plan, base, tree })
}

/// Reads a plan, its recipes and its artifacts: all that can be known before anything is connected to.
///
/// # Errors
/// Everything that is wrong with any of them, as far as it could be understood.
pub fn compile_bundle(path: &Path) -> Result<(Bundle, Vec<LocalArtifact>), Diagnostics> {
    load_plan(path)?.compile()
}

/// What is executed is the recipe by value: what the stage asks beside it stands in it from here on.
fn with_the_stages_checks(mut filled: Filled, stage: &StageSpec) -> Filled {
    let spec = &mut filled.recipe.spec;
    spec.gate.extend_from_slice(&stage.gate);
    spec.returned.extend_from_slice(&stage.returned);
    spec.observe.extend_from_slice(&stage.observe);
    filled
}

impl LoadedPlan {
    /// Reads what the plan names.
    ///
    /// # Errors
    /// As [`compile_bundle`].
    pub fn compile(self) -> Result<(Bundle, Vec<LocalArtifact>), Diagnostics> {
        let mut found = Diagnostics::default();
        let mut shelf = Shelf::default();
        let mut stages = Vec::new();
        let mut artifacts = Vec::new();
        for (i, stage) in self.plan.spec.stages.iter().enumerate() {
            let recipe = self.recipe(i, stage, &mut shelf, &mut found);
            let local = self.artifact(i, stage, &mut found);
            if let Some(recipe) = recipe {
                let artifact = local.as_ref().map(|local| local.artifact.clone());
                stages.push(StageBundle { stage: stage.name.clone(), recipe: recipe.recipe, artifact });
            }
            artifacts.extend(local);
        }
        if !found.is_empty() {
            return Err(found);
        }
        Ok((Bundle { file: self.file, plan: self.plan, stages }, artifacts))
    }

    fn recipe(
        &self,
        i: usize,
        stage: &StageSpec,
        shelf: &mut Shelf,
        found: &mut Diagnostics,
    ) -> Option<Filled> {
        let places = Places(&self.tree);
        let place = places.stage(i, &[At::Key("recipe")]);
        let Some(from) = Origin::of(&stage.recipe, &self.base) else {
            found.push(|| {
                Diagnostic::at(place, format!("there is no recipe {}", quoted(&stage.recipe)))
                    .help(recipes::suggestion(&stage.recipe))
                    .note(recipes::known())
            });
            return None;
        };
        let template = shelf.take(from, place, found)?;
        let with = places.stage_node(i).get("with").map(Node::entries).unwrap_or_default();
        let given = Given { with, place, recipe: template.metadata.name.as_str() };
        match template.fill(&given) {
            Ok(filled) => {
                recipe_rules::check(i, stage, &filled, &places, found);
                Some(with_the_stages_checks(filled, stage))
            }
            Err(errors) => {
                found.extend(errors);
                None
            }
        }
    }

    fn artifact(&self, i: usize, stage: &StageSpec, found: &mut Diagnostics) -> Option<LocalArtifact> {
        let spec = stage.artifact.as_ref()?;
        let at = Places(&self.tree).stage_node(i);
        artifact::read(stage, spec, at, &self.base).map_err(|errors| found.extend(errors)).ok()
    }
}
