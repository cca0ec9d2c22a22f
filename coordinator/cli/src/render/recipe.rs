//! Recipes: which there are, and what one says.

use serde::{Deserialize, Serialize};

use super::{Canvas, Line, Page, Paint};

/// A recipe for screens and for `-o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecipeView {
    /// What plans say under `recipe:`.
    pub(crate) name: String,
    /// One line.
    pub(crate) summary: String,
    /// The component that it upgrades; without it any.
    pub(crate) component: Option<String>,
    /// What a plan may or must give under `with:`.
    pub(crate) parameters: Vec<ParameterView>,
    /// The file, line by line.
    pub(crate) source: Vec<String>,
}

/// A parameter of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParameterView {
    /// The key under `with:`.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) summary: String,
    /// Must it be given?
    pub(crate) required: bool,
    /// The value when it is not given.
    pub(crate) default: Option<String>,
}

/// `recipe list`.
pub(crate) fn list(recipes: &[RecipeView], canvas: Canvas) -> Page {
    let mut page = Page::default();
    let head = ["recipe", "component", ""].map(|name| Line::painted(name, Paint::Dim));
    let mut rows = vec![head.into()];
    rows.extend(recipes.iter().map(|recipe| {
        let component = recipe.component.as_deref().unwrap_or("any");
        vec![Line::painted(&recipe.name, Paint::Bold), Line::of(component), Line::of(&recipe.summary)]
    }));
    page.table(0, rows, canvas);
    page
}

/// `recipe show`: what it takes, then the file itself.
pub(crate) fn page(recipe: &RecipeView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    let head = Line::of("Recipe ").plus(&recipe.name, Paint::Bold).and(": ");
    page.hanging(head, &recipe.summary, Paint::Plain, canvas);
    page.gap();
    let rows = recipe.parameters.iter().map(|parameter| {
        let needed = match (&parameter.default, parameter.required) {
            (_, true) => "required".to_owned(),
            (Some(value), false) => format!("default {value}"),
            (None, false) => "optional".to_owned(),
        };
        vec![Line::of(format!("with.{}", parameter.name)), Line::of(needed), Line::of(&parameter.summary)]
    });
    page.table(2, rows.collect(), canvas);
    if !recipe.parameters.is_empty() {
        page.gap();
    }
    // The file as it is: to be copied and changed, so never wrapped.
    recipe.source.iter().for_each(|line| page.line(Line::of(line)));
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::FILE;

    fn sample() -> RecipeView {
        let parameter = |name: &str, required, default: Option<&str>| ParameterView {
            name: name.into(),
            summary: format!("the {name}"),
            required,
            default: default.map(String::from),
        };
        RecipeView {
            name: "systemd-binary".into(),
            summary: "a service of one binary".into(),
            component: None,
            parameters: vec![parameter("unit", true, None), parameter("within", false, Some("2m"))],
            source: vec!["apiVersion: drydock/v1".into(), "kind: Recipe".into()],
        }
    }

    #[test]
    fn recipes_are_listed_one_a_line() {
        let want = "recipe           component\nsystemd-binary   any         a service of one binary\n";
        assert_eq!(list(&[sample()], FILE).to_text(FILE), want);
    }

    #[test]
    fn a_recipe_is_shown_with_what_it_takes_and_its_file() {
        let want = "\
Recipe systemd-binary: a service of one binary

  with.unit     required     the unit
  with.within   default 2m   the within

apiVersion: drydock/v1
kind: Recipe
";
        assert_eq!(page(&sample(), FILE).to_text(FILE), want);
    }
}
