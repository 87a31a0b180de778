//! Who is let in under a gateway's name: one box at a time. The judgement is `cloud_core::boxes`; here it is kept, told and
//! carried out, one hello of a gateway after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cloud_core::boxes::{Boxes, News, Policy, Said, Standing, Verdict, Why};
use cloud_core::{BoxError, GatewayKey, StoreError};
use common::Incarnation;
use common::api::HeldBox;
use common::command::{LogEntry, Severity};
use common::names::{Code, action};
use common::wire::Hello;
use tokio::sync::Mutex as AsyncMutex;

use crate::handle::{Handle, Shared};
use crate::outbox::{End, Outbox};

/// What is known of one gateway's boxes; none before it was read.
type Slot = Arc<AsyncMutex<Option<Boxes>>>;

/// All gateways' boxes, and the time from which on their silence counts: the cloud's start.
pub(crate) struct Book {
    slots: Mutex<HashMap<GatewayKey, Slot>>,
    started_us: i64,
}

impl Book {
    pub(crate) fn new(now_us: i64) -> Self {
        Self { slots: Mutex::default(), started_us: now_us }
    }

    fn slot(&self, key: &GatewayKey) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(key.clone()).or_default().clone()
    }
}

/// Why a change was not made, to a session.
pub(crate) fn storage_failed(key: &GatewayKey, error: &StoreError) -> End {
    if let StoreError::Conflict { what } = error {
        return End::refused("conflict", Code::Conflict, what.clone());
    }
    tracing::error!(%error, gateway = %key, "storage failed");
    End::refused("storage", Code::Unavailable, "storage is not available now")
}

impl Shared {
    /// What is known of a gateway's boxes, taken out of its slot: what is not put back, since it could not be kept, is
    /// read anew the next time.
    async fn known(&self, key: &GatewayKey, slot: &mut Option<Boxes>) -> Result<Boxes, StoreError> {
        match slot.take() {
            Some(boxes) => Ok(boxes),
            None => self.parts.storage.boxes(key).await,
        }
    }

    /// Lets a session in that said hello, or says why not. Gives the incarnation that was let in before.
    pub(crate) async fn let_in(
        &self,
        key: &GatewayKey,
        outbox: &Arc<Outbox>,
        peer: &str,
        hello: &Hello,
    ) -> Result<Option<Incarnation>, End> {
        let slot = self.book.slot(key);
        let mut slot = slot.lock().await;
        let before = self.known(key, &mut slot).await.map_err(|e| storage_failed(key, &e))?;
        let (mut boxes, now) = (before.clone(), self.parts.clock.now_us());
        let policy =
            Policy { silent_us: i64::try_from(self.options.replace_after.as_micros()).unwrap_or(i64::MAX) };
        let said = Said {
            incarnation: hello.incarnation,
            identity: hello.identity.as_deref(),
            version: &hello.version,
            peer,
        };
        let (live, last_us) = self.standing(key, outbox.session);
        let last_us = Some(last_us.unwrap_or(i64::MIN).max(self.book.started_us));
        let seen = boxes.current();
        let verdict = boxes.judge(said, Standing { live, last_us }, policy, now);
        let entry = told(key, &verdict, &boxes, seen, hello, peer).map(|e| LogEntry { at_us: now, ..e });
        if boxes.differs(&before) || entry.is_some() {
            let kept = self.parts.storage.keep_boxes(key, &boxes, entry.as_slice()).await;
            kept.map_err(|e| storage_failed(key, &e))?;
        }
        let held = boxes.held.iter().map(|h| h.view(key.gateway.as_str())).collect::<Vec<_>>();
        *slot = Some(boxes);
        self.show_held(key, held);
        if let Some(entry) = &entry {
            self.parts.sink.event(entry);
        }
        match verdict {
            Verdict::Enter(_) => {
                self.enter(key, outbox, entry.is_some()).await;
                Ok(seen)
            }
            Verdict::Hold { why, .. } => {
                let code = if hello.identity.is_some() { Code::IdentityConflict } else { Code::Conflict };
                Err(End::refused("identity", code, held_back(key, why)))
            }
            Verdict::Again => {
                let detail = "another session of this gateway began meanwhile: say hello again";
                Err(End::refused("late_hello", Code::Conflict, detail))
            }
        }
    }
}

/// What a box is told that is held back.
fn held_back(key: &GatewayKey, why: Why) -> String {
    let gateway = &key.gateway;
    format!(
        "this box is held back: {}. Its data waits in its buffer. If it shall be `{gateway}`, an administrator of the cloud \
         lets it in with `twinway gateway accept {gateway} --reason ...`; if not, give it a name and credentials of its own",
        why.text()
    )
}

