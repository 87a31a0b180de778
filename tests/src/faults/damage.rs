//! What a loss of power, a bad disk or a bad hand may leave of the gateway's buffer while its process is down.
//! Unsynced writes are not taken back: from outside nobody knows which they are. What is added behind the log's end can
//! cost nothing that was durable.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::draw::{Damage, Random, Spoilt};

/// Damages the buffer of a box in `dir`. Returns whether durable frames may be hit.
///
/// # Panics
/// When the files cannot be changed.
pub fn damage(dir: &Path, kind: Damage, seed: u64) -> bool {
    let buffer = dir.join("data/buffer");
    let mut random = Random::new(seed);
    match kind {
        Damage::Torn => {
            if let Some(newest) = segments(&buffer).pop() {
                tear(&newest, &mut random);
            }
            false
        }
        Damage::State => {
            let files = files(&buffer.join("state"));
            if let Some(file) = one_of(&files, &mut random) {
                spoil(file, &mut random);
            }
            false
        }
        Damage::Log => {
            let segments = segments(&buffer);
            let hit = one_of(&segments, &mut random);
            if let Some(segment) = hit {
                flip(segment, &mut random);
            }
            hit.is_some()
        }
    }
}

/// Spoils the database of a cloud that keeps its data in `data`, which is down. Returns what was done to which file.
///
/// # Panics
/// When the files cannot be changed.
pub fn spoil_database(data: &Path, what: Spoilt, seed: u64) -> String {
    let mut random = Random::new(seed);
    let (file, log) = (data.join("cloud.db"), data.join("cloud.db-wal"));
    let size = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    // All of the log may be in the file already.
    let path = match what {
        Spoilt::LogTorn | Spoilt::LogFlipped if size(&log) > 0 => log,
        _ => file,
    };
    let before = size(&path);
    match what {
        Spoilt::FileTorn | Spoilt::LogTorn => {
            cut(&path, &mut random);
            format!("{} cut from {before} to {} bytes", path.display(), size(&path))
        }
        Spoilt::FileFlipped | Spoilt::LogFlipped => {
            let bits = 1 << random.within(0, 8);
            (0..bits).for_each(|_| flip(&path, &mut random));
            format!("{bits} bits of {} flipped", path.display())
        }
    }
}

/// How many segments the log of a box in `dir` has.
pub fn segment_count(dir: &Path) -> u64 {
    segments(&dir.join("data/buffer")).len() as u64
}

fn one_of<'a>(files: &'a [PathBuf], random: &mut Random) -> Option<&'a PathBuf> {
    let last = files.len().checked_sub(1)?;
    files.get(usize::try_from(random.within(0, last as u64)).ok()?)
}

/// Oldest first.
fn segments(buffer: &Path) -> Vec<PathBuf> {
    let mut found = files(&buffer.join("log"));
    found.retain(|p| p.extension().is_some_and(|e| e == "seg"));
    found
}

/// All files that hold something, in the order of their names.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if fs::metadata(&path).is_ok_and(|m| m.len() > 0) {
            found.push(path);
        }
    }
    found.sort_unstable();
    found
}

/// Half of a write that did not end: zeros, anything, or what stood in the block before.
fn tear(path: &Path, random: &mut Random) {
    let mut bytes = fs::read(path).expect("a segment");
    let length = usize::try_from(random.within(1, 3000)).expect("small");
    match random.within(0, 2) {
        0 => bytes.extend(vec![0; length]),
        1 => bytes.extend((0..length).map(|_| random.number().to_le_bytes()[0])),
        _ => {
            let from = usize::try_from(random.within(0, bytes.len() as u64 - 1)).expect("within a file");
            let stale = bytes[from..(from + length).min(bytes.len())].to_vec();
            bytes.extend(stale);
        }
    }
    fs::write(path, bytes).expect("a segment");
}

/// Flipped bits, a file cut short, or none.
fn spoil(path: &Path, random: &mut Random) {
    match random.within(0, 2) {
        0 => (0..random.within(1, 8)).for_each(|_| flip(path, random)),
        1 => cut(path, random),
        _ => fs::remove_file(path).expect("removed"),
    }
}

/// Anything of a file's end.
fn cut(path: &Path, random: &mut Random) {
    let length = fs::metadata(path).expect("a file").len();
    let file = fs::File::options().write(true).open(path).expect("a file");
    file.set_len(random.within(0, length - 1)).expect("cut");
}

/// One bit of a file.
fn flip(path: &Path, random: &mut Random) {
    let file = fs::File::options().read(true).write(true).open(path).expect("a file");
    let at = random.within(0, file.metadata().expect("a file").len() - 1);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    byte[0] ^= 1 << random.within(0, 7);
    file.write_all_at(&byte, at).expect("a byte");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_damage_changes_what_it_says_and_nothing_else() {
        for seed in 0..30 {
            for kind in [Damage::Torn, Damage::State, Damage::Log] {
                let dir = tempfile::tempdir().expect("a folder");
                let (log, state) = (dir.path().join("data/buffer/log"), dir.path().join("data/buffer/state"));
                let (old, new, db) = (log.join("1.seg"), log.join("2.seg"), state.join("db"));
                fs::create_dir_all(&log).expect("a folder");
                fs::create_dir_all(&state).expect("a folder");
                for path in [&old, &new, &db] {
                    fs::write(path, vec![5; 500]).expect("a file");
                }
                let same = |path: &Path| fs::read(path).is_ok_and(|bytes| bytes == vec![5; 500]);
                assert_eq!(damage(dir.path(), kind, seed), kind == Damage::Log);
                let kept = (same(&old), same(&new), same(&db));
                match kind {
                    Damage::Torn => {
                        assert_eq!(kept, (true, false, true));
                        assert_eq!(fs::read(&new).expect("a file")[..500], vec![5; 500]);
                    }
                    Damage::State => assert_eq!((kept.0, kept.1), (true, true)),
                    Damage::Log => assert_eq!((kept.0 ^ kept.1, kept.2), (true, true)),
                }
            }
        }
    }
}
