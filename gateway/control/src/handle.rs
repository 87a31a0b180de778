//! The cheap handle: takes orders from the uplink and the local API, and answers what is known of them.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use common::api::{CommandRequest, CommandStep, CommandView, SwitchPosition};
use common::command::{CommandOrder, CommandUpdate, DesiredOrder, Origin, Requester, Severity};
use common::names::{Code, action};
use common::{CommandId, CommandState, TwinId};
use gateway_core::{DeviceWriter, LogError, Orders, Point, Registry};
use tokio::sync::broadcast;
use tokio::sync::mpsc::error::TrySendError;
use uuid::Uuid;

use crate::Error;
use crate::book::Record;
use crate::journal::{About, told};
use crate::lanes::View;
use crate::shared::{Job, Outcome, Shared, Subject};
use crate::value::check;

const LONGEST_TTL_MS: u64 = 600_000;
const LONGEST_TEXT: usize = 1000;

/// Control, for those who ask it. One `Arc` is shared by all.
pub struct Handle {
    shared: Arc<Shared>,
}

/// A command as it came in.
struct Incoming {
    id: CommandId,
    twin: TwinId,
    request: CommandRequest,
    requester: Requester,
    deadline_us: u64,
    /// The first state told.
    first: CommandState,
    ttl_ms: Option<u64>,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// A command with its steps, in the shape of the HTTP API.
    pub fn view(&self, id: CommandId) -> Option<CommandView> {
        let book = self.shared.journal.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.get(id).map(|r| self.show(r))
    }

    /// The newest commands, newest first; after a given one, those before it.
    pub fn views(&self, after: Option<CommandId>, limit: usize) -> Vec<CommandView> {
        let book = self.shared.journal.book.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = after.and_then(|id| book.newest().position(|r| r.update.id == id)).map_or(0, |at| at + 1);
        book.newest().skip(skip).take(limit).map(|r| self.show(r)).collect()
    }