/// What people are told of a verdict.
fn told(
    key: &GatewayKey,
    verdict: &Verdict,
    boxes: &Boxes,
    seen: Option<Incarnation>,
    hello: &Hello,
    peer: &str,
) -> Option<LogEntry> {
    let name =
        |b: Option<common::BoxId>| b.map_or_else(|| "of an older program".to_owned(), |b| b.to_string());
    let who = name(hello.identity.as_ref().map(|id| id.box_id));
    let gateway = &key.gateway;
    let remedy = format!(
        "`twinway gateways` shows both. If the one held back is the right one: `twinway gateway accept {gateway} --reason ...`; if both are \
         wanted, give one of them a name and credentials of its own"
    );
    let (action, severity, detail) = match verdict {
        Verdict::Hold { why, new: true } => (
            action::GATEWAY_DUPLICATE,
            Severity::Alarm,
            format!("box {who} from {peer} is held back: {}. {remedy}", why.text()),
        ),
        Verdict::Enter(Some(News::Duplicate)) => {
            let held = boxes.held.last().map_or("?", |h| h.peer.as_str());
            (
                action::GATEWAY_DUPLICATE,
                Severity::Alarm,
                format!(
                    "two boxes run with one state: {who} from {peer} was here first and stays, the one from {held} is held back. {remedy}"
                ),
            )
        }
        Verdict::Enter(Some(News::Restored)) => (
            action::GATEWAY_RESTORED,
            Severity::Alarm,
            format!(
                "box {who} from {peer} does not know the state that spoke last (incarnation {}): it was restored from a backup, \
                 or is a copy. Nothing that is stored was changed. What the box had recorded since that backup and not \
                 sent is lost; see that no other box runs with the same state",
                seen.map_or_else(|| "none".to_owned(), |i| i.to_string())
            ),
        ),
        Verdict::Enter(Some(News::Replaced { because })) => (
            action::GATEWAY_REPLACED,
            Severity::Warning,
            format!("box {who} from {peer} speaks from now on: {because}"),
        ),
        Verdict::Enter(None) | Verdict::Hold { .. } | Verdict::Again => return None,
    };
    Some(LogEntry {
        at_us: 0,
        actor: "system".into(),
        action: action.into(),
        target: gateway.to_string(),
        twin: None,
        severity,
        code: (action == action::GATEWAY_DUPLICATE).then_some(Code::IdentityConflict),
        detail,
    })
}

impl Handle {
    /// As `Downlink::accept_box`.
    pub(crate) async fn accept(
        &self,
        key: &GatewayKey,
        incarnation: Option<Incarnation>,
        entry: LogEntry,
    ) -> Result<HeldBox, BoxError> {
        let shared = &self.0;
        let slot = shared.book.slot(key);
        let mut slot = slot.lock().await;
        let mut boxes = shared.known(key, &mut slot).await?;
        let accepted = boxes.accept(incarnation, shared.parts.clock.now_us());
        let Some(held) = accepted else {
            let held = boxes.held.iter().map(|h| h.view(key.gateway.as_str())).collect();
            *slot = Some(boxes);
            return Err(BoxError::Which { held });
        };
        let view = held.view(key.gateway.as_str());
        let who = view.box_id.map_or_else(|| "of an older program".to_owned(), |b| b.to_string());
        let detail = format!("box {who}, incarnation {}: {}", view.incarnation, entry.detail);
        let entry = LogEntry { detail, ..entry };
        shared.parts.storage.keep_boxes(key, &boxes, std::slice::from_ref(&entry)).await?;
        let left = boxes.held.iter().map(|h| h.view(key.gateway.as_str())).collect();
        *slot = Some(boxes);
        shared.show_held(key, left);
        shared.parts.sink.event(&entry);
        shared.end_sessions(key, &End::TakenOver);
        Ok(view)
    }

    /// As `Downlink::credential_changed`.
    pub(crate) async fn open(&self, key: &GatewayKey) -> Result<(), StoreError> {
        let shared = &self.0;
        let slot = shared.book.slot(key);
        let mut slot = slot.lock().await;
        let mut boxes = shared.known(key, &mut slot).await?;
        boxes.open = !boxes.line.is_empty();
        shared.parts.storage.keep_boxes(key, &boxes, &[]).await?;
        *slot = Some(boxes);
        let detail = "the gateway was given another secret";
        shared.end_sessions(key, &End::refused("credentials", Code::Unauthenticated, detail));
        Ok(())
    }
}
