//! Arguments of `release` and `rollout`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

/// `release`.
#[derive(Debug, Subcommand)]
#[command(disable_version_flag = true)]
pub enum Release {
    /// Give the cloud a signed bundle of the gateway's program (`twinway-gateway update sign` makes them)
    Add {
        /// The bundle
        file: PathBuf,
    },
    /// Bundles that the cloud keeps, newest first
    List,
    /// Remove the bundles of a version; what boxes run stays
    #[command(disable_version_flag = true)]
    Remove {
        /// The version
        version: String,
    },
}

/// `rollout`.
#[derive(Debug, Subcommand)]
#[command(disable_version_flag = true)]
pub enum Rollout {
    /// Roll a version out, group by group; any box that refuses it, or on which it gives way, halts it
    #[command(disable_version_flag = true)]
    Start {
        /// The version
        version: String,
        /// Groups of gateways in their order: `canary,line1,rest`
        #[arg(long, value_delimiter = ',', required = true)]
        groups: Vec<String>,
        /// For so long all boxes of a group must stay connected with it until the next one begins
        #[arg(long, default_value = "1h", value_parser = humantime::parse_duration, value_name = "TIME")]
        stay: Duration,
        /// What it is for
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Halt it: nothing is offered until it goes on
    Halt {
        /// Why, for the audit
        #[arg(long)]
        reason: String,
    },
    /// Let it go on; boxes that failed are passed over, and told as left out
    GoOn {
        /// Why, for the audit
        #[arg(long)]
        reason: String,
    },
    /// The newest rollout, and how each gateway stands; exit code 1 if it is halted
    Status,
}
