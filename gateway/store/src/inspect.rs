//! Looking at the buffer while it runs: its status in detail, a check of all that is on disk, and samples for others.
//! Nothing here changes the log; what reads files is called from a thread that may block.

use std::collections::HashMap;

use common::api::{
    BufferClass, BufferDamage, BufferLoss, BufferQuarantine, BufferReader, BufferStatus, BufferVerify,
};
use common::wire::{Body, Frame};
use common::{IntervalSet, PointId, Sample, Schema, SchemaHash};
use gateway_core::FrameLog;

use crate::contents::Kinds;
use crate::inner::{Shared, lock};
use crate::recover::Unread;
use crate::segment::Segment;
use crate::store::Store;

/// A sample of the buffer with the names that it had when it was taken.
#[derive(Debug)]
pub struct Exported<'a> {
    /// Name of the device.
    pub device: &'a str,
    /// Name of the point.
    pub point: &'a str,
    /// Its unit, as UCUM.
    pub unit: &'a str,
    /// The sample.
    pub sample: &'a Sample,
}

impl Store {
    /// What is there, for whom, and what is not.
    pub fn status(&self) -> BufferStatus {
        let health = FrameLog::health(self);
        let (files, bytes, since_start) = self.quarantine.count();
        let options = &self.inner.options;
        let shared = lock(&self.inner.shared);
        let kinds = [Kinds::SAMPLES, Kinds::CRITICAL, Kinds::TRENDS, Kinds::RECORDS];
        let mut classes = [BufferClass::default(); 4];
        let none = IntervalSet::new();
        for segment in &shared.segments {
            let acked = shared.acked.get(&segment.incarnation).unwrap_or(&none);
            for (class, kinds) in classes.iter_mut().zip(kinds) {
                let seqs = segment.contents.of_kinds(kinds);
                class.frames += seqs.len();
                class.unacked_frames += seqs.minus_len(acked);
            }
        }
        let [samples, critical, trends, of_records] = classes;
        let records = shared.segments.iter().filter(|s| s.only_records()).map(|s| s.bytes).sum();
        let loss = |d: &crate::inner::Dropped| BufferLoss { frames: d.frames, samples: d.samples };
        let tail_newest = shared.tail.after(0).last().map(|f| f.cut_us);
        BufferStatus {
            segments: shared.segments.len() as u64,
            oldest_us: shared.segments.iter().find_map(|s| s.cut_us(0)),
            newest_us: tail_newest.or_else(|| shared.segments.last().and_then(|s| s.cut_us(u64::MAX))),
            samples,
            critical,
            trends,
            records: of_records,
            records_bytes: (records, options.records_quota()),
            readers: self.readers(&shared, &health),
            quarantine: BufferQuarantine { files, bytes, since_start },
            lost: shared.dropped.iter().map(|(cause, d)| ((*cause).to_owned(), loss(d))).collect(),
            refusing: shared.refusing,
            health,
        }
    }

    fn readers(&self, shared: &Shared, health: &common::api::BufferHealth) -> Vec<BufferReader> {
        let unacked = |s: &&Segment| shared.unacked(s) > 0;
        let cloud = BufferReader {
            name: "cloud".to_owned(),
            lag_frames: health.unacked_frames,
            lag_bytes: shared.segments.iter().filter(unacked).map(|s| s.bytes).sum(),
            most_bytes: None,
        };
        let mut readers = vec![cloud];
        for (name, hold) in &shared.holds {
            let rest = shared.wanted_by(hold);
            let before: IntervalSet = match hold.from.seq.checked_sub(1) {
                Some(last) if last > 0 => vec![(1, last)].into(),
                _ => IntervalSet::new(),
            };
            let frames = |s: &Segment| match s.incarnation == hold.from.incarnation {
                true => s.contents.present.minus_len(&before),
                false => s.contents.present.len(),
            };
            readers.push(BufferReader {
                name: name.clone(),
                lag_frames: rest.iter().map(frames).sum(),
                lag_bytes: rest.iter().map(|s| s.bytes).sum(),
                most_bytes: Some(hold.lag_bytes),
            });
        }
        readers[1..].sort_by(|a, b| a.name.cmp(&b.name));
        readers
    }

