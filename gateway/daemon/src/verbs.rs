//! What the program does without running: `check`, `points export` and `points import`. Only the words; what they do is
//! in the library.

#![allow(clippy::print_stdout, clippy::print_stderr)] // a command line speaks

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use common::config::Mistake;
use common::text::counted;
use serde_json::{Value, json};
use twinway_gateway::config::{Import, Report, export, import};

use crate::{EXIT_CONFIG, EXIT_FAILED};

/// `points`.
#[derive(Subcommand)]
pub(crate) enum Points {
    /// Writes the points of a configuration as a table, CSV or XLSX; templates are applied.
    Export {
        /// Configuration.
        config: PathBuf,
        /// The table; its ending says how it is written, .csv or .xlsx.
        #[arg(long)]
        to: PathBuf,
        /// Only the points of this device.
        #[arg(long)]
        device: Option<String>,
        /// Every column and no point, to be filled in.
        #[arg(long, conflicts_with = "device")]
        blank: bool,
        /// One JSON document on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Tells what a table of points, CSV or XLSX, would change; with --apply the points become conf.d/points.csv. The
    /// devices of the table have then its points and no other ones of an earlier import.
    Import {
        /// The table.
        table: PathBuf,
        /// Configuration.
        #[arg(long, default_value = "/etc/twinway/gateway.toml")]
        config: PathBuf,
        /// The file in conf.d that takes the points. Default: points.csv.
        #[arg(long)]
        into: Option<PathBuf>,
        /// Only rows of this device; a table without the column `device` is all its.
        #[arg(long)]
        device: Option<String>,
        /// Write, if nothing is wrong; the former file stays as .csv.before.
        #[arg(long)]
        apply: bool,
        /// One JSON document on standard output.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn check(file: &Path, strict: bool, json: bool) -> ExitCode {
    let report = Report::load(file);
    let size = report.config.as_ref().map(|c| (c.registry.device_count(), c.registry.count()));
    let ok = report.mistakes.is_empty() && (!strict || report.warnings.is_empty());
    if json {
        let told = json!({
            "ok": ok,
            "mistakes": all(&report.mistakes),
            "warnings": all(&report.warnings),
            "devices": size.map(|c| c.0),
            "points": size.map(|c| c.1),
        });
        println!("{told}");
    } else {
        tell(&report.mistakes, &report.warnings);
        if let (true, Some((devices, points))) = (ok, size) {
            let (devices, points) = (counted(devices, "device"), counted(points, "point"));
            println!("{}: ok, {devices}, {points}", file.display());
        }
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CONFIG) }
}

pub(crate) fn points(points: Points) -> ExitCode {
    match points {
        Points::Export { config, to, device, blank, json } => {
            match export(&config, &to, device.as_deref(), blank) {
                Ok(n) if json => {
                    println!("{}", json!({ "file": to, "points": n }));
                    ExitCode::SUCCESS
                }
                Ok(n) => {
                    println!("{}: {}", to.display(), counted(n, "point"));
                    ExitCode::SUCCESS
                }
                Err(error) => failed(&error.to_string()),
            }
        }
        Points::Import { table, config, into, device, apply, json } => {
            let wanted = Import { config, table, into, device, apply };
            match import(&wanted) {
                Ok(done) => {
                    if json {
                        let told = json!({
                            "ok": done.mistakes.is_empty(),
                            "difference": done.difference,
                            "mistakes": all(&done.mistakes),
                            "warnings": all(&done.warnings),
                            "notes": done.notes,
                            "file": done.target,
                            "written": done.written,
                        });
                        println!("{told}");
                    } else {
                        println!("{}", done.difference);
                        done.notes.iter().for_each(|note| println!("note: {note}"));
                        tell(&done.mistakes, &done.warnings);
                        let file = done.target.display();
                        match (done.mistakes.len(), done.written, apply) {
                            (0, true, _) => println!("{file}: written; reload the gateway to use it"),
                            (0, false, true) => println!("{file}: nothing to change"),
                            (0, false, false) => println!("nothing was written: --apply writes {file}"),
                            (n, ..) => eprintln!("nothing was written: {n} mistakes"),
                        }
                    }
                    if done.mistakes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CONFIG) }
                }
                Err(error) => failed(&error.to_string()),
            }
        }
    }
}

fn failed(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(EXIT_FAILED)
}

fn tell(mistakes: &[Mistake], warnings: &[Mistake]) {
    mistakes.iter().for_each(|m| eprintln!("{m}"));
    warnings.iter().for_each(|w| eprintln!("warning: {w}"));
}

fn all(mistakes: &[Mistake]) -> Vec<Value> {
    let one = |m: &Mistake| {
        json!({
            "file": m.file,
            "line": m.at.map(|a| a.0),
            "column": m.at.map(|a| a.1),
            "key": m.key,
            "message": m.message,
            "devices": m.devices,
        })
    };
    mistakes.iter().map(one).collect()
}
