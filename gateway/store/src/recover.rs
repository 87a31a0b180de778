//! What an earlier run left: the segments' index, and what is damaged. Every pattern of bytes is got
//! through; sound records before and after damage are kept. What cannot be read now may be read at another start, and
//! what another version wrote by another program: such a file stays, and of the numbers that may be in it nothing is said.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use common::wire::{Body, Frame, Gap, GapCause};
use common::{Incarnation, IntervalSet, Opening};

use crate::commands::Commands;
use crate::disk::{Disk, Kind};
use crate::gone::Sets;
use crate::quarantine::Quarantine;
use crate::record::{Item, RecordReader};
use crate::segment::{self, Found, Segment};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Oldest first.
    pub(crate) segments: Vec<Segment>,
    /// What is missing and was not told yet.
    pub(crate) gaps: Vec<Gap>,
    /// Incarnation, and a number up to which all were given out, whether a frame of them is left or not.
    given: Vec<(Incarnation, u64)>,
    /// Files that stay where they are, unread.
    pub(crate) unread: Vec<Unread>,
    /// Ordinals of segments whose files still hold what is gone.
    pub(crate) to_shrink: Vec<u64>,
    /// Ordinal for the next segment.
    pub(crate) next_ordinal: u64,
}

/// A file that could not be read, or is not for this program.
#[derive(Debug, Clone)]
pub(crate) struct Unread {
    pub(crate) path: PathBuf,
    /// As its name says.
    ordinal: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) why: String,
}

/// Reads the folder of segments.
pub(crate) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    gone: &Sets,
    quarantine: &Quarantine,
    opening: &Opening,
) -> io::Result<Recovered> {
    let mut found = Recovered { next_ordinal: 1, ..Recovered::default() };
    let mut paths = Vec::new();
    for path in disk.list(dir)? {
        match path.extension().and_then(|e| e.to_str()) {
            Some("seg") => paths.push(path),
            // Left by a rewriting that did not end.
            Some("tmp") => drop(disk.remove(&path)),
            _ => {}
        }
    }
    paths.sort_unstable();
    for path in paths {
        opening.step();
        let named = segment::ordinal_of(&path);
        found.next_ordinal = found.next_ordinal.max(named.unwrap_or(0).saturating_add(1));
        let what = match (disk.kind(&path), segment::open(disk, &path, named)) {
            (Ok(Kind::File(_)), Ok(Found::Segment(opened))) => {
                add(disk, &mut found, *opened, gone);
                continue;
            }
            (Ok(Kind::File(_)), Ok(Found::Nothing)) => {
                tracing::warn!(path = %path.display(), "segment that was never written is removed");
                let _ = disk.remove(&path);
                continue;
            }
            (Ok(Kind::File(_)), Ok(Found::Foreign)) => "segment in which nothing is sound",
            (Ok(Kind::Folder | Kind::Other), _) => "not a file",
            // What stands in it is wrong, and stays so.
            (Ok(Kind::File(_)), Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                "segment whose head is damaged"
            }
            (kind, opened) => {
                let why = match opened {
                    Ok(Found::OtherVersion(version)) => format!("version {version}, not for this program"),
                    Err(error) => error.to_string(),
                    Ok(_) => kind.as_ref().err().map(ToString::to_string).unwrap_or_default(),
                };
                let bytes = if let Ok(Kind::File(bytes)) = kind { bytes } else { 0 };
                tracing::error!(path = %path.display(), why, "segment cannot be read and is left where it is");
                found.unread.push(Unread { path, ordinal: named, bytes, why });
                continue;
            }
        };
        quarantine.take(&path, what);
        found.gaps.push(damaged(None, None));
    }
    found.segments.sort_by_key(|s| s.ordinal);
    found.to_shrink.retain(|o| found.segments.iter().any(|s| s.ordinal == *o));
    once(&mut found.segments);
    judge(&mut found, gone);
    Ok(found)
}

