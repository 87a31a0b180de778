//! Areas: the rows of all points below one area of the asset tree, what each was last, and since which
//! version. Frames are encoded here, once for all clients that stand at the same version.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cloud_core::assets::area_of;
use cloud_core::{Applied, PointState, State};
use common::api::{LiveFrame, LiveRow, ServerMessage, TextValue};
use common::{Quality, TwinId, Value, ValueType};

/// Different client versions that are kept encoded in one tick.
const CACHED: usize = 8;

/// What a client that stands at some version is to get.
#[derive(Debug, Clone, Default)]
pub(crate) struct Encoded {
    pub(crate) frame: Option<Bytes>,
    pub(crate) texts: Option<Arc<str>>,
}

/// The rows of one area and what they are.
#[derive(Debug)]
pub(crate) struct Area {
    pub(crate) id: u16,
    pub(crate) path: String,
    pub(crate) epoch: u32,
    /// Twin, point, and whether its values are no numbers.
    rows: Vec<(TwinId, String, bool)>,
    /// The `schema` message, encoded once.
    pub(crate) schema: Arc<str>,
    cells: Mutex<Cells>,
}

#[derive(Debug)]
struct Cells {
    /// Grows with each tick that found changes.
    version: u64,
    /// Whether a cell changed since the last tick.
    dirty: bool,
    cells: Vec<Cell>,
    /// What was encoded in this tick, by the client's version.
    cache: Vec<(u64, Encoded)>,
}

#[derive(Debug, Clone)]
struct Cell {
    value: f64,
    /// Set only for rows that are no numbers.
    text: Option<Value>,
    quality: Quality,
    source_us: i64,
    /// The tick's version in which it changed last; the next one's while no tick came since.
    version: u64,
}

impl Cell {
    fn new(is_text: bool, value: Option<&Value>, quality: Quality, source_us: i64, version: u64) -> Self {
        Self {
            value: value.and_then(Value::as_f64).unwrap_or(f64::NAN),
            text: if is_text { value.cloned() } else { None },
            quality,
            source_us,
            version,
        }
    }

    fn of(point: &PointState, version: u64) -> Self {
        Self::new(is_text(point), point.value.as_ref(), point.quality, point.source_us, version)
    }
}

fn is_text(point: &PointState) -> bool {
    matches!(point.schema.value_type, ValueType::Text | ValueType::Bytes)
}

impl Area {
    fn new(id: u16, path: &str, epoch: u32, points: &[(TwinId, &PointState)]) -> Self {
        let rows: Vec<_> =
            points.iter().map(|(twin, p)| (*twin, p.schema.name.to_string(), is_text(p))).collect();
        let schema = ServerMessage::Schema {
            area: id,
            path: path.to_owned(),
            epoch,
            rows: rows.iter().map(|(twin, point, _)| (*twin, point.clone())).collect(),
        };
        Self {
            id,
            path: path.to_owned(),
            epoch,
            schema: to_text(&schema),
            rows,
            cells: Mutex::new(Cells {
                version: 1,
                dirty: false,
                cells: points.iter().map(|(_, p)| Cell::of(p, 1)).collect(),
                cache: Vec::new(),
            }),
        }
    }

    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_rows(&self, points: &[(TwinId, &PointState)]) -> bool {
        let same = |(row, (twin, p)): (&(TwinId, String, bool), &(TwinId, &PointState))| {
            row.0 == *twin && *row.1 == *p.schema.name && row.2 == is_text(p)
        };
        self.rows.len() == points.len() && self.rows.iter().zip(points).all(same)
    }

    /// Takes the values of the state where they differ: a changed unit forgets them, without a sample.
    fn refresh(&self, points: &[(TwinId, &PointState)]) {
        let mut cells = self.cells();
        let next = cells.version + 1;
        for (i, (_, p)) in points.iter().enumerate() {
            let new = Cell::of(p, next);
            let Some(old) = cells.cells.get_mut(i) else { return };
            let same = old.value.to_bits() == new.value.to_bits()
                && old.text == new.text
                && old.quality == new.quality
                && old.source_us == new.source_us;
            if !same {
                *old = new;
                cells.dirty = true;
            }
        }
    }

    /// The version after the last tick.
    pub(crate) fn version(&self) -> u64 {
        self.cells().version
    }

    /// Ends a tick: what changed since the last one has a version now. False if nothing changed.
    pub(crate) fn tick(&self) -> bool {
        let mut cells = self.cells();
        if !std::mem::take(&mut cells.dirty) {
            return false;
        }
        cells.version += 1;
        cells.cache.clear();
        true
    }

