//! The nodes of OPC UA's own namespace, `http://opcfoundation.org/UA/`, as an OPC UA server offers them.
//!
//! The crate whose place this takes has a function for each of them: a fifth of a gateway's program, run once. Here they
//! are a table, which `gateway/opcua-namespace/table` makes from that crate and compares with it. What it holds is the
//! OPC Foundation's UA-Nodeset (MIT licence).

mod read;

use opcua_nodes::{ImportedItem, NodeSetImport, NodeSetNamespaceMapper};

pub use read::Reader;

/// Made by `make namespace-table`.
const TABLE: &[u8] = include_bytes!("nodes.bin");
const URI: &str = "http://opcfoundation.org/UA/";

/// The standard's nodes.
#[derive(Debug, Clone, Copy)]
pub struct CoreNamespace;

impl NodeSetImport for CoreNamespace {
    fn register_namespaces(&self, namespaces: &mut NodeSetNamespaceMapper) {
        namespaces.add_namespace(URI, 0);
    }

    fn get_own_namespaces(&self) -> Vec<String> {
        vec![URI.to_owned()]
    }

    fn load<'a>(&'a self, _: &'a NodeSetNamespaceMapper) -> Box<dyn Iterator<Item = ImportedItem> + 'a> {
        let items = Reader::new(TABLE).map_while(|item| {
            item.inspect_err(|error| tracing::error!(%error, "table of the OPC UA standard's nodes")).ok()
        });
        Box::new(items)
    }
}
