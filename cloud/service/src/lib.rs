//! The cloud as one process: joins ingress, twins, storage, live channel and API. What each of them does is
//! in its own crate.

mod assemble;
mod compaction;
pub mod config;
mod enrol;
mod http;
mod joint;
mod news;
mod restore;
mod rollout;
pub mod systemd;
mod ui;

pub use assemble::{Cloud, Handle, StartError, place, reset_password, revocations};
pub use config::{Config, StoreSection};
pub use enrol::{authority_folder, new_authority};
