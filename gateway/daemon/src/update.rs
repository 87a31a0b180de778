//! `update`: versions of the program beside the packaged one. Only the words; what they do is in `gateway-update`.

#![allow(clippy::print_stdout, clippy::print_stderr)] // a command line speaks

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use common::Clock;
use common::clock::format_us;
use gateway_update::{
    Allowed, Bundle, Ended, Error, Folder, Health, Lock, Patience, Restart, Site, State, Took, Trusted,
    install, make_key, programs, rollback, sign, take_incoming, tidy, watch,
};
use semver::Version;
use serde_json::json;
use twinway_gateway::{CONFIG_SCHEMA, VERSION};

use crate::{EXIT_CONFIG, EXIT_FAILED};

/// How long a person waits for another updater.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// How long the service does: a trial, and what restarts take before and after it.
const APPLY_PATIENCE_S: u64 = 600;
const RESTART: &str = "systemctl --no-block restart twinway-gateway.service";

/// `update`.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Makes a key that signs bundles: NAME and, for the boxes, NAME with .pub.
    Key {
        /// File of the private key; keep it off the boxes.
        name: PathBuf,
    },
    /// Makes a signed bundle of a folder as packages are laid out (`cross/stage.sh`).
    Sign {
        /// The folder.
        staged: PathBuf,
        /// Private key, PEM of PKCS #8 as of OpenSSL or `update key`; several sign beside each other.
        #[arg(long, required = true)]
        key: Vec<PathBuf>,
        /// The bundle.
        #[arg(long)]
        to: PathBuf,
        /// The oldest version that may be replaced by it.
        #[arg(long)]
        min_from: Option<Version>,
    },
    /// Tells whether a bundle is signed by a key that is trusted and whole, and what is in it. Changes nothing.
    Verify {
        /// The bundle.
        bundle: PathBuf,
        /// Folder of the public keys that are trusted, NAME.pub.
        #[arg(long, default_value = "/etc/twinway/update-keys")]
        keys: PathBuf,
        /// One JSON document on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Installs a bundle, restarts the gateway and watches it: what does not fare as well as the version before gives way to it,
    /// with exit code 1. As root.
    Install {
        /// The bundle.
        bundle: PathBuf,
        /// Take a version that is not newer than the one that runs.
        #[arg(long)]
        allow_downgrade: bool,
        /// Take a version with another format of the buffer: if it gives way, the one before leaves what it wrote unread.
        #[arg(long)]
        allow_other_store: bool,
        /// Take a version that gave way before.
        #[arg(long)]
        again: bool,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        trial: TrialArgs,
    },
    /// Tells what runs, what is behind it, and what was done.
    Status {
        /// One JSON document on standard output.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Goes back to the version before, in the end to the packaged one, and restarts the gateway. As root.
    Rollback {
        /// Why, for the log.
        #[arg(long, default_value = "asked for")]
        reason: String,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        trial: TrialArgs,
    },
    /// What twinway-update.service does: goes on with a trial that was cut, and takes the bundles of the folder `incoming`. While
    /// another updater is at work it waits, to take over if that one is ended. As root.
    Apply {
        /// Seconds to wait for another updater; then it ends with exit code 1, after which the service is started again.
        #[arg(long, default_value_t = APPLY_PATIENCE_S)]
        wait_s: u64,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        trial: TrialArgs,
    },
}

/// Where things are.
#[derive(Args)]
pub(crate) struct Place {
    /// Folder of versions.
    #[arg(long, default_value = "/var/lib/twinway-update")]
    folder: PathBuf,
    /// Folder of the public keys that are trusted, NAME.pub.
    #[arg(long, default_value = "/etc/twinway/update-keys")]
    keys: PathBuf,
    /// Where the gateway says how it fares.
    #[arg(long, default_value = "/run/twinway/health.json")]
    health: PathBuf,
}

/// How a trial goes.
#[derive(Args)]
pub(crate) struct TrialArgs {
    /// Seconds in which a version on trial must be ready and, where the one before was, read from a device and connected to
    /// the cloud.
    #[arg(long, default_value_t = 180)]
    reach_s: u64,
    /// Seconds for which it must stay so without a start in between.
    #[arg(long, default_value_t = 60)]
    stay_s: u64,
    /// Command that restarts the gateway.
    #[arg(long, default_value = RESTART)]
    restart: String,
}

pub(crate) fn run(verb: Verb) -> ExitCode {
    let done = match verb {
        Verb::Key { name } => make_key(&name).map(|id| {
            println!(
                "key {id}: {} signs, {} goes to the boxes",
                name.display(),
                name.with_extension("pub").display()
            );
            ExitCode::SUCCESS
        }),
        Verb::Sign { staged, key, to, min_from } => sign(&staged, &key, min_from, &to).map(|manifest| {
            let (version, arch, files) = (&manifest.version, &manifest.arch, manifest.files.len());
            println!("{}: {version} for {arch}, {files} files", to.display());
            ExitCode::SUCCESS
        }),
        Verb::Verify { bundle, keys, json } => verify(&bundle, &keys, json),
        Verb::Install { bundle, allow_downgrade, allow_other_store, again, place, trial } => {
            let allowed = Allowed { downgrade: allow_downgrade, other_store: allow_other_store, again };
            by_hand(&place, &trial, &bundle, allowed)
        }
        Verb::Status { json, place } => status(&place, json),
        Verb::Rollback { reason, place, trial } => back(&place, &trial, &reason),
        Verb::Apply { wait_s, place, trial } => apply(&place, &trial, Duration::from_secs(wait_s)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(if matches!(error, Error::Refused(_) | Error::Busy) {
            EXIT_CONFIG
        } else {
            EXIT_FAILED
        })
    })
}

impl Place {
    fn site(&self) -> Result<Site, Error> {
        let unsound = |e: semver::Error| Error::Refused(format!("{VERSION}: {e}"));
        Ok(Site {
            folder: Folder::new(&self.folder),
            keys: self.keys.clone(),
            health: self.health.clone(),
            packaged: VERSION.parse().map_err(unsound)?,
            store_format: gateway_store::FORMAT,
            config_schema: CONFIG_SCHEMA,
            clock: Clock::system(),
        })
    }

    /// The same for whoever changes something: only the packaged program does, which is never replaced by a bundle.
    fn site_to_change(&self) -> Result<Site, Error> {
        match std::env::current_exe() {
            Ok(own) if own.starts_with(&self.folder) => Err(Error::Refused(format!(
                "{} is an installed version: only the packaged program changes versions (/usr/bin/twinway-gateway)",
                own.display()
            ))),
            _ => self.site(),
        }
    }
}

impl TrialArgs {
    fn patience(&self) -> Patience {
        Patience { reach: Duration::from_secs(self.reach_s), stay: Duration::from_secs(self.stay_s) }
    }

    fn restart(&self) -> Restart {
        Restart(self.restart.split_whitespace().map(str::to_owned).collect())
    }

    fn watch(&self, site: &Site, is_new: bool) -> Result<Ended, Error> {
        let ended = runtime()?.block_on(Box::pin(watch(site, self.patience(), &self.restart(), is_new)))?;
        match &ended {
            Ended::NoTrial => {}
            Ended::Proven => println!("the new version has proven itself"),
            Ended::RolledBack { why } => eprintln!("the new version gave way to the one before: {why}"),
        }
        Ok(ended)
    }
}

fn verify(bundle: &Path, keys: &Path, json: bool) -> Result<ExitCode, Error> {
    let mut checked = Bundle::open(bundle)?.verify(&Trusted::load(keys)?)?;
    checked.check()?;
    let manifest = &checked.manifest;
    if json {
        println!(
            "{}",
            json!({ "manifest": manifest, "digest": checked.digest, "signed_by": checked.signed_by })
        );
    } else {
        let (product, version, arch) = (&manifest.product, &manifest.version, &manifest.arch);
        println!("{}: {product} {version} for {arch}, signed by key {}", bundle.display(), checked.signed_by);
        println!("commit    {}", if manifest.commit.is_empty() { "not told" } else { &manifest.commit });
        println!("buffer    format {}", manifest.store_format);
        println!("files     {}, {} bytes", manifest.files.len(), manifest.bytes());
        if let Some(least) = &manifest.min_from {
            println!("replaces  {least} and newer");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// For a person: the updater is at work for a moment whenever the gateway starts.
fn lock(site: &Site) -> Result<Lock, Error> {
    lock_within(site, LOCK_PATIENCE)
}

fn lock_within(site: &Site, patience: Duration) -> Result<Lock, Error> {
    match site.folder.lock() {
        Err(Error::Busy) => {
            eprintln!("waits for another update, {} s at most", patience.as_secs());
            runtime()?.block_on(site.folder.lock_within(patience))
        }
        done => done,
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| Error::Disk { at: "the runtime".into(), source })
}

fn by_hand(place: &Place, trial: &TrialArgs, bundle: &Path, allowed: Allowed) -> Result<ExitCode, Error> {
    let site = place.site_to_change()?;
    let _lock = lock(&site)?;
    match install(&site, bundle, allowed)? {
        Took::Already(version) => {
            println!("{version} runs already");
            Ok(ExitCode::SUCCESS)
        }
        Took::Installed(version) => {
            println!("{version} is installed and on trial");
            match trial.watch(&site, true)? {
                Ended::RolledBack { .. } => Ok(ExitCode::from(EXIT_FAILED)),
                Ended::Proven | Ended::NoTrial => Ok(ExitCode::SUCCESS),
            }
        }
    }
}

fn back(place: &Place, trial: &TrialArgs, reason: &str) -> Result<ExitCode, Error> {
    let site = place.site_to_change()?;
    let _lock = lock(&site)?;
    match rollback(&site, reason)? {
        Some(version) => println!("{version} runs from the next start on"),
        None => println!("the packaged version runs from the next start on"),
    }
    runtime()?.block_on(trial.restart().run())?;
    Ok(ExitCode::SUCCESS)
}

fn apply(place: &Place, trial: &TrialArgs, patience: Duration) -> Result<ExitCode, Error> {
    let site = place.site_to_change()?;
    // An updater by hand restarts the gateway, which starts us: its trial must not be left alone if the person's terminal goes away.
    let _lock = match lock_within(&site, patience) {
        Err(error @ Error::Busy) => {
            eprintln!("{error}");
            return Ok(ExitCode::from(EXIT_FAILED));
        }
        done => done?,
    };
    tidy(&site)?;
    trial.watch(&site, false)?;
    let mut told = |path: &Path, took: &Result<Took, Error>| match took {
        Ok(Took::Installed(version)) => println!("{}: {version} is installed and on trial", path.display()),
        Ok(Took::Already(version)) => println!("{}: {version} runs already", path.display()),
        Err(error) => eprintln!("refused: {error}"),
    };
    while take_incoming(&site, &mut told)?.is_some() {
        trial.watch(&site, true)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn status(place: &Place, json: bool) -> Result<ExitCode, Error> {
    let site = place.site()?;
    let state = State::load(&site.folder.state_file())?;
    let health = Health::load(&site.health);
    let next = programs(&site.folder, &site.packaged).into_iter().next().map(|p| p.runs);
    if json {
        println!("{}", json!({ "packaged": VERSION, "next": next, "runs": health, "state": state }));
        return Ok(ExitCode::SUCCESS);
    }
    match &health {
        Some(h) => println!("runs      {} (version {})", h.runs, h.version),
        None => println!("runs      not, or nobody says so"),
    }
    println!(
        "next      {}{}",
        next.unwrap_or_default(),
        if state.trial.is_some() { ", on trial" } else { "" }
    );
    println!("behind    {}", state.previous.as_ref().map_or_else(|| "packaged".to_owned(), |p| p.slot()));
    println!("packaged  {VERSION}");
    for log in &state.log {
        let detail = if log.detail.is_empty() { String::new() } else { format!(": {}", log.detail) };
        println!("{}  {} {}{detail}", format_us(log.at_us), log.what.word(), log.version);
    }
    Ok(ExitCode::SUCCESS)
}
