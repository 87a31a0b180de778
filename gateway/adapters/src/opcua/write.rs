//! Writes and method calls, when control asks: exactly of the node's type, once, and read back. What cannot be known is
//! told as not known.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::names::Code;
use common::{Access, PointId, Value, ValueType};
use gateway_core::{DeviceWriter, Permit, Reading, WriteError};
use gateway_opcua::value;
use opcua::types::{
    Array, AttributeId, DataValue, NodeId, NumericRange, ReadValueId, StatusCode, TimestampsToReturn,
    Variant, VariantScalarTypeId as Scalar, WriteValue,
};
use tokio::time::{Instant, timeout_at};

use super::adapter::{Connected, Shared};
use super::spec::{Place, Spec};
use super::{call, codec};
use crate::waiting::not_sent;

/// A server may acknowledge a write before its PLC has the value: it is read back again after these pauses.
const AGAIN: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(80),
    Duration::from_millis(200),
    Duration::from_millis(500),
];

/// The way to write to a server.
pub(super) struct Writer(pub(super) Arc<Shared>);

#[async_trait]
impl DeviceWriter for Writer {
    async fn write(
        &self,
        point: PointId,
        raw: Value,
        deadline: Instant,
        permit: Permit,
    ) -> Result<Reading, WriteError> {
        let (at, spec, connected) = self.find(point)?;
        let gate = Gate { shared: &self.0, connected: connected.clone(), deadline, permit };
        if !spec.access.is_writable() {
            let path = self.0.context.registry.path(point);
            return Err(not_sent(Code::NotWritable, format!("{path} is read only")));
        }
        let node = self.0.specs.node(spec, &connected.indices).ok_or_else(no_namespace)?;
        if let Some(method) = &spec.method {
            let method = method.resolve(&connected.namespaces).ok_or_else(no_namespace)?;
            return Box::pin(call::method(&gate, spec, node, method, raw)).await;
        }
        let prepared = timeout_at(deadline, Box::pin(prepare(&connected, at, spec, &node, &raw))).await;
        let late = || not_sent(Code::Expired, "the deadline passed before the node's type was known");
        let (variant, request) = prepared.map_err(|_| late())??;
        gate.admit()?;
        let sent = Box::pin(connected.session.write(&[request])).await;
        judge(sent.map(|r| r.first().copied()))?;
        if spec.access == Access::Write {
            return Ok(Reading { raw: None });
        }
        let read = Box::pin(read_back(&connected, spec, &node, &variant)).await;
        let read = read.and_then(|raw| {
            // A server that started anew may have another node there.
            if gate.is_current() { Ok(raw) } else { Err("the connection was lost".to_owned()) }
        });
        read.map(|raw| Reading { raw: Some(raw) })
            .map_err(|detail| WriteError::Unsure { detail: format!("written, but not read back: {detail}") })
    }

    async fn read(&self, point: PointId) -> Result<Reading, WriteError> {
        let (_, spec, connected) = self.find(point)?;
        if !spec.is_read() {
            return Ok(Reading { raw: None });
        }
        let node = self.0.specs.node(spec, &connected.indices).ok_or_else(no_namespace)?;
        let read = Box::pin(value_of(&connected, spec, &node)).await;
        let (_, raw) = read.map_err(|detail| WriteError::Unsure { detail })?;
        Ok(Reading { raw: Some(raw) })
    }
}

fn no_namespace() -> WriteError {
    not_sent(Code::NotConnected, "the server has no such namespace")
}

impl Writer {
    fn find(&self, point: PointId) -> Result<(Place, &Spec, Arc<Connected>), WriteError> {
        let at = self.0.specs.place(point);
        let found = at.and_then(|at| Some((at, self.0.specs.get(at)?)));
        let (at, spec) = found.ok_or_else(|| not_sent(Code::UnknownPoint, "the device has no such point"))?;
        let connected = self.0.connected();
        let connected =
            connected.ok_or_else(|| not_sent(Code::NotConnected, "no session with the server"))?;
        Ok((at, spec, connected))
    }
}

/// What is asked right before something is sent.
pub(super) struct Gate<'g> {
    shared: &'g Shared,
    /// Where the nodes were looked up.
    pub(super) connected: Arc<Connected>,
    pub(super) deadline: Instant,
    permit: Permit,
}

