//! Wakes those who wait for a command: each waiter is handed the command as it goes on. No polling, and
//! no more waiters than a limit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::CommandId;
use common::api::CommandView;
use tokio::sync::watch;

/// Most waiters at a time.
const MOST: usize = 4_096;

#[derive(Debug)]
struct Entry {
    news: watch::Sender<Option<CommandView>>,
    waiters: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: HashMap<CommandId, Entry>,
    waiters: usize,
}

/// Commands that somebody waits for. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hub(Arc<Mutex<Waiting>>);

/// Somebody who waits for a command.
#[derive(Debug)]
pub(crate) struct Waiter {
    hub: Hub,
    id: CommandId,
    news: watch::Receiver<Option<CommandView>>,
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits from now on: what is told after this call is not missed. None if too many wait.
    pub(crate) fn wait(&self, id: CommandId) -> Option<Waiter> {
        let mut waiting = self.lock();
        if waiting.waiters >= MOST {
            return None;
        }
        waiting.waiters += 1;
        let entry =
            waiting.entries.entry(id).or_insert_with(|| Entry { news: watch::Sender::new(None), waiters: 0 });
        entry.waiters += 1;
        let news = entry.news.subscribe();
        drop(waiting);
        Some(Waiter { hub: self.clone(), id, news })
    }

    /// A command went on.
    pub(crate) fn tell(&self, command: &CommandView) {
        if let Some(entry) = self.lock().entries.get(&command.id) {
            entry.news.send_replace(Some(command.clone()));
        }
    }
}

impl Waiter {
    /// The command when it is final. Cancel safe.
    pub(crate) async fn finished(&mut self) -> Option<CommandView> {
        let is_final = |c: &Option<CommandView>| c.as_ref().is_some_and(|c| c.state.is_final());
        self.news.wait_for(is_final).await.ok().and_then(|c| c.clone())
    }

    /// The last that was told.
    pub(crate) fn last(&self) -> Option<CommandView> {
        self.news.borrow().clone()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.hub.lock();
        waiting.waiters -= 1;
        if let Some(entry) = waiting.entries.get_mut(&self.id) {
            entry.waiters -= 1;
            if entry.waiters == 0 {
                waiting.entries.remove(&self.id);
            }
        }
    }
}
