//! What the numbers in frames mean: a frame names its schema, and older ones stay readable.

use std::collections::HashMap;
use std::sync::Arc;

use common::{Schema, SchemaHash};
use gateway_core::FrameLog;

/// More schemas than this are not kept at hand.
const MAX: usize = 8;

/// Schemas by their hashes.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<SchemaHash, Arc<Schema>>);

impl Names {
    pub(crate) fn schema(&mut self, log: &dyn FrameLog, hash: SchemaHash) -> Option<Arc<Schema>> {
        if let Some(known) = self.0.get(&hash) {
            return Some(known.clone());
        }
        let schema: Schema = serde_json::from_slice(&log.schema_json(hash)?).ok()?;
        if self.0.len() >= MAX {
            self.0.clear();
        }
        let schema = Arc::new(schema);
        self.0.insert(hash, schema.clone());
        Some(schema)
    }
}
