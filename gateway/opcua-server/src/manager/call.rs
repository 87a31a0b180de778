//! Methods: a device's `Command`, what is done with an alarm, and asking for all conditions anew.

use common::alarm::{AlarmAct, AlarmId, AlarmState, AlarmView, LONGEST_SHELF_MS};
use common::names::Code;
use opcua::nodes::Event;
use opcua::server::node_manager::{MethodCall, RequestContext};
use opcua::types::{ByteString, NodeId, ObjectId, ObjectTypeId, StatusCode, UAString, Variant};
use tokio::time::{Duration, Instant};

use super::commands::{command, outcome};
use super::{Shared, standard_method};
use crate::auth::Caller;
use crate::events::{self, Told};
use crate::refusal;
use crate::space::{ALARM_FIELDS, Method, Node, Part, Space, written};

const LONGEST_WAIT: Duration = Duration::from_secs(15);
const LONGEST_REASON: usize = 500;

pub(super) async fn all(shared: &Shared, context: &RequestContext, calls: &mut [&mut MethodCall]) {
    let caller = Caller::of(&context.token);
    for call in calls {
        let space = shared.space();
        match one(shared, &space, context, &caller, call).await {
            Ok(outputs) => {
                call.set_outputs(outputs);
                call.set_status(StatusCode::Good);
            }
            Err(status) => call.set_status(status),
        }
    }
}

async fn one(
    shared: &Shared,
    space: &Space,
    context: &RequestContext,
    caller: &Caller,
    call: &MethodCall,
) -> Result<Vec<Variant>, StatusCode> {
    if matches!(standard_method(call.method_id()), Some("ConditionRefresh" | "ConditionRefresh2")) {
        // Who may subscribe may ask for what the subscription tells.
        let of_type =
            *call.object_id() == ObjectTypeId::ConditionType || *call.object_id() == ObjectId::Server;
        return if of_type {
            refresh(shared, space, context, call)
        } else {
            Err(StatusCode::BadNodeIdInvalid)
        };
    }
    let object = space.find(call.object_id()).ok_or(StatusCode::BadNodeIdUnknown)?;
    let own = space.find(call.method_id());
    // By the condition's own method, or by that of its type.
    let named = |number: usize| match own {
        Some(Node::AlarmField(of, field)) => {
            let path = ALARM_FIELDS.get(field).filter(|_| of == number)?;
            Method::at(path)
        }
        _ => Method::of_type(call.method_id()),
    };
    let allowed = if caller.may_command() { Ok(()) } else { Err(StatusCode::BadUserAccessDenied) };
    // Of a shelf the state machine is called or, as part 9, 5.8.10 asks for as well, the condition.
    let shelf = match object {
        Node::Alarm(number) => Some(number),
        Node::AlarmField(number, field) if ALARM_FIELDS.get(field) == Some(&"ShelvingState") => Some(number),
        _ => None,
    };
    let shelving = shelf.and_then(|number| Some((number, named(number).filter(|m| m.is_of_shelf())?)));
    if let Some((number, method)) = shelving {
        allowed?;
        return shelve(shared, space, number, caller, method.name(), call.arguments());
    }
    let of_alarm = match object {
        Node::Alarm(number) => named(number).map(|method| (number, method)),
        _ => None,
    };
    if let Some((number, method)) = of_alarm {
        if !method.is_callable {
            return Err(StatusCode::BadNotExecutable);
        }
        allowed?;
        return match method.name() {
            "Acknowledge" => acknowledge(shared, space, number, caller, call.arguments()),
            "AddComment" => comment(shared, space, number, caller, call.arguments()),
            _ => Err(StatusCode::BadMethodInvalid),
        };
    }
    match object {
        Node::Device(index) if own == Some(Node::Part(index, Part::Command)) => {
            allowed?;
            device_command(shared, space, index, caller, call.arguments()).await
        }
        _ => Err(StatusCode::BadMethodInvalid),
    }
}

