//! `twinway-gateway`: command line, logs and signals. Everything else is in the library.

mod update;
mod verbs;

use std::io::{IsTerminal, Write as _};
#[cfg(feature = "modbus")]
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use common::Drain;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;
#[cfg(feature = "modbus")]
use twinway_gateway::config::read_sources;
#[cfg(feature = "modbus")]
use twinway_gateway::simulate::{Options, Simulator};
use twinway_gateway::{
    Build, Config, Gateway, Handle, Starting, count_start, load_last_good, start_or_last_good, systemd,
    versions,
};

/// The configuration or the arguments are wrong (`EX_USAGE`): a supervisor should not start it again.
const EXIT_CONFIG: u8 = 64;
/// It could not start, or a part had to be cut off at the end.
const EXIT_FAILED: u8 = 1;
/// A second signal ended it at once.
const EXIT_FORCED: u8 = 130;
/// Two are enough beside the field's own thread, and idle ones cost memory.
const WORKERS: usize = 2;

/// Reads machines, keeps every sample until the cloud has it, and writes only what control allows.
#[derive(Parser)]
#[command(name = "twinway-gateway", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs until SIGTERM or SIGINT; a second signal ends it at once.
    Run {
        /// Configuration; conf.d/*.toml beside it is read as well.
        #[arg(long, default_value = "/etc/twinway/gateway.toml")]
        config: PathBuf,
        /// When the configuration is refused, or three starts with it failed, run the last good one instead, and say so:
        /// for a box that nobody can reach. Without it a start with a wrong configuration ends with exit code 64.
        #[arg(long)]
        last_good: bool,
        /// Folder of installed versions (`update`): the one that is installed there runs instead of this program. A version on
        /// trial of which three starts fail gives way to the one before.
        #[arg(long)]
        versions: Option<PathBuf>,
    },
    /// Tells every mistake of a configuration with its place, and what hardly is meant so. Exit code 64 if there is a
    /// mistake.
    Check {
        /// Configuration; conf.d/*.toml and *.csv beside it are read as well.
        file: PathBuf,
        /// Exit code 64 for warnings as well.
        #[arg(long)]
        strict: bool,
        /// One JSON document on standard output.
        #[arg(long)]
        json: bool,
        /// Folder of installed versions: the one that would run checks.
        #[arg(long)]
        versions: Option<PathBuf>,
    },
    /// Tools for the embedded broker.
    Broker {
        #[command(subcommand)]
        verb: BrokerVerb,
    },
    /// Serves the Modbus devices of a configuration, for commissioning without hardware: values move within their
    /// ranges, writable points take writes. Until SIGTERM or SIGINT.
    #[cfg(feature = "modbus")]
    Simulate {
        /// Configuration; conf.d/*.toml beside it is read as well. Its secrets are not needed.
        #[arg(default_value = "/etc/twinway/gateway.toml")]
        config: PathBuf,
        /// Where the first line is served; each further one on the next port. With port 0 each on a free one.
        #[arg(long, default_value = "127.0.0.1:5020")]
        listen: SocketAddr,
        /// Serial port on which the first serial line is served; else it is served as Modbus TCP.
        #[arg(long)]
        serial: Option<String>,
        /// Addresses between the points of a device read as 0; else they are refused with exception 02.
        #[arg(long)]
        fill_gaps: bool,
    },
    /// Points to and from tables that people edit in a spreadsheet.
    #[command(subcommand)]
    Points(verbs::Points),
    /// Other versions of this program on the box: signed bundles, installed beside the package, with a way back.
    #[command(subcommand)]
    Update(update::Verb),
    /// Prints the version, and what it was built of and how.
    Version {
        /// One JSON document on standard output.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum BrokerVerb {
    /// Reads a password from the standard input and prints the user's line for `passwords_file`.
    Passwd {
        /// Name of the user.
        user: String,
    },
}

/// Whether the program was called by this name: a package has a link of this name to it.
#[cfg(feature = "cli")]
fn is_called(name: &str) -> bool {
    std::env::args_os().next().is_some_and(|called| Path::new(&called).file_name().is_some_and(|n| n == name))
}

#[allow(clippy::print_stdout, clippy::print_stderr)] // a command line speaks
fn main() -> ExitCode {
    #[cfg(feature = "cli")]
    if is_called("twinway") {
        return twinway::main(std::env::args_os());
    }
    heap::bound(2);
    let arguments = match Cli::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::SUCCESS };
        }
    };
    match arguments.command {
        Command::Version { json } => {
            let text = if json { Build::json().to_string() } else { Build.to_string() };
            // Who reads only the first line closes the pipe, and that is no failure.
            let _ = writeln!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Command::Update(verb) => update::run(verb),
        Command::Broker { verb: BrokerVerb::Passwd { user } } => match passwd(&user) {
            Ok(line) => {
                println!("{line}");
                ExitCode::SUCCESS
            }
            Err(message) => {
                eprintln!("{message}");
                ExitCode::from(EXIT_CONFIG)
            }
        },
        #[cfg(feature = "modbus")]
        Command::Simulate { config, listen, serial, fill_gaps } => {
            match read_sources(&config).and_then(Config::from_sources) {
                Ok(config) => {
                    let options = Options { listen, serial, fill_gaps };
                    start(Box::pin(async move { simulate(&config, &options).await }))
                }
                Err(mistakes) => {
                    eprintln!("{mistakes}");
                    ExitCode::from(EXIT_CONFIG)
                }
            }
        }
        Command::Check { file, strict, json, versions } => {
            if let Some(folder) = versions {
                versions::hand_over(&folder, false);
            }
            verbs::check(&file, strict, json)
        }
        Command::Points(points) => verbs::points(points),
        Command::Run { config, last_good, versions } => {
            if let Some(folder) = versions {
                versions::hand_over(&folder, true);
            }
            gateway_store::sled_statics();
            count_start(&config);
            match load(&config, last_good) {
                Some(config) => start(Box::pin(run(config))),
                // A version on trial that cannot read the configuration must be started again, to give way.
                None if versions::is_on_trial() => ExitCode::from(EXIT_FAILED),
                None => ExitCode::from(EXIT_CONFIG),
            }
        }
    }
}

