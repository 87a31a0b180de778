//! Method calls: the arguments are of the types that the method declares, or nothing is called.

use common::Value;
use common::names::Code;
use gateway_core::{Reading, WriteError};
use gateway_opcua::value;
use opcua::client::Session;
use opcua::types::{
    Argument as Declared, AttributeId, BrowseDescription, BrowseDirection, CallMethodRequest, NodeId,
    ReadValueId, ReferenceTypeId, StatusCode, TimestampsToReturn, Variant, VariantScalarTypeId as Scalar,
};
use tokio::time::timeout_at;

use super::point::Argument;
use super::spec::Spec;
use super::types::{self, Unknown};
use super::write::{Gate, judge};
use crate::waiting::not_sent;

/// The argument that stands for what is written.
const VALUE: &str = "$value";

/// Calls the method of a point.
pub(super) async fn method(
    gate: &Gate<'_>,
    spec: &Spec,
    object: NodeId,
    method: NodeId,
    raw: Value,
) -> Result<Reading, WriteError> {
    let session = &gate.connected.session;
    let prepared = timeout_at(gate.deadline, Box::pin(declared(session, &method))).await;
    let late = || not_sent(Code::Expired, "the deadline passed before the method's arguments were known");
    let types = prepared.map_err(|_| late())?.map_err(|e| not_sent(e.code(), e.to_string()))?;
    let arguments = arguments(spec.arguments.as_deref(), &types, &raw)
        .map_err(|detail| not_sent(Code::TypeMismatch, detail))?;
    let request = CallMethodRequest {
        object_id: object,
        method_id: method,
        input_arguments: (!arguments.is_empty()).then_some(arguments),
    };
    gate.admit()?;
    let result = Box::pin(session.call_one(request)).await;
    let detail = result.as_ref().ok().map(|r| refused(r.input_argument_results.as_deref()));
    match judge(result.map(|r| Some(r.status_code))) {
        Ok(()) => Ok(Reading { raw: None }),
        Err(WriteError::Refused { detail: said }) => {
            Err(WriteError::Refused { detail: format!("{said}{}", detail.unwrap_or_default()) })
        }
        Err(other) => Err(other),
    }
}

/// Which arguments the server did not take.
fn refused(results: Option<&[StatusCode]>) -> String {
    let bad = results.unwrap_or_default().iter().enumerate().filter(|(_, s)| s.is_bad());
    bad.map(|(at, s)| format!("; argument {}: {s}", at + 1)).collect()
}

/// The types of a method's arguments, as it declares them.
async fn declared(session: &Session, method: &NodeId) -> Result<Vec<Scalar>, Unknown> {
    let description = BrowseDescription {
        node_id: method.clone(),
        browse_direction: BrowseDirection::Forward,
        reference_type_id: ReferenceTypeId::HasProperty.into(),
        include_subtypes: true,
        node_class_mask: 0,
        // The browse name.
        result_mask: 8,
    };
    let unheard = |e: opcua::types::Error| Unknown::Unheard(e.status());
    let browsed = session.browse(&[description], 0, None).await.map_err(unheard)?;
    let first = browsed.into_iter().next().ok_or(Unknown::Server(StatusCode::BadUnexpectedError))?;
    if first.status_code.is_bad() {
        return Err(Unknown::Server(first.status_code));
    }
    let inputs =
        first.references.into_iter().flatten().find(|r| r.browse_name.name.as_ref() == "InputArguments");
    // A method without arguments has no such property.
    let Some(inputs) = inputs else { return Ok(Vec::new()) };
    let asked = [ReadValueId::new(inputs.node_id.node_id, AttributeId::Value)];
    let read = session.read(&asked, TimestampsToReturn::Neither, 0.0).await.map_err(unheard)?;
    let told = read.into_iter().next().ok_or(Unknown::Server(StatusCode::BadUnexpectedError))?;
    if let Some(status) = told.status.filter(|s| s.is_bad()) {
        return Err(Unknown::Server(status));
    }
    let Some(Variant::Array(array)) = told.value else { return Ok(Vec::new()) };
    let other = |detail: &str| Unknown::Argument(detail.to_owned());
    let mut found = Vec::new();
    for value in &array.values {
        let Variant::ExtensionObject(object) = value else {
            return Err(other("its arguments cannot be read"));
        };
        let declared = object.inner_as::<Declared>().ok_or_else(|| other("its arguments cannot be read"))?;
        let name = declared.name.as_ref();
        if declared.value_rank >= 0 {
            return Err(other(&format!("argument `{name}` is an array, which is not given")));
        }
        let scalar = types::builtin(session, &declared.data_type).await?;
        found.push(scalar.ok_or_else(|| other(&format!("argument `{name}` has no single type")))?);
    }
    Ok(found)
}

/// The arguments in the method's types. Pure.
fn arguments(
    configured: Option<&[Argument]>,
    types: &[Scalar],
    written: &Value,
) -> Result<Vec<Variant>, String> {
    let value = || Argument::Text(VALUE.to_owned());
    let own = if types.is_empty() { Vec::new() } else { vec![value()] };
    let given = configured.unwrap_or(&own);
    if given.len() != types.len() {
        return Err(format!("the method takes {} arguments, and {} are given", types.len(), given.len()));
    }
    let uses = given.iter().any(|a| *a == value());
    if !uses && written.as_bool() != Some(true) {
        return Err("the method takes no value: write true (or 1) to call it".to_owned());
    }
    let one = |(at, (argument, scalar)): (usize, (&Argument, &Scalar))| {
        let v = match argument {
            Argument::Text(t) if t == VALUE => written.clone(),
            Argument::Text(t) => Value::from(t.as_str()),
            Argument::Bool(b) => Value::Bool(*b),
            Argument::Int(n) => Value::I64(*n),
            Argument::Float(x) => Value::F64(*x),
        };
        value::variant(&v, *scalar).map_err(|e| format!("argument {}: {e}", at + 1))
    };
    given.iter().zip(types).enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_of_the_declared_types_or_nothing_is_called() {
        let three = [Argument::Text(VALUE.into()), Argument::Int(10), Argument::Text("auto".into())];
        let types = [Scalar::Double, Scalar::UInt16, Scalar::String];
        let made = arguments(Some(&three), &types, &Value::F64(1.5));
        assert_eq!(made, Ok(vec![Variant::Double(1.5), Variant::UInt16(10), Variant::String("auto".into())]));
        assert!(arguments(Some(&three), &types[..2], &Value::F64(1.5)).is_err());
        assert!(arguments(Some(&three), &[Scalar::Byte; 3], &Value::F64(1.5)).is_err());
        assert_eq!(arguments(None, &[], &Value::Bool(true)), Ok(vec![]));
        assert_eq!(arguments(None, &[], &Value::F64(1.0)), Ok(vec![]));
        assert!(arguments(None, &[], &Value::Bool(false)).is_err());
        assert!(arguments(None, &types, &Value::F64(1.0)).is_err());
        assert_eq!(arguments(None, &[Scalar::Int32], &Value::F64(4.0)), Ok(vec![Variant::Int32(4)]));
    }
}
