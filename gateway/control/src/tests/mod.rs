//! The command path against a scripted device and a log in memory, on paused time.

mod commands;
mod desired;
pub(crate) mod rig;
mod settle;
