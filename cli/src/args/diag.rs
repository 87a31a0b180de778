//! Arguments of `diag`.

use std::path::PathBuf;

use clap::Args;

/// `diag`.
#[derive(Debug, Args)]
pub struct Diag {
    /// The file to make; default: twinway-diag-NAME-TIME.tar.gz in this folder
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// The gateway's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/twinway/gateway.toml")]
    pub config: PathBuf,
    /// The gateway's service, where systemd runs it
    #[arg(long, value_name = "UNIT", default_value = "twinway-gateway")]
    pub service: String,
    /// A log file to take along, where there is no journal
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Most lines of the log, the last ones
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub lines: u32,
}
