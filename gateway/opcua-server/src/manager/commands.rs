//! Writes: each becomes a command, with the client's user as its requester, and waits for what becomes of it.

use common::CommandId;
use common::api::CommandRequest;
use common::command::{CommandUpdate, Origin, Requester};
use common::names::Code;
use gateway_core::Orders;
use opcua::server::node_manager::{ParsedWriteValue, RequestContext, WriteNode};
use opcua::types::{AttributeId, DiagnosticInfo, StatusCode};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Duration, Instant, timeout_at};

use super::Shared;
use crate::auth::Caller;
use crate::refusal;
use crate::space::{Node, Space, WRITE, access_level, written};

/// How long a command may take to reach its device.
const TTL_MS: u64 = 5000;
/// And how long its outcome is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

pub(super) async fn write(shared: &Shared, context: &RequestContext, nodes: &mut [&mut WriteNode]) {
    let caller = Caller::of(&context.token);
    // Listened to before the first is given, so that no outcome falls between.
    let mut updates = shared.parts.orders.updates();
    let mut given: Vec<(usize, CommandId)> = Vec::new();
    for (at, node) in nodes.iter_mut().enumerate() {
        let space = shared.space();
        match submit(shared, &space, &caller, node.value()).await {
            Ok(id) => given.push((at, id)),
            Err((status, detail)) => refuse(node, status, detail),
        }
    }
    let until = Instant::now() + LONGEST_WAIT;
    for (at, id) in given {
        let ended = outcome(shared.parts.orders.as_ref(), &mut updates, id, until).await;
        let Some(node) = nodes.get_mut(at) else { continue };
        match ended {
            Some(update) => match refusal::outcome(&update) {
                StatusCode::Good => node.set_status(StatusCode::Good),
                status => refuse(node, status, update.detail),
            },
            None => refuse(node, StatusCode::BadTimeout, "its outcome is not known yet".to_owned()),
        }
    }
}

fn refuse(node: &mut WriteNode, status: StatusCode, detail: String) {
    node.set_status(status);
    if !node.diagnostic_bits().is_empty() && !detail.is_empty() {
        let info = DiagnosticInfo { additional_info: Some(detail.into()), ..DiagnosticInfo::default() };
        node.set_diagnostic_info(info);
    }
}

async fn submit(
    shared: &Shared,
    space: &Space,
    caller: &Caller,
    asked: &ParsedWriteValue,
) -> Result<CommandId, (StatusCode, String)> {
    let no = |status| (status, String::new());
    let node = space.find(&asked.node_id).ok_or_else(|| no(StatusCode::BadNodeIdUnknown))?;
    if asked.attribute_id != AttributeId::Value {
        return Err(no(StatusCode::BadNotWritable));
    }
    let Node::Point(number) = node else { return Err(no(StatusCode::BadNotWritable)) };
    let schema = space.schema(number).ok_or_else(|| no(StatusCode::BadNodeIdUnknown))?;
    if access_level(schema) & WRITE == 0 {
        return Err(no(StatusCode::BadNotWritable));
    }
    if !caller.may_command() {
        return Err((StatusCode::BadUserAccessDenied, format!("{} may not command", caller.name)));
    }
    if asked.index_range.has_range() || asked.value.status.is_some_and(|s| s != StatusCode::Good) {
        return Err((
            StatusCode::BadWriteNotSupported,
            "whole values of good quality are written".to_owned(),
        ));
    }
    let value = asked.value.value.as_ref().and_then(|v| written(v, schema.value_type));
    let value =
        value.ok_or_else(|| (StatusCode::BadTypeMismatch, format!("expected {:?}", schema.value_type)))?;
    let point = (space, number);
    command(shared, point, caller, value, String::new())
        .await
        .map_err(|(code, detail)| (refusal::status(code), detail))
}

/// Gives a command to the command path.
pub(super) async fn command(
    shared: &Shared,
    (space, number): (&Space, u32),
    caller: &Caller,
    value: common::Value,
    reason: String,
) -> Result<CommandId, (Code, String)> {
    let unknown = || (Code::UnknownPoint, "there is no such point".to_owned());
    let point = space.registry.point(common::PointId(number)).ok_or_else(unknown)?;
    let twin = space.registry.device_schema(point).twin;
    let request = CommandRequest { point: point.schema.name.to_string(), value, ttl_ms: TTL_MS, reason };
    let requester = Requester { name: caller.name.clone(), origin: Origin::Opcua };
    // No client of OPC UA says that it asks again: each write is a command of its own.
    let key = format!("opcua:{}", CommandId::new());
    shared.parts.orders.submit(twin, request, requester, key).await.map(|update| update.id)
}

/// The last word about a command; none if it has not come until then.
pub(super) async fn outcome(
    orders: &dyn Orders,
    updates: &mut Receiver<CommandUpdate>,
    id: CommandId,
    until: Instant,
) -> Option<CommandUpdate> {
    loop {
        if let Some(update) = orders.get(id).filter(|u| u.state.is_final()) {
            return Some(update);
        }
        loop {
            match timeout_at(until, updates.recv()).await {
                Ok(Ok(update)) if update.id == id => break,
                Ok(Ok(_)) => {}
                Ok(Err(RecvError::Lagged(_))) => break,
                Ok(Err(RecvError::Closed)) | Err(_) => return None,
            }
        }
    }
}
