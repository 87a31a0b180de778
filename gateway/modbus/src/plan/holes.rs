//! The book of what devices refuse: kept over restarts, tried again rarely. It is a book of a line, which serves many
//! units; where it is kept is not its matter.

use serde::{Deserialize, Serialize};

use super::Found;
use crate::Table;

/// A range that a unit refuses to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// Unit id.
    pub unit: u8,
    /// Which table.
    pub table: Table,
    /// First address.
    pub address: u16,
    /// How many registers or bits.
    pub count: u16,
    /// Whether it was refused when it was read alone; see `Found`.
    pub alone: bool,
    /// Exception code of the refusal.
    pub reason: u8,
    /// When it was found, UTC, us.
    pub found_us: i64,
    /// When it is to be tried again, UTC, us.
    pub probe_us: i64,
    /// How often it was tried again in vain.
    pub probes: u32,
}

/// What is wrong with a stored book.
#[derive(Debug, thiserror::Error)]
pub enum HolesError {
    /// It is no book.
    #[error("not a book of holes")]
    Form(#[source] serde_json::Error),
    /// A later version wrote it.
    #[error("version {version} of the book is not known")]
    Version {
        /// Its version.
        version: u32,
    },
}

const VERSION: u32 = 1;
/// A device that refuses more than this has another fault than holes, and the book must stay small.
const MOST: usize = 4096;
/// The first new try, 10 min after the find; then each after twice as long.
const FIRST_PROBE_US: i64 = 600_000_000;
/// And at least once a day.
const LAST_PROBE_US: i64 = 86_400_000_000;

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    holes: Vec<Hole>,
}

/// All holes of a line, by unit, table and address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Book {
    holes: Vec<Hole>,
}

fn key(h: &Hole) -> (u8, Table, u16, u16) {
    (h.unit, h.table, h.address, h.count)
}

impl Book {
    /// Every hole.
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// Those of one unit.
    pub fn of(&self, unit: u8) -> &[Hole] {
        let from = self.holes.partition_point(|h| h.unit < unit);
        let to = self.holes.partition_point(|h| h.unit <= unit);
        self.holes.get(from..to).unwrap_or_default()
    }

    /// Remembers what a search found; false if the book is full or has it already.
    pub fn add(&mut self, unit: u8, found: Found, reason: u8, now_us: i64) -> bool {
        let Found { table, address, count, alone } = found;
        let probe_us = now_us.saturating_add(FIRST_PROBE_US);
        let hole = Hole { unit, table, address, count, alone, reason, found_us: now_us, probe_us, probes: 0 };
        match self.holes.binary_search_by_key(&key(&hole), key) {
            Ok(at) => {
                // Read alone and refused says more than refused among others.
                let known = &mut self.holes[at];
                let more = alone && !known.alone;
                known.alone |= alone;
                more
            }
            Err(_) if self.holes.len() >= MOST => false,
            Err(at) => {
                self.holes.insert(at, hole);
                true
            }
        }
    }

    /// The hole that has waited longest of those due to be tried again. Its own range is what to read.
    pub fn due(&self, now_us: i64) -> Option<&Hole> {
        // A clock that was set back must not put a try off for longer than the longest pause.
        let due = |h: &&Hole| h.probe_us <= now_us || h.probe_us > now_us.saturating_add(LAST_PROBE_US);
        self.holes.iter().filter(due).min_by_key(|h| h.probe_us)
    }

    /// When the next one is due.
    pub fn next_due_us(&self) -> Option<i64> {
        self.holes.iter().map(|h| h.probe_us).min()
    }

    /// What a new try showed: a hole that could be read is forgotten, another waits twice as long as before.
    /// Whether the book knew it.
    pub fn probed(&mut self, hole: &Hole, good: bool, now_us: i64) -> bool {
        let Ok(at) = self.holes.binary_search_by_key(&key(hole), key) else { return false };
        if good {
            self.holes.remove(at);
            return true;
        }
        let known = &mut self.holes[at];
        known.probes = known.probes.saturating_add(1);
        let pause = FIRST_PROBE_US.saturating_mul(1 << known.probes.min(20)).min(LAST_PROBE_US);
        known.probe_us = now_us.saturating_add(pause);
        true
    }

    /// Puts off the next try of a hole that could not be asked for, such as when its unit does not answer.
    pub fn put_off(&mut self, hole: &Hole, now_us: i64) {
        if let Ok(at) = self.holes.binary_search_by_key(&key(hole), key) {
            self.holes[at].probe_us = now_us.saturating_add(FIRST_PROBE_US);
        }
    }

    /// Forgets what `keep` does not want, such as units that are configured no more.
    pub fn retain(&mut self, keep: impl FnMut(&Hole) -> bool) {
        self.holes.retain(keep);
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored { version: VERSION, holes: self.holes.clone() };
        // Numbers and names of tables only: this cannot fail.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// From what was stored.
    ///
    /// # Errors
    /// When it is no book, or one of a later version; then a line begins with an empty one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HolesError> {
        let Stored { version, mut holes } = serde_json::from_slice(bytes).map_err(HolesError::Form)?;
        if version != VERSION {
            return Err(HolesError::Version { version });
        }
        holes.retain(|h| h.count > 0 && u32::from(h.address) + u32::from(h.count) <= 65_536);
        holes.sort_unstable_by_key(key);
        holes.dedup_by_key(|h| key(h));
        holes.truncate(MOST);
        Ok(Self { holes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(address: u16) -> Found {
        Found { table: Table::Holding, address, count: 2, alone: true }
    }

    #[test]
    fn a_hole_is_tried_again_rarely_and_ever_more_so() {
        let mut book = Book::default();
        assert!(book.add(3, found(10), 2, 0));
        assert!(!book.add(3, found(10), 2, 5), "known");
        assert_eq!(book.due(FIRST_PROBE_US - 1), None);
        let mut now = 0;
        for minutes in [10i64, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440] {
            now += minutes * 60_000_000;
            assert_eq!(book.next_due_us(), Some(now));
            let hole = *book.due(now).unwrap();
            assert!(book.probed(&hole, false, now));
        }
        let hole = *book.due(now - 10 * LAST_PROBE_US).expect("a clock set back puts nothing off for ever");
        assert!(book.probed(&hole, true, now) && book.holes().is_empty());
        assert!(!book.probed(&hole, true, now));
    }

    #[test]
    fn the_book_survives_its_storage_and_refuses_another_version() {
        let mut book = Book::default();
        for unit in [9, 1, 4, 1] {
            for at in [700, 10, 3] {
                book.add(unit, found(at), 2, 77);
            }
        }
        assert_eq!(Book::from_bytes(&book.to_bytes()).unwrap(), book);
        assert_eq!(book.of(1).iter().map(|h| h.address).collect::<Vec<_>>(), [3, 10, 700]);
        assert!(book.of(2).is_empty());
        let text = String::from_utf8(book.to_bytes()).unwrap();
        let later = text.replace("\"version\":1", "\"version\":2");
        assert!(matches!(Book::from_bytes(later.as_bytes()), Err(HolesError::Version { version: 2 })));
        assert!(matches!(Book::from_bytes(b"\x00"), Err(HolesError::Form(_))));
    }

    #[test]
    fn the_book_is_bounded() {
        let mut book = Book::default();
        for at in 0..u16::try_from(MOST).unwrap() {
            assert!(book.add(1, found(at * 2), 2, 0));
        }
        assert!(!book.add(2, found(0), 2, 0));
        assert_eq!(book.holes().len(), MOST);
    }
}
