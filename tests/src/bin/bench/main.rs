//! The figures: `make bench`, or one group by name (`make bench ONLY=loop`). Each figure is one line of JSON on
//! standard output; what is done meanwhile goes to standard error. Real processes, real sockets.
//!
//! `--seconds <n>` is the length of each step of `ingest`, `--rate <n>` its samples a second, `--only sqlite|pg` its database.
//! `soak` runs only when it is named, for an hour and two thirds; `--minutes <n>` is another length than its hour, with a warm-up
//! of two thirds of it.
//!
//! After `field` or `opcua`, beginnings of figures' names choose among them. `--previous <twinway-gateway>` takes the same
//! figures of the field of an older gateway in the same run.

#![allow(clippy::disallowed_methods)] // it measures time

mod broker;
mod buffer;
mod command;
mod drain;
mod field;
mod figure;
mod history;
mod ingest;
mod live;
mod opcua;
mod outage;
mod scale;
mod soak;
mod start;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let mut only: Vec<String> = std::env::args().skip(1).collect();
    if let [what, work] = &only[..]
        && what == "floor-loop"
    {
        eprintln!("{:?}", field::floor_loop(work));
        return ExitCode::FAILURE;
    }
    if let [name, work] = &only[..]
        && let Some(ended) = opcua::role(name, work).await
    {
        eprintln!("{ended:?}");
        return ExitCode::FAILURE;
    }
    // One TLS provider for every client here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut option = |name: &str| {
        let at = only.iter().position(|a| a == name)?;
        only.remove(at);
        assert!(at < only.len(), "{name} needs a value");
        Some(only.remove(at))
    };
    let previous = option("--previous").map(PathBuf::from);
    let number = "a number";
    let options = ingest::Options {
        seconds: option("--seconds").map(|n| n.parse().expect(number)),
        rate: option("--rate").map(|n| n.parse().expect(number)),
        only: option("--only"),
    };
    let minutes = option("--minutes").map(|n| n.parse().expect(number));
    let chosen = only.first().is_some_and(|g| g == "field" || g == "opcua");
    let figures = if chosen { only.split_off(1) } else { Vec::new() };
    let known = [
        "start", "loop", "command", "field", "broker", "scale", "opcua", "buffer", "wire", "ingest",
        "history", "drain", "soak",
    ];
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
    if wanted("field") {
        field::field(&figures, previous.as_deref()).await;
    }
    // Part of the field's figures, and by itself.
    if (wanted("field") && figures.is_empty()) || only.iter().any(|g| g == "broker") {
        broker::broker().await;
    }
    if (wanted("field") && figures.is_empty()) || only.iter().any(|g| g == "scale") {
        scale::configuration();
    }
    if wanted("buffer") {
        buffer::buffer().await;
    }
    if wanted("opcua") {
        opcua::opcua(&figures).await;
    }
    if wanted("drain") {
        drain::drain().await;
    }
    if wanted("wire") {
        wire::wire().await;
    }
    if wanted("history") {
        history::history().await;
    }
    if wanted("ingest") {
        ingest::ingest(&options).await;
    }
    if wanted("start") {
        start::demo().await;
    }
    if only.iter().any(|g| g == "soak") {
        soak::soak(minutes.unwrap_or(60.0)).await;
    }
    ExitCode::SUCCESS
}
