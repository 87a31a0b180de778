//! The table holds what the crate makes that it stands in for. If not: `make namespace-table`.

use opcua_nodes::{ImportedItem, NodeSetImport as _};
use opcua_types::{
    AttributeId, BinaryEncodable as _, ContextOwned, DataEncoding, DecodingOptions, NamespaceMap,
    NumericRange, TimestampsToReturn,
};

/// What a client can read of a node, byte for byte, and whether its value has a time.
fn attributes(item: &ImportedItem) -> Vec<(AttributeId, Vec<u8>, bool)> {
    let context = ContextOwned::new_default(NamespaceMap::new(), DecodingOptions::default());
    let read = |id, timestamps| {
        item.node.as_node().get_attribute(timestamps, id, &NumericRange::None, &DataEncoding::Binary)
    };
    let ids = (1..=27).map(|id| AttributeId::from_u32(id).expect("an attribute"));
    ids.filter_map(|id| {
        let mut bytes = Vec::new();
        let mut value = read(id, TimestampsToReturn::Neither)?;
        (value.source_timestamp, value.server_timestamp) = (None, None);
        value.encode(&mut bytes, &context.context()).expect("encodes");
        let is_timed = read(id, TimestampsToReturn::Both)?.source_timestamp.is_some();
        Some((id, bytes, is_timed))
    })
    .collect()
}

#[test]
fn the_table_holds_the_nodes_of_the_crate() {
    let (ours, theirs) =
        (namespace_table::load(&ours::CoreNamespace), namespace_table::load(&original::CoreNamespace));
    assert!(theirs.len() > 5000);
    assert_eq!(ours.len(), theirs.len());
    for (a, b) in ours.iter().zip(&theirs) {
        let node = b.node.as_node();
        assert_eq!(attributes(a), attributes(b), "{} {:?}", node.node_id(), node.browse_name());
        assert_eq!(format!("{:?}", a.references), format!("{:?}", b.references), "{}", node.node_id());
    }
    assert_eq!(ours::CoreNamespace.get_own_namespaces(), original::CoreNamespace.get_own_namespaces());
}

#[test]
fn a_table_that_is_cut_off_says_so() {
    let whole =
        namespace_table::write(&namespace_table::load(&original::CoreNamespace)[..100]).expect("encodes");
    let items: Vec<_> = ours::Reader::new(&whole).collect();
    assert!(items.len() == 100 && items.iter().all(Result::is_ok));
    let cut = &whole[..whole.len() / 2];
    assert!(ours::Reader::new(cut).take(100).any(|item| item.is_err()));
}
