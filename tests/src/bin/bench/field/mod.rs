//! `field`: what reading the field costs, and how well times are kept. The plant is this process; the gateway, the cloud
//! and the floor are processes of their own, so that each has its own processor time.

mod floor;
mod lines;
pub mod listen;
pub mod plant;
mod reload;
mod tags;

use std::path::Path;

/// The floor's loop, when this program is started as it.
pub fn floor_loop(work: &str) -> std::io::Result<()> {
    floor::run(work)
}

/// Figures by the beginning of their names; all if none is given. `previous` is an older gateway's program.
pub async fn field(only: &[String], previous: Option<&Path>) {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| name.starts_with(o.as_str()));
    if wanted(tags::TAGS_100K.name) || wanted("poll_to_mqtt") {
        tags::tags(&tags::TAGS_100K, previous).await;
    }
    if wanted(tags::TAGS_10K.name) {
        tags::tags(&tags::TAGS_10K, previous).await;
    }
    if wanted(tags::REQUESTS_1K.name) {
        tags::tags(&tags::REQUESTS_1K, previous).await;
    }
    if wanted("scatter") {
        lines::scatter(previous).await;
    }
    if wanted("jitter_10ms") {
        lines::jitter(previous).await;
    }
    if wanted("dead_unit") {
        lines::dead_unit(previous).await;
    }
    if wanted("reload_50k") {
        reload::reload(previous).await;
    }
}
