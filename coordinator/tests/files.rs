//! Plan and recipe files: what is taken, what is refused, and in which words.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "files/artifact.rs"]
mod artifact;
#[path = "files/desk.rs"]
mod desk;
#[path = "files/form.rs"]
mod form;
#[path = "files/guides.rs"]
mod guides;
#[path = "files/hostile.rs"]
mod hostile;
#[path = "files/kubernetes.rs"]
mod kubernetes;
#[path = "files/observers.rs"]
mod observers;
#[path = "files/parameters.rs"]
mod parameters;
#[path = "files/recipes.rs"]
mod recipes;
#[path = "files/rules.rs"]
mod rules;
#[path = "files/waves.rs"]
mod waves;
