//! Writes a table of nodes, as the gateway reads it.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use opcua_nodes::{ImportedItem, NodeType};
use opcua_types::{
    BinaryEncodable, Context, ContextOwned, DataEncoding, DataTypeDefinition, DataValue, DecodingOptions,
    EncodingResult, Error, LocalizedText, NamespaceMap, NumericRange, TimestampsToReturn,
};

/// The table of these nodes.
///
/// # Errors
/// A node that OPC UA cannot encode.
pub fn write(items: &[ImportedItem]) -> EncodingResult<Vec<u8>> {
    let context = ContextOwned::new_default(NamespaceMap::new(), DecodingOptions::default());
    let mut bytes = ZlibEncoder::new(Vec::new(), Compression::best());
    let mut to = To { bytes: &mut bytes, context: &context.context() };
    to.put(&u32::try_from(items.len()).map_err(Error::encoding)?)?;
    for item in items {
        to.item(item)?;
    }
    bytes.finish().map_err(Error::encoding)
}

struct To<'a, W> {
    bytes: &'a mut W,
    context: &'a Context<'a>,
}

impl<W: Write> To<'_, W> {
    fn put<T: BinaryEncodable>(&mut self, value: &T) -> EncodingResult<()> {
        value.encode(self.bytes, self.context)
    }

    fn option<T>(
        &mut self,
        value: Option<T>,
        put: impl FnOnce(&mut Self, &T) -> EncodingResult<()>,
    ) -> EncodingResult<()> {
        self.put(&value.is_some())?;
        value.map_or(Ok(()), |value| put(self, &value))
    }

    fn text(&mut self, text: &LocalizedText) -> EncodingResult<()> {
        self.put(&text.locale)?;
        self.put(&text.text)
    }

    fn value(&mut self, value: &DataValue) -> EncodingResult<()> {
        self.option(value.value.as_ref(), |to, value| to.put(*value))
    }

    fn definition(&mut self, definition: &DataTypeDefinition) -> EncodingResult<()> {
        match definition {
            DataTypeDefinition::Structure(structure) => {
                self.put(&true)?;
                self.put(structure)
            }
            DataTypeDefinition::Enum(values) => {
                self.put(&false)?;
                self.put(values)
            }
        }
    }

    fn item(&mut self, item: &ImportedItem) -> EncodingResult<()> {
        let node = item.node.as_node();
        self.put(&(node.node_class() as i32))?;
        self.put(node.node_id())?;
        self.put(node.browse_name())?;
        self.text(node.display_name())?;
        self.option(node.description(), |to, text| to.text(text))?;
        self.option(node.write_mask().map(|m| m.bits()), Self::put)?;
        self.option(node.user_write_mask().map(|m| m.bits()), Self::put)?;
        self.node(&item.node)?;
        self.put(&u32::try_from(item.references.len()).map_err(Error::encoding)?)?;
        for reference in &item.references {
            self.put(&reference.target_id)?;
            self.put(&reference.type_id)?;
            self.put(&reference.is_forward)?;
        }
        Ok(())
    }

    fn node(&mut self, node: &NodeType) -> EncodingResult<()> {
        match node {
            NodeType::Object(node) => self.put(&node.event_notifier().bits()),
            NodeType::Variable(node) => {
                self.put(&node.data_type())?;
                self.put(&node.historizing())?;
                self.put(&node.value_rank())?;
                self.value(&node.value(
                    TimestampsToReturn::Neither,
                    &NumericRange::None,
                    &DataEncoding::Binary,
                    0.0,
                ))?;
                self.put(&node.access_level().bits())?;
                self.put(&node.user_access_level().bits())?;
                self.put(&node.array_dimensions())?;
                self.option(node.minimum_sampling_interval(), Self::put)
            }
            NodeType::Method(node) => {
                self.put(&node.executable())?;
                self.put(&node.user_executable())
            }
            NodeType::ObjectType(node) => self.put(&node.is_abstract()),
            NodeType::VariableType(node) => {
                self.put(node.data_type())?;
                self.put(&node.is_abstract())?;
                self.put(&node.value_rank())?;
                self.option(node.value(), |to, value| to.value(value))?;
                self.put(&node.array_dimensions())
            }
            NodeType::ReferenceType(node) => {
                self.put(&node.symmetric())?;
                self.put(&node.is_abstract())?;
                self.option(node.inverse_name(), Self::text)
            }
            NodeType::DataType(node) => {
                self.put(&node.is_abstract())?;
                self.option(node.data_type_definition(), |to, definition| to.definition(definition))
            }
            NodeType::View(node) => {
                self.put(&node.event_notifier().bits())?;
                self.put(&node.contains_no_loops())
            }
        }
    }
}
