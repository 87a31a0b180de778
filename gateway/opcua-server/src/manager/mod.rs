//! The node manager: services of OPC UA answered from the space of now and the gateway's parts.

mod call;
mod commands;
mod history;
mod monitor;
mod read;
mod view;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use common::Sample;
use common::alarm::{AlarmView, Remark};
use common::api::{DeviceHealth, SwitchPosition};
use gateway_opcua::value::time;
use opcua::nodes::DefaultTypeTree;
use opcua::server::CreateMonitoredItem;
use opcua::server::diagnostics::NamespaceMetadata;
use opcua::server::node_manager::{
    BrowseNode, BrowsePathItem, ExternalReferenceRequest, HistoryNode, MethodCall, MonitoredItemRef,
    MonitoredItemUpdateRef, NodeManager, ReadNode, RequestContext, ServerContext, WriteNode,
    impl_translate_browse_paths_using_browse,
};
use opcua::types::{
    DateTime, MethodId, MonitoringMode, NodeClass, NodeId, ObjectTypeId, ReadRawModifiedDetails, StatusCode,
    TimestampsToReturn,
};

use tokio::sync::Semaphore;

use crate::events::{self, Told};
use crate::options::{Options, Parts};
use crate::space::{Live, Method, Namespaces, Node, Space};
use crate::watch::Watches;

pub(crate) use call::new_id;

const READERS: usize = 2;
/// The standard's namespace of DI (part 100).
const DI: &str = "http://opcfoundation.org/UA/DI/";

/// What the manager and the pump share.
pub(crate) struct Shared {
    pub(crate) parts: Parts,
    pub(crate) options: Options,
    pub(crate) namespaces: Namespaces,
    space: RwLock<Arc<Space>>,
    pub(crate) watches: Watches,
    /// Reads of the buffer at a time: each may go through all of it.
    pub(crate) readers: Semaphore,
}

impl Shared {
    fn new(parts: Parts, options: Options, namespaces: Namespaces) -> Self {
        let made = Self::space_of(&parts, &options, namespaces);
        let (watches, readers) = (Watches::default(), Semaphore::new(READERS));
        Self { parts, options, namespaces, space: RwLock::new(Arc::new(made)), watches, readers }
    }

    fn space_of(parts: &Parts, options: &Options, namespaces: Namespaces) -> Space {
        let (registry, nameplates) = (parts.points.now(), parts.nameplates.now());
        let alarms = parts.alarms.list();
        let (gateway, uri) = (options.gateway.clone(), options.namespace());
        Space::new(registry, gateway, namespaces, &uri, nameplates, &alarms)
    }

    pub(crate) fn space(&self) -> Arc<Space> {
        self.space.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether points are others than the space shows.
    pub(crate) fn has_other_points(&self) -> bool {
        self.parts.points.now().generation() != self.space().registry.generation()
    }

    /// Whether devices are called otherwise than the space shows.
    pub(crate) fn has_other_nameplates(&self) -> bool {
        !Arc::ptr_eq(&self.parts.nameplates.now(), &self.space().nameplates)
    }

    /// Makes the space anew; gives the old and the new one.
    pub(crate) fn renew(&self) -> (Arc<Space>, Arc<Space>) {
        let new = Arc::new(Self::space_of(&self.parts, &self.options, self.namespaces));
        let mut held = self.space.write().unwrap_or_else(PoisonError::into_inner);
        (std::mem::replace(&mut *held, new.clone()), new)
    }

    /// A point's sample as it is now, judged by age.
    pub(crate) fn judged(&self, space: &Space, number: u32) -> Option<Sample> {
        let point = space.registry.point(common::PointId(number))?;
        let mut sample =
            self.parts.current.judged(point.id, point.schema.stale_ms, self.parts.clock.now_us());
        if sample.quality.is_bad() {
            sample.value = None;
        }
        Some(sample)
    }

    /// The gateway's time.
    pub(crate) fn now(&self) -> DateTime {
        time(self.parts.clock.now_us())
    }

    /// An alarm as an event, with the device that it is of.
    pub(crate) fn condition(&self, space: &Space, view: &AlarmView) -> Option<(NodeId, Told)> {
        let number = space.alarm_number(view.id)?;
        let (device, point) = space.source_of(number)?;
        let said = self.parts.alarms.said(view.id).unwrap_or_default();
        let now_us = self.parts.clock.now_us();
        Some((device, events::alarm(view, &said, space.id(&Node::Alarm(number)), point, now_us)))
    }

    pub(crate) fn live<'s>(&'s self, space: &'s Space) -> LiveParts<'s> {
        LiveParts { shared: self, space }
    }
}

/// What is known only while the gateway runs.
pub(crate) struct LiveParts<'s> {
    shared: &'s Shared,
    space: &'s Space,
}

