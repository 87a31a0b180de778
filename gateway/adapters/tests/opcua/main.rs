//! The adapter against asyncua and node-opcua, servers that we did not write, as processes of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod node;
mod read;
mod recover;
mod rig;
mod secure;
mod tool;
mod write;