/// An alarm is acknowledged as it was told: the event's id names the occurrence that somebody saw.
fn acknowledge(
    shared: &Shared,
    space: &Space,
    number: usize,
    caller: &Caller,
    arguments: &[Variant],
) -> Result<Vec<Variant>, StatusCode> {
    let (now, comment) = said(shared, space, number, arguments)?;
    let raised_us = now.raised_us.ok_or(StatusCode::BadEventIdUnknown)?;
    if !now.state.is_unacknowledged() {
        return Err(StatusCode::BadConditionBranchAlreadyAcked);
    }
    act(shared, now.id, AlarmAct::Acknowledge { raised_us }, caller, comment.as_deref())
}

/// Says something about an alarm as it was told (part 9, 5.5.6). Nothing said leaves what was said before.
fn comment(
    shared: &Shared,
    space: &Space,
    number: usize,
    caller: &Caller,
    arguments: &[Variant],
) -> Result<Vec<Variant>, StatusCode> {
    let (now, comment) = said(shared, space, number, arguments)?;
    match comment {
        Some(comment) => act(shared, now.id, AlarmAct::Comment, caller, Some(&comment)),
        None => Ok(Vec::new()),
    }
}

/// The alarm whose occurrence the event's id names, and what is said of it: none for a text without words and locale,
/// an empty one if a locale says that the words are meant to go.
fn said(
    shared: &Shared,
    space: &Space,
    number: usize,
    arguments: &[Variant],
) -> Result<(AlarmView, Option<String>), StatusCode> {
    let [Variant::ByteString(id), comment] = arguments else {
        return Err(if arguments.len() == 2 { StatusCode::BadInvalidArgument } else { count(arguments, 2) });
    };
    let comment = match comment {
        Variant::LocalizedText(text) if text.locale.is_empty() => said_in(&text.text),
        Variant::LocalizedText(text) => Some(text.text.value().clone().unwrap_or_default()),
        Variant::String(text) => said_in(text),
        Variant::Empty => None,
        _ => return Err(StatusCode::BadInvalidArgument),
    };
    let alarm = space.alarms.get(number).ok_or(StatusCode::BadNodeIdUnknown)?;
    let (of, raised_us) = events::occurrence(id).ok_or(StatusCode::BadEventIdUnknown)?;
    if of != alarm.id {
        return Err(StatusCode::BadEventIdUnknown);
    }
    if comment.iter().flat_map(|c| c.chars()).any(|c| c.is_control() && c != '\n') {
        return Err(StatusCode::BadInvalidArgument);
    }
    let now = shared.parts.alarms.get(alarm.id).ok_or(StatusCode::BadNodeIdUnknown)?;
    if now.state == AlarmState::OutOfService {
        return Err(StatusCode::BadConditionDisabled);
    }
    if now.raised_us.unwrap_or_default() != raised_us {
        return Err(StatusCode::BadEventIdUnknown);
    }
    Ok((now, comment))
}

fn said_in(text: &UAString) -> Option<String> {
    text.value().clone().filter(|t| !t.is_empty())
}

fn act(
    shared: &Shared,
    id: AlarmId,
    act: AlarmAct,
    caller: &Caller,
    comment: Option<&str>,
) -> Result<Vec<Variant>, StatusCode> {
    let done = shared.parts.alarms.act(id, act, &caller.name, comment);
    done.map(|_| Vec::new()).map_err(|(code, _)| match code {
        // Out of service.
        Code::Conflict => StatusCode::BadConditionDisabled,
        other => refusal::status(other),
    })
}

