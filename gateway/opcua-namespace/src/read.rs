//! Reads a table of nodes.

use std::io::{BufReader, Read};

use flate2::read::ZlibDecoder;
use opcua_nodes::{
    Base, DataType, EventNotifier, ImportedItem, ImportedReference, Method, NodeType, Object, ObjectType,
    ReferenceType, Variable, VariableType, View,
};
use opcua_types::{
    BinaryDecodable, Context, ContextOwned, DataTypeDefinition, DataValue, DecodingOptions, EncodingResult,
    EnumDefinition, Error, LocalizedText, NamespaceMap, NodeClass, NodeId, StructureDefinition, UAString,
    Variant,
};

/// The largest value is a schema of 200 kB.
const MOST: usize = 1 << 20;

fn context() -> ContextOwned {
    let options = DecodingOptions {
        max_string_length: MOST,
        max_byte_string_length: MOST,
        max_array_length: MOST,
        ..DecodingOptions::default()
    };
    ContextOwned::new_default(NamespaceMap::new(), options)
}

/// The nodes of a table, in its order: OPC UA binary of all their parts, one after the other, deflated.
pub struct Reader<'a> {
    bytes: BufReader<ZlibDecoder<&'a [u8]>>,
    context: ContextOwned,
    /// Nodes that are left; none until the first is asked for.
    left: Option<u32>,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<'a> Reader<'a> {
    /// Begins to read.
    pub fn new(table: &'a [u8]) -> Self {
        Self { bytes: BufReader::new(ZlibDecoder::new(table)), context: context(), left: None }
    }
}

impl Iterator for Reader<'_> {
    type Item = EncodingResult<ImportedItem>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut from = From { bytes: &mut self.bytes, context: &self.context.context() };
        let left = match self.left {
            Some(left) => left,
            None => match from.get() {
                Ok(count) => count,
                Err(error) => return Some(Err(error)),
            },
        };
        self.left = Some(left.checked_sub(1)?);
        Some(from.item())
    }
}

struct From<'a, R> {
    bytes: &'a mut R,
    context: &'a Context<'a>,
}

impl<R: Read> From<'_, R> {
    fn get<T: BinaryDecodable>(&mut self) -> EncodingResult<T> {
        T::decode(self.bytes, self.context)
    }

    fn option<T>(&mut self, get: impl FnOnce(&mut Self) -> EncodingResult<T>) -> EncodingResult<Option<T>> {
        Ok(if self.get()? { Some(get(self)?) } else { None })
    }

    fn text(&mut self) -> EncodingResult<LocalizedText> {
        let (locale, text): (UAString, UAString) = (self.get()?, self.get()?);
        Ok(LocalizedText { locale, text })
    }

    fn dimensions(&mut self) -> EncodingResult<Option<Vec<u32>>> {
        self.get()
    }

    /// A value is of now, as if the server had just set it.
    fn value(&mut self) -> EncodingResult<DataValue> {
        let value = self.option(Self::get::<Variant>)?;
        Ok(value.map_or_else(DataValue::null, DataValue::new_now))
    }

    fn notifier(&mut self) -> EncodingResult<EventNotifier> {
        Ok(EventNotifier::from_bits_truncate(self.get()?))
    }

    fn definition(&mut self) -> EncodingResult<DataTypeDefinition> {
        Ok(if self.get()? {
            DataTypeDefinition::Structure(self.get::<StructureDefinition>()?)
        } else {
            DataTypeDefinition::Enum(self.get::<EnumDefinition>()?)
        })
    }

    fn item(&mut self) -> EncodingResult<ImportedItem> {
        let class =
            NodeClass::try_from(self.get::<i32>()?).map_err(|_| Error::decoding("a class of nodes"))?;
        let base = Base::new_full(
            self.get()?,
            class,
            self.get()?,
            self.text()?,
            self.option(Self::text)?,
            self.option(Self::get)?,
            self.option(Self::get)?,
        );
        let node = self.node(class, base)?;
        let count: u32 = self.get()?;
        let mut references = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let (target_id, type_id, is_forward) = (self.get()?, self.get()?, self.get()?);
            references.push(ImportedReference { target_id, type_id, is_forward });
        }
        Ok(ImportedItem { node, references })
    }

    fn node(&mut self, class: NodeClass, base: Base) -> EncodingResult<NodeType> {
        Ok(match class {
            NodeClass::Object => Object::new_full(base, self.notifier()?).into(),
            NodeClass::Variable => Variable::new_full(
                base,
                self.get::<NodeId>()?,
                self.get()?,
                self.get()?,
                self.value()?,
                self.get()?,
                self.get()?,
                self.dimensions()?,
                self.option(Self::get)?,
            )
            .into(),
            NodeClass::Method => Method::new_full(base, self.get()?, self.get()?).into(),
            NodeClass::ObjectType => ObjectType::new_full(base, self.get()?).into(),
            NodeClass::VariableType => VariableType::new_full(
                base,
                self.get::<NodeId>()?,
                self.get()?,
                self.get()?,
                self.option(Self::value)?,
                self.dimensions()?,
            )
            .into(),
            NodeClass::ReferenceType => {
                ReferenceType::new_full(base, self.get()?, self.get()?, self.option(Self::text)?).into()
            }
            NodeClass::DataType => {
                DataType::new_full(base, self.get()?, self.option(Self::definition)?).into()
            }
            NodeClass::View => View::new_full(base, self.notifier()?, self.get()?).into(),
            NodeClass::Unspecified => return Err(Error::decoding("a node without a class")),
        })
    }
}
