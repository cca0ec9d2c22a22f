//! Debian's package manager. What it knows of this node; dpkg's database is asked through `dpkg-query`, never read.

pub mod archives;
pub mod database;
pub mod index;
pub mod judge;
pub mod simulate;
pub mod stage;
pub mod staged;
pub mod tool;
pub mod wanted;