impl Gate<'_> {
    pub(super) fn admit(&self) -> Result<(), WriteError> {
        if Instant::now() >= self.deadline {
            return Err(not_sent(Code::Expired, "the deadline passed before the server was asked"));
        }
        (self.permit)().map_err(|(code, detail)| not_sent(code, detail))?;
        if self.is_current() {
            Ok(())
        } else {
            Err(not_sent(Code::NotConnected, "the connection was lost before the server was asked"))
        }
    }

    /// Whether the connection is still the one in which the nodes were looked up: the session outlives it, and in the
    /// next one their ids may be those of other nodes.
    fn is_current(&self) -> bool {
        self.shared.connected().is_some_and(|now| Arc::ptr_eq(&now, &self.connected))
    }
}

/// The value in the node's type, and the request.
async fn prepare(
    connected: &Connected,
    at: Place,
    spec: &Spec,
    node: &NodeId,
    raw: &Value,
) -> Result<(Variant, WriteValue), WriteError> {
    let known = connected.node_type(at, node).await;
    let known = known.map_err(|e| not_sent(e.code(), e.to_string()))?;
    let range = spec.range();
    if known.array != range.has_range() {
        let detail =
            if known.array { "the node is an array: name an `index`" } else { "the node is no array" };
        return Err(not_sent(Code::TypeMismatch, detail));
    }
    let unfit = |e: value::Unfit| match e {
        value::Unfit::Range { .. } => not_sent(Code::OutOfRawLimits, e.to_string()),
        value::Unfit::Unsupported(_) => not_sent(Code::TypeMismatch, e.to_string()),
    };
    let scalar = value::variant(&whole(raw, known.scalar), known.scalar).map_err(unfit)?;
    let written = if range.has_range() {
        ranges(connected, spec, node).await?;
        let array = Array::new(known.scalar, vec![scalar.clone()]);
        Variant::Array(Box::new(array.map_err(|e| not_sent(Code::TypeMismatch, e.to_string()))?))
    } else {
        scalar.clone()
    };
    let request = WriteValue {
        node_id: node.clone(),
        attribute_id: AttributeId::Value as u32,
        index_range: range,
        // No times and no status: many servers refuse a write that bears them.
        value: DataValue { value: Some(written), ..DataValue::default() },
    };
    Ok((scalar, request))
}

/// A value that was scaled may miss a whole number by its last digits; one that misses it by more is refused later.
fn whole(raw: &Value, scalar: Scalar) -> Value {
    match *raw {
        Value::F64(x) if value::value_type(scalar) != Some(ValueType::F64) => {
            let near = (x - x.round()).abs() <= x.abs().max(1.0) * 1e-9;
            Value::F64(if near { x.round() } else { x })
        }
        _ => raw.clone(),
    }
}

/// A server that knows no ranges would take the one element for the whole array: it is found out before the write.
async fn ranges(connected: &Connected, spec: &Spec, node: &NodeId) -> Result<(), WriteError> {
    let part = ReadValueId { index_range: spec.range(), ..ReadValueId::new_value(node.clone()) };
    let whole = ReadValueId { index_range: NumericRange::None, ..part.clone() };
    let read = connected.limits.read_in_parts(&connected.session, &[part, whole]).await;
    let read = read.map_err(|e| not_sent(Code::NotConnected, e.to_string()))?;
    let elements = |at: usize| match read.get(at).and_then(|v| v.value.as_ref()) {
        Some(Variant::Array(array)) => Some(array.values.len()),
        _ => None,
    };
    match (elements(0), elements(1)) {
        (Some(1), Some(all)) if all > 1 => Ok(()),
        (Some(1), Some(1)) => Ok(()),
        _ => Err(not_sent(Code::NotSupported, "the server writes no single elements of an array")),
    }
}

/// What a service said: good, refused, or not known.
pub(super) fn judge(said: Result<Option<StatusCode>, opcua::types::Error>) -> Result<(), WriteError> {
    let unsure = |detail: String| Err(WriteError::Unsure { detail });
    match said {
        Ok(Some(status)) if !status.is_bad() => Ok(()),
        Ok(Some(status)) if is_open(status) => unsure(format!("the server says {status}")),
        Ok(Some(status)) => Err(WriteError::Refused { detail: status.to_string() }),
        Ok(None) => unsure("the server gave no result".to_owned()),
        Err(e) if e.status() == StatusCode::BadNotConnected => {
            Err(not_sent(Code::NotConnected, e.to_string()))
        }
        Err(e) if is_fault(e.status()) => Err(WriteError::Refused { detail: e.to_string() }),
        Err(e) => unsure(e.to_string()),
    }
}

