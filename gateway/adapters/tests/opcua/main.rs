//! The adapter against asyncua, a server that we did not write, as a process of its own.

#[path = "../common/mod.rs"]
mod common;
mod read;
mod recover;
mod rig;
mod secure;
mod tool;
mod write;
