//! Fields of structures. A structure is read by the types of the standard, or by the definition that the server gives
//! of its own (part 3, 8.48).

use std::sync::Arc;

use common::{Value, ValueType};
use gateway_opcua::value;
use opcua::client::Session;
use opcua::client::custom_types::DataTypeTreeBuilder;
use opcua::types::custom::{DynamicStructure, DynamicTypeLoader};
use opcua::types::{Error, TypeLoader, Variant};

use super::codec::Unreadable;

/// The field of a structure, or of one in it.
pub(super) fn field(variant: &Variant, path: &str, wanted: ValueType) -> Result<Value, Unreadable> {
    let missing = || Unreadable::Field { field: path.to_owned() };
    let mut at = variant.clone();
    for name in path.split('.') {
        let Variant::ExtensionObject(object) = &at else {
            return Err(match at {
                Variant::Empty => value::Unreadable::Null.into(),
                _ => missing(),
            });
        };
        if object.is_null() {
            return Err(value::Unreadable::Null.into());
        }
        let structure = object.inner_as::<DynamicStructure>().ok_or_else(missing)?;
        let next = structure.get_field_by_name(name).ok_or_else(missing)?.clone();
        at = next;
    }
    Ok(value::value(&at, wanted)?)
}

/// Reads the definitions of all types that the server has.
///
/// # Errors
/// When they cannot be browsed.
pub(super) async fn loader(session: &Session) -> Result<Arc<dyn TypeLoader>, Error> {
    session.read_namespace_array().await?;
    let tree = Box::pin(DataTypeTreeBuilder::new(|_| true).build(session)).await?;
    Ok(Arc::new(DynamicTypeLoader::new(Arc::new(tree))))
}
