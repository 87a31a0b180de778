//! The commands that control remembers: for dedup, for lists, and with the steps that they went through.
//! Bounded: the oldest ended ones go first.

use std::collections::{HashMap, VecDeque};

use common::CommandId;
use common::api::CommandStep;
use common::command::CommandUpdate;

#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) update: CommandUpdate,
    pub(crate) steps: Vec<CommandStep>,
    pub(crate) created_us: i64,
    pub(crate) expires_us: i64,
    /// As asked for at the box; none for commands of the cloud or of a process before this.
    pub(crate) ttl_ms: Option<u64>,
    /// Taken by this process, so that a worker has it or will.
    pub(crate) here: bool,
}

#[derive(Debug)]
pub(crate) struct Book {
    records: HashMap<CommandId, Record>,
    order: VecDeque<CommandId>,
    capacity: usize,
}

impl Book {
    /// From what the log knows, oldest first.
    pub(crate) fn new(capacity: usize, known: Vec<CommandUpdate>) -> Self {
        let mut book = Self { records: HashMap::new(), order: VecDeque::new(), capacity: capacity.max(1) };
        for update in known {
            let step = CommandStep { state: update.state, at_us: update.at_us };
            let (created_us, expires_us) = (update.at_us, update.at_us);
            book.insert(Record {
                update,
                steps: vec![step],
                created_us,
                expires_us,
                ttl_ms: None,
                here: false,
            });
        }
        book
    }

    pub(crate) fn get(&self, id: CommandId) -> Option<&Record> {
        self.records.get(&id)
    }

    pub(crate) fn insert(&mut self, record: Record) {
        let id = record.update.id;
        if self.records.insert(id, record).is_none() {
            self.order.push_back(id);
        }
        while self.records.len() > self.capacity {
            let ended = |id: &CommandId| self.records.get(id).is_none_or(|r| r.update.state.is_final());
            let Some(oldest) = self.order.iter().position(ended) else { break };
            if let Some(id) = self.order.remove(oldest) {
                self.records.remove(&id);
            }
        }
    }

    /// Takes a step over, if it may follow the last one.
    pub(crate) fn step(&mut self, update: &CommandUpdate) -> bool {
        let Some(record) = self.records.get_mut(&update.id) else { return false };
        if !record.update.state.may_become(update.state) {
            return false;
        }
        record.steps.push(CommandStep { state: update.state, at_us: update.at_us });
        record.update = update.clone();
        true
    }

    /// Newest first.
    pub(crate) fn newest(&self) -> impl Iterator<Item = &Record> {
        self.order.iter().rev().filter_map(|id| self.records.get(id))
    }
}
