//! Hostile peers of real processes: a coordinator that holds the fleet's real authority and lies, in front of
//! a real agent; and clients of every sort in front of a real coordinator.

#![allow(clippy::unwrap_used, reason = "tests")]

mod artifacts;
mod clients;
mod compromised;
mod double;
mod fences;
mod forged;
mod heads;
mod identity;
mod protocol;
mod puppet;
mod twins;
