//! Versions of the gateway on the box, beside the packaged one: a bundle is verified, unpacked into a folder of its own that only
//! root writes, and run on trial; what does not prove itself gives way to the version before.
//!
//! Way of a bundle: `bundle` reads it (nothing of it is believed before its signature is verified by `keys`), `install` puts it
//! into `versions/<version>` and switches, `watch` looks whether it fares as well as the one before, `start` chooses at each
//! start of the gateway what runs. What holds is one file, `state.json`: a switch and its trial are one rename.
//!
//! Not here: no network. Who brings a bundle from elsewhere puts it into the folder `incoming`, by `transfer`.

mod bundle;
mod error;
mod folder;
mod health;
mod install;
mod keys;
mod manifest;
mod sign;
mod start;
mod state;
mod transfer;
mod watch;

pub use bundle::{Bundle, Checked};
pub use error::Error;
pub use folder::{ENDING, Folder, Lock};
pub use health::Health;
pub use install::{Allowed, Site, Took, install, rollback, take_incoming, tidy};
pub use keys::{Trusted, make_key};
pub use manifest::{File, Manifest, machine};
pub use sign::sign;
pub use start::{Program, choose, forget, programs};
pub use state::{Expects, Installed, Log, State, Trial, What};
pub use transfer::{Transfer, can_receive, clear, is_begun, is_waiting, take_back};
pub use watch::{Ended, Patience, Restart, watch};

/// Name of the packaged program, in state and notes.
pub const PACKAGED: &str = "packaged";
/// What the environment of the program says of it: its version's name in state and notes.
pub const RUNS: &str = "TWINWAY_RUNS";
/// What the environment says of the trial: its name for the version on trial, and for what runs instead of it.
pub const ON_TRIAL: &str = "TWINWAY_ON_TRIAL";
/// See [`ON_TRIAL`].
pub const GAVE_WAY: &str = "TWINWAY_GAVE_WAY";