    /// How many commands ended so far in this process, by state and code (empty if none).
    pub fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.shared.journal.counts().into_iter().map(|((state, code), n)| (state, code, n)).collect()
    }

    /// Takes devices out before their drivers are stopped: orders for them are refused, what waits is refused, and a
    /// write at hand is waited for, at most `limit`.
    pub async fn release(&self, devices: &[usize], limit: Duration) {
        self.shared.release(devices, limit).await;
    }

    /// Goes over to a later generation of the registry. `writers` are those of new devices, and of those that were
    /// taken out and are there again.
    ///
    /// # Errors
    /// When an interlock cannot be read; then nothing has changed.
    pub fn renew(
        &self,
        registry: Arc<Registry>,
        writers: Vec<(usize, Arc<dyn DeviceWriter>)>,
    ) -> Result<(), Error> {
        self.shared.renew(View::new(registry)?, writers);
        Ok(())
    }

    fn show(&self, r: &Record) -> CommandView {
        let u = &r.update;
        let registry = self.shared.registry();
        let device = registry.schema().devices.iter().find(|d| d.twin == u.twin);
        CommandView {
            id: u.id,
            twin: u.twin,
            asset: device.map_or_else(String::new, |d| d.asset.clone()),
            point: u.point.clone(),
            value: u.value.clone(),
            requester: u.requester.clone(),
            reason: u.reason.clone(),
            state: u.state,
            code: u.code,
            detail: u.detail.clone(),
            read_back: u.read_back.clone(),
            created_us: r.created_us,
            expires_us: r.expires_us,
            steps: r.steps.clone(),
        }
    }

    /// Enters a command that is not yet known; gives the last update of one that is.
    fn enter(&self, c: &Incoming) -> Result<CommandUpdate, Box<Record>> {
        let now_us = self.shared.clock.now_us();
        let left_us = c.deadline_us.saturating_sub(self.shared.clock.mono_us());
        let update = CommandUpdate {
            id: c.id,
            twin: c.twin,
            point: c.request.point.clone(),
            value: c.request.value.clone(),
            requester: c.requester.clone(),
            reason: c.request.reason.clone(),
            state: c.first,
            code: None,
            detail: String::new(),
            read_back: None,
            at_us: now_us,
        };
        let record = Record {
            update: update.clone(),
            steps: vec![CommandStep { state: c.first, at_us: now_us }],
            created_us: now_us,
            expires_us: now_us.saturating_add_unsigned(left_us),
            ttl_ms: c.ttl_ms,
            here: true,
        };
        let mut book = self.shared.journal.book.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = book.get(c.id) {
            return Err(Box::new(known.clone()));
        }
        book.insert(record);
        Ok(update)
    }

    /// Everything that can be said at once of a command that was just entered: refused, or on its way.
    fn dispatch(&self, c: Incoming, entered: CommandUpdate, registry: &Registry, point: Option<&Point>) {
        let refuse = |code, detail: String| {
            let target = match point {
                Some(p) => registry.place(p.id),
                None => format!("{}/{}", c.twin, c.request.point),
            };
            let about = About { actor: &c.requester.name, target, twin: Some(c.twin) };
            let audit = &self.shared.journal;
            let text = told(&c.request.value, &c.request.reason, &detail);
            let _ = audit.audit(action::COMMAND_REJECTED, about, Severity::Warning, Some(code), text);
            let at_us = self.shared.clock.now_us();
            let state = CommandState::Rejected;
            let _ = audit.step(&CommandUpdate { state, code: Some(code), detail, at_us, ..entered.clone() });
        };
        let appended = self.shared.journal.append(common::wire::Body::Command(entered.clone()));
        self.shared.journal.tell(&entered);
        if let Err(error) = appended {
            return refuse(Code::AuditUnavailable, format!("the log takes nothing: {error}"));
        }
        let Some(point) = point else {
            return refuse(Code::UnknownPoint, "this gateway has no such point".to_owned());
        };
        let (value, raw) = match check(point, &c.request.value) {
            Ok(both) => both,
            Err((code, detail)) => return refuse(code, detail),
        };
        let Some(queue) = self.shared.queue(point) else {
            return refuse(Code::NotWritable, "the device cannot be written".to_owned());
        };
        let job = Job {
            subject: Subject::Command(c.id),
            twin: c.twin,
            point: point.id,
            name: point.schema.name.to_string(),
            path: registry.path(point.id),
            place: registry.place(point.id),
            generation: registry.generation(),
            value,
            raw,
            requester: c.requester.clone(),
            reason: c.request.reason.clone(),
            deadline_us: c.deadline_us,
        };
        if let Err(TrySendError::Full(job) | TrySendError::Closed(job)) = queue.try_send(job) {
            self.shared
                .finish(&job, Outcome::rejected(Code::QueueFull, "too many orders wait for the device"));
        }
    }

    fn refuse_unnamed(
        &self,
        who: &str,
        target: String,
        twin: TwinId,
        code: Code,
        detail: String,
    ) -> (Code, String) {
        let about = About { actor: who, target, twin: Some(twin) };
        let journal = &self.shared.journal;
        let _ = journal.audit(action::COMMAND_REJECTED, about, Severity::Warning, Some(code), detail.clone());
        (code, detail)
    }
}

#[async_trait]
impl Orders for Handle {
    fn command(&self, order: CommandOrder) {
        // The far side does not say through which door it came: what comes over the uplink is the cloud's.
        let requester = Requester { origin: Origin::Cloud, ..order.requester };
        let request =
            CommandRequest { point: order.point, value: order.value, ttl_ms: 0, reason: order.reason };
        let incoming = Incoming {
            id: order.id,
            twin: order.twin,
            request,
            requester,
            deadline_us: order.deadline_session_us,
            first: CommandState::Sent,
            ttl_ms: None,
        };
        match self.enter(&incoming) {
            Err(known) => {
                let _ = self.shared.journal.append(common::wire::Body::Command(known.update));
            }
            Ok(entered) => {
                let registry = self.shared.registry();
                let point = registry.find_in_twin(incoming.twin, &incoming.request.point);
                self.dispatch(incoming, entered, &registry, point);
            }
        }
    }

    fn desired(&self, orders: Vec<DesiredOrder>) {
        for order in orders {
            self.shared.take_desired(order);
        }
    }

