//! What this program was built of and how, for `version` and whoever is told of a fault. What only the build scripts know
//! comes through the environment of the build.

use std::fmt;

/// Version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit of the sources; none if not built by `cross/build.sh`.
const COMMIT: Option<&str> = option_env!("TWINWAY_COMMIT");
/// Compiler, profile and settings; none if not built by `cross/build.sh`.
const SETTINGS: Option<&str> = option_env!("TWINWAY_SETTINGS");

/// Shows all of it, a line each.
pub struct Build;

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = if cfg!(debug_assertions) { "debug" } else { "optimised" };
        let libc = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
        writeln!(f, "twinway-gateway {VERSION}")?;
        writeln!(f, "commit    {}", COMMIT.unwrap_or("not told"))?;
        writeln!(f, "machine   {} {} {libc}", std::env::consts::ARCH, std::env::consts::OS)?;
        write!(f, "build     {}", SETTINGS.unwrap_or(own))
    }
}
