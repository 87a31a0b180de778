//! The figures: `make bench`, or one group by name (`make bench ONLY=loop`). Each figure is one line of JSON on
//! standard output; what is done meanwhile goes to standard error. Real processes, real sockets.

#![allow(clippy::disallowed_methods)] // it measures time

mod broker;
mod command;
mod figure;
mod live;
mod outage;
mod start;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let only: Vec<String> = std::env::args().skip(1).collect();
    // One TLS provider for every client here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let known = ["start", "loop", "command", "broker"];
    if let Some(unknown) = only.iter().find(|g| !known.contains(&g.as_str())) {
        eprintln!("no group `{unknown}`: there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    let wanted = |group: &str| only.is_empty() || only.iter().any(|g| g == group);
    if wanted("loop") {
        start::gateway().await;
        live::sensor_to_browser().await;
    }
    if wanted("loop") || only.iter().any(|g| g == "command") {
        command::command().await;
    }
    if wanted("loop") {
        outage::outage().await;
    }
    // Part of the field's figures, and by itself.
    if wanted("field") || only.iter().any(|g| g == "broker") {
        broker::broker().await;
    }
    if wanted("start") {
        start::demo().await;
    }
    ExitCode::SUCCESS
}