impl Live for LiveParts<'_> {
    fn switch(&self) -> SwitchPosition {
        self.shared.parts.orders.switch()
    }

    fn health(&self, device: usize) -> Option<DeviceHealth> {
        self.shared.parts.health.get(device)
    }

    fn alarm(&self, number: usize) -> Option<AlarmView> {
        let id = self.space.alarms.get(number)?.id;
        self.shared.parts.alarms.get(id)
    }

    fn said(&self, number: usize) -> Option<Remark> {
        let id = self.space.alarms.get(number)?.id;
        self.shared.parts.alarms.said(id)
    }

    fn now_us(&self) -> i64 {
        self.shared.parts.clock.now_us()
    }

    fn value_as_text(&self, point: u32) -> Option<String> {
        let sample = self.shared.judged(self.space, point)?;
        let schema = self.space.schema(point)?;
        schema.label(sample.value.as_ref()?).map(str::to_owned)
    }
}

pub(crate) struct Manager {
    shared: Arc<Shared>,
}

impl Manager {
    /// Made when the server is; hands out what it shares with the pump.
    pub(crate) fn new(
        context: &ServerContext,
        parts: Parts,
        options: Options,
        out: &std::sync::OnceLock<Arc<Shared>>,
    ) -> Self {
        let namespaces = {
            let mut tree = context.type_tree.write();
            // The first after the standard's is the application's (part 5, 6.3.1).
            tree.namespaces_mut().add_namespace(&options.uri());
            let own = tree.namespaces_mut().add_namespace(&options.namespace());
            Namespaces { own, di: tree.namespaces_mut().add_namespace(DI) }
        };
        let shared = Arc::new(Shared::new(parts, options, namespaces));
        let _ = out.set(shared.clone());
        Self { shared }
    }
}

/// Methods of the condition type itself: they ask for all conditions anew.
const REFRESH: [(MethodId, &str); 2] = [
    (MethodId::ConditionType_ConditionRefresh, "ConditionRefresh"),
    (MethodId::ConditionType_ConditionRefresh2, "ConditionRefresh2"),
];

/// Methods of the standard's types that are called on our conditions, and of the condition type itself.
pub(crate) fn standard_method(id: &NodeId) -> Option<&'static str> {
    let refresh =
        || REFRESH.into_iter().find(|(method, _)| NodeId::from(*method) == *id).map(|(_, name)| name);
    Method::of_type(id).map(Method::name).or_else(refresh)
}

/// Types of devices as the server's tree of types has them.
pub(crate) fn add_types(tree: &mut DefaultTypeTree, space: &Space) {
    for id in space.type_ids() {
        tree.add_type_node(&id, &ObjectTypeId::BaseObjectType.into(), NodeClass::ObjectType);
    }
}

#[async_trait]
impl NodeManager for Manager {
    fn owns_node(&self, id: &NodeId) -> bool {
        id.namespace == self.shared.namespaces.own || standard_method(id).is_some()
    }

