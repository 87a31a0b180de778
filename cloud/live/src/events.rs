//! A client's bounded queue of text messages. A message about the same gateway as one that still waits
//! takes its place; when the queue is full the oldest goes, counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cloud_core::Access;
use common::GatewayId;
use common::api::ServerMessage;
use tokio::sync::Notify;

/// Messages of which only the last matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Gateway(GatewayId),
    Twins,
}

impl Subject {
    pub(crate) fn of(message: &ServerMessage) -> Option<Self> {
        match message {
            ServerMessage::Gateway { gateway } => Some(Self::Gateway(gateway.id.clone())),
            ServerMessage::Twins => Some(Self::Twins),
            _ => None,
        }
    }
}

/// What a client and the live channel share.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) access: Access,
    limit: usize,
    queue: Mutex<Queue>,
    pub(crate) arrived: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Option<Subject>, Arc<str>)>,
    lost: u64,
}

impl Mailbox {
    pub(crate) fn new(access: Access, limit: usize) -> Self {
        Self { access, limit: limit.max(1), queue: Mutex::default(), arrived: Notify::new() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message; true if another was lost for it.
    pub(crate) fn put(&self, subject: Option<&Subject>, text: &Arc<str>) -> bool {
        let mut queue = self.queue();
        let waiting = subject.and_then(|s| queue.waiting.iter_mut().find(|(w, _)| w.as_ref() == Some(s)));
        if let Some(slot) = waiting {
            slot.1 = text.clone();
            return false;
        }
        let full = queue.waiting.len() >= self.limit;
        if full {
            queue.waiting.pop_front();
            queue.lost += 1;
        }
        queue.waiting.push_back((subject.cloned(), text.clone()));
        drop(queue);
        self.arrived.notify_one();
        full
    }

    /// How many were lost since the last call.
    pub(crate) fn take_lost(&self) -> u64 {
        std::mem::take(&mut self.queue().lost)
    }

    pub(crate) fn next(&self) -> Option<Arc<str>> {
        self.queue().waiting.pop_front().map(|(_, text)| text)
    }
}
