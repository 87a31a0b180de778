//! The points of a server: what they ask of it, and what is known of each over its connections. There may be a hundred
//! thousand of one server: what most of them have in common is kept once, and what few of them have only for those.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use common::{Access, PointId, ValueType};
use gateway_opcua::{Namespace, NodeRef};
use opcua::types::{AttributeId, DataValue, Identifier, NodeId, NumericRange, ReadValueId, StatusCode};

use super::config::DeviceConfig;
use super::history;
use super::point::{Argument, Index, PointConfig, Trigger};

/// A point by its place among the points of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(u32);

impl Place {
    /// The number that notifications bear; 0 means none to the crate.
    pub(super) fn handle(self) -> u32 {
        self.0.saturating_add(1)
    }

    /// The point that a notification is of.
    pub(super) fn of_handle(handle: u32) -> Option<Self> {
        handle.checked_sub(1).map(Self)
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// What many points have in common.
#[derive(Debug, PartialEq)]
pub(super) struct Kind {
    pub(super) access: Access,
    pub(super) value_type: ValueType,
    pub(super) method: Option<NodeRef>,
    pub(super) arguments: Option<Vec<Argument>>,
    /// How often the server is to look at it, ms.
    pub(super) sampling_ms: f64,
    /// How many values the server is to keep.
    pub(super) queue: u32,
    pub(super) trigger: Trigger,
    pub(super) deadband: Option<f64>,
    pub(super) deadband_percent: Option<f64>,
    pub(super) poll_ms: Option<u64>,
    pub(super) history: bool,
}

impl Kind {
    /// Whether its value is read at all.
    pub(super) fn is_read(&self) -> bool {
        self.access != Access::Write && self.method.is_none()
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.is_read() && self.poll_ms.is_none()
    }
}

/// What few points have.
#[derive(Debug, Default)]
struct More {
    index: Option<Index>,
    field: Option<String>,
    /// Source time of its newest value, UTC us; 0: none yet. Only of points with history.
    newest_us: AtomicI64,
    /// Up to this source time all values were fetched from the server's history, UTC us; 0: none.
    filled_us: AtomicI64,
}

/// One point as configured.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) id: PointId,
    /// The status of its last value, with all of its bits.
    status: AtomicU32,
    /// Place of its node's namespace among those of the device.
    namespace: u32,
    identifier: Identifier,
    kind: Arc<Kind>,
    more: Option<Box<More>>,
}

impl Deref for Spec {
    type Target = Kind;

    fn deref(&self) -> &Kind {
        &self.kind
    }
}

impl Spec {
    pub(super) fn told(&self, status: StatusCode) {
        self.status.store(status.bits(), Ordering::Relaxed);
    }

    /// A value of this source time was told.
    pub(super) fn heard(&self, source_us: i64) {
        if let Some(more) = self.more.as_ref().filter(|_| self.history) {
            more.newest_us.fetch_max(source_us, Ordering::Relaxed);
        }
    }

    /// Source time of the newest value that was told of a point with history; none before the first.
    pub(super) fn newest_us(&self) -> Option<i64> {
        Some(self.more.as_ref()?.newest_us.load(Ordering::Relaxed)).filter(|us| *us != 0)
    }

