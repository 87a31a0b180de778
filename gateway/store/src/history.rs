//! Samples by time, for the local API: from the segments, newest first, and the tail.

use std::collections::HashMap;

use common::wire::{Body, Frame};
use common::{PointId, Sample, Schema, SchemaHash};
use gateway_core::{History, Keep, Registry};

use crate::inner::lock;
use crate::segment::Segment;
use crate::store::Store;

/// Numbers of an older schema to the wanted ones of now.
type Renumber = HashMap<PointId, PointId>;

impl Store {
    /// The newest `limit` samples of some points with a source time in `from_us..=to_us`, by source time.
    /// Samples of an older configuration count when twin and point have the same names. Reads files: call
    /// it from a thread that may block.
    pub fn history(&self, points: &[PointId], from_us: i64, to_us: i64, limit: usize) -> Vec<Sample> {
        self.samples(points, from_us, to_us, limit, Keep::Newest)
    }
}

impl History for Store {
    fn samples(&self, points: &[PointId], from_us: i64, to_us: i64, limit: usize, keep: Keep) -> Vec<Sample> {
        let mut found = Found { samples: Vec::new(), from_us, to_us, limit, keep };
        let (segments, after) = {
            let shared = lock(&self.inner.shared);
            let durable = shared.tail.durable;
            let frames: Vec<_> = shared.tail.after(durable).map(|f| (f.schema, f.bytes.clone())).collect();
            let mut segments: Vec<Segment> = shared.segments.to_vec();
            if keep == Keep::Newest {
                segments.reverse();
            }
            (segments, frames)
        };
        let disk = &*self.inner.options.disk;
        let registry = self.inner.points.now();
        let mut schemas: HashMap<SchemaHash, Renumber> = HashMap::new();
        schemas.insert(registry.hash(), points.iter().map(|p| (*p, *p)).collect());
        for (schema, bytes) in after {
            let renumber = schemas.entry(schema).or_insert_with(|| {
                let json = lock(&self.inner.shared).schema_json(schema);
                json.map_or_else(Renumber::new, |json| renumber(&registry, &json, points))
            });
            found.take(&bytes, renumber);
        }
        for segment in segments {
            let times = segment.contents.times;
            let known = segment.contents.times_known;
            if known && times.is_none_or(|(min, max)| max < from_us || min > to_us) {
                continue;
            }
            if let (Some(times), true) = (times, known)
                && found.has_better_than(times)
            {
                continue;
            }
            let renumber = schemas.entry(segment.schema).or_insert_with(|| {
                let json = segment.schema_json(disk).ok().flatten();
                json.map_or_else(Renumber::new, |json| renumber(&registry, &json, points))
            });
            if renumber.is_empty() {
                continue;
            }
            // What cannot be read is passed over.
            let _ = segment.frames(disk, |_, bytes| {
                found.take(&bytes, renumber);
                true
            });
        }
        found.finish()
    }
}

fn renumber(now: &Registry, then: &[u8], points: &[PointId]) -> Renumber {
    let Ok(then) = serde_json::from_slice::<Schema>(then) else { return Renumber::new() };
    let mut out = Renumber::new();
    for id in points {
        let Some((device, point)) = now.schema().point(*id) else { continue };
        let Some(old) = then.devices.iter().find(|d| d.twin == device.twin) else { continue };
        if let Some(at) = old.points.iter().position(|p| p.name == point.name) {
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            out.insert(PointId(old.first_point.saturating_add(at)), *id);
        }
    }
    out
}

struct Found {
    samples: Vec<Sample>,
    from_us: i64,
    to_us: i64,
    limit: usize,
    keep: Keep,
}

impl Found {
    fn take(&mut self, frame: &[u8], renumber: &Renumber) {
        let Ok(Frame { body: Body::Samples(rows), .. }) = Frame::decode(frame) else { return };
        for mut row in rows {
            if row.source_us < self.from_us || row.source_us > self.to_us {
                continue;
            }
            if let Some(now) = renumber.get(&row.point) {
                row.point = *now;
                self.samples.push(row);
            }
        }
        if self.samples.len() > self.limit.saturating_mul(2).saturating_add(4096) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.samples.sort_by_key(|s| (s.source_us, s.point));
        match self.keep {
            Keep::Newest => {
                let extra = self.samples.len().saturating_sub(self.limit);
                self.samples.drain(..extra);
            }
            Keep::Oldest => self.samples.truncate(self.limit),
        }
    }

    /// Whether there are enough already, and none of a segment with these times would be among them.
    fn has_better_than(&mut self, (min, max): (i64, i64)) -> bool {
        self.cut();
        if self.samples.len() < self.limit {
            return false;
        }
        match self.keep {
            Keep::Newest => self.samples.first().is_some_and(|oldest| max < oldest.source_us),
            Keep::Oldest => self.samples.last().is_some_and(|newest| min > newest.source_us),
        }
    }

    fn finish(mut self) -> Vec<Sample> {
        self.cut();
        self.samples
    }
}
