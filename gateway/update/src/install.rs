//! Puts a version beside the others and switches to it. Each step can be cut at any point: what is done stays, what is not is done
//! again from its beginning, and the switch is one rename.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use common::Clock;
use semver::Version;

use crate::Error;
use crate::bundle::{Bundle, Checked};
use crate::folder::{ENDING, Folder};
use crate::health::Health;
use crate::keys::Trusted;
use crate::manifest::machine;
use crate::state::{Expects, Installed, SPOILT, State, Trial, What};

const PRODUCT: &str = "twinway-gateway";
/// What stays free beside a new version: the buffer goes on meanwhile.
const LEAVE_FREE: u64 = 32 << 20;

/// The box, and the packaged program that does this.
#[derive(Debug)]
pub struct Site {
    /// Of versions.
    pub folder: Folder,
    /// Folder of the public keys that are believed.
    pub keys: PathBuf,
    /// Where the gateway says how it fares.
    pub health: PathBuf,
    /// The packaged version.
    pub packaged: Version,
    /// The packaged program's format of the buffer.
    pub store_format: u32,
    /// The packaged program's schema of the configuration.
    pub config_schema: u32,
    /// Of the box.
    pub clock: Clock,
}

/// What is taken only if a person says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed {
    /// A version that is not newer than the one that runs.
    pub downgrade: bool,
    /// A version with another format of the buffer.
    pub other_store: bool,
    /// A version that gave way before.
    pub again: bool,
}

/// What became of a bundle that was not refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Took {
    /// It is on trial from the next start of the gateway on.
    Installed(Version),
    /// It is what runs already.
    Already(Version),
}

/// Verifies a bundle, unpacks it and switches to it; the gateway is not restarted. The folder is locked by the caller.
///
/// # Errors
/// When it is refused, or the disk refuses: what ran goes on, and the reason is in the log of the state.
pub fn install(site: &Site, bundle: &Path, allowed: Allowed) -> Result<Took, Error> {
    let file = site.folder.state_file();
    let mut state = State::load(&file)?.under(&site.packaged);
    let mut known = None;
    let took = put(site, &mut state, bundle, allowed, &mut known);
    if let Err(error) = &took {
        let of = known.as_ref().map(|k: &(Version, String)| (&k.0, k.1.as_str()));
        state.tell(site.clock.now_us(), What::Refused, of, &error.to_string());
        state.save(&file)?;
    }
    took
}

fn put(
    site: &Site,
    state: &mut State,
    bundle: &Path,
    allowed: Allowed,
    known: &mut Option<(Version, String)>,
) -> Result<Took, Error> {
    let folder = &site.folder;
    let mut checked = Bundle::open(bundle)?.verify(&Trusted::load(&site.keys)?)?;
    *known = Some((checked.manifest.version.clone(), checked.digest.clone()));
    if let Some(installed) = state.installed.as_ref().filter(|i| i.digest == checked.digest) {
        if state.trial.is_some() || folder.is_sound(installed) {
            return Ok(Took::Already(checked.manifest.version));
        }
        state.roll_back(site.clock.now_us(), SPOILT);
    }
    if let (Some(installed), Some(_)) = (&state.installed, &state.trial) {
        let on_trial = &installed.version;
        return Error::refused(format!(
            "{on_trial} is on trial: try again when it has proven itself or gave way"
        ));
    }
    judge(site, state, &checked, allowed)?;
    folder.tidy(state)?;
    let versions = folder.versions();
    fs::create_dir_all(&versions).map_err(Error::disk(&versions))?;
    let needed =
        checked.manifest.bytes().saturating_add(checked.manifest.payload_bytes).saturating_add(LEAVE_FREE);
    if folder.free()? < needed && state.previous.take().is_some() {
        // The one behind the present one: the packaged program stays behind it.
        state.save(&folder.state_file())?;
        folder.tidy(state)?;
    }
    let free = folder.free()?;
    if free < needed {
        let (free, needed) = (free >> 20, (needed >> 20) + 1);
        return Error::refused(format!(
            "{}: {free} MiB free, {needed} are needed: make room",
            versions.display()
        ));
    }
    let new = folder.new_version();
    fs::create_dir(&new).map_err(Error::disk(&new))?;
    checked.unpack(&new)?;
    let installed = Installed::of(&checked.manifest, &checked.digest, &site.packaged);
    let place = folder.version(&installed);
    if place.exists() {
        // It ran before, and is behind what runs: at any moment one of the two is there.
        exchange(&new, &place).map_err(Error::disk(&place))?;
        fs::remove_dir_all(&new).map_err(Error::disk(&new))?;
    } else {
        fs::rename(&new, &place).map_err(Error::disk(&place))?;
    }
    fs::File::open(&versions).and_then(|f| f.sync_all()).map_err(Error::disk(&versions))?;

    let now = Health::load(&site.health).unwrap_or_default();
    let at_us = site.clock.now_us();
    let trial = Trial {
        began_us: at_us,
        expects: Expects { poll: now.polled, session: now.session },
        before: state.previous.take(),
    };
    let version = installed.version.clone();
    let by = format!("from {}, signed by key {}", bundle.display(), checked.signed_by);
    state.tell(at_us, What::Installed, Some((&version, &checked.digest)), &by);
    state.previous = state.installed.replace(installed);
    state.trial = Some(trial);
    state.save(&folder.state_file())?;
    Ok(Took::Installed(version))
}

fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// Whether it is for this box as it is now.
fn judge(site: &Site, state: &State, checked: &Checked, allowed: Allowed) -> Result<(), Error> {
    let new = &checked.manifest;
    if new.product != PRODUCT {
        return Error::refused(format!("a bundle of {}, this is {PRODUCT}", new.product));
    }
    if new.arch != machine() {
        return Error::refused(format!("a bundle for {}, this machine is {}", new.arch, machine()));
    }
    let now = state.installed.as_ref();
    let version = now.map_or(&site.packaged, |i| &i.version);
    if let Some(least) = new.min_from.as_ref().filter(|least| version < *least) {
        let new = &new.version;
        return Error::refused(format!(
            "{new} can replace {least} and newer, {version} runs: install one between first"
        ));
    }
    let (store, config) =
        now.map_or((site.store_format, site.config_schema), |i| (i.store_format, i.config_schema));
    if !allowed.downgrade {
        if new.version <= *version {
            let new = &new.version;
            return Error::refused(format!(
                "{new} is not newer than {version}, which runs (--allow-downgrade)"
            ));
        }
        if new.config_schema < config {
            let (new, theirs) = (&new.version, new.config_schema);
            return Error::refused(format!(
                "{new} reads configurations of schema {theirs}, those of {version} are of {config} (--allow-downgrade)"
            ));
        }
    }
    if new.store_format != store && !allowed.other_store {
        let (new, theirs) = (&new.version, new.store_format);
        return Error::refused(format!(
            "{new} writes the buffer in format {theirs}, {version} in {store}: if it gave way, {version} could not read what it \
             wrote and the cloud lacks (--allow-other-store)"
        ));
    }
    if let Some(log) = state.gave_way(&checked.digest).filter(|_| !allowed.again) {
        let new = &new.version;
        return Error::refused(format!("{new} gave way before: {} (--again)", log.detail));
    }
    Ok(())
}

/// Takes the first bundle of `incoming` that is not refused; what was looked at is gone from there. None: nothing is left there.
///
/// # Errors
/// When a bundle can be neither taken away nor moved aside, or the state cannot be read or written.
pub fn take_incoming(
    site: &Site,
    told: &mut dyn FnMut(&Path, &Result<Took, Error>),
) -> Result<Option<Took>, Error> {
    let incoming = site.folder.incoming();
    let mut paths = Vec::new();
    match fs::read_dir(&incoming) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => {
            for entry in entries.map_err(Error::disk(&incoming))? {
                paths.push(entry.map_err(Error::disk(&incoming))?.path());
            }
        }
    }
    paths.retain(|p| p.extension().is_some_and(|e| e == ENDING));
    paths.sort();
    // A state that cannot be read says nothing of the bundles: they wait for whoever mends it.
    State::load(&site.folder.state_file())?;
    for path in paths {
        let took = install(site, &path, Allowed::default());
        told(&path, &took);
        away(&path)?;
        if let Ok(took @ Took::Installed(_)) = took {
            return Ok(Some(took));
        }
    }
    Ok(None)
}

/// Nothing that ends as bundles do may stay: the service manager would start us for it again.
fn away(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        // A folder.
        Err(_) => fs::rename(path, path.with_extension("refused")).map_err(Error::disk(path)),
        Ok(()) => Ok(()),
    }
}

/// Takes away what a cut left behind, and a version in place of which another one runs, because the disk has spoilt it. The folder
/// is locked by the caller.
///
/// # Errors
/// When the state cannot be read, or the disk refuses.
pub fn tidy(site: &Site) -> Result<(), Error> {
    let file = site.folder.state_file();
    let mut state = State::load(&file)?.under(&site.packaged);
    let runs = Health::load(&site.health).map(|h| h.runs);
    let is_spoilt = |i: &Installed| runs.is_some_and(|runs| runs != i.slot()) && !site.folder.is_sound(i);
    if state.trial.is_none() && state.installed.as_ref().is_some_and(is_spoilt) {
        state.roll_back(site.clock.now_us(), SPOILT);
        state.save(&file)?;
    }
    site.folder.tidy(&state)
}

/// Goes back to what is behind the version that runs; the gateway is not restarted. The folder is locked by the caller.
///
/// # Errors
/// When the packaged program runs, or the disk refuses.
pub fn rollback(site: &Site, why: &str) -> Result<Option<Version>, Error> {
    let file = site.folder.state_file();
    let mut state = State::load(&file)?.under(&site.packaged);
    if state.installed.is_none() {
        return Error::refused("the packaged version runs: nothing is behind it");
    }
    state.roll_back(site.clock.now_us(), why);
    state.save(&file)?;
    site.folder.tidy(&state)?;
    Ok(state.installed.map(|i| i.version))
}
