//! Where recipes come from: built in, or a file that the plan names.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use drydock_core::recipe::{Recipe, RecipeMetadata};
use drydock_types::ComponentName;

use super::{
    decode::decode,
    diagnostic::{Diagnostic, Diagnostics, Place, Source},
    parameters::{self, Given, Parameters},
    tree::{Kind, Node},
    words, yaml,
};

/// Shipped in the binary, by name. The one place that says which: a test holds it against the directory.
const BUILT_IN: [(&str, &str); 12] = [
    ("drydock-agent", include_str!("../../recipes/drydock-agent.yaml")),
    ("etcd", include_str!("../../recipes/etcd.yaml")),
    ("k3s-agent", include_str!("../../recipes/k3s-agent.yaml")),
    ("k3s-images", include_str!("../../recipes/k3s-images.yaml")),
    ("k3s-server", include_str!("../../recipes/k3s-server.yaml")),
    ("libvirt", include_str!("../../recipes/libvirt.yaml")),
    ("nothing", include_str!("../../recipes/nothing.yaml")),
    ("openvswitch", include_str!("../../recipes/openvswitch.yaml")),
    ("ovn-controller", include_str!("../../recipes/ovn-controller.yaml")),
    ("packages", include_str!("../../recipes/packages.yaml")),
    ("reboot", include_str!("../../recipes/reboot.yaml")),
    ("systemd-binary", include_str!("../../recipes/systemd-binary.yaml")),
];

/// A recipe as it stands in its file, for `recipe list` and `recipe show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeInfo {
    /// What plans say under `recipe:`.
    pub name: String,
    /// One line.
    pub summary: String,
    /// The component that it upgrades; without it any.
    pub component: Option<ComponentName>,
    /// What a plan may or must give under `with:`, by name.
    pub parameters: Vec<ParameterInfo>,
    /// The file's text.
    pub source: String,
}

/// A parameter of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterInfo {
    /// The key under `with:`.
    pub name: String,
    /// What it is for.
    pub summary: String,
    /// Must it be given?
    pub required: bool,
    /// The value when it is not given, where that is a text or number.
    pub default: Option<String>,
}

/// What the recipes in this build are called, in the order of their names.
pub fn built_in() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// The recipes in this build, by name.
#[must_use]
pub fn builtin_recipes() -> Vec<RecipeInfo> {
    // A built-in recipe that cannot be read is caught by the tests.
    BUILT_IN.iter().filter_map(|(name, _)| load_recipe(name, Path::new("")).ok()).collect()
}

/// A recipe by what a plan would say: a built-in name, or a path that begins with `./`, `../` or `/`, taken
/// from `base`.
///
/// # Errors
/// When there is none of that name, or its file cannot be read.
pub fn load_recipe(reference: &str, base: &Path) -> Result<RecipeInfo, Diagnostics> {
    let Some(from) = Origin::of(reference, base) else {
        let found = Diagnostic::of_file(reference, "no such recipe");
        return Err(found.help(suggestion(reference)).note(known()).into());
    };
    let template = Template::load(&from)?;
    let parameters = template.parameters.iter().map(|(name, parameter)| ParameterInfo {
        name: name.clone(),
        summary: parameter.summary.clone(),
        required: parameter.required,
        default: parameter.default.as_ref().and_then(|node| match &node.kind {
            Kind::Scalar { text, .. } => Some(text.clone()),
            Kind::List(_) | Kind::Mapping(_) => None,
        }),
    });
    Ok(RecipeInfo {
        name: template.metadata.name.to_string(),
        summary: template.metadata.summary.clone(),
        component: template.metadata.component.clone(),
        parameters: parameters.collect(),
        source: template.source.text.clone(),
    })
}

/// `did you mean …?` for the name of a recipe.
pub(super) fn suggestion(name: &str) -> Option<String> {
    words::suggestion(name, built_in())
}

/// What can stand under `recipe:`.
pub(super) fn known() -> String {
    let names: Vec<_> = built_in().collect();
    format!("built in: {}; the path of a file begins with ./ or ../ or /", names.join(", "))
}

/// Where a recipe's text is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    BuiltIn(&'static str, &'static str),
    File(PathBuf),
}

impl Origin {
    pub(super) fn of(reference: &str, base: &Path) -> Option<Self> {
        if ["./", "../", "/"].iter().any(|start| reference.starts_with(start)) {
            let plain = reference.strip_prefix("./").unwrap_or(reference);
            return Some(Self::File(base.join(plain)));
        }
        BUILT_IN.iter().find(|(name, _)| *name == reference).map(|(name, text)| Self::BuiltIn(name, text))
    }
}

/// A recipe's file, read, with its parameters not yet filled in.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) metadata: RecipeMetadata,
    source: Arc<Source>,
    tree: Node,
    parameters: Parameters,
}

impl Template {
    fn load(from: &Origin) -> Result<Self, Diagnostics> {
        let source = match from {
            Origin::BuiltIn(name, text) => Source::new(format!("built-in recipe {name}"), *text),
            Origin::File(path) => yaml::read(path)?,
        };
        let mut tree = yaml::parse(&source)?;
        let parameters = parameters::declared(&mut tree)?;
        parameters::check_use(&tree, &parameters)?;
        let Some(metadata) = tree.get("metadata") else {
            let found = Diagnostic::at(&tree.place, "missing key `metadata` in a recipe");
            return Err(found.note("a recipe has: apiVersion, kind, metadata, parameters, spec").into());
        };
        let metadata = decode(metadata)?;
        Ok(Self { metadata, source, tree, parameters })
    }

    /// The recipe that a stage uses.
    pub(super) fn fill(&self, given: &Given<'_>) -> Result<Filled, Diagnostics> {
        let tree = parameters::fill(&self.tree, &self.parameters, given)?;
        let recipe = decode(&tree)?;
        Ok(Filled { recipe, tree })
    }
}

/// A recipe, ready, and the tree it was read from, for places.
pub(super) struct Filled {
    pub(super) recipe: Recipe,
    pub(super) tree: Node,
}

/// Each recipe's file is read once, however many stages use it, and what is wrong with it is said once.
#[derive(Default)]
pub(super) struct Shelf(BTreeMap<Origin, Option<Arc<Template>>>);

impl Shelf {
    /// `None`: cannot be read, and that has been said.
    pub(super) fn take(
        &mut self,
        from: Origin,
        named: &Place,
        found: &mut Diagnostics,
    ) -> Option<Arc<Template>> {
        if let Some(known) = self.0.get(&from) {
            return known.clone();
        }
        let template = match Template::load(&from) {
            Ok(template) => Some(Arc::new(template)),
            Err(errors) => {
                // What is wrong with the file as a whole is shown where the plan names it.
                let whole = errors.iter().find(|error| error.line().is_none()).cloned();
                match whole {
                    Some(error) => {
                        found.push(|| Diagnostic::at(named, format!("{} {}", error.file(), error.message())))
                    }
                    None => found.extend(errors),
                }
                None
            }
        };
        self.0.insert(from, template.clone());
        template
    }
}
