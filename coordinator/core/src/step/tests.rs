//! Tables and properties for the reducer. [`rules`] is asserted after every step of every one of them.

mod control;
mod failures;
mod life;
mod properties;
mod restarts;
mod rules;
mod views;
mod world;
