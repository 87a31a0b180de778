//! Arguments of `history`, for one point and several, and for deletion.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

/// `history`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct History {
    /// Several points, or a part of one
    #[command(subcommand)]
    pub of: Option<HistoryOf>,
    /// Id, full place, or its unambiguous end: `line1/oven`
    #[arg(required = true)]
    pub twin: Option<String>,
    /// Name of the point
    #[arg(required = true)]
    pub point: Option<String>,
    /// Start: RFC 3339, microseconds since 1970, or a time ago such as -15m
    #[arg(long, default_value = "-1h", allow_hyphen_values = true, value_name = "TIME")]
    pub from: String,
    /// End, in the same forms
    #[arg(long, default_value = "now", allow_hyphen_values = true, value_name = "TIME")]
    pub to: String,
    /// Most rows; beyond it, roll-ups. Default 1000, for a plot its width
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_points: Option<u32>,
    /// How the time divides by quality and, of states, by value: of the range and of each roll-up
    #[arg(long)]
    pub times: bool,
    /// Shape of the text output
    #[arg(long, value_enum, default_value = "table")]
    pub format: HistoryFormat,
}

/// Shape of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HistoryFormat {
    /// columns
    Table,
    /// comma-separated values with a header
    Csv,
    /// a plot in the terminal
    Plot,
}

/// `history align`, `export`, `waveform`, `delete`, `past`.
#[derive(Debug, Subcommand)]
pub enum HistoryOf {
    /// Points side by side at the rows of a grid
    Align(Align),
    /// Samples of points as a file, CSV or Parquet
    Export(Export),
    /// Blocks of a waveform, or the values of one
    Waveform(Waveform),
    /// Delete a part of a point's history: an admin's, and on record
    Delete(Delete),
    /// Points that a twin had and that its configuration has no more: their history is read, exported and deleted by these names
    Past {
        /// Id, full place, or its unambiguous end: `line1/oven`
        twin: String,
    },
}

/// Points and a range.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Set {
    /// Points as TWIN:POINT, such as `line1/oven:zone1_temperature`
    #[arg(required = true, value_name = "TWIN:POINT", value_parser = point)]
    pub points: Vec<(String, String)>,
    /// Start: RFC 3339, microseconds since 1970, or a time ago such as -15m
    #[arg(long, default_value = "-1h", allow_hyphen_values = true, value_name = "TIME")]
    pub from: String,
    /// End, in the same forms
    #[arg(long, default_value = "now", allow_hyphen_values = true, value_name = "TIME")]
    pub to: String,
}

/// `history align`.
#[derive(Debug, Args)]
pub struct Align {
    /// Which
    #[command(flatten)]
    pub set: Set,
    /// Distance of the rows: `10s`, `1m`
    #[arg(long, default_value = "1m", value_parser = humantime::parse_duration, value_name = "TIME")]
    pub step: Duration,
    /// What stands between two samples: the one before, or a line
    #[arg(long, value_enum, default_value = "previous")]
    pub method: Method,
    /// Shape of the text output
    #[arg(long, value_enum, default_value = "table")]
    pub format: AlignFormat,
}

/// What stands between two samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// the one before
    Previous,
    /// a line
    Linear,
}

/// Shape of a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AlignFormat {
    /// columns
    Table,
    /// comma-separated values with a header
    Csv,
}

/// `history export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Which
    #[command(flatten)]
    pub set: Set,
    /// File to write; it appears when it is whole. `.parquet` or `.csv`
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// Instead of the samples the values of waveforms: of the blocks that begin in the range
    #[arg(long)]
    pub waveforms: bool,
}

/// `history waveform`.
#[derive(Debug, Args)]
pub struct Waveform {
    /// The point as TWIN:POINT
    #[arg(value_name = "TWIN:POINT", value_parser = point)]
    pub point: (String, String),
    /// The block that begins then, as the list has it under AT. Default: a list of blocks
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Blocks from then on: RFC 3339, microseconds since 1970, or a time ago such as -15m
    #[arg(long, default_value = "-1h", allow_hyphen_values = true, value_name = "TIME")]
    pub from: String,
    /// Blocks that begin before then, in the same forms
    #[arg(long, default_value = "now", allow_hyphen_values = true, value_name = "TIME")]
    pub to: String,
    /// Most rows of a block; beyond it, least and greatest of each row
    #[arg(long, requires = "at", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_points: Option<u32>,
    /// Shape of a block's text output
    #[arg(long, value_enum, default_value = "table")]
    pub format: AlignFormat,
}

/// `history delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// The point as TWIN:POINT
    #[arg(value_name = "TWIN:POINT", value_parser = point)]
    pub point: (String, String),
    /// Start, as for a history
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    pub from: String,
    /// End (excluded)
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    pub to: String,
    /// Why, for the audit
    #[arg(long, default_value = "")]
    pub reason: String,
}

fn point(text: &str) -> Result<(String, String), String> {
    let parts = text.rsplit_once(':').filter(|(twin, point)| !twin.is_empty() && !point.is_empty());
    parts
        .map(|(t, p)| (t.to_owned(), p.to_owned()))
        .ok_or_else(|| "use TWIN:POINT, such as line1/oven:temp".to_owned())
}
