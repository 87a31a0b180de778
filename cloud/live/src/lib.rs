//! Fan-out of changes to live clients: column frames for values, JSON for everything else. There is no
//! socket here: the WebSocket route is the API's.
//!
//! Nothing is queued for values. Each area keeps one cell a row and the version at which it last changed;
//! a client keeps the version it has. What a client gets is what changed since, encoded once for all that
//! stand at the same version; a client that was slow gets the same thing over a longer time. Events go
//! through a bounded queue a client, and a client is told how many it lost.

mod area;
mod client;
mod events;
mod metrics;
mod ticker;

pub use client::{Client, ClientItem};
pub use metrics::Metrics;
pub use ticker::{Live, Options};
