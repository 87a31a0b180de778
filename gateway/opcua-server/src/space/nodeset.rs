//! The model as a file of the standard (part 6, F): types of devices, devices, points and their properties, for tools
//! that work without the gateway. Values that move are left out.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;

use common::{GatewayId, PointSchema};
use gateway_core::Registry;
use opcua::types::{NodeClass, NodeId, ReferenceTypeId, Variant};

use super::{Attributes, Namespaces, Node, Property, Space, Target, kind};
use crate::options::Nameplates;

/// Places of the file's own list of namespaces.
const OWN: Namespaces = Namespaces { own: 1, di: 2 };
const DI: &str = "http://opcfoundation.org/UA/DI/";
/// The first version of the standard that has all types used here. Programs that read a model want the date as well.
const STANDARD: &str = "Version=\"1.04\" PublicationDate=\"2018-05-15T00:00:00Z\"";

/// A NodeSet2 document of a configuration.
pub fn nodeset_xml(
    registry: Arc<Registry>,
    gateway: GatewayId,
    uri: &str,
    nameplates: Arc<Nameplates>,
) -> String {
    let space = Space::new(registry, gateway, OWN, uri, nameplates, &[]);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n");
    let _ = write!(
        out,
        "<UANodeSet xmlns=\"http://opcfoundation.org/UA/2011/03/UANodeSet.xsd\" \
         xmlns:uax=\"http://opcfoundation.org/UA/2008/02/Types.xsd\">\n\
         <NamespaceUris>\n<Uri>{}</Uri>\n<Uri>{DI}</Uri>\n</NamespaceUris>\n\
         <Models>\n<Model ModelUri=\"{}\" Version=\"{}\">\n\
         <RequiredModel ModelUri=\"http://opcfoundation.org/UA/\" {STANDARD}/>\n</Model>\n</Models>\n",
        text(uri),
        text(uri),
        space.registry.generation()
    );
    let types = (0..space.types.len()).map(Node::Type);
    let mut waiting: VecDeque<Node> = types.chain([Node::Gateway]).collect();
    while let Some(node) = waiting.pop_front() {
        let Some(of) = space.attributes(&node) else { continue };
        write_node(&space, &node, &of, &mut out);
        for reference in space.references(&node) {
            let down = reference.forward && reference.kind != ReferenceTypeId::HasTypeDefinition;
            if let (true, Target::Own(to)) = (down, reference.to) {
                waiting.push_back(to);
            }
        }
    }
    out.push_str("</UANodeSet>\n");
    out
}

fn write_node(space: &Space, node: &Node, of: &Attributes, out: &mut String) {
    let element = match of.class {
        NodeClass::ObjectType => "UAObjectType",
        NodeClass::Variable => "UAVariable",
        NodeClass::Method => "UAMethod",
        _ => "UAObject",
    };
    let name = of.browse_name.name.as_ref();
    let _ = write!(
        out,
        "<{element} NodeId=\"{}\" BrowseName=\"{}:{}\"",
        text(&space.id(node).to_string()),
        of.browse_name.namespace_index,
        text(name)
    );
    if let Some((data_type, rank, access)) = &of.variable {
        let _ = write!(out, " DataType=\"{data_type}\" ValueRank=\"{rank}\" AccessLevel=\"{access}\"");
    }
    if of.event_notifier != 0 {
        let _ = write!(out, " EventNotifier=\"{}\"", of.event_notifier);
    }
    let _ = writeln!(out, ">\n<DisplayName>{}</DisplayName>", text(of.display_name.text.as_ref()));
    if !of.description.is_empty() {
        let _ = writeln!(out, "<Description>{}</Description>", text(&of.description));
    }
    out.push_str("<References>\n");
    for reference in space.references(node) {
        let to: NodeId = match &reference.to {
            Target::Own(own) => space.id(own),
            Target::Standard(id) => id.clone(),
        };
        let kind: NodeId = reference.kind.into();
        let way = if reference.forward { "" } else { " IsForward=\"false\"" };
        let to = text(&to.to_string());
        let _ = writeln!(out, "<Reference ReferenceType=\"{kind}\"{way}>{to}</Reference>");
    }
    out.push_str("</References>\n");
    let schema_of =
        |number: usize, member: usize| Some(&space.types.get(number)?.members.get(member)?.schema);
    let valued = match node {
        Node::Property(number, p) => space.schema(*number).map(|s| (s, *p)),
        Node::MemberProperty(number, member, p) => schema_of(*number, *member).map(|s| (s, *p)),
        _ => None,
    };
    if let Some((schema, property)) = valued {
        write_value(schema, property, out);
    }
    let said = match node {
        Node::Part(index, part) => space.identification(*index, *part),
        _ => None,
    };
    let said = match said {
        Some(Variant::String(t)) => Some(format!("<uax:String>{}</uax:String>", text(t.as_ref()))),
        Some(Variant::LocalizedText(t)) => Some(localized(t.text.as_ref())),
        _ => None,
    };
    if let Some(value) = said {
        let _ = writeln!(out, "<Value>{value}</Value>");
    }
    let _ = writeln!(out, "</{element}>");
}

