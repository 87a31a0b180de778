//! The command path against a scripted device and a log in memory, on paused time.

mod commands;
mod desired;
mod rig;
mod settle;
