//! The point registry: every device and point of the configuration, numbered. Made once from checked
//! configuration and never changed; a new configuration makes a new one (see `generation`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use common::{DeviceSchema, PointId, Schema, SchemaHash};

use crate::generation::Changes;
use crate::point::Point;

/// One device.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Name, unique.
    pub name: String,
    /// Protocol, as in the table of adapters.
    pub protocol: &'static str,
    /// Numbers of its points.
    pub points: std::ops::Range<u32>,
}

/// Why a registry cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The parts do not fit each other.
    #[error("points of device `{device}` are not numbered in order")]
    Numbering {
        /// Which device.
        device: String,
    },
    /// Two of one name.
    #[error("`{name}` stands twice")]
    Twice {
        /// Device, or device and point.
        name: String,
    },
}

/// All devices and points of one configuration: a generation. Numbers of points and devices are kept from one
/// generation to the next (see `succeed`), so there may be numbers without a point.
#[derive(Debug, Clone, PartialEq)]
pub struct Registry {
    pub(crate) schema: Schema,
    pub(crate) hash: SchemaHash,
    pub(crate) devices: Vec<Option<Device>>,
    /// Place in the schema, by device.
    pub(crate) told: Vec<usize>,
    pub(crate) names: HashMap<String, usize>,
    pub(crate) points: Vec<Option<Point>>,
    pub(crate) count: usize,
    pub(crate) generation: u64,
    /// What changed since the generation before.
    pub(crate) changes: Arc<Changes>,
}

impl Registry {
    /// A registry of `points`, which are in order of their numbers; `schema` names the gateway and lists
    /// the same devices (its points are filled in from `points`).
    ///
    /// # Errors
    /// When numbers are out of order or names stand twice.
    pub fn new(mut schema: Schema, devices: Vec<Device>, points: Vec<Point>) -> Result<Self, RegistryError> {
        let mut names = HashMap::with_capacity(devices.len());
        let mut next = 0;
        for (index, (device, told)) in devices.iter().zip(&mut schema.devices).enumerate() {
            let own = points.get(device.points.start as usize..device.points.end as usize).unwrap_or(&[]);
            let numbered = (next..).zip(own).all(|(n, p)| p.id.0 == n && p.device == index);
            if device.points.start != next
                || own.len() != device.points.len()
                || !numbered
                || told.name != device.name
            {
                return Err(RegistryError::Numbering { device: device.name.clone() });
            }
            next = device.points.end;
            if names.insert(device.name.clone(), index).is_some() {
                return Err(RegistryError::Twice { name: device.name.clone() });
            }
            let mut own_names = HashSet::with_capacity(own.len());
            for point in own {
                if !own_names.insert(&*point.schema.name) {
                    let name = format!("{}/{}", device.name, point.schema.name);
                    return Err(RegistryError::Twice { name });
                }
            }
            told.first_point = device.points.start;
            told.points = own.iter().map(|p| p.schema.clone()).collect();
        }
        if next as usize != points.len() || devices.len() != schema.devices.len() {
            return Err(RegistryError::Numbering { device: String::new() });
        }
        Ok(Self {
            hash: schema.hash(),
            schema,
            told: (0..devices.len()).collect(),
            names,
            count: points.len(),
            devices: devices.into_iter().map(Some).collect(),
            // Not in its place: a list that grew is up to twice as long as it must be.
            points: points.iter().cloned().map(Some).collect(),
            generation: 0,
            changes: Arc::default(),
        })
    }

    /// What the cloud is told.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Hash of the schema.
    pub fn hash(&self) -> SchemaHash {
        self.hash
    }

    /// Which generation this is, from 0.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All devices with their indices.
    pub fn devices(&self) -> impl Iterator<Item = (usize, &Device)> {
        self.devices.iter().enumerate().filter_map(|(index, d)| Some((index, d.as_ref()?)))
    }

    /// How many devices there are.
    pub fn device_count(&self) -> usize {
        self.names.len()
    }

    /// Devices have indices below this.
    pub fn device_slots(&self) -> usize {
        self.devices.len()
    }

    /// A device by index.
    pub fn device(&self, index: usize) -> Option<&Device> {
        self.devices.get(index)?.as_ref()
    }

    /// Index of a device by its name.
    pub fn device_named(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// What the cloud is told of a device.
    pub fn told(&self, index: usize) -> Option<&DeviceSchema> {
        self.device(index)?;
        self.schema.devices.get(*self.told.get(index)?)
    }

    /// All points in the order of their numbers.
    pub fn points(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().flatten()
    }

    /// How many points there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Points have numbers below this: the size of a table by number.
    pub fn slots(&self) -> usize {
        self.points.len()
    }

    /// A point by number.
    pub fn point(&self, id: PointId) -> Option<&Point> {
        self.points.get(id.index())?.as_ref()
    }

    /// A point by the names of its device and itself.
    pub fn find(&self, device: &str, point: &str) -> Option<&Point> {
        self.points_of(self.device(self.device_named(device)?)?).find(|p| *p.schema.name == *point)
    }

    /// Index of the device of a twin.
    pub fn device_of_twin(&self, twin: common::TwinId) -> Option<usize> {
        self.device_named(&self.schema.devices.iter().find(|d| d.twin == twin)?.name)
    }

    /// A point by its twin and name.
    pub fn find_in_twin(&self, twin: common::TwinId, point: &str) -> Option<&Point> {
        self.points_of(self.device(self.device_of_twin(twin)?)?).find(|p| *p.schema.name == *point)
    }

    /// The points of a device.
    pub fn points_of(&self, device: &Device) -> impl Iterator<Item = &Point> {
        let own = self.points.get(device.points.start as usize..device.points.end as usize);
        own.unwrap_or_default().iter().flatten()
    }

    /// What the cloud is told of a point's device.
    pub fn device_schema(&self, point: &Point) -> &DeviceSchema {
        &self.schema.devices[self.told[point.device]]
    }

    /// `<place in the asset tree>/point`, as the cloud names it.
    pub fn place(&self, id: PointId) -> String {
        match self.point(id) {
            Some(p) => format!("{}/{}", self.device_schema(p).asset, p.schema.name),
            None => format!("point {}", id.0),
        }
    }

    /// `device/point`, for people.
    pub fn path(&self, id: PointId) -> String {
        match self.point(id).and_then(|p| Some((self.device(p.device)?, p))) {
            Some((device, p)) => format!("{}/{}", device.name, p.schema.name),
            None => format!("point {}", id.0),
        }
    }
}
