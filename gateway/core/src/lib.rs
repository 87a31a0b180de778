//! What every part of the gateway shares: the point registry, the bus, the current values, health and
//! metrics, and the traits through which siblings meet. No protocol, no file, no socket here.

pub mod adapter;
pub mod alarms;
pub mod bus;
pub mod configuration;
pub mod current;
pub mod expr;
pub mod generation;
pub mod health;
pub mod history;
pub mod log;
pub mod messages;
pub mod notes;
pub mod orders;
pub mod point;
pub mod pulse;
pub mod registry;
pub mod update;

pub use adapter::{Adapter, DeviceWriter, Permit, Reading, WriteError};
pub use alarms::{AlarmDesk, AlarmOrders};
pub use bus::{Batch, Block, Bus, DropCounts, Item, Policy, RawSender, Reader};
pub use configuration::Configurations;
pub use current::Current;
pub use generation::{Changes, Points};
pub use health::Health;
pub use history::{History, Keep};
pub use log::{FrameId, FrameLog, Lacking, LogError, Watermark};
pub use messages::{Message, Messages, Publish};
pub use notes::Notes;
pub use orders::Orders;
pub use point::{Deadband, Door, Point, PointDefinition, RawRange, Scale, Treatment};
pub use pulse::{Beat, Pulse};
pub use registry::{Device, Registry, RegistryError};
pub use update::Updates;
