//! Tables and properties for the reducer. [`rules`] is asserted after every step of every one of them.

mod concurrency;
mod confirmed;
mod control;
mod failures;
mod forcing;
mod leaving;
mod life;
mod moves;
mod observed;
mod outages;
mod properties;
mod restarts;
mod rollback;
mod rules;
mod same_bytes;
mod soaks;
mod views;
mod waits;
mod world;