    async fn submit(
        &self,
        twin: TwinId,
        request: CommandRequest,
        requester: Requester,
        idempotency_key: String,
    ) -> Result<CommandUpdate, (Code, String)> {
        let who = requester.name.clone();
        let target = format!("{twin}/{}", request.point);
        let refuse =
            |code, detail: &str| self.refuse_unnamed(&who, target.clone(), twin, code, detail.to_owned());
        if !(1..=LONGEST_TTL_MS).contains(&request.ttl_ms) {
            return Err(refuse(Code::InvalidRequest, "ttl_ms is not within 1 to 600000"));
        }
        if idempotency_key.is_empty()
            || idempotency_key.len() > LONGEST_TEXT
            || request.reason.len() > LONGEST_TEXT
        {
            return Err(refuse(Code::InvalidRequest, "idempotency key or reason is empty or too long"));
        }
        // The same key gives the same id, also after a restart: dedup by id is enough.
        let name = format!("twinway:command:{who}:{twin}:{idempotency_key}");
        let id = CommandId(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()));
        let registry = self.shared.registry();
        let Some(point) = registry.find_in_twin(twin, &request.point) else {
            return Err(refuse(Code::UnknownPoint, "this gateway has no such point"));
        };
        let known = || {
            let book = self.shared.journal.book.lock().unwrap_or_else(PoisonError::into_inner);
            book.get(id).cloned()
        };
        if known().is_none() && self.shared.queue(point).is_some_and(|q| q.capacity() == 0) {
            return Err(refuse(Code::QueueFull, "too many orders wait for the device"));
        }
        let ttl_us = request.ttl_ms.saturating_mul(1000);
        let incoming = Incoming {
            id,
            twin,
            requester,
            deadline_us: self.shared.clock.mono_us().saturating_add(ttl_us),
            first: CommandState::Accepted,
            ttl_ms: Some(request.ttl_ms),
            request,
        };
        match self.enter(&incoming) {
            Ok(entered) => {
                let fallback = entered.clone();
                self.dispatch(incoming, entered, &registry, Some(point));
                Ok(self.get(id).unwrap_or(fallback))
            }
            Err(known) => {
                let u = &known.update;
                let asked = &incoming.request;
                let value = asked.value.convert(u.value.value_type());
                let same = u.point == asked.point
                    && value.as_ref() == Some(&u.value)
                    && u.reason == asked.reason
                    && known.ttl_ms.is_none_or(|t| t == asked.ttl_ms);
                if same {
                    return Ok(known.update);
                }
                Err(refuse(Code::IdempotencyConflict, "the idempotency key was used with another request"))
            }
        }
    }

    fn get(&self, id: CommandId) -> Option<CommandUpdate> {
        let book = self.shared.journal.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.get(id).map(|r| r.update.clone())
    }

    fn recent(&self, limit: usize) -> Vec<CommandUpdate> {
        let book = self.shared.journal.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.newest().take(limit).map(|r| r.update.clone()).collect()
    }

    fn updates(&self) -> broadcast::Receiver<CommandUpdate> {
        self.shared.journal.updates.subscribe()
    }

    fn switch(&self) -> SwitchPosition {
        if self.shared.is_remote() { SwitchPosition::Remote } else { SwitchPosition::Local }
    }

    async fn set_switch(&self, to: SwitchPosition, who: &str, reason: &str) -> Result<(), (Code, String)> {
        match to {
            SwitchPosition::Local => self.set_local(who, reason).await,
            SwitchPosition::Remote => self.set_remote(who, reason).await?,
        }
        tracing::info!(position = ?to, who, reason, "switch set");
        Ok(())
    }
}

impl Handle {
    /// At once, before anything is written down: a disk that hesitates or refuses must not keep the box remote.
    async fn set_local(&self, who: &str, reason: &str) {
        {
            let mut locals = self.shared.locals.lock().unwrap_or_else(PoisonError::into_inner);
            *locals += 1;
            self.shared.remote.store(false, Ordering::Release);
        }
        if let Err(error) = self.keep_switch(action::SWITCH_LOCAL, who, reason).await {
            tracing::error!(%error, who, "switch stands on local, but that is not on disk");
        }
    }

    /// Only once it is on disk, and only if nobody set it to local meanwhile.
    async fn set_remote(&self, who: &str, reason: &str) -> Result<(), (Code, String)> {
        let _one_at_a_time = self.shared.switching.lock().await;
        let locals = || self.shared.locals.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *locals();
        let kept = self.keep_switch(action::SWITCH_REMOTE, who, reason).await;
        kept.map_err(|e| (Code::AuditUnavailable, format!("the change is not on disk: {e}")))?;
        let now = locals();
        if *now != before {
            return Err((Code::LocalMode, "the switch was set to local meanwhile".to_owned()));
        }
        self.shared.remote.store(true, Ordering::Release);
        Ok(())
    }

    async fn keep_switch(&self, action: &str, who: &str, reason: &str) -> Result<(), LogError> {
        let journal = &self.shared.journal;
        let about = About { actor: who, target: "switch".to_owned(), twin: None };
        let frame = journal.audit(action, about, Severity::Warning, None, reason)?;
        journal.log.durable(frame).await
    }
}
