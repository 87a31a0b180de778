//! Of which type a node is, so that a write is exactly of it. Nothing is guessed: a node whose type cannot be told is
//! not written.

use common::names::Code;
use opcua::client::Session;
use opcua::types::{
    AttributeId, BrowseDescription, BrowseDirection, DataValue, NodeId, ReadValueId, ReferenceTypeId,
    StatusCode, Variant, VariantScalarTypeId as Scalar,
};

use super::limits::Limits;

/// Most steps from a type to the built-in one that it is a kind of.
const DEEPEST: usize = 20;

/// What a variable is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct NodeType {
    pub(super) scalar: Scalar,
    /// Whether it is an array or matrix.
    pub(super) array: bool,
}

/// Why the type of a node is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unknown {
    /// The server did not answer: the connection is lost, or time is over.
    #[error("the server was not heard when it was asked for the type: {0}")]
    Unheard(StatusCode),
    /// The server does not tell.
    #[error("the server does not tell the type: {0}")]
    Server(StatusCode),
    /// It is no type that is written.
    #[error("the node is of type {0}, which is not written")]
    Other(String),
    /// An argument of a method is none that is given.
    #[error("{0}")]
    Argument(String),
}

impl Unknown {
    /// Why nothing was written.
    pub(super) fn code(&self) -> Code {
        match self {
            Self::Unheard(_) => Code::NotConnected,
            Self::Server(_) => Code::DeviceRefused,
            Self::Other(_) | Self::Argument(_) => Code::TypeMismatch,
        }
    }
}

/// The type of a variable, by its attributes; of one that may hold several types, by the value that it holds.
pub(super) async fn of(session: &Session, limits: Limits, node: &NodeId) -> Result<NodeType, Unknown> {
    let ask = |a: AttributeId| ReadValueId::new(node.clone(), a);
    let asked = [ask(AttributeId::DataType), ask(AttributeId::ValueRank), ask(AttributeId::Value)];
    let read = limits.read_in_parts(session, &asked).await.map_err(|e| Unknown::Unheard(e.status()))?;
    let [data_type, rank, value] = read.as_slice() else {
        return Err(Unknown::Server(StatusCode::BadUnexpectedError));
    };
    let Some(Variant::NodeId(id)) = &data_type.value else {
        return Err(Unknown::Server(data_type.status.unwrap_or(StatusCode::BadUnexpectedError)));
    };
    let held = value.value.as_ref().and_then(Variant::scalar_type_id);
    let scalar = match builtin(session, id).await? {
        Some(scalar) => scalar,
        None => held.ok_or_else(|| Unknown::Other(id.to_string()))?,
    };
    let array = match number(rank) {
        // -1 is a scalar, 0 and more are arrays, others may be both: what it holds decides.
        Some(-1) => false,
        Some(n) if n >= 0 => true,
        _ => matches!(value.value, Some(Variant::Array(_))),
    };
    Ok(NodeType { scalar, array })
}

fn number(value: &DataValue) -> Option<i32> {
    if let Some(Variant::Int32(n)) = value.value { Some(n) } else { None }
}

/// The built-in type of a data type (part 6, 5.1.2); none for an abstract one that several may stand for.
pub(super) async fn builtin(session: &Session, id: &NodeId) -> Result<Option<Scalar>, Unknown> {
    let mut at = id.clone();
    for _ in 0..DEEPEST {
        if at.namespace == 0
            && let opcua::types::Identifier::Numeric(n) = at.identifier
        {
            match n {
                1..=23 | 25 => return Ok(Scalar::try_from(n).ok()),
                // BaseDataType, Number, Integer and UInteger.
                24 | 26..=28 => return Ok(None),
                29 => return Ok(Some(Scalar::Int32)),
                _ => {}
            }
        }
        match parent(session, &at).await? {
            Some(up) => at = up,
            None => return Err(Unknown::Other(id.to_string())),
        }
    }
    Err(Unknown::Other(id.to_string()))
}

async fn parent(session: &Session, id: &NodeId) -> Result<Option<NodeId>, Unknown> {
    let description = BrowseDescription {
        node_id: id.clone(),
        browse_direction: BrowseDirection::Inverse,
        reference_type_id: ReferenceTypeId::HasSubtype.into(),
        include_subtypes: false,
        node_class_mask: 0,
        result_mask: 0,
    };
    let browsed = session.browse(&[description], 1, None).await.map_err(|e| Unknown::Unheard(e.status()))?;
    let first = browsed.into_iter().next().and_then(|r| r.references).and_then(|r| r.into_iter().next());
    Ok(first.map(|r| r.node_id.node_id))
}
