//! The rig: real gateway and cloud processes in folders of their own, real field devices of ours and of
//! others, and clients to look at what comes out. For scenarios and benchmarks; no product code here.

pub mod api;
pub mod cli;
pub mod cloud;
pub mod faults;
pub mod field;
pub mod folder;
pub mod gateway;
pub mod live;
pub mod load;
pub mod oracle;
pub mod process;
pub mod relay;
pub mod terminal;
pub mod trend;
pub mod wait;

pub use api::Api;
pub use cloud::Cloud;
pub use gateway::Gateway;
pub use load::Load;
pub use wait::until;
