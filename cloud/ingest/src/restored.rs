//! Whether the store is older than what a gateway remembers of it: it was restored from a backup, or is another one. Pure.

use std::collections::HashMap;

use cloud_core::GatewayKey;
use common::command::{LogEntry, Severity};
use common::names::action;
use common::wire::{Hello, Known};
use common::{Incarnation, IntervalSet};
use uuid::Uuid;

/// Incarnations that one hello is believed to have acknowledgements of.
const MAX_ACKED: usize = 256;

/// What the gateway takes for durable here.
pub(crate) fn acked(hello: &Hello) -> &[Known] {
    let acked = hello.identity.as_ref().map_or(&[][..], |id| &id.acked);
    &acked[..acked.len().min(MAX_ACKED)]
}

/// How many frames the gateway takes for durable that are not known here.
fn lacking(acked: &[Known], known: &[Known]) -> u64 {
    let known: HashMap<Incarnation, &IntervalSet> = known.iter().map(|k| (k.incarnation, &k.seqs)).collect();
    let none = IntervalSet::new();
    let of = |k: &Known| k.seqs.minus(known.get(&k.incarnation).copied().unwrap_or(&none)).len();
    acked.iter().map(of).sum()
}

/// What people are told; none if nothing is missing.
pub(crate) fn entry(
    key: &GatewayKey,
    hello: &Hello,
    known: &[Known],
    seen: Option<Incarnation>,
    store: Uuid,
    now_us: i64,
) -> Option<LogEntry> {
    let identity = hello.identity.as_ref()?;
    let lacking = lacking(acked(hello), known);
    let other = identity.store.is_some_and(|s| s != store);
    // It was answered after the last hello that is known here.
    let forgotten = identity.answered.filter(|answered| {
        let known_here = seen == Some(*answered);
        let later = seen.is_none_or(|seen| {
            let place = |i: &Incarnation| identity.line.iter().position(|l| l == i);
            let of_answered = if *answered == hello.incarnation { Some(usize::MAX) } else { place(answered) };
            place(&seen).is_some_and(|seen| of_answered.is_some_and(|a| seen < a))
        });
        !known_here && later
    });
    if lacking == 0 && !other && forgotten.is_none() {
        return None;
    }
    let mut detail = "this cloud is older than what the gateway remembers of it: its store was restored from a backup, or is \
                      another one"
        .to_owned();
    if other {
        detail += &format!(" (the gateway last spoke to store {}, this is {store})", identity.store?);
    }
    detail += &format!(
        ". {lacking} frames that it had acknowledged are missing; the gateway sends again what it still has, results of \
         commands and audit included, and tells the rest as gaps with the cause `cloud_lost`"
    );
    Some(LogEntry {
        at_us: now_us,
        actor: "system".into(),
        action: action::CLOUD_RESTORED.into(),
        target: key.gateway.to_string(),
        twin: None,
        severity: Severity::Alarm,
        code: None,
        detail,
    })
}
