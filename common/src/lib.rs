//! The words that both wings share: identities, samples, wire frames, API types, the clock, the recipe
//! for long-lived parts and the configuration loader. Not here: anything that opens a socket or knows
//! a protocol of the field.

pub mod addresses;
pub mod alarm;
pub mod api;
pub mod authorities;
pub mod bundle;
pub mod bytes;
pub mod class;
pub mod clock;
pub mod columns;
pub mod command;
pub mod config;
pub mod enrol;
pub mod files;
pub mod gaps;
pub mod ids;
pub mod interval;
pub mod names;
pub mod opening;
pub mod quality;
pub mod sample;
pub mod schema;
pub mod supervise;
pub mod text;
pub mod value;
pub mod wire;

pub use alarm::{AlarmId, AlarmView};
pub use class::{Class, Classes};
pub use clock::Clock;
pub use command::{CommandId, CommandState};
pub use ids::{BoxId, GatewayId, Incarnation, SchemaHash, TenantId, TwinId};
pub use interval::IntervalSet;
pub use opening::Opening;
pub use quality::{Quality, QualityClass};
pub use sample::{PointId, Sample};
pub use schema::{Access, DeviceSchema, Label, PointKind, PointSchema, Schema};
pub use supervise::Drain;
pub use value::{Value, ValueType};
