//! The live state of all twins. `cloud-twin` applies samples to it (pure); the API reads it; the live
//! channel is told of each change. What is not here is in storage.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use common::api::{DesiredView, PointView, TwinView};
use common::{GatewayId, Incarnation, PointSchema, Quality, Sample, Schema, SchemaHash, TwinId, Value};

use crate::assets::{is_named, name_of};

/// Where a value stands in the order of all values of a twin: the cloud's rank of the incarnation, the
/// frame's sequence, the row's index in the frame. A later position wins; applying twice or out of order
/// changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Rank that the cloud gave to the incarnation at its first hello.
    pub rank: u64,
    /// Sequence of the frame.
    pub seq: u64,
    /// Index of the row; `u32::MAX` for a snapshot, which stands after all rows of its frame.
    pub index: u32,
}

/// A point of a twin.
#[derive(Debug, Clone, PartialEq)]
pub struct PointState {
    /// What it is.
    pub schema: PointSchema,
    /// Position of the last value; default if there is none.
    pub position: Position,
    /// Last value.
    pub value: Option<Value>,
    /// Its quality.
    pub quality: Quality,
    /// Its source time, UTC us; 0 if there is none.
    pub source_us: i64,
    /// When the gateway received it, UTC us; 0 if there is none.
    pub received_us: i64,
    /// What is wanted of it.
    pub desired: Option<DesiredView>,
}

impl PointState {
    /// A point without a value.
    pub fn new(schema: PointSchema) -> Self {
        Self {
            schema,
            position: Position::default(),
            value: None,
            quality: Quality::BAD_NO_DATA,
            source_us: 0,
            received_us: 0,
            desired: None,
        }
    }
}

/// A twin.
#[derive(Debug, Clone, PartialEq)]
pub struct TwinState {
    /// Identity.
    pub id: TwinId,
    /// Place in the asset tree with its own name last.
    pub asset: String,
    /// What it is.
    pub description: String,
    /// Gateway and device that it is bound to now.
    pub binding: Option<(GatewayId, String)>,
    /// Rank from which on the binding holds: frames of other gateways and of lower ranks do not apply.
    pub bound_from: u64,
    /// Whether its gateway has a live session.
    pub online: bool,
    /// Version of the desired document.
    pub desired_version: u64,
    /// Points in the order of the schema.
    pub points: Vec<PointState>,
    /// Index of each point by name.
    pub index: HashMap<Arc<str>, usize>,
}

impl TwinState {
    /// A point by name.
    pub fn point(&self, name: &str) -> Option<&PointState> {
        self.points.get(*self.index.get(name)?)
    }

    /// A point by name.
    pub fn point_mut(&mut self, name: &str) -> Option<&mut PointState> {
        self.points.get_mut(*self.index.get(name)?)
    }

    /// As the API shows it.
    pub fn view(&self) -> TwinView {
        let point = |p: &PointState| PointView {
            schema: p.schema.clone(),
            value: p.value.clone(),
            quality: p.quality,
            source_us: p.source_us,
            received_us: p.received_us,
            desired: p.desired.clone(),
        };
        TwinView {
            id: self.id,
            asset: self.asset.clone(),
            name: name_of(&self.asset).to_owned(),
            description: self.description.clone(),
            gateway: self.binding.as_ref().map(|(g, _)| g.clone()),
            device: self.binding.as_ref().map(|(_, d)| d.clone()),
            online: self.online,
            desired_version: self.desired_version,
            points: self.points.iter().map(point).collect(),
        }
    }
}

/// One point that took a new value.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// Twin.
    pub twin: TwinId,
    /// Index of the point in the twin.
    pub point: u32,
    /// The sample; its point number is the frame's, not the twin's.
    pub sample: Sample,
}

