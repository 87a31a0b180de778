//! Nodes of a set, to be written or compared.

mod write;

use opcua_nodes::{ImportedItem, NodeSetImport, NodeSetNamespaceMapper};
use opcua_types::NamespaceMap;

pub use write::write;

/// All its nodes, in its order.
pub fn load(set: &dyn NodeSetImport) -> Vec<ImportedItem> {
    let mut namespaces = NamespaceMap::new();
    let mut mapper = NodeSetNamespaceMapper::new(&mut namespaces);
    set.register_namespaces(&mut mapper);
    set.load(&mapper).collect()
}