/// Shelves an alarm for a time or until it clears, or takes it from the shelf (part 9, 5.8.10).
fn shelve(
    shared: &Shared,
    space: &Space,
    number: usize,
    caller: &Caller,
    method: &str,
    arguments: &[Variant],
) -> Result<Vec<Variant>, StatusCode> {
    let id = space.alarms.get(number).ok_or(StatusCode::BadNodeIdUnknown)?.id;
    let now = shared.parts.alarms.get(id).ok_or(StatusCode::BadNodeIdUnknown)?;
    let wanted = match (method, arguments) {
        ("TimedShelve", [Variant::Double(ms)]) => {
            if !(1.0..=LONGEST_SHELF_MS as f64).contains(ms) {
                return Err(StatusCode::BadShelvingTimeOutOfRange);
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            AlarmAct::Shelve { duration_ms: *ms as u64 }
        }
        ("TimedShelve", [_]) => return Err(StatusCode::BadInvalidArgument),
        ("TimedShelve", other) => return Err(count(other, 1)),
        (_, [_, ..]) => return Err(StatusCode::BadTooManyArguments),
        ("OneShotShelve", _) if now.shelved_once => return Err(StatusCode::BadConditionAlreadyShelved),
        ("OneShotShelve", _) => AlarmAct::ShelveOnce,
        _ if now.shelved_until_us.is_none() => return Err(StatusCode::BadConditionNotShelved),
        _ => AlarmAct::Unshelve,
    };
    act(shared, id, wanted, caller, None)
}

fn count(arguments: &[Variant], wanted: usize) -> StatusCode {
    if arguments.len() < wanted { StatusCode::BadArgumentsMissing } else { StatusCode::BadTooManyArguments }
}

/// Writes a point and tells what became of it. A refusal is an answer, not a failure of the call.
async fn device_command(
    shared: &Shared,
    space: &Space,
    index: usize,
    caller: &Caller,
    arguments: &[Variant],
) -> Result<Vec<Variant>, StatusCode> {
    let [point, value, reason] = arguments else { return Err(count(arguments, 3)) };
    let text = |v: &Variant| match v {
        Variant::String(text) => Ok(text.value().clone().unwrap_or_default()),
        _ => Err(StatusCode::BadInvalidArgument),
    };
    let (point, reason) = (text(point)?, text(reason)?);
    if reason.len() > LONGEST_REASON || reason.chars().any(char::is_control) {
        return Err(StatusCode::BadInvalidArgument);
    }
    let device = space.registry.device(index).ok_or(StatusCode::BadNodeIdUnknown)?;
    let found = space.registry.find(&device.name, &point).ok_or(StatusCode::BadInvalidArgument)?;
    let value = written(value, found.schema.value_type).ok_or(StatusCode::BadTypeMismatch)?;
    let mut updates = shared.parts.orders.updates();
    let given = command(shared, (space, found.id.0), caller, value, reason).await;
    let until = Instant::now() + LONGEST_WAIT;
    let answer = |id: String, state: &str, code: Option<Code>, detail: String| {
        let code = code.map(|c| c.as_str().to_owned()).unwrap_or_default();
        [id, state.to_owned(), code, detail].into_iter().map(|t| Variant::String(t.into())).collect()
    };
    Ok(match given {
        Err((code, detail)) => answer(String::new(), "rejected", Some(code), detail),
        Ok(id) => match outcome(shared.parts.orders.as_ref(), &mut updates, id, until).await {
            Some(update) => {
                let state = format!("{:?}", update.state).to_lowercase();
                answer(id.to_string(), &state, update.code, update.detail)
            }
            None => return Err(StatusCode::BadTimeout),
        },
    })
}

/// Tells the conditions that matter again, between a start and an end (part 9, 5.5.7). All who listen get them: the
/// crate has no way to tell one subscription alone.
fn refresh(
    shared: &Shared,
    space: &Space,
    context: &RequestContext,
    call: &MethodCall,
) -> Result<Vec<Variant>, StatusCode> {
    let Some(Variant::UInt32(subscription)) = call.arguments().first() else {
        return Err(StatusCode::BadInvalidArgument);
    };
    let own = context.subscriptions.get_session_subscriptions(context.session_id);
    if !own.is_some_and(|s| s.lock().contains(*subscription)) {
        return Err(StatusCode::BadSubscriptionIdInvalid);
    }
    let server: NodeId = ObjectId::Server.into();
    let mut told: Vec<(NodeId, Told)> =
        vec![(server.clone(), events::refresh(true, new_id(), server.clone(), shared.now()))];
    for view in shared.parts.alarms.list() {
        let Some((device, event)) = shared.condition(space, &view) else { continue };
        if event.field("Retain") == Variant::Boolean(true) {
            told.push((device, event));
        }
    }
    told.push((server.clone(), events::refresh(false, new_id(), server, shared.now())));
    context.subscriptions.notify_events(told.iter().map(|(id, e)| (e as &dyn Event, id)));
    Ok(Vec::new())
}

/// The id of an event that nobody answers to.
pub(crate) fn new_id() -> ByteString {
    ByteString::from(uuid::Uuid::now_v7().as_bytes().to_vec())
}
