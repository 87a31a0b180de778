//! Whether the write-ahead log of an SQLite database lost commits that were durable. SQLite reads a log up to the first frame
//! that does not fit and takes what follows for the end of a write that was cut, without a word; where the disk spoilt that
//! frame, all commits after it are gone. With `synchronous = FULL` a transaction is begun only when the one before it is on the
//! disk: so a frame behind a commit, joined to it, proves that the commit was durable.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read as _, Result};
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const MAGIC: u32 = 0x377f_0682;

/// Sums as SQLite makes them, over pairs of words.
type Sums = [u32; 2];

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn sums(bytes: &[u8], is_big: bool, [mut a, mut b]: Sums) -> Sums {
    let word = |four: &[u8]| {
        let four = four.try_into().unwrap_or_default();
        if is_big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    };
    for pair in bytes.chunks_exact(8) {
        a = a.wrapping_add(word(&pair[..4])).wrapping_add(b);
        b = b.wrapping_add(word(&pair[4..])).wrapping_add(a);
    }
    [a, b]
}

/// The number, from 1, of the frame from which on SQLite does not read a log though commits that were durable follow; none if
/// there is no such frame, or no log. A spoilt header, a log cut short and a spoilt last commit cannot be told from the cut of a
/// write.
pub(crate) fn first_spoilt(log: &Path) -> Result<Option<u64>> {
    let file = match File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER];
    if !filled(&mut file, &mut header)? {
        return Ok(None);
    }
    let is_big = word(&header, 0) & 1 == 1;
    let page = word(&header, 8) as usize;
    let mut before = sums(&header[..24], is_big, [0, 0]);
    let is_header = word(&header, 0) & !1 == MAGIC
        && (512..=65_536).contains(&page)
        && page.is_power_of_two()
        && before == [word(&header, 24), word(&header, 28)];
    if !is_header {
        return Ok(None);
    }
    let (mut frame, mut number, mut spoilt) = (vec![0; FRAME_HEADER + page], 0, None);
    let mut after_commit = false;
    while filled(&mut file, &mut frame)? {
        number += 1;
        let (head, content) = frame.split_at(FRAME_HEADER);
        let of_log = head[8..16] == header[16..24];
        let expected = sums(content, is_big, sums(&head[..8], is_big, before));
        let told = [word(head, 16), word(head, 20)];
        let fits = of_log && expected == told;
        if !fits && spoilt.is_none() {
            spoilt = Some(number);
        } else if fits && spoilt.is_some() && after_commit {
            return Ok(spoilt);
        }
        // What is spoilt may be the page alone: the next frame is joined to the sums that this one tells.
        before = told;
        after_commit = spoilt.is_some() && of_log && word(head, 4) != 0;
    }
    Ok(None)
}

/// Whether there was as much.
fn filled(file: &mut BufReader<File>, bytes: &mut [u8]) -> Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may

    use rusqlite::Connection;

    use super::*;

    /// The bytes of a log with `commits` commits, and how many frames it has.
    fn log(dir: &Path, commits: i64) -> (Vec<u8>, usize) {
        let path = dir.join("x.db");
        let conn = Connection::open(&path).unwrap();
        conn.pragma_update(None, "journal_mode", "WAL").unwrap();
        conn.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        conn.execute_batch("CREATE TABLE t (n INTEGER, b BLOB)").unwrap();
        for n in 0..commits {
            conn.execute("INSERT INTO t VALUES (?1, zeroblob(9000))", [n]).unwrap();
        }
        let bytes = std::fs::read(dir.join("x.db-wal")).unwrap();
        let frames = (bytes.len() - HEADER) / (FRAME_HEADER + 4096);
        (bytes, frames)
    }

    fn found(dir: &Path, bytes: &[u8]) -> Option<u64> {
        let path = dir.join("copy-wal");
        std::fs::write(&path, bytes).unwrap();
        first_spoilt(&path).unwrap()
    }

    #[test]
    fn a_spoilt_frame_is_found_and_a_cut_write_is_not_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, frames) = log(dir.path(), 12);
        assert!(frames > 30, "{frames}");
        assert_eq!(first_spoilt(&dir.path().join("none")).unwrap(), None);
        assert_eq!(found(dir.path(), &bytes), None);
        let place = |frame: usize| HEADER + frame * (FRAME_HEADER + 4096);
        let commits: Vec<usize> = (0..frames).filter(|n| word(&bytes, place(*n) + 4) != 0).collect();
        for frame in 0..frames {
            // The page, the mark of a commit, the salt, the sums.
            for at in [500, 6, 9, 18] {
                let mut spoilt = bytes.clone();
                spoilt[place(frame) + at] ^= 4;
                let expected = Some(frame as u64 + 1);
                let got = found(dir.path(), &spoilt);
                // Behind the last commits but one nothing proves that they were durable.
                let is_late = commits.iter().filter(|c| **c >= frame).count() <= 2;
                assert!(got == expected || is_late && got.is_none(), "frame {frame} at {at}: {got:?}");
            }
            // A write that was cut anywhere.
            assert_eq!(found(dir.path(), &bytes[..place(frame) + 700]), None, "cut in frame {frame}");
        }
        // A write that lost one of its frames, and one that was cut before it and was longer.
        let [.., from, to] = commits[..] else { panic!() };
        let mut torn = bytes.clone();
        torn[place(from + 1) + 300..place(from + 2)].fill(0);
        assert_eq!(found(dir.path(), &torn), None, "frames {from} to {to}");
        torn.extend(&bytes[place(2)..place(5)]);
        assert_eq!(found(dir.path(), &torn), None);
        assert_eq!(found(dir.path(), &[7; 9000]), None);
    }
}