/// A result with which the value may have arrived all the same.
fn is_open(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadTimeout
            | StatusCode::BadRequestTimeout
            | StatusCode::BadCommunicationError
            | StatusCode::BadNoCommunication
            | StatusCode::BadUnexpectedError
            | StatusCode::BadInternalError
            | StatusCode::BadWaitingForResponse
            | StatusCode::BadShutdown
    )
}

/// A fault by which the server says that it did nothing of the request.
fn is_fault(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadUserAccessDenied
            | StatusCode::BadSessionIdInvalid
            | StatusCode::BadSessionClosed
            | StatusCode::BadSessionNotActivated
            | StatusCode::BadTooManyOperations
            | StatusCode::BadServiceUnsupported
            | StatusCode::BadDecodingError
            | StatusCode::BadSecurityChecksFailed
    )
}

/// Reads until the server shows what was written, or for as long as a PLC's cycle may take.
async fn read_back(
    connected: &Connected,
    spec: &Spec,
    node: &NodeId,
    written: &Variant,
) -> Result<Value, String> {
    let wanted = value::value(written, spec.value_type).ok();
    let mut pauses = AGAIN.into_iter();
    loop {
        let (_, found) = value_of(connected, spec, node).await?;
        if Some(&found) == wanted.as_ref() {
            return Ok(found);
        }
        match pauses.next() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Ok(found),
        }
    }
}

/// What the point is now.
async fn value_of(connected: &Connected, spec: &Spec, node: &NodeId) -> Result<(StatusCode, Value), String> {
    let read = connected.session.read(&[spec.read(node.clone())], TimestampsToReturn::Neither, 0.0).await;
    let first = read.map_err(|e| e.to_string())?.into_iter().next();
    let value = first.ok_or_else(|| "the server gave no value".to_owned())?;
    let status = value.status.unwrap_or(StatusCode::Good);
    if status.is_bad() {
        return Err(format!("the server says {status}"));
    }
    let variant = value.value.unwrap_or(Variant::Empty);
    Ok((status, codec::pick(spec, &variant).map_err(|e| e.to_string())?))
}

#[cfg(test)]
mod tests {
    use opcua::types::Error;

    use super::*;

    #[test]
    fn a_scaled_value_is_rounded_by_its_last_digits_and_no_more() {
        assert_eq!(whole(&Value::F64(203.000_000_000_000_03), Scalar::Int16), Value::F64(203.0));
        assert_eq!(whole(&Value::F64(203.4), Scalar::Int16), Value::F64(203.4));
        assert_eq!(whole(&Value::F64(203.000_000_000_1), Scalar::Double), Value::F64(203.000_000_000_1));
    }

    #[test]
    fn what_is_not_known_is_never_told_as_refused_or_done() {
        let fault = |status| judge(Err(Error::new(status, "x")));
        assert_eq!(judge(Ok(Some(StatusCode::Good))), Ok(()));
        assert!(matches!(judge(Ok(Some(StatusCode::BadNotWritable))), Err(WriteError::Refused { .. })));
        for status in
            [StatusCode::BadTimeout, StatusCode::BadCommunicationError, StatusCode::BadInternalError]
        {
            assert!(matches!(judge(Ok(Some(status))), Err(WriteError::Unsure { .. })), "{status}");
        }
        assert!(matches!(judge(Ok(None)), Err(WriteError::Unsure { .. })));
        assert!(matches!(fault(StatusCode::BadTimeout), Err(WriteError::Unsure { .. })));
        assert!(matches!(fault(StatusCode::BadConnectionClosed), Err(WriteError::Unsure { .. })));
        assert!(matches!(fault(StatusCode::BadSessionIdInvalid), Err(WriteError::Refused { .. })));
        assert!(matches!(fault(StatusCode::BadNotConnected), Err(WriteError::NotSent { .. })));
    }
}
