//! The live state as storage has it: what is compacted, and on it the frames that are not.

use std::sync::Arc;

use cloud_core::storage::{FrameStorage, Loaded};
use cloud_core::{GatewayKey, State, StoreError, World};

/// Frames read at a time.
const BATCH: usize = 512;

/// Builds the live state. Also the gateways ever seen, with the time of the last word.
pub(crate) async fn restore(
    storage: &dyn FrameStorage,
) -> Result<(World, Vec<(GatewayKey, i64)>), StoreError> {
    let Loaded { schemas, ranks, twins, gateways, speaks } = storage.load().await?;
    let mut state = State {
        twins: twins.into_iter().map(|t| (t.id, t)).collect(),
        schemas: schemas.into_iter().map(|s| (s.hash(), Arc::new(s))).collect(),
        ranks: ranks.into_iter().collect(),
        speaks: speaks.into_iter().map(|(key, rank)| (key.gateway, rank)).collect(),
        ..State::default()
    };
    let mut after = None;
    let mut frames = 0usize;
    loop {
        let batch = storage.uncompacted(after, BATCH).await?;
        let Some(last) = batch.last() else { break };
        after = Some((last.rank, last.frame.header.seq));
        frames += batch.len();
        for new in &batch {
            cloud_twin::apply_frame(&mut state, &new.schema, &new.gateway.gateway, new.rank, &new.frame);
        }
    }
    tracing::info!(twins = state.twins.len(), gateways = gateways.len(), frames, "live state restored");
    let world = World::default();
    *world.write() = state;
    Ok((world, gateways))
}
