//! The program `twinway-cloud`: reads its arguments, runs the library, and turns the outcome into an exit
//! code: 0 done, 1 failed, 64 the configuration or the arguments are wrong (starting again does not help).

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use cloud_store::Place;
use common::clock::format_us;
use common::text::counted;
use common::{Drain, Opening};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use twinway_cloud::{Cloud, Config, StartError, StoreSection};

const BAD_CONFIG: u8 = 64;
/// What a shell reports of a program that an interrupt ended.
const FORCED: i32 = 130;

/// The cloud of Twinway: twins, history, commands, page and API.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run until told to stop
    Run(ConfigArg),
    /// Check the configuration and start nothing
    Check(ConfigArg),
    /// Print the version
    Version,
    /// Give an account a new password, while the cloud does not run
    AdminPassword {
        #[command(flatten)]
        config: ConfigArg,
        /// Account
        #[arg(long, default_value = cloud_api::accounts::ADMIN)]
        user: String,
    },
    /// Make another certificate authority in place of one that is gone, while the cloud does not run
    #[command(
        after_help = "Every box has to be enrolled again then: `twinway gateway code NAME` makes a code for each. \
        If there is a backup of the folder `authority` in the data folder, put that back instead."
    )]
    NewAuthority(ConfigArg),
    /// Copy the SQLite database into one file, also while the cloud runs, and verify the copy
    #[command(
        after_help = "The file appears when it is whole, its SHA-256 beside it in FILE.sha256 (`sha256sum -c` reads \
        it). Of a PostgreSQL database, pg_dump makes the backup."
    )]
    Backup {
        #[command(flatten)]
        config: ConfigArg,
        /// New file
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Read a backup in full: its digest, its structure, every chunk and frame
    Verify {
        /// The backup
        file: PathBuf,
    },
    /// Verify a backup and put it in the place of the database, while the cloud does not run
    #[command(
        after_help = "The restored database gets a new identity, by which gateways notice that it may lack what they \
        were told is stored. The one that was there is kept beside it, under the name cloud.db.before-restore."
    )]
    Restore {
        #[command(flatten)]
        config: ConfigArg,
        /// The backup
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// There is a database, and it is to go
        #[arg(long)]
        replace: bool,
    },
    /// Give the room that is free in the SQLite database back to the file system, while the cloud does not run
    #[command(
        after_help = "New data fills what deleted data leaves, so this is for after a shorter retention or a large \
        deletion. It takes as much room again as the data has while it runs, and reads all of it to verify."
    )]
    Shrink(ConfigArg),
    /// Copy everything from one database into another, empty one, while no cloud runs on either
    #[command(after_help = "A database is the path of an SQLite file, or a URL such as \
        `postgresql://twinway@db.example.com/twinway` without the password. Afterwards name the new one in the \
        configuration, [store]. The old one stays as it is. A copy that was cut is not resumed: the half that is there is \
        refused by everything; remove it (the file, or the database) and copy again.")]
    MigrateStore {
        /// Database to read
        #[arg(long)]
        from: String,
        /// Database to fill; an SQLite file is made, a PostgreSQL database must exist
        #[arg(long)]
        to: String,
        /// File with the password of the PostgreSQL user, readable by its owner alone
        #[arg(long)]
        password_file: Option<PathBuf>,
        /// Certificates of the authorities that may sign the PostgreSQL server's
        #[arg(long)]
        ca_file: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
struct ConfigArg {
    /// Configuration; conf.d/*.toml beside it is read as well
    #[arg(long, short, default_value = "/etc/twinway-cloud/cloud.toml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    // A heap for each thread that may run at a time. One for each that ever ran would each grow to the largest compaction.
    heap::bound(std::thread::available_parallelism().map_or(2, |n| n.get().max(2)));
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { BAD_CONFIG.into() } else { ExitCode::SUCCESS };
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    match dispatch(args.command) {
        Ok(code) => code,
        Err(error) => {
            say_error(&format!("{error:#}"));
            match error.downcast_ref::<StartError>() {
                Some(error) if error.is_config() => BAD_CONFIG.into(),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// What is done with a configuration that was read.
enum Then {
    Run,
    Nothing,
    Password(String),
    Authority,
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    let (arg, command) = match command {
        Command::Version => {
            say(env!("CARGO_PKG_VERSION"))?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Run(arg) => (arg, Then::Run),
        Command::Check(arg) => (arg, Then::Nothing),
        Command::AdminPassword { config, user } => (config, Then::Password(user)),
        Command::NewAuthority(arg) => (arg, Then::Authority),
        Command::Backup { config, to } => {
            return of_sqlite(&config, |path, config| backup(path, &to, config));
        }
        Command::Verify { file } => return told(&file, &cloud_store::verify(&file)?),
        Command::Restore { config, from, replace } => {
            return of_sqlite(&config, |path, config| restore(&from, path, replace, config));
        }
        Command::Shrink(config) => return of_sqlite(&config, |path, _| shrink(path)),
        Command::MigrateStore { from, to, password_file, ca_file } => {
            return migrate_store([from, to], password_file, ca_file);
        }
    };
    let Some(config) = load(&arg) else { return Ok(BAD_CONFIG.into()) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match command {
        Then::Run => {
            // Two TLS users in one process must agree on who does the cryptography; a second install is harmless.
            let _ = rustls::crypto::ring::default_provider().install_default();
            runtime.block_on(run(config))
        }
        Then::Nothing => {
            say(&format!("{} is fine", arg.config.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Then::Password(user) => {
            let password = runtime.block_on(twinway_cloud::reset_password(&config, &user))?;
            say(&format!("{user} password: {password}"))?;
            Ok(ExitCode::SUCCESS)
        }
        Then::Authority => {
            let (folder, enrolled) = runtime.block_on(twinway_cloud::new_authority(&config))?;
            say(&format!("a new authority is in {}: back it up", folder.display()))?;
            say(&format!(
                "{} to be enrolled again: `twinway gateway code NAME` for each",
                counted(enrolled, "gateway")
            ))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The configuration; if it has mistakes they are said.
fn load(arg: &ConfigArg) -> Option<Config> {
    Config::load(&arg.config).inspect_err(|mistakes| say_error(&mistakes.to_string())).ok()
}

/// Does something with the SQLite database that a configuration names.
fn of_sqlite(
    arg: &ConfigArg,
    act: impl FnOnce(&Path, &Config) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let Some(config) = load(arg) else { return Ok(BAD_CONFIG.into()) };
    match twinway_cloud::place(&config)? {
        Place::Sqlite(path) => act(&path, &config),
        Place::Postgres(server) => {
            say_error(&format!(
                "{server} is PostgreSQL: pg_dump and pg_restore make and restore its backups, VACUUM FULL gives room back"
            ));
            Ok(BAD_CONFIG.into())
        }
    }
}

fn backup(path: &Path, to: &Path, config: &Config) -> anyhow::Result<ExitCode> {
    let done = told(to, &cloud_store::backup(path, to)?)?;
    let beside = [twinway_cloud::authority_folder(config), twinway_cloud::revocations(config)];
    for path in beside.iter().filter(|path| path.exists()) {
        say(&format!("not in it: {}", path.display()))?;
    }
    Ok(done)
}

fn restore(from: &Path, path: &Path, replace: bool, config: &Config) -> anyhow::Result<ExitCode> {
    let aside = cloud_store::restore(from, path, replace)?;
    say(&format!("{} is restored from {}", path.display(), from.display()))?;
    if let Some(aside) = aside {
        say(&format!("the database that was there is {}", aside.display()))?;
        tell_deleted(path, &aside)?;
    }
    let list = twinway_cloud::revocations(config);
    say(&match list.exists() {
        true => format!("what {} lists is revoked again at the next start", list.display()),
        false => format!(
            "{} is not there: what was revoked since the backup is good again. Bring the list back, or revoke it once more \
             (`twinway gateway revoke`)",
            list.display()
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What was deleted on request since the backup is there again.
fn tell_deleted(restored: &Path, before: &Path) -> anyhow::Result<()> {
    let deleted = match cloud_store::deleted_since(restored, before) {
        Ok(deleted) => deleted,
        Err(error) => {
            say(&format!(
                "what was deleted on request since the backup is there again, and which that is cannot be read ({error}): delete it once \
                 more by your own list"
            ))?;
            return Ok(());
        }
    };
    for cloud_store::Deleted { point, from_us, to_us, .. } in &deleted {
        let (from, to) = (format_us(*from_us), format_us(*to_us));
        say(&format!("is there again: twinway history delete {point} --from {from} --to {to} --reason ..."))?;
    }
    Ok(())
}

fn shrink(path: &Path) -> anyhow::Result<ExitCode> {
    let (before, after) = cloud_store::shrink(path)?;
    say(&format!("{}: {before} bytes before, {after} now, read back and whole", path.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn told(file: &Path, verified: &cloud_store::Verified) -> anyhow::Result<ExitCode> {
    let cloud_store::Verified { bytes, digest, chunks, frames, digest_fits } = verified;
    let beside = if digest_fits.is_some() { "" } else { ", with no digest beside it to compare" };
    say(&format!(
        "{}: {bytes} bytes, {chunks} chunks and {frames} frames are whole; sha256 {digest}{beside}",
        file.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn migrate_store(
    [from, to]: [String; 2],
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let place = |text: String| {
        if text.contains("://") {
            let url = Some(text);
            let (password_file, ca_file) = (password_file.clone(), ca_file.clone());
            let section = StoreSection { postgres: url, password_file, ca_file };
            section.server().map(|server| server.map(Place::Postgres))
        } else {
            Ok(Some(Place::Sqlite(text.into())))
        }
    };
    let (from, to) = match (place(from), place(to)) {
        (Ok(Some(from)), Ok(Some(to))) => (from, to),
        (Err((key, why)), _) | (_, Err((key, why))) => {
            say_error(&format!("{key}: {why}"));
            return Ok(BAD_CONFIG.into());
        }
        _ => return Ok(BAD_CONFIG.into()),
    };
    if let Place::Sqlite(path) = &from
        && !path.exists()
    {
        say_error(&format!("{} is not there", path.display()));
        return Ok(BAD_CONFIG.into());
    }
    cloud_store::copy(from, to, |table| {
        let _ = say(&format!("{:<12} {:>12} rows  sha256 {}", table.table, table.rows, table.digest));
    })?;
    say("copied, read back and found the same")?;
    Ok(ExitCode::SUCCESS)
}

async fn run(config: Config) -> anyhow::Result<ExitCode> {
    // Before anything starts, so that no signal is missed.
    let mut stop = signal(SignalKind::terminate()).context("signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let drain = Drain::new();
    let opening = Opening::default();
    let handle = tokio::select! {
        started = Cloud::start(config, drain.clone(), &opening) => started?,
        never = twinway_cloud::systemd::starting(&opening) => match never {},
    };
    if let Some(password) = handle.first_run_password() {
        say(
            "first run: sign in as `admin` with this password. It is shown this once and stored nowhere in clear.",
        )?;
        say(&format!("admin password: {password}"))?;
    }
    say(&format!("page and API: http://{}", handle.http_addr()))?;
    say(&format!("gateways: mqtt on {}", handle.ingress_addr()))?;
    handle.write_addresses();
    tokio::select! {
        _ = stop.recv() => {}
        _ = interrupt.recv() => {}
        () = twinway_cloud::systemd::report(handle.http_addr()) => {}
    }
    tracing::info!("stopping, a second signal forces");
    twinway_cloud::systemd::stopping();
    drain.start();
    tokio::select! {
        _ = handle.finished() => Ok(ExitCode::SUCCESS),
        _ = stop.recv() => force(),
        _ = interrupt.recv() => force(),
    }
}

#[allow(clippy::disallowed_methods)] // this is `main`, and somebody insists
fn force() -> ! {
    tracing::warn!("forced to end");
    std::process::exit(FORCED)
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn say_error(text: &str) {
    // Where standard error is closed nobody can be told.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