/// All twins, and the schemas that frames refer to.
#[derive(Debug, Default)]
pub struct State {
    /// Twins by identity.
    pub twins: BTreeMap<TwinId, TwinState>,
    /// Schemas by hash.
    pub schemas: HashMap<SchemaHash, Arc<Schema>>,
    /// Rank of each incarnation.
    pub ranks: HashMap<Incarnation, u64>,
    /// Rank of the incarnation that had each gateway's name last, since the start of this process. One that has it again
    /// (a copy spoke meanwhile) has a lower rank than others that are not heard any more.
    pub speaks: HashMap<GatewayId, u64>,
    /// Grows whenever twins are added or their points change.
    pub epoch: u32,
}

impl State {
    /// A twin by identity, by its whole asset path, or by a trailing part that only one twin has.
    ///
    /// # Errors
    /// The paths of all twins that fit, if several do; an empty list if none does.
    pub fn find(&self, name: &str) -> Result<&TwinState, Vec<String>> {
        self.find_among(name, |_| true)
    }

    /// As `find`, among those that `is_seen` lets through: others neither are found nor make a name ambiguous.
    /// Nobody keeps two gateways from naming one place. Of two twins there the one that has a device is meant
    /// (the other one's was replaced); two that have one are told apart by their identities only.
    ///
    /// # Errors
    /// As of `find`; twins of one path are told with their identities.
    pub fn find_among(
        &self,
        name: &str,
        is_seen: impl Fn(&TwinState) -> bool,
    ) -> Result<&TwinState, Vec<String>> {
        if let Ok(id) = name.parse::<TwinId>() {
            return self.twins.get(&id).filter(|t| is_seen(t)).ok_or_else(Vec::new);
        }
        let mut fitting: Vec<_> =
            self.twins.values().filter(|t| is_named(&t.asset, name) && is_seen(t)).collect();
        if fitting.iter().any(|t| t.asset == name) {
            fitting.retain(|t| t.asset == name);
        }
        let bound: HashSet<_> =
            fitting.iter().filter(|t| t.binding.is_some()).map(|t| t.asset.clone()).collect();
        fitting.retain(|t| t.binding.is_some() || !bound.contains(&t.asset));
        if let [twin] = fitting[..] {
            return Ok(twin);
        }
        let is_shared = |asset: &str| fitting.iter().filter(|t| t.asset == asset).count() > 1;
        let one = |t: &&TwinState| {
            if is_shared(&t.asset) { format!("{} ({})", t.asset, t.id) } else { t.asset.clone() }
        };
        Err(fitting.iter().map(one).collect())
    }
}

/// The shared live state. Cheap to clone; all clones are one. Hold a guard briefly and never across an
/// await.
#[derive(Debug, Clone, Default)]
pub struct World(Arc<RwLock<State>>);

impl World {
    /// For reading.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For changing.
    pub fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(twins: &[(u128, &str, bool)]) -> State {
        let twin = |(id, asset, is_bound): &(u128, &str, bool)| TwinState {
            id: TwinId(uuid::Uuid::from_u128(*id)),
            asset: (*asset).to_owned(),
            description: String::new(),
            binding: is_bound.then(|| ("g".parse().unwrap(), "d".to_owned())),
            bound_from: 0,
            online: false,
            desired_version: 0,
            points: vec![],
            index: HashMap::new(),
        };
        State { twins: twins.iter().map(twin).map(|t| (t.id, t)).collect(), ..State::default() }
    }

    #[test]
    fn a_name_means_one_twin_or_none() {
        let s = state(&[(1, "p/c/oven", false), (2, "p/c/oven", true), (3, "q/c/oven", true)]);
        let id = |found: Result<&TwinState, Vec<String>>| found.unwrap().id.0.as_u128();
        assert_eq!(id(s.find("p/c/oven")), 2, "the twin that has a device");
        assert_eq!(s.find("c/oven").unwrap_err(), ["p/c/oven", "q/c/oven"]);
        assert_eq!(id(s.find_among("c/oven", |t| t.asset.starts_with('q'))), 3);
        let s = state(&[(1, "p/c/oven", true), (2, "p/c/oven", true)]);
        let told = s.find("p/c/oven").unwrap_err();
        assert_eq!(told.len(), 2, "never one of two by chance");
        assert!(told[0].contains("00000000-0000-0000-0000-000000000001"), "{told:?}");
    }
}
