//! Debian's package manager. What it knows of this node; dpkg's database is asked through `dpkg-query`, never read.

pub mod archives;
pub mod beside;
pub mod database;
pub mod ended;
pub mod held_still;
pub mod index;
pub mod install;
pub mod job;
pub mod judge;
pub mod marks;
pub mod outside;
pub mod room;
pub mod root;
pub mod simulate;
pub mod stage;
pub mod staged;
pub mod tool;
pub mod wanted;
