//! The only place that talks to systemd, to the file system's sharp edges and to other processes.

pub mod boot;
pub mod exec;
pub mod files;
pub mod http;
pub mod network;
pub mod packages;
pub mod process;
pub mod units;
pub mod unpacked;