/// The password is the first line: it stands neither in the shell's history nor in the list of processes.
fn passwd(user: &str) -> Result<String, String> {
    let mut password = String::new();
    std::io::stdin().read_line(&mut password).map_err(|e| format!("cannot read the password: {e}"))?;
    gateway_broker::Users::line(user, password.trim_end_matches(['\r', '\n']).as_bytes())
}

/// The configuration to run. What is wrong with the files is told in any case.
#[allow(clippy::print_stderr)] // logs do not run yet
fn load(path: &Path, last_good: bool) -> Option<Config> {
    let mistakes = match Config::load(path) {
        // With a new version it is the version that is on trial: one at a time.
        Ok(config) if !last_good || versions::is_on_trial() => return Some(config),
        Ok(config) => {
            let config = start_or_last_good(config);
            for reason in &config.instead_of {
                eprintln!("{reason}: the last good one runs instead");
            }
            return Some(config);
        }
        Err(mistakes) => mistakes,
    };
    eprintln!("{mistakes}");
    let kept = load_last_good(path, &mistakes);
    match (&kept, last_good) {
        (Some(_), true) => {
            eprintln!("the configuration is refused: the last good one runs instead");
            kept
        }
        (Some(_), false) => {
            eprintln!("a last good configuration is kept: `run --last-good` starts with it");
            None
        }
        (None, true) => {
            eprintln!("no last good configuration is kept");
            None
        }
        (None, false) => None,
    }
}

/// Of the OPC UA library nothing: the gateway says itself what a lost connection means for a device, once.
const LOGGED: &str = "info,opcua=off";

fn start(work: Pin<Box<dyn Future<Output = u8>>>) -> ExitCode {
    let filter = std::env::var("TWINWAY_LOG").or_else(|_| std::env::var("RUST_LOG"));
    let filter = EnvFilter::new(filter.unwrap_or_else(|_| LOGGED.to_owned()));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(8)
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let code = runtime.block_on(work);
    // What still hangs after the drain, or a forced end, is not waited for.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn run(config: Config) -> u8 {
    // SIGHUP from the first moment on: by default it would end the process.
    let signals =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut term), Ok(mut int), Ok(mut hangup)) = signals else {
        tracing::error!("cannot listen to signals");
        return EXIT_FAILED;
    };
    let drain = Drain::new();
    let starting = Starting::new(&config);
    let started = tokio::select! {
        started = Gateway::start_told(config, drain.clone(), &starting) => started,
        never = starting.report() => match never {},
        () = either(&mut term, &mut int) => {
            // Nothing is kept yet that would have to be brought to disk.
            tracing::info!("ended before it was started");
            starting.is_wanted_to_end();
            return 0;
        }
    };
    let handle = match started {
        Ok(handle) => handle,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, cause, "cannot start");
            return EXIT_FAILED;
        }
    };
    tokio::select! {
        () = either(&mut term, &mut int) => {}
        () = reload_at(&mut hangup, &handle) => {}
        () = systemd::report(&handle) => {}
        () = versions::report(&handle) => {}
    }
    tracing::info!("stopping");
    systemd::stopping();
    handle.is_wanted_to_end();
    versions::is_wanted_to_end();
    drain.start();
    tokio::select! {
        late = handle.finished() => if late.is_empty() { 0 } else { EXIT_FAILED },
        () = either(&mut term, &mut int) => {
            tracing::warn!("forced to stop by a second signal");
            EXIT_FORCED
        }
    }
}

#[cfg(feature = "modbus")]
#[allow(clippy::print_stdout)] // where it is served is the result
async fn simulate(config: &Config, options: &Options) -> u8 {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut term), Ok(mut int)) = signals else {
        tracing::error!("cannot listen to signals");
        return EXIT_FAILED;
    };
    let simulator = match Simulator::bind(config, options).await {
        Ok(simulator) => simulator,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, cause, "cannot simulate");
            return EXIT_FAILED;
        }
    };
    for place in simulator.places() {
        println!("{place}");
    }
    let drain = Drain::new();
    let running = simulator.run(drain.clone());
    tokio::pin!(running);
    tokio::select! {
        () = &mut running => {}
        () = either(&mut term, &mut int) => {
            drain.start();
            running.await;
        }
    }
    0
}

/// Takes the configuration anew at each signal. What became of it is told by the gateway. Never ends.
async fn reload_at(hangup: &mut Signal, handle: &Handle) {
    while hangup.recv().await.is_some() {
        systemd::reloading();
        let _ = handle.reload("SIGHUP").await;
        systemd::reloaded();
    }
    std::future::pending().await
}

async fn either(a: &mut Signal, b: &mut Signal) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
    }
}
