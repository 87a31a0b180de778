//! The adapter against asyncua, a server that we did not write, as a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;
mod read;
mod recover;
mod rig;
mod secure;
mod tool;
mod write;