    /// Reads all that is on disk and compares each record with its checksum and the log with what it should hold.
    pub fn verify(&self) -> BufferVerify {
        let mut report = BufferVerify::default();
        let (segments, unread) = {
            let shared = lock(&self.inner.shared);
            (shared.segments.clone(), shared.unread.clone())
        };
        for Unread { path, why, .. } in unread {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let detail = format!("not read by the last start, and left where it is: {why}");
            report.damage.push(BufferDamage { file, seqs: None, detail });
        }
        for segment in segments {
            let file = segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match self.verify_segment(&segment) {
                Ok(sound) => {
                    report.segments += 1;
                    report.bytes += segment.bytes;
                    report.frames += sound.len();
                    // Told or freed since the list was taken: no damage.
                    let now = lock(&self.inner.shared);
                    let now = now.segments.iter().find(|s| s.ordinal == segment.ordinal);
                    let expected = now.map(|s| s.contents.present.clone()).unwrap_or_default();
                    let unsound = segment.contents.present.intersection(&expected).minus(&sound);
                    for (first, last) in unsound.iter() {
                        let detail = "records are not sound".to_owned();
                        let (file, seqs) = (file.clone(), Some((first, last)));
                        report.damage.push(BufferDamage { file, seqs, detail });
                    }
                }
                // Retention was faster.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => report.damage.push(BufferDamage { file, seqs: None, detail: e.to_string() }),
            }
        }
        report
    }

    fn verify_segment(&self, segment: &Segment) -> std::io::Result<IntervalSet> {
        let mut sound = IntervalSet::new();
        segment.frames(&*self.inner.options.disk, |seq, _| {
            sound.insert(seq);
            true
        })?;
        Ok(sound)
    }

    /// Hands over all samples with a source time in `from_us..=to_us`, in the order in which they were appended, oldest
    /// run first, until `take` says no.
    pub fn export(&self, from_us: i64, to_us: i64, mut take: impl FnMut(&Exported<'_>) -> bool) {
        let (segments, after) = {
            let shared = lock(&self.inner.shared);
            let after: Vec<_> =
                shared.tail.after(shared.tail.durable).map(|f| (f.schema, f.bytes.clone())).collect();
            (shared.segments.clone(), after)
        };
        let mut names: HashMap<SchemaHash, Names> = HashMap::new();
        let mut hand_over = |names: &Names, frame: &[u8]| {
            let Ok(Frame { body: Body::Samples(rows), .. }) = Frame::decode(frame) else { return true };
            rows.iter().filter(|s| (from_us..=to_us).contains(&s.source_us)).all(|sample| {
                let Some((device, point, unit)) = names.of(sample.point) else { return true };
                take(&Exported { device, point, unit, sample })
            })
        };
        for segment in segments {
            let (times, known) = (segment.contents.times, segment.contents.times_known);
            if known && times.is_none_or(|(min, max)| max < from_us || min > to_us) {
                continue;
            }
            let own = names.entry(segment.schema).or_insert_with(|| {
                let json = segment.schema_json(&*self.inner.options.disk).ok().flatten();
                Names::new(&json.or_else(|| FrameLog::schema_json(self, segment.schema)).unwrap_or_default())
            });
            let mut goes_on = true;
            let read = segment.frames(&*self.inner.options.disk, |_, bytes| {
                goes_on = hand_over(own, &bytes);
                goes_on
            });
            if let Err(error) = read {
                tracing::warn!(path = %segment.path.display(), %error, "segment is not exported");
            }
            if !goes_on {
                return;
            }
        }
        for (schema, bytes) in after {
            let own = names
                .entry(schema)
                .or_insert_with(|| Names::new(&FrameLog::schema_json(self, schema).unwrap_or_default()));
            if !hand_over(own, &bytes) {
                return;
            }
        }
    }
}

/// Names of a schema's points by their numbers.
struct Names(Option<Schema>);

impl Names {
    fn new(json: &[u8]) -> Self {
        Self(serde_json::from_slice(json).ok())
    }

    fn of(&self, point: PointId) -> Option<(&str, &str, &str)> {
        let (device, point) = self.0.as_ref()?.point(point)?;
        Some((&device.name, &point.name, &point.unit))
    }
}