    /// All values up to a source time were fetched from the history.
    pub(super) fn filled(&self, up_to_us: Option<i64>) {
        if let Some(more) = &self.more {
            more.filled_us.fetch_max(up_to_us.unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// Whether nothing was told since the connection was lost.
    pub(super) fn is_left_behind(&self) -> bool {
        self.status() == StatusCode::BadNotConnected
    }

    /// Whether the history had a value already that a subscription sends late.
    pub(super) fn is_filled(&self, value: &DataValue) -> bool {
        let Some(more) = &self.more else { return false };
        let filled = more.filled_us.load(Ordering::Relaxed);
        filled != 0 && !self.is_left_behind() && history::stamp(value).is_some_and(|us| us <= filled)
    }

    /// What its server or its connection said last.
    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from(self.status.load(Ordering::Relaxed))
    }

    /// The element of an array that it is.
    pub(super) fn index(&self) -> Option<&Index> {
        self.more.as_ref()?.index.as_ref()
    }

    /// The field of a structure that it is.
    pub(super) fn field(&self) -> Option<&str> {
        self.more.as_ref()?.field.as_deref()
    }

    /// The part of an array that it is.
    pub(super) fn range(&self) -> NumericRange {
        match self.index().map(Index::as_slice) {
            None => NumericRange::None,
            Some([one]) => NumericRange::Index(*one),
            Some(many) => {
                NumericRange::MultipleRanges(many.iter().map(|n| NumericRange::Index(*n)).collect())
            }
        }
    }

    /// What is read or monitored for it.
    pub(super) fn read(&self, node: NodeId) -> ReadValueId {
        ReadValueId {
            node_id: node,
            attribute_id: AttributeId::Value as u32,
            index_range: self.range(),
            ..ReadValueId::default()
        }
    }
}

/// Where a server has the namespaces of the device's nodes: one for each, none for one that it has not.
pub(super) type Indices = Arc<[Option<u16>]>;

/// All points of a device, in the order of their numbers.
#[derive(Debug)]
pub(super) struct Specs {
    all: Vec<Spec>,
    /// Of points and of nodes whose events are wanted.
    namespaces: Vec<Namespace>,
    /// Nodes whose events are wanted, each with the place of its namespace.
    events: Vec<(u32, Identifier)>,
}

impl Specs {
    /// Points as they are configured.
    pub(super) fn new(
        device: &DeviceConfig,
        points: impl ExactSizeIterator<Item = (PointId, PointConfig, Access, ValueType)>,
    ) -> Self {
        let (all, namespaces) = (Vec::with_capacity(points.len()), Vec::new());
        let mut made = Self { all, namespaces, events: Vec::with_capacity(device.events.len()) };
        for NodeRef { namespace, identifier } in device.events.iter().cloned() {
            let namespace = made.namespace(namespace);
            made.events.push((namespace, identifier.into()));
        }
        let mut kinds = Kinds::default();
        for (id, config, access, value_type) in points {
            let has_more = config.index.is_some() || config.field.is_some() || config.history;
            let sampling_ms = u32::try_from(config.sampling_of(device)).unwrap_or(u32::MAX);
            let queue = config.queue_of(device);
            let NodeRef { namespace, identifier } = config.node;
            let namespace = made.namespace(namespace);
            let kind = Kind {
                access,
                value_type,
                sampling_ms: f64::from(sampling_ms),
                queue,
                method: config.method,
                arguments: config.arguments,
                trigger: config.trigger,
                deadband: config.deadband,
                deadband_percent: config.deadband_percent,
                poll_ms: config.poll_ms,
                history: config.history,
            };
            let more = More { index: config.index, field: config.field, ..More::default() };
            made.all.push(Spec {
                id,
                status: AtomicU32::new(StatusCode::BadWaitingForInitialData.bits()),
                namespace,
                identifier: identifier.into(),
                kind: kinds.one(kind),
                more: has_more.then(|| Box::new(more)),
            });
        }
        made.all.sort_by_key(|s| s.id);
        made
    }

    /// The place of a namespace; most points are in the one of the point before.
    fn namespace(&mut self, namespace: Namespace) -> u32 {
        let at = self.namespaces.iter().rposition(|n| *n == namespace).unwrap_or_else(|| {
            self.namespaces.push(namespace);
            self.namespaces.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    pub(super) fn get(&self, place: Place) -> Option<&Spec> {
        self.all.get(place.index())
    }

    /// All of them with their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Spec)> {
        (0..).map(Place).zip(&self.all)
    }

    /// The place of a point.
    pub(super) fn place(&self, id: PointId) -> Option<Place> {
        let at = self.all.binary_search_by_key(&id, |s| s.id).ok()?;
        u32::try_from(at).ok().map(Place)
    }

    /// A point's node as it is configured.
    pub(super) fn node_ref(&self, spec: &Spec) -> NodeRef {
        let namespace = self.namespaces.get(spec.namespace as usize);
        NodeRef {
            namespace: namespace.cloned().unwrap_or(Namespace::Index(u16::MAX)),
            identifier: spec.identifier.clone().into(),
        }
    }

    /// A node whose events are wanted, in a server; none if it does not have the namespace.
    pub(super) fn event(&self, at: usize, indices: &[Option<u16>]) -> Option<NodeId> {
        let (namespace, identifier) = self.events.get(at)?;
        let namespace = indices.get(*namespace as usize).copied().flatten()?;
        Some(NodeId { namespace, identifier: identifier.clone() })
    }

    /// Where a server has the namespaces of the device's nodes.
    pub(super) fn indices(&self, namespaces: &[String]) -> Indices {
        self.namespaces.iter().map(|n| n.index(namespaces)).collect()
    }

    /// A point's node in a server; none if it does not have the namespace.
    pub(super) fn node(&self, spec: &Spec, indices: &[Option<u16>]) -> Option<NodeId> {
        let namespace = indices.get(spec.namespace as usize).copied().flatten()?;
        Some(NodeId { namespace, identifier: spec.identifier.clone() })
    }

    /// What a server is asked for a point's value; none if it does not have the namespace.
    pub(super) fn read(&self, at: Place, indices: &[Option<u16>]) -> Option<ReadValueId> {
        let spec = self.get(at)?;
        Some(spec.read(self.node(spec, indices)?))
    }
}

/// Kinds that were made, to be used again.
#[derive(Default)]
struct Kinds(Vec<Arc<Kind>>);

impl Kinds {
    /// The last ones are looked at: points that all differ must not take a time that grows with their square.
    const LOOKED_AT: usize = 64;

    fn one(&mut self, kind: Kind) -> Arc<Kind> {
        if let Some(same) = self.0.iter().rev().take(Self::LOOKED_AT).find(|k| ***k == kind) {
            return same.clone();
        }
        let made = Arc::new(kind);
        self.0.push(made.clone());
        made
    }
}

#[cfg(test)]
impl Specs {
    /// One point with some keys.
    pub(super) fn one(keys: &str) -> Self {
        let config: PointConfig = toml::from_str(&format!("node = \"ns=1;i=1\"\n{keys}")).unwrap();
        let point = (PointId(3), config, Access::Read, ValueType::I64);
        Self::new(&DeviceConfig::new("opc.tcp://h"), std::iter::once(point))
    }

    /// The first of them.
    pub(super) fn first(&self) -> &Spec {
        &self.all[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(nodes: &[&str]) -> Specs {
        let one = |(n, keys): (usize, &&str)| {
            let config: PointConfig = toml::from_str(keys).unwrap();
            (PointId(10 + n as u32), config, Access::Read, ValueType::F64)
        };
        let all: Vec<_> = nodes.iter().enumerate().map(one).collect();
        Specs::new(&DeviceConfig::new("opc.tcp://h"), all.into_iter())
    }

    #[test]
    fn points_that_are_alike_share_all_but_their_identifier() {
        assert!(size_of::<Spec>() <= 64, "{}", size_of::<Spec>());
        let specs = points(&[
            "node = \"nsu=urn:a;s=x\"",
            "node = \"nsu=urn:b;s=y\"",
            "node = \"nsu=urn:a;s=z\"",
            "node = \"nsu=urn:a;s=z\"\nqueue = 9",
            "node = \"ns=3;i=4\"\nindex = 2",
        ]);
        let kinds: Vec<_> = specs.all.iter().map(|s| Arc::as_ptr(&s.kind)).collect();
        assert_eq!((kinds[0], kinds[0], kinds[0]), (kinds[1], kinds[2], kinds[4]));
        assert_ne!(kinds[0], kinds[3]);
        assert_eq!(specs.namespaces.len(), 3);
        let written: Vec<_> = specs.iter().map(|(_, s)| specs.node_ref(s).to_string()).collect();
        assert_eq!(written[..3], ["nsu=urn:a;s=x", "nsu=urn:b;s=y", "nsu=urn:a;s=z"]);
        assert_eq!(specs.place(PointId(14)).and_then(|p| specs.get(p)?.index()), Some(&Index::One(2)));
        assert_eq!(specs.place(PointId(9)), None);
    }

    #[test]
    fn nodes_follow_the_servers_namespaces() {
        let specs = points(&["node = \"nsu=urn:a;s=x\"", "node = \"nsu=urn:b;s=y\"", "node = \"ns=3;i=4\""]);
        let nodes = |namespaces: &[&str]| -> Vec<Option<String>> {
            let names: Vec<String> = namespaces.iter().map(|n| (*n).to_owned()).collect();
            let indices = specs.indices(&names);
            specs.iter().map(|(_, s)| Some(specs.node(s, &indices)?.to_string())).collect()
        };
        let text = |t: &str| Some(t.to_owned());
        assert_eq!(
            nodes(&["urn:0", "urn:b", "urn:a"]),
            [text("ns=2;s=x"), text("ns=1;s=y"), text("ns=3;i=4")]
        );
        assert_eq!(nodes(&["urn:0", "urn:b"]), [None, text("ns=1;s=y"), text("ns=3;i=4")]);

        let mut device = DeviceConfig::new("opc.tcp://h");
        device.events = vec!["i=2253".parse().unwrap(), "nsu=urn:a;s=x".parse().unwrap()];
        let specs = Specs::new(&device, std::iter::empty());
        let events = |namespaces: &[&str]| {
            let names: Vec<String> = namespaces.iter().map(|n| (*n).to_owned()).collect();
            let indices = specs.indices(&names);
            [0, 1].map(|at| Some(specs.event(at, &indices)?.to_string()))
        };
        assert_eq!(events(&["urn:0", "urn:b", "urn:a"]), [text("i=2253"), text("ns=2;s=x")]);
        assert_eq!(events(&["urn:0", "urn:b"]), [text("i=2253"), None]);
    }

    #[test]
    fn a_handle_is_never_none_and_leads_back() {
        let specs = points(&["node = \"i=1\"", "node = \"i=2\""]);
        for (place, spec) in specs.iter() {
            assert_ne!(place.handle(), 0);
            assert_eq!(
                Place::of_handle(place.handle()).and_then(|p| specs.get(p)).map(|s| s.id),
                Some(spec.id)
            );
        }
        assert!(Place::of_handle(0).is_none());
        assert!(Place::of_handle(u32::MAX).and_then(|p| specs.get(p)).is_none());
    }
}