    fn name(&self) -> &'static str {
        "devices"
    }

    fn namespaces_for_user(&self, _: &RequestContext) -> Vec<NamespaceMetadata> {
        let of = |uri: &str, index| NamespaceMetadata {
            namespace_uri: uri.to_owned(),
            namespace_index: index,
            is_namespace_subset: Some(index != self.shared.namespaces.own),
            ..NamespaceMetadata::default()
        };
        let Namespaces { own, di } = self.shared.namespaces;
        vec![of(&self.shared.options.namespace(), own), of(DI, di)]
    }

    async fn init(&self, tree: &mut DefaultTypeTree, _: ServerContext) {
        // The id of a condition is selected by its type and an empty path (part 9, 5.5.2.13), which the crate does not
        // know: it would leave the field out, and all after it would be taken for others.
        let conditions = [
            ObjectTypeId::ConditionType,
            ObjectTypeId::AcknowledgeableConditionType,
            ObjectTypeId::AlarmConditionType,
        ];
        for id in conditions.map(NodeId::from) {
            tree.add_type_property(&id, &id, &[], NodeClass::Object);
        }
        add_types(tree, &self.shared.space());
    }

    async fn resolve_external_references(
        &self,
        _: &RequestContext,
        items: &mut [&mut ExternalReferenceRequest],
    ) {
        let space = self.shared.space();
        items.iter_mut().for_each(|item| view::resolve(&space, item));
    }

    async fn read(
        &self,
        context: &RequestContext,
        _: f64,
        timestamps: TimestampsToReturn,
        nodes: &mut [&mut ReadNode],
    ) -> Result<(), StatusCode> {
        let space = self.shared.space();
        for node in nodes {
            let result = read::value(&self.shared, &space, context, node.node(), timestamps);
            node.set_result(result);
        }
        Ok(())
    }

    async fn history_read_raw_modified(
        &self,
        _: &RequestContext,
        details: &ReadRawModifiedDetails,
        nodes: &mut [&mut HistoryNode],
        timestamps: TimestampsToReturn,
    ) -> Result<(), StatusCode> {
        history::raw(&self.shared, details, nodes, timestamps).await
    }

    async fn write(&self, context: &RequestContext, nodes: &mut [&mut WriteNode]) -> Result<(), StatusCode> {
        commands::write(&self.shared, context, nodes).await;
        Ok(())
    }

    async fn browse(&self, context: &RequestContext, nodes: &mut [BrowseNode]) -> Result<(), StatusCode> {
        let space = self.shared.space();
        let tree = context.type_tree.read();
        nodes.iter_mut().for_each(|node| view::browse(&space, &*tree, node));
        Ok(())
    }

    async fn translate_browse_paths_to_node_ids(
        &self,
        context: &RequestContext,
        nodes: &mut [&mut BrowsePathItem],
    ) -> Result<(), StatusCode> {
        impl_translate_browse_paths_using_browse(self, context, nodes).await
    }

    async fn create_monitored_items(
        &self,
        context: &RequestContext,
        items: &mut [&mut CreateMonitoredItem],
    ) -> Result<(), StatusCode> {
        monitor::create(&self.shared, context, items);
        Ok(())
    }

    async fn modify_monitored_items(&self, _: &RequestContext, items: &[&MonitoredItemUpdateRef]) {
        monitor::modify(&self.shared, items);
    }

    async fn set_monitoring_mode(&self, _: &RequestContext, _: MonitoringMode, items: &[&MonitoredItemRef]) {
        let space = self.shared.space();
        for item in items {
            self.shared.watches.change(&space, item.node_id(), item.handle(), None);
        }
    }

    async fn delete_monitored_items(&self, _: &RequestContext, items: &[&MonitoredItemRef]) {
        let space = self.shared.space();
        for item in items {
            self.shared.watches.remove(&space, item.node_id(), item.handle());
        }
    }

    async fn call(&self, context: &RequestContext, calls: &mut [&mut MethodCall]) -> Result<(), StatusCode> {
        call::all(&self.shared, context, calls).await;
        Ok(())
    }
}
