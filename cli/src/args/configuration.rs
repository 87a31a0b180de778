//! Arguments of `gateway config`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

/// `gateway config`.
#[derive(Debug, Subcommand)]
pub enum Configuration {
    /// Which document is wanted, which runs, and why not the one that is wanted
    Status {
        /// The gateway
        gateway: String,
    },
    /// Print a document
    #[command(disable_version_flag = true)]
    Get {
        /// The gateway
        gateway: String,
        /// Which version; the newest if left out
        #[arg(long)]
        version: Option<u64>,
    },
    /// Put a document and wait until the box runs or refuses it
    Put {
        /// The gateway
        gateway: String,
        /// TOML with [[device]], [[template]] and [[line]]; `-` reads standard input
        file: PathBuf,
        /// The version that it was made from: refused if there is a newer one; `newest`: whatever is there goes. Left out, the file
        /// says so itself if `config get` wrote it, and any other is taken only where there is no document yet
        #[arg(long, value_name = "VERSION", value_parser = Over::read)]
        over: Option<Over>,
        /// How
        #[command(flatten)]
        how: Put,
    },
    /// Documents of a gateway, newest first
    History {
        /// The gateway
        gateway: String,
        /// Most documents to show
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// What differs between two documents, or between one and a file; exit code 1 if anything does
    Diff {
        /// The gateway
        gateway: String,
        /// Version on the left; the one that runs if left out
        #[arg(long, value_name = "VERSION")]
        from: Option<u64>,
        /// Version on the right; the newest if left out
        #[arg(long, value_name = "VERSION", conflicts_with = "file")]
        to: Option<u64>,
        /// A file on the right, instead of a version
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Put an earlier document once more, as the newest one
    #[command(disable_version_flag = true)]
    Rollback {
        /// The gateway
        gateway: String,
        /// The version whose text is put
        version: u64,
        /// Refused if there is a newer version than this one; the newest if left out
        #[arg(long, value_name = "VERSION")]
        over: Option<u64>,
        /// How
        #[command(flatten)]
        how: Put,
    },
}

/// What a document may take the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// This version; 0: there is none yet.
    Version(u64),
    /// Whatever is there.
    Newest,
}

impl Over {
    fn read(text: &str) -> Result<Self, &'static str> {
        match text {
            "newest" => Ok(Self::Newest),
            _ => text.parse().map(Self::Version).map_err(|_| "expected a version, 3, or `newest`"),
        }
    }
}

/// How a document is put.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Put {
    /// What it is for
    #[arg(long, default_value = "")]
    pub note: String,
    /// Have the box take it although somebody changed its files since
    #[arg(long)]
    pub force: bool,
    /// Do not wait for the box
    #[arg(long)]
    pub no_wait: bool,
    /// Longest wait
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration, value_name = "TIME")]
    pub timeout: Duration,
}
