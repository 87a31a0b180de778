//! What the numbers of an enumeration mean, as the server says it: `EnumStrings` or `EnumValues` of a data type or of a
//! variable (parts 3 and 8), or the definition of the type; for bools, `TrueState` and `FalseState`.

use common::Label;
use opcua::client::Session;
use opcua::types::{
    AttributeId, BrowseDescription, BrowseDirection, EnumDefinition, EnumValueType, Error, NodeId,
    ReadValueId, ReferenceTypeId, Variant,
};

use super::limits::Limits;

/// Most labels of one point: a server's longer list is no enumeration that anybody reads.
const MOST: usize = 1000;

/// What of the properties gives labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Property {
    /// the text of each number from 0 on
    Strings,
    /// numbers with their texts
    Values,
    /// the text of true
    True,
    /// the text of false
    False,
}

impl Property {
    /// By its browse name.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "EnumStrings" => Some(Self::Strings),
            "EnumValues" => Some(Self::Values),
            "TrueState" => Some(Self::True),
            "FalseState" => Some(Self::False),
            _ => None,
        }
    }
}

/// Labels of an enumeration by its data type; none if the server tells none.
///
/// # Errors
/// When the connection is lost.
pub(super) async fn of_type(
    session: &Session,
    limits: Limits,
    data_type: &NodeId,
) -> Result<Vec<Label>, Error> {
    let description = BrowseDescription {
        node_id: data_type.clone(),
        browse_direction: BrowseDirection::Forward,
        reference_type_id: ReferenceTypeId::HasProperty.into(),
        include_subtypes: true,
        node_class_mask: 0,
        result_mask: 0x3f,
    };
    let browsed = session.browse(&[description], 100, None).await?;
    let references = browsed.into_iter().filter_map(|r| r.references).flatten();
    let properties: Vec<(Property, NodeId)> = references
        .filter_map(|r| Some((Property::of(r.browse_name.name.as_ref())?, r.node_id.node_id)))
        .collect();
    let mut asked: Vec<ReadValueId> =
        properties.iter().map(|(_, node)| ReadValueId::from(node.clone())).collect();
    asked.push(ReadValueId::new(data_type.clone(), AttributeId::DataTypeDefinition));
    let values = limits.read_in_parts(session, &asked).await?;
    let mut found: Vec<Label> = Vec::new();
    for ((property, _), value) in properties.iter().zip(&values) {
        if let Some(value) = &value.value {
            merge(&mut found, *property, value);
        }
    }
    if let (true, Some(Variant::ExtensionObject(object))) =
        (found.is_empty(), values.last().and_then(|v| v.value.as_ref()))
        && let Some(definition) = object.inner_as::<EnumDefinition>()
    {
        let fields = definition.fields.iter().flatten();
        let text = |shown: &str, name: &str| if shown.is_empty() { name } else { shown }.to_owned();
        let label = |f: &opcua::types::EnumField| Label {
            value: f.value,
            text: text(f.display_name.text.as_ref(), f.name.as_ref()),
        };
        found = fields.take(MOST).map(label).collect();
    }
    Ok(found)
}

/// Adds what a property says.
pub(super) fn merge(labels: &mut Vec<Label>, property: Property, value: &Variant) {
    let text = |v: &Variant| match v {
        Variant::LocalizedText(t) => Some(t.text.as_ref().to_owned()),
        Variant::String(s) => Some(s.as_ref().to_owned()),
        _ => None,
    };
    let mut add = |value: i64, text: Option<String>| {
        let is_new = !labels.iter().any(|l| l.value == value);
        if let Some(text) = text.filter(|t| !t.is_empty() && is_new && labels.len() < MOST) {
            labels.push(Label { value, text });
        }
    };
    match (property, value) {
        (Property::True, v) => add(1, text(v)),
        (Property::False, v) => add(0, text(v)),
        (Property::Strings, Variant::Array(array)) => {
            (0..).zip(&array.values).for_each(|(n, v)| add(n, text(v)));
        }
        (Property::Values, Variant::Array(array)) => {
            for v in &array.values {
                let Variant::ExtensionObject(object) = v else { continue };
                let Some(one) = object.inner_as::<EnumValueType>() else { continue };
                add(one.value, Some(one.display_name.text.as_ref().to_owned()));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use opcua::types::{Array, ExtensionObject, LocalizedText, VariantScalarTypeId};

    use super::*;

    fn array(of: VariantScalarTypeId, values: Vec<Variant>) -> Variant {
        Variant::Array(Box::new(Array { value_type: of, values, dimensions: None }))
    }

    fn label(value: i64, text: &str) -> Label {
        Label { value, text: text.to_owned() }
    }

    #[test]
    fn every_way_of_telling_labels_is_understood() {
        let text = |t: &str| Variant::from(LocalizedText::from(t));
        let mut found = Vec::new();
        let strings = array(VariantScalarTypeId::LocalizedText, vec![text("off"), text(""), text("on")]);
        merge(&mut found, Property::Strings, &strings);
        assert_eq!(found, [label(0, "off"), label(2, "on")]);
        let one = EnumValueType { value: 2, display_name: "twice".into(), ..EnumValueType::default() };
        let other = EnumValueType { value: -7, display_name: "minus".into(), ..EnumValueType::default() };
        let values = [one, other].map(|v| Variant::from(ExtensionObject::from_message(v)));
        merge(&mut found, Property::Values, &array(VariantScalarTypeId::ExtensionObject, values.to_vec()));
        assert_eq!(found, [label(0, "off"), label(2, "on"), label(-7, "minus")]);
        let mut found = Vec::new();
        merge(&mut found, Property::True, &text("open"));
        merge(&mut found, Property::False, &text("closed"));
        merge(&mut found, Property::Strings, &Variant::Int32(1));
        assert_eq!(found, [label(1, "open"), label(0, "closed")]);
    }
}
