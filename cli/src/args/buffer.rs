//! `twinway buffer`.

use clap::{Args, Subcommand, ValueEnum};

/// `buffer`.
#[derive(Debug, Subcommand)]
pub enum Buffer {
    /// How much of it waits for the cloud, how old that is, and what was dropped; on the box in detail
    Status {
        /// Only this gateway
        gateway: Option<String>,
    },
    /// Samples of this box's buffer to standard output, in the order in which they were taken
    Export(BufferExport),
    /// Reads the whole buffer of this box and says whether it is sound; changes nothing
    Verify,
    /// Drops samples of this box's buffer for good; what the cloud lacks is told there as a gap. What was taken while the
    /// clock was not set has no time and stays
    Drop(BufferDrop),
}

/// `buffer export`.
#[derive(Debug, Args)]
pub struct BufferExport {
    /// From this source time on: -15m, -2d, or RFC 3339
    #[arg(long, default_value = "-1h", allow_hyphen_values = true)]
    pub from: String,
    /// Up to this source time
    #[arg(long, default_value = "now", allow_hyphen_values = true)]
    pub to: String,
    /// How each sample is written
    #[arg(long, value_enum, default_value_t = ExportFormat::Csv)]
    pub format: ExportFormat,
    /// Only of this device
    #[arg(long)]
    pub device: Option<String>,
    /// Only of points with this name
    #[arg(long)]
    pub point: Option<String>,
}

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// with a line of headings
    Csv,
    /// one JSON object a line
    Jsonl,
}

impl ExportFormat {
    /// As the API calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// `buffer drop`.
#[derive(Debug, Args)]
pub struct BufferDrop {
    /// Samples that were taken from here on; the oldest unless given
    #[arg(long, allow_hyphen_values = true)]
    pub from: Option<String>,
    /// Up to here: -2d, now, or RFC 3339
    #[arg(long, allow_hyphen_values = true)]
    pub to: String,
    /// Why, for the audit
    #[arg(long)]
    pub reason: String,
    /// Without it nothing is dropped
    #[arg(long)]
    pub yes: bool,
}
