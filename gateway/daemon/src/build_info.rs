//! What this program was built of and how, for `version` and whoever is told of a fault. What only the build scripts know
//! comes through the environment of the build.

use std::fmt;

/// Version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Of the configuration's files. Raised when a program of before would refuse or misread what this one takes; a new key is enough.
pub const CONFIG_SCHEMA: u32 = 1;

/// Commit of the sources; none if not built by `cross/build.sh`.
const COMMIT: Option<&str> = option_env!("TWINWAY_COMMIT");
/// Compiler, profile and settings; none if not built by `cross/build.sh`.
const SETTINGS: Option<&str> = option_env!("TWINWAY_SETTINGS");

/// Shows all of it, a line each.
pub struct Build;

impl Build {
    /// The same for programs; it goes into every package, and from there into the manifest of an update.
    pub fn json() -> serde_json::Value {
        serde_json::json!({
            "product": "twinway-gateway",
            "version": VERSION,
            "commit": COMMIT.unwrap_or_default(),
            "arch": gateway_update::machine(),
            "store_format": gateway_store::FORMAT,
            "config_schema": CONFIG_SCHEMA,
            "settings": SETTINGS.unwrap_or_default(),
        })
    }
}

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
