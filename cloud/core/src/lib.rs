//! What every part of the cloud shares: the twins' live state, the changes that it goes through, grants,
//! and the traits of storage and of the ways out to gateways and live clients. No SQL, no socket here.

pub mod access;
pub mod align;
mod aside;
pub mod assets;
pub mod boxes;
pub mod configuration;
pub mod downlink;
pub mod enrol;
pub mod gaps;
pub mod history;
pub mod live;
pub mod rollout;
pub mod state;
pub mod storage;
pub mod update;

pub use access::{Access, Scope};
pub use align::Grid;
pub use configuration::ConfigurationStorage;
pub use downlink::{BoxError, Downlink, DownlinkError};
pub use enrol::{Authority, CertificateStorage};
pub use history::HistoryStorage;
pub use live::LiveSink;
pub use state::{Applied, PointState, Position, State, TwinState, World};
pub use storage::{Binding, GatewayKey, NewFrame, Storage, StoreError};
pub use update::UpdateStorage;
