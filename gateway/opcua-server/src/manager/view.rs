//! Browse: a node's references, in pages. What is left for the next page is a number, not a list.

use opcua::nodes::TypeTree;
use opcua::server::address_space::ReferenceDirection;
use opcua::server::node_manager::{
    AddReferenceResult, BrowseNode, ExternalReference, ExternalReferenceRequest, NodeMetadata,
};
use opcua::types::{ExpandedNodeId, NodeClass, NodeId, ReferenceDescription, StatusCode};

use crate::space::{Node, Reference, Space, Target};

/// Where the next page begins, and the generation that it was counted in.
struct Next {
    at: usize,
    generation: u64,
}

pub(super) fn browse(space: &Space, tree: &dyn TypeTree, node: &mut BrowseNode) {
    let next = node.take_continuation_point::<Next>().map(|n| *n);
    let references = match space.find(node.node_id()) {
        Some(own) => {
            node.set_status(StatusCode::Good);
            space.references(&own)
        }
        None => space.references_from_standard(node.node_id()),
    };
    let generation = space.registry.generation();
    let start = match next {
        // Counting goes by the order of the space that it was begun in.
        Some(next) if next.generation != generation => {
            node.set_status(StatusCode::BadContinuationPointInvalid);
            return;
        }
        Some(next) => next.at,
        None => {
            for reference in &references {
                if let Target::Standard(id) = &reference.to
                    && wanted(node, reference.forward)
                {
                    let (kind, way) = (reference.kind.into(), direction(reference.forward));
                    node.push_external_reference(ExternalReference::new(id.clone().into(), kind, way));
                }
            }
            0
        }
    };
    for (at, reference) in references.iter().enumerate().skip(start) {
        let Target::Own(to) = &reference.to else { continue };
        if !wanted(node, reference.forward) {
            continue;
        }
        let Some(description) = describe(space, reference, to) else { continue };
        if let AddReferenceResult::Full(_) = node.add(tree, description) {
            node.set_next_continuation_point(Box::new(Next { at, generation }));
            return;
        }
    }
}

fn wanted(node: &BrowseNode, forward: bool) -> bool {
    if forward { node.allows_forward() } else { node.allows_inverse() }
}

fn direction(forward: bool) -> ReferenceDirection {
    if forward { ReferenceDirection::Forward } else { ReferenceDirection::Inverse }
}

fn describe(space: &Space, reference: &Reference, to: &Node) -> Option<ReferenceDescription> {
    Some(metadata(space, to)?.into_ref_desc(reference.forward, reference.kind))
}

fn metadata(space: &Space, node: &Node) -> Option<NodeMetadata> {
    let of = space.attributes(node)?;
    let typed = matches!(of.class, NodeClass::Object | NodeClass::Variable);
    let definition = match space.type_definition(node).filter(|_| typed) {
        Some(Target::Own(own)) => space.id(&own),
        Some(Target::Standard(id)) => id,
        None => NodeId::null(),
    };
    Some(NodeMetadata {
        node_id: ExpandedNodeId::new(space.id(node)),
        type_definition: ExpandedNodeId::new(definition),
        browse_name: of.browse_name,
        display_name: of.display_name,
        node_class: of.class,
    })
}

pub(super) fn resolve(space: &Space, item: &mut ExternalReferenceRequest) {
    let found = space.find(item.node_id()).and_then(|node| metadata(space, &node));
    if let Some(found) = found {
        item.set(found);
    }
}
