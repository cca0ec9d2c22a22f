//! Plan files and recipes: `drydock_coordinator::files`, as commands use it.

use std::path::Path;

use drydock_coordinator::files::{self, LocalArtifact, RecipeInfo};
use drydock_types::document;

use crate::{
    error::CliError,
    render::recipe::{ParameterView, RecipeView},
};

/// A plan that is right as far as files go.
pub(crate) struct Compiled {
    /// What the coordinator gets.
    pub(crate) bundle: Vec<u8>,
    /// The binaries beside it.
    pub(crate) artifacts: Vec<LocalArtifact>,
}

/// Reads a plan with everything that it names. Nothing is connected to.
pub(crate) fn compile(path: &Path) -> Result<Compiled, CliError> {
    let (bundle, artifacts) =
        files::compile_bundle(path).map_err(|wrong| CliError::usage(wrong.to_string()))?;
    Ok(Compiled { bundle: document::encode(&bundle), artifacts })
}

/// The recipes in this build.
pub(crate) fn recipes() -> Vec<RecipeView> {
    files::builtin_recipes().into_iter().map(view).collect()
}

/// One recipe: a built-in name or a file.
pub(crate) fn recipe(reference: &str) -> Result<RecipeView, CliError> {
    let found = files::load_recipe(reference, Path::new(""));
    found
        .map(view)
        .map_err(|wrong| CliError::usage(wrong.to_string()).hint("those built in:  drydock recipe list"))
}

fn view(info: RecipeInfo) -> RecipeView {
    let parameters = info.parameters.into_iter().map(|parameter| ParameterView {
        name: parameter.name,
        summary: parameter.summary,
        required: parameter.required,
        default: parameter.default,
    });
    RecipeView {
        name: info.name,
        summary: info.summary,
        component: info.component.map(|component| component.to_string()),
        parameters: parameters.collect(),
        source: info.source.lines().map(ToOwned::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_is_exit_code_2_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("etcd.yaml");
        std::fs::write(&file, "apiVersion: drydock/v1\nkind: Plan\nmetadata: {nam: x}\n").unwrap();
        let error = compile(&file).err().unwrap();
        assert_eq!(error.exit.code(), 2);
        let text = error.to_text(false);
        assert!(text.starts_with("error: ") && text.contains("etcd.yaml") && text.contains("nam"), "{text}");
    }

    #[test]
    fn a_missing_file_is_exit_code_2() {
        assert_eq!(compile(Path::new("/nowhere/plan.yaml")).err().unwrap().exit.code(), 2);
    }

    #[test]
    fn every_built_in_recipe_is_listed_and_shown_by_its_name() {
        let all = recipes();
        assert_eq!(all.len(), files::built_in().count(), "one of them cannot be read");
        for (listed, name) in all.iter().zip(files::built_in()) {
            assert_eq!(listed.name, name);
            assert_eq!(recipe(name).unwrap().source, listed.source);
        }
        assert_eq!(recipe("no-such").err().unwrap().exit.code(), 2);
    }
}
