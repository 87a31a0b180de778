//! `demo`: the coating line, its gateway and its cloud in one command.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;
use demo::{Demo, Options, console};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    // Of the OPC UA library nothing: the gateway says itself what it means for a device.
    let default = "warn,opcua=off";
    let filter = EnvFilter::try_from_env("TWINWAY_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    let mut demo = Demo::start(&options).await?;
    if options.json {
        console::json(&demo);
    } else {
        console::banner(&demo);
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let followed = tokio::select! {
        followed = console::follow(&mut demo, &options, options.json) => followed,
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    demo.stop().await;
    followed
}
