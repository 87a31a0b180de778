//! Looks whether a version on trial fares as well as the one before, and goes back if it does not. May be cut at any point: the
//! next updater goes on with the trial.

use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::Error;
use crate::folder::LOOK_EVERY;
use crate::health::Health;
use crate::install::{Site, rollback};
use crate::state::{Expects, Log, State, What, slot_of};

/// For the service manager to take the order.
const RESTART_LIMIT: Duration = Duration::from_secs(60);
/// For a restart that was ordered to be seen.
const RESTARTS_WITHIN: Duration = Duration::from_secs(30);
/// For a start that goes on: the largest buffer on the slowest card takes less.
const START_LIMIT: Duration = Duration::from_secs(1800);

/// How long a version on trial has.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// To reach what it must. While its start goes on, reading a large buffer, it begins anew with each step.
    pub reach: Duration,
    /// To stay so, without a start in between.
    pub stay: Duration,
}

/// The command that restarts the gateway.
#[derive(Debug, Clone)]
pub struct Restart(pub Vec<String>);

impl Restart {
    /// Runs it.
    ///
    /// # Errors
    /// When it fails or does not end.
    pub async fn run(&self) -> Result<(), Error> {
        let told = self.0.join(" ");
        let failed = |why: String| Error::Restart(format!("`{told}`: {why}"));
        let (program, arguments) = self.0.split_first().ok_or_else(|| failed("no command".to_owned()))?;
        let mut command = Command::new(program);
        command.args(arguments).kill_on_drop(true);
        let done = timeout(RESTART_LIMIT, command.status()).await;
        let status = done.map_err(|_| failed(format!("not done within {} s", RESTART_LIMIT.as_secs())))?;
        match status.map_err(|e| failed(e.to_string()))? {
            status if status.success() => Ok(()),
            status => Err(failed(status.to_string())),
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// No version is on trial.
    NoTrial,
    /// It has proven itself.
    Proven,
    /// It gave way.
    RolledBack {
        /// Why.
        why: String,
    },
}

/// Restarts the gateway if it does not run what is on trial yet, and watches the trial to its end. `is_new`: right after it was
/// installed; else the gateway may be on its way up and is left alone while it says nothing. The folder is locked by the caller.
///
/// # Errors
/// When the gateway cannot be restarted or the state not be written: the trial goes on, for whoever watches next.
pub async fn watch(site: &Site, patience: Patience, restart: &Restart, is_new: bool) -> Result<Ended, Error> {
    let file = site.folder.state_file();
    let state = State::load(&file)?.under(&site.packaged);
    let (Some(installed), Some(trial), Some(name)) = (&state.installed, &state.trial, state.trial_name())
    else {
        leave_what_gave_way(site, &state, restart).await?;
        return Ok(Ended::NoTrial);
    };
    let slot = slot_of(Some(installed));
    let now = Health::load(&site.health);
    if now.map_or(is_new, |h| h.runs != slot && h.gave_way != name) {
        restart.run().await?;
    }
    let mut reach_until = Instant::now() + patience.reach;
    let start_until = Instant::now() + START_LIMIT;
    let mut start_step = (0, 0);
    let mut good: Option<(u32, Instant)> = None;
    let why = loop {
        let health = Health::load(&site.health);
        if health.as_ref().is_some_and(|h| h.gave_way == name) {
            break "three starts of it failed, or it is no program for this machine: see the log".to_owned();
        }
        let own = health.filter(|h| h.runs == slot);
        if let Some(step) = own.as_ref().filter(|h| h.start_step > 0).map(|h| (h.pid, h.start_step))
            && std::mem::replace(&mut start_step, step) != step
            && Instant::now() < start_until
        {
            reach_until = Instant::now() + patience.reach;
        }
        match (own.as_ref().and_then(|h| lacks(h, trial.expects)), own) {
            (None, Some(h)) => {
                let since = good.filter(|g| g.0 == h.pid).unwrap_or((h.pid, Instant::now()));
                if since.1.elapsed() >= patience.stay {
                    return proven(site, state);
                }
                good = Some(since);
            }
            (lacking, _) => {
                good = None;
                if Instant::now() >= reach_until {
                    let lacking = lacking.unwrap_or("it does not run");
                    break format!("{lacking} within {} s", patience.reach.as_secs());
                }
            }
        }
        if Instant::now() >= reach_until + patience.stay {
            break format!("it did not stay up for {} s", patience.stay.as_secs());
        }
        sleep(LOOK_EVERY).await;
    };
    rollback(site, &why)?;
    // What gave way at its start runs what is behind it already.
    if Health::load(&site.health).is_none_or(|h| h.gave_way != name) {
        restart.run().await?;
    }
    Ok(Ended::RolledBack { why })
}

/// Whoever went back may have been cut before the restart: then what gave way runs still.
async fn leave_what_gave_way(site: &Site, state: &State, restart: &Restart) -> Result<(), Error> {
    let Some(gone) = state.log.last().filter(|l| l.what == What::RolledBack).map(Log::slot) else {
        return Ok(());
    };
    let runs = || Health::load(&site.health).is_some_and(|h| h.runs == gone);
    let until = Instant::now() + RESTARTS_WITHIN;
    while runs() && Instant::now() < until {
        sleep(LOOK_EVERY).await;
    }
    if runs() { restart.run().await } else { Ok(()) }
}

/// What is not reached yet.
fn lacks(health: &Health, expects: Expects) -> Option<&'static str> {
    if health.start_step > 0 {
        Some("its start, which reads the buffer, did not go on")
    } else if !health.ready {
        Some("it was not ready")
    } else if expects.poll && !health.polled {
        Some("no device answered it, as one did before,")
    } else if expects.session && !health.session {
        Some("it had no session with the cloud, as there was before,")
    } else {
        None
    }
}

fn proven(site: &Site, mut state: State) -> Result<Ended, Error> {
    state.trial = None;
    if let Some(installed) = state.installed.clone() {
        let of = Some((&installed.version, installed.digest.as_str()));
        state.tell(site.clock.now_us(), What::Proven, of, "");
    }
    state.save(&site.folder.state_file())?;
    site.folder.tidy(&state)?;
    Ok(Ended::Proven)
}
