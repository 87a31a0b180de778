//! What an earlier run left: the segments' index, and what is damaged. Every pattern of bytes is got
//! through; sound records before and after damage are kept.

use std::fs;
use std::io;
use std::path::Path;

use common::wire::{Body, Frame, Gap, GapCause};
use common::{Incarnation, IntervalSet};

use crate::commands::Commands;
use crate::notes::set_aside;
use crate::record::{Item, RecordReader};
use crate::segment::{self, Segment};
use crate::sets::minus;
use crate::state::Sets;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Oldest first.
    pub(crate) segments: Vec<Segment>,
    /// What is missing and was not told yet.
    pub(crate) gaps: Vec<Gap>,
    /// Incarnation, last sound sequence before the damage, first sound one after it if any.
    damage: Vec<(Incarnation, u64, Option<u64>)>,
    /// Ordinal for the next segment.
    pub(crate) next_ordinal: u64,
}

/// Reads the folder of segments.
pub(crate) fn recover(dir: &Path, lost: &Sets) -> io::Result<Recovered> {
    let mut found = Recovered { next_ordinal: 1, ..Recovered::default() };
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.extension().and_then(|e| e.to_str()) {
            Some("seg") => paths.push(path),
            // Left by a compaction that did not end.
            Some("tmp") => drop(fs::remove_file(&path)),
            _ => {}
        }
    }
    paths.sort_unstable();
    for path in paths {
        let named = path.file_stem().and_then(|s| u64::from_str_radix(s.to_str()?, 16).ok());
        found.next_ordinal = found.next_ordinal.max(named.unwrap_or(0).saturating_add(1));
        match segment::open(&path) {
            Ok(Some(opened)) => {
                let lost = lost.iter().find(|(i, _)| *i == opened.segment.incarnation).map(|(_, set)| set);
                add(&mut found, opened, lost);
            }
            Ok(None) if fs::metadata(&path).is_ok_and(|m| m.len() == 0) => drop(fs::remove_file(&path)),
            Ok(None) => {
                let aside = set_aside(&path);
                tracing::error!(path = %path.display(), aside = ?aside, "segment has no header and is set aside");
                found.gaps.push(damaged(None, None));
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "segment cannot be read");
                found.gaps.push(damaged(None, None));
            }
        }
    }
    found.segments.sort_by_key(|s| s.ordinal);
    judge(&mut found, lost);
    Ok(found)
}

fn add(found: &mut Recovered, opened: segment::Opened, lost: Option<&IntervalSet>) {
    let segment::Opened { mut segment, damage } = opened;
    found.next_ordinal = found.next_ordinal.max(segment.ordinal.saturating_add(1));
    // A rewriting that ended before the old file was removed: the old one has all.
    if let Some(at) = found.segments.iter().position(|s| s.ordinal == segment.ordinal) {
        let kept = found.segments.remove(at);
        let _ = fs::remove_file(&kept.path);
    }
    let same: Vec<&Segment> =
        found.segments.iter().filter(|s| s.incarnation == segment.incarnation).collect();
    // A number that an earlier segment has as well was written again after a failed sync.
    for earlier in &same {
        segment.contents.present = minus(&segment.contents.present, &earlier.contents.present);
    }
    if let Some(lost) = lost {
        segment.contents.present = minus(&segment.contents.present, lost);
    }
    let incarnation = segment.incarnation;
    found.damage.extend(damage.into_iter().map(|(before, after)| (incarnation, before, after)));
    found.segments.push(segment);
}

/// What damage cost, once all that is there is known.
fn judge(found: &mut Recovered, lost: &Sets) {
    for (incarnation, before, after) in std::mem::take(&mut found.damage) {
        let own = found.segments.iter().filter(|s| s.incarnation == incarnation);
        let mut there = IntervalSet::new();
        own.for_each(|s| there.extend(&s.contents.present));
        if let Some((_, set)) = lost.iter().find(|(i, _)| *i == incarnation) {
            there.extend(set);
        }
        // Behind the last frame of all at least one was lost; nobody can say how many.
        let next = there.iter().map(|(start, _)| start).find(|s| *s > before);
        let last = after.or(next).map_or(before + 1, |next| next - 1);
        let range: IntervalSet = vec![(before + 1, last)].into();
        for (first, last) in minus(&range, &there).iter() {
            tracing::error!(%incarnation, first, last, "segment is damaged");
            found.gaps.push(damaged(Some(incarnation), Some((first, last))));
        }
    }
}

fn damaged(incarnation: Option<Incarnation>, seqs: Option<(u64, u64)>) -> Gap {
    Gap { incarnation, seqs, times_us: None, samples: 0, cause: GapCause::Damaged }
}

/// Lays the log's own records of commands over what the state remembers.
pub(crate) fn replay_commands(segments: &[Segment], commands: &mut Commands) {
    for segment in segments.iter().filter(|s| !s.contents.commands.is_empty()) {
        let Ok(file) = fs::File::open(&segment.path) else { continue };
        for offset in &segment.contents.commands {
            let mut reader =
                RecordReader::new(&file, segment.incarnation, *offset, segment.contents.end).small();
            if let Ok(Some(Item::Frame { bytes, .. })) = reader.next()
                && let Ok(Frame { body: Body::Command(update), .. }) = Frame::decode(&bytes)
            {
                commands.replay(update);
            }
        }
    }
}
