//! Plan and recipe files, read before anything is connected to.
//!
//! | module | what lives there |
//! |---|---|
//! | `yaml` | bytes → tree, within limits; what of YAML is not taken |
//! | `tree` | the tree, every part with its place |
//! | `decode` | tree → the types of `drydock-core`, errors with places and nearest keys |
//! | `words` | the words of those errors |
//! | `parameters` | `${name}` in recipes |
//! | `recipes` | built-in recipes, recipe files |
//! | `rules`, `wave_rules`, `recipe_rules` | what must hold beyond the form |
//! | `artifact` | the binary beside the plan and what its signature says |
//! | `compile` | all of it: plan file → [`Bundle`](drydock_core::bundle::Bundle) |
//! | `diagnostic` | how it is said |
//!
//! Nothing here talks to a network, and nothing is written.

mod artifact;
mod compile;
mod decode;
mod diagnostic;
mod package_rules;
mod parameters;
mod recipe_rules;
mod recipes;
mod rules;
mod tree;
mod wave_rules;
mod words;
mod yaml;

pub use artifact::{LocalArtifact, MAX_ARTIFACT_BYTES};
pub use compile::{LoadedPlan, compile_bundle, load_plan};
pub use diagnostic::{Diagnostic, Diagnostics};
pub use recipes::{ParameterInfo, RecipeInfo, built_in, builtin_recipes, load_recipe};
