//! The program `twinway`: one command line for gateways and the cloud over `common::api`. It never
//! touches a device: every write goes through the command path of a gateway.

pub mod args;
pub mod client;
mod cmd;
pub mod credentials;
pub mod error;
pub mod exit;
pub mod live;
pub mod machine;
pub mod out;
pub mod plot;
pub mod secret;
pub mod table;
pub mod target;
pub mod value;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::error::Error;
use crate::exit::Exit;
use crate::out::Out;

/// Runs the program to its end.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help that nobody reads to its end is no error.
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(Exit::Usage.code()));
        }
    };
    install_crypto();
    let out = Out::new(cli.output);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            out.error(&Error::new(Exit::Failed, format!("the runtime does not start: {e}")));
            return ExitCode::from(Exit::Failed.code());
        }
    };
    let exit = runtime.block_on(Box::pin(cmd::run(cli, out))).unwrap_or_else(|e| {
        if !matches!(e, Error::OutputGone) {
            out.error(&e);
        }
        e.exit()
    });
    // A name lookup or a read of standard input that still hangs does not hold up the end.
    runtime.shutdown_background();
    ExitCode::from(exit.code())
}

/// Makes ring the process's cryptography for TLS; again is no error.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