/// Lines end within values because asyncua takes an element that begins with another for none.
fn write_value(schema: &PointSchema, property: Property, out: &mut String) {
    let object = |id: u32, body: String| {
        format!(
            "<uax:ExtensionObject>\n<uax:TypeId><uax:Identifier>i={id}</uax:Identifier></uax:TypeId>\
             <uax:Body>{body}</uax:Body></uax:ExtensionObject>"
        )
    };
    let label = |value: i64| schema.labels.iter().find(|l| l.value == value).map(|l| l.text.as_str());
    let value = match property {
        Property::EuRange => kind::range(schema).map(|(low, high)| {
            let body = format!("<uax:Range><uax:Low>{low}</uax:Low><uax:High>{high}</uax:High></uax:Range>");
            object(885, body)
        }),
        Property::EngineeringUnits => {
            let unit = super::units::information(&schema.unit, "");
            let body = format!(
                "<uax:EUInformation><uax:NamespaceUri>{}</uax:NamespaceUri><uax:UnitId>{}</uax:UnitId>\
                 <uax:DisplayName><uax:Text>{}</uax:Text></uax:DisplayName></uax:EUInformation>",
                text(unit.namespace_uri.as_ref()),
                unit.unit_id,
                text(&schema.unit)
            );
            Some(object(888, body))
        }
        Property::TrueState => label(1).map(localized),
        Property::FalseState => label(0).map(localized),
        Property::EnumStrings => {
            let all: String = schema.labels.iter().map(|l| localized(&l.text)).collect();
            Some(format!("<uax:ListOfLocalizedText>\n{all}</uax:ListOfLocalizedText>"))
        }
        Property::EnumValues => {
            let one = |l: &common::schema::Label| {
                let body = format!(
                    "<uax:EnumValueType><uax:Value>{}</uax:Value><uax:DisplayName><uax:Text>{}</uax:Text>\
                     </uax:DisplayName></uax:EnumValueType>",
                    l.value,
                    text(&l.text)
                );
                object(7616, body)
            };
            let all: String = schema.labels.iter().map(one).collect();
            Some(format!("<uax:ListOfExtensionObject>\n{all}</uax:ListOfExtensionObject>"))
        }
        Property::ValueAsText => None,
    };
    if let Some(value) = value {
        let _ = writeln!(out, "<Value>{value}</Value>");
    }
}

fn localized(t: &str) -> String {
    format!("<uax:LocalizedText>\n<uax:Text>{}</uax:Text></uax:LocalizedText>", text(t))
}

/// Text of XML: what marks is written as what it is, and what no document may hold is left out.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() && c != '\n' && c != '\t' => {}
            c => out.push(c),
        }
    }
    out
}
