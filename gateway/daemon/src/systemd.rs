//! What the service manager is told (sd_notify(3)): that a long start goes on, ready, reloading, stopping, how the gateway fares, and, only while
//! the loops of the field turn, that it is alive. Without a service manager nothing.

use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::{Instant, sleep};

use crate::gateway::Handle;

/// Ready is told with the first good poll, and at the latest so long after the start: a plant that is switched off must
/// not keep the box from being up.
pub(crate) const READY_LIMIT: Duration = Duration::from_secs(10);
/// How often the first good poll is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often the status is told.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Tells it all until it is dropped.
pub async fn report(handle: &Handle) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    let limit = Instant::now() + READY_LIMIT;
    while !handle.has_polled() && Instant::now() < limit {
        sleep(LOOK_EVERY).await;
    }
    tell(&[NotifyState::Ready, NotifyState::Status(&handle.summary())]);
    // Three times in its time, so that one that is a little late does no harm.
    let watchdog = watchdog_enabled();
    let every = watchdog.map_or(STATUS_EVERY, |w| (w / 3).clamp(Duration::from_millis(10), STATUS_EVERY));
    let mut is_late = false;
    loop {
        match handle.late_loop() {
            None => {
                is_late = false;
                tell(&[NotifyState::Watchdog, NotifyState::Status(&handle.summary())]);
            }
            Some((name, by)) => {
                let by_s = by.as_secs();
                if !std::mem::replace(&mut is_late, true) {
                    tracing::error!(
                        r#loop = name,
                        by_s,
                        "a loop of the field stands still: the watchdog is not fed"
                    );
                }
                tell(&[NotifyState::Status(&format!("{name} stands still since {by_s} s"))]);
            }
        }
        sleep(every).await;
    }
}

/// It is not ready yet, and needs so much time from now on.
pub(crate) fn starts_still(more: Duration, status: &str) {
    let more_us = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::ExtendTimeoutUsec(more_us), NotifyState::Status(status)]);
}

/// A reload begins; `report`'s side of it is `reloaded`.
pub fn reloading() {
    // Newer systemd takes the word only with the time at which it was said.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The reload is over, whatever became of it.
pub fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// The gateway ends now.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        tracing::debug!(%error, "service manager cannot be told");
    }
}
