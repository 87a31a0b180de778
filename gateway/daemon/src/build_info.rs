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

/// What can be left out of a build, as the features of this crate, and whether it is there.
pub(crate) type Features = &'static [(&'static str, bool)];

/// Of this build.
pub(crate) const FEATURES: [(&str, bool); 8] = [
    ("cli", cfg!(feature = "cli")),
    ("modbus", cfg!(feature = "modbus")),
    ("mqtt", cfg!(feature = "mqtt")),
    ("opcua-client", cfg!(feature = "opcua-client")),
    ("opcua-server", cfg!(feature = "opcua-server")),
    ("publish", cfg!(feature = "publish")),
    ("sparkplug", cfg!(feature = "sparkplug")),
    ("spreadsheet", cfg!(feature = "spreadsheet")),
];

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
        writeln!(f, "build     {}", SETTINGS.unwrap_or(own))?;
        let named = |there: bool| {
            let names: Vec<_> = FEATURES.into_iter().filter(|f| f.1 == there).map(|f| f.0).collect();
            if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
        };
        writeln!(f, "built in  {}", named(true))?;
        write!(f, "left out  {}", named(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_told_and_each_has_its_line() {
        let manifest: toml::Table = toml::from_str(include_str!("../Cargo.toml")).unwrap();
        let features = manifest["features"].as_table().unwrap();
        let names: Vec<&str> = features.keys().map(String::as_str).filter(|f| *f != "default").collect();
        assert_eq!(names, FEATURES.map(|f| f.0), "in the order of the alphabet");
        let default: Vec<&str> =
            features["default"].as_array().unwrap().iter().filter_map(|f| f.as_str()).collect();
        assert_eq!(default, names, "all by default");
        assert!(Build.to_string().contains("\nbuilt in  "));
    }
}