fn add(disk: &dyn Disk, found: &mut Recovered, opened: segment::Opened, gone: &Sets) {
    let segment::Opened { mut segment, first, damage } = opened;
    found.next_ordinal = found.next_ordinal.max(segment.ordinal.saturating_add(1));
    let all = segment.contents.present.len();
    if let Some(gone) = gone.get(&segment.incarnation) {
        segment.contents.present = segment.contents.present.minus(gone);
    }
    let shrinks = segment.contents.present.len() < all;
    // A rewriting that ended before the old file was removed: both have what is not gone, unless one is damaged, and
    // the later is the smaller.
    if let Some(at) = found.segments.iter().position(|s| s.ordinal == segment.ordinal) {
        let other = &found.segments[at];
        let has = |s: &Segment| (s.contents.present.len(), segment::times_rewritten(&s.path));
        if has(other) > has(&segment) {
            let _ = disk.remove(&segment.path);
            return;
        }
        let _ = disk.remove(&other.path);
        found.segments.remove(at);
        found.to_shrink.retain(|o| *o != segment.ordinal);
    }
    if shrinks {
        found.to_shrink.push(segment.ordinal);
    }
    let incarnation = segment.incarnation;
    // A file begins behind all that the files before it took. Behind damage at the end of one at least one frame was lost;
    // nobody can say how many.
    found.given.push((incarnation, first.saturating_sub(1)));
    let ends = damage.into_iter().filter(|(_, after)| after.is_none());
    found.given.extend(ends.map(|(before, _)| (incarnation, before + 1)));
    found.segments.push(segment);
}

/// A number that a later segment has as well was written again after a failed sync, or moved with a rewriting: the
/// later one counts, since what a failed sync left may never reach the disk.
fn once(segments: &mut [Segment]) {
    let mut later: HashMap<Incarnation, IntervalSet> = HashMap::new();
    for segment in segments.iter_mut().rev() {
        let seen = later.entry(segment.incarnation).or_default();
        segment.contents.present = segment.contents.present.minus(seen);
        seen.extend(&segment.contents.present);
    }
}

/// What is missing without being gone on purpose, once all that is there is known: numbers start at 1 and have no
/// holes within an incarnation.
fn judge(found: &mut Recovered, gone: &Sets) {
    let mut there: HashMap<Incarnation, IntervalSet> = HashMap::new();
    let mut order = Vec::new();
    for segment in &found.segments {
        let own = there.entry(segment.incarnation).or_insert_with(|| {
            order.push(segment.incarnation);
            gone.get(&segment.incarnation).cloned().unwrap_or_default()
        });
        own.extend(&segment.contents.present);
    }
    for incarnation in order {
        let Some(there) = there.get(&incarnation) else { continue };
        let given = found.given.iter().filter(|(i, _)| *i == incarnation).map(|(_, last)| *last).max();
        let expected: IntervalSet = vec![(1, there.last().max(given).unwrap_or(0))].into();
        let missing: Vec<_> = expected.difference(there).collect();
        for (first, last) in missing {
            if may_be_unread(&found.segments, &found.unread, incarnation, (first, last)) {
                continue;
            }
            tracing::error!(%incarnation, first, last, "frames are missing from the log");
            found.gaps.push(damaged(Some(incarnation), Some((first, last))));
        }
    }
}

/// Whether numbers may be in a file that was not read: one whose ordinal lies among those of the segments around them.
pub(crate) fn may_be_unread(
    segments: &[Segment],
    unread: &[Unread],
    incarnation: Incarnation,
    (first, last): (u64, u64),
) -> bool {
    let own = || segments.iter().filter(|s| s.incarnation == incarnation);
    let before = own().filter_map(|s| Some((s.contents.present.last_to(first - 1)?, s.ordinal))).max();
    let after = own().filter_map(|s| Some((s.contents.present.first_from(last + 1)?, s.ordinal))).min();
    let (before, after) = (before.map_or(0, |b| b.1), after.map_or(u64::MAX, |a| a.1));
    unread.iter().any(|u| u.ordinal.is_none_or(|o| (before..=after).contains(&o)))
}

fn damaged(incarnation: Option<Incarnation>, seqs: Option<(u64, u64)>) -> Gap {
    Gap { incarnation, seqs, ..Gap::new(GapCause::Damaged) }
}

/// Lays the log's own records of commands over what the state remembers.
pub(crate) fn replay_commands(
    disk: &dyn Disk,
    segments: &[Segment],
    commands: &mut Commands,
    opening: &Opening,
) {
    for segment in segments.iter().filter(|s| !s.contents.commands.is_empty()) {
        opening.step();
        let Ok(file) = disk.open(&segment.path, false) else { continue };
        for offset in &segment.contents.commands {
            let mut reader =
                RecordReader::new(&*file, segment.incarnation, *offset, segment.contents.end).small();
            if let Ok(Some(Item::Frame { bytes, .. })) = reader.next()
                && let Ok(Frame { body: Body::Command(update), .. }) = Frame::decode(&bytes)
            {
                commands.replay(update);
            }
        }
    }
}