    /// What a client at version `since` is to get (0: everything), and the version that it has then.
    pub(crate) fn since(&self, since: u64, tick: u32, now_us: i64) -> (u64, Encoded) {
        let mut cells = self.cells();
        let version = cells.version;
        if let Some((_, encoded)) = cells.cache.iter().find(|(s, _)| *s == since) {
            return (version, encoded.clone());
        }
        let encoded = self.encode(&cells.cells, since, tick, now_us);
        if cells.cache.len() < CACHED {
            cells.cache.push((since, encoded.clone()));
        }
        (version, encoded)
    }

    fn encode(&self, cells: &[Cell], since: u64, tick: u32, now_us: i64) -> Encoded {
        let mut frame =
            LiveFrame { area: self.id, epoch: self.epoch, tick, base_us: now_us, rows: Vec::new() };
        let mut values = Vec::new();
        for (row, (cell, (_, _, is_text))) in (0..).zip(cells.iter().zip(&self.rows)) {
            if cell.version <= since {
                continue;
            }
            let (quality, source_us) = (cell.quality, cell.source_us);
            frame.rows.push(LiveRow { row, value: cell.value, quality, source_us });
            if *is_text {
                values.push(TextValue { row, value: cell.text.clone(), quality, source_us });
            }
        }
        let texts = (!values.is_empty())
            .then(|| to_text(&ServerMessage::Texts { area: self.id, epoch: self.epoch, values }));
        // The first frame is sent even when the area has no rows: the client then has all of them.
        let frame = (since == 0 || !frame.rows.is_empty()).then(|| frame.encode().into());
        Encoded { frame, texts }
    }
}

/// All areas, and where each twin's rows are.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub(crate) areas: Vec<Arc<Area>>,
    /// Area and first row of each twin, and how many rows it has.
    places: HashMap<TwinId, (usize, u32, u32)>,
}

impl Layout {
    /// The layout of a state. Areas whose rows are the same as before stay, epoch and all; a path keeps its
    /// number for ever. `epoch` is for those that are new.
    pub(crate) fn of(state: &State, before: &Layout, ids: &mut HashMap<String, u16>, epoch: u32) -> Self {
        let mut by_area: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for twin in state.twins.values() {
            by_area.entry(area_of(&twin.asset)).or_default().push(twin);
        }
        let mut layout = Layout::default();
        for (path, twins) in by_area {
            let next = u16::try_from(ids.len()).ok();
            let Some(id) = ids.get(path).copied().or(next) else {
                tracing::error!(area = path, limit = u16::MAX, "too many areas, this one is not live");
                continue;
            };
            ids.insert(path.to_owned(), id);
            let mut points = Vec::new();
            for twin in twins {
                let count = u32::try_from(twin.points.len()).unwrap_or(u32::MAX);
                let first = u32::try_from(points.len()).unwrap_or(u32::MAX);
                layout.places.insert(twin.id, (layout.areas.len(), first, count));
                points.extend(twin.points.iter().map(|p| (twin.id, p)));
            }
            let kept = before.areas.iter().find(|a| a.id == id && a.has_rows(&points)).cloned();
            if let Some(area) = &kept {
                area.refresh(&points);
            }
            layout.areas.push(kept.unwrap_or_else(|| Arc::new(Area::new(id, path, epoch, &points))));
        }
        layout
    }

    /// Puts samples into their cells. True if there was a cell for any.
    pub(crate) fn put(&self, applied: &[Applied]) -> bool {
        let mut any = false;
        let mut held: Option<(usize, MutexGuard<'_, Cells>)> = None;
        for a in applied {
            let Some(&(at, first, count)) = self.places.get(&a.twin) else { continue };
            if a.point >= count {
                continue;
            }
            let Some(area) = self.areas.get(at) else { continue };
            let mut cells = match held.take() {
                Some((same, cells)) if same == at => cells,
                // One area at a time: two would be a deadlock with another caller.
                other => {
                    drop(other);
                    area.cells()
                }
            };
            let row = (first + a.point) as usize;
            let next = cells.version + 1;
            if let (Some(cell), Some((_, _, is_text))) = (cells.cells.get_mut(row), area.rows.get(row)) {
                let s = &a.sample;
                *cell = Cell::new(*is_text, s.value.as_ref(), s.quality, s.source_us, next);
                cells.dirty = true;
                any = true;
            }
            held = Some((at, cells));
        }
        any
    }
}

pub(crate) fn to_text(message: &ServerMessage) -> Arc<str> {
    // Enums of ours with string keys: this cannot fail.
    serde_json::to_string(message).unwrap_or_default().into()
}
