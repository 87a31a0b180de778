//! The last update of every command that is still known: for dedup after a restart and to find intents
//! without a result. Bounded: the oldest finished ones go first.

use std::collections::{HashMap, HashSet};

use common::CommandId;
use common::command::CommandUpdate;
use serde::{Deserialize, Serialize};

const CAPACITY: usize = 5000;
/// Ended ones that are kept when their frames go: what is older nobody sends again.
const KEPT: usize = 1000;

/// One command's last update, with its place in the order of updates.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) order: u64,
    pub(crate) update: CommandUpdate,
    /// The frame of this boot that tells it; 0 if one of before does.
    #[serde(skip)]
    pub(crate) seq: u64,
    /// The step before, while this one may not be on disk.
    #[serde(skip)]
    before: Option<Box<Known>>,
}

/// Last updates by command.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    all: HashMap<CommandId, Known>,
    next: u64,
    /// What the state does not have yet.
    dirty: HashSet<CommandId>,
}

impl Commands {
    /// From the state, or the file of commands without frames: what the log's own records are laid over. The later word counts.
    pub(crate) fn restore(&mut self, known: Known) {
        self.next = self.next.max(known.order.saturating_add(1));
        if self.all.get(&known.update.id).is_none_or(|there| there.order < known.order) {
            self.all.insert(known.update.id, known);
        }
    }

    /// What frames up to `durable` tell, in their order, of those that ended the newest; and a number that changes with it.
    pub(crate) fn durable(&self, durable: u64) -> (Vec<Known>, u64) {
        let on_disk = |k: &Known| Some(k).filter(|k| k.seq <= durable).cloned();
        let mut all: Vec<Known> =
            self.all.values().filter_map(|k| on_disk(k).or_else(|| on_disk(k.before.as_deref()?))).collect();
        all.sort_unstable_by_key(|k| k.order);
        let version = all.last().map_or(0, |k| k.order + 1);
        let ended = all.iter().filter(|k| k.update.state.is_final()).count();
        let mut too_many = ended.saturating_sub(KEPT);
        all.retain(|k| {
            let goes = too_many > 0 && k.update.state.is_final();
            too_many -= usize::from(goes);
            !goes
        });
        (all, version)
    }

    /// From a record of the log at start. The state's word stays if it knows the end and this is not it.
    pub(crate) fn replay(&mut self, update: CommandUpdate) {
        let stays =
            self.all.get(&update.id).is_some_and(|k| k.update.state.is_final() && !update.state.is_final());
        if !stays {
            self.put(update, 0);
        }
    }

    /// A new update, which a frame of this boot tells.
    pub(crate) fn put(&mut self, update: CommandUpdate, seq: u64) {
        let id = update.id;
        let before = self.all.remove(&id).map(|known| Box::new(Known { before: None, ..known }));
        self.all.insert(id, Known { order: self.next, update, seq, before });
        self.next += 1;
        self.dirty.insert(id);
        if self.all.len() > CAPACITY {
            self.prune();
        }
    }

    fn prune(&mut self) {
        let mut done: Vec<(u64, CommandId)> = self
            .all
            .iter()
            .filter(|(_, k)| k.update.state.is_final())
            .map(|(id, k)| (k.order, *id))
            .collect();
        done.sort_unstable();
        for (_, id) in done.into_iter().take(CAPACITY / 10) {
            self.all.remove(&id);
            self.dirty.insert(id);
        }
    }

    /// All, in the order of their last updates.
    pub(crate) fn list(&self) -> Vec<CommandUpdate> {
        let mut all: Vec<&Known> = self.all.values().collect();
        all.sort_unstable_by_key(|k| k.order);
        all.into_iter().map(|k| k.update.clone()).collect()
    }

    /// What changed since the last call and is told by frames up to `durable`; none for what was forgotten. A state that
    /// knew an end of which the log has lost the frame would keep it from being told for ever.
    pub(crate) fn take_dirty(&mut self, durable: u64) -> Vec<(CommandId, Option<Known>)> {
        let Self { all, dirty, .. } = self;
        let is_durable = |id: &CommandId| all.get(id).is_none_or(|known| known.seq <= durable);
        dirty.extract_if(is_durable).map(|id| (id, all.get(&id).cloned())).collect()
    }
}
