//! Backups of an SQLite database, made while it is used, and put back. A backup is one file with its SHA-256 beside it
//! (`sha256sum -c` reads it), and is read back in full before it counts. Of a PostgreSQL database the server's own tools
//! make them.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cloud_core::StoreError;
use common::text::hex;
use common::wire::{Frame, Waveform};
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest as _, Sha256};

use crate::db::{MIGRATIONS, Result, STAMPS_SINCE, damaged, newer, refused};
use crate::sqlite::{self, db};
use crate::{bucket_codec, codec};

/// A backup that was read in full and is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// Chunks of samples and roll-ups, each decoded.
    pub chunks: u64,
    /// Frames that were not compacted yet, each decoded.
    pub frames: u64,
    /// Whether the file beside it says the same digest; none if there is no such file.
    pub digest_fits: Option<bool>,
}

/// Copies a database as of one moment, while others may use it, and verifies the copy. The file appears when it is whole.
///
/// # Errors
/// When there is something at `to`, the database cannot be read or is damaged, or the file cannot be written.
pub fn backup(from: &Path, to: &Path) -> Result<Verified> {
    if to.exists() {
        return Err(refused(format!("{}: is there already; give another name", to.display())));
    }
    let part = beside(to, ".part");
    remove(&part)?;
    let made = copy(from, &part).and_then(|()| verify(&part));
    let verified = match made {
        Ok(verified) => verified,
        Err(error) => {
            let _ = remove(&part);
            return Err(error);
        }
    };
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let line = format!("{}  {name}\n", verified.digest);
    let sum = digest_file(to);
    std::fs::write(&sum, line).and_then(|()| sync(&sum)).map_err(io(&sum))?;
    sync(&part).and_then(|()| std::fs::rename(&part, to)).map_err(io(to))?;
    sync_folder(to)?;
    Ok(Verified { digest_fits: Some(true), ..verified })
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let source = open_reader(from)?;
    let mut target = Connection::open(to).map_err(in_file(to))?;
    // All in one step: then it is of one moment, and who writes meanwhile goes on in the write-ahead log.
    Backup::new(&source, &mut target).and_then(|b| b.step(-1)).map_err(in_file(to))?;
    without_log(&target, to)?;
    target.close().map_err(|(_, e)| in_file(to)(e))
}

/// Reads a backup in full: the file's digest, SQLite's own structures, and every chunk and frame.
///
/// # Errors
/// When anything of it is damaged, or it is of a newer program.
pub fn verify(file: &Path) -> Result<Verified> {
    let (bytes, digest) = sha256(file)?;
    let digest_fits = match std::fs::read_to_string(digest_file(file)) {
        Ok(line) => Some(line.split_whitespace().next() == Some(&digest)),
        Err(_) => None,
    };
    if digest_fits == Some(false) {
        let sum = digest_file(file);
        return Err(damaged(file.display(), format_args!("its digest is not what {} says", sum.display())));
    }
    let conn = open_reader(file)?;
    let version: i64 =
        conn.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(in_file(file))?;
    if !usize::try_from(version).is_ok_and(|n| (1..=MIGRATIONS.len()).contains(&n)) {
        return Err(newer(file.display(), version));
    }
    let check: String =
        conn.pragma_query_value(None, "integrity_check", |row| row.get(0)).map_err(in_file(file))?;
    if check != "ok" {
        return Err(damaged(file.display(), check));
    }
    let mut orphans = conn.prepare("PRAGMA foreign_key_check").map_err(db)?;
    if orphans.exists([]).map_err(in_file(file))? {
        return Err(damaged(file.display(), "rows refer to others that are not there"));
    }
    // Of an older database's form there are no stamps.
    let sql = if usize::try_from(version).is_ok_and(|n| n >= STAMPS_SINCE) {
        "SELECT c.level, c.blob, s.blob FROM chunks c LEFT JOIN stamps s ON s.id = c.stamps WHERE c.class < 10"
    } else {
        "SELECT level, blob, NULL FROM chunks WHERE class < 10"
    };
    let chunks = each(&conn, sql, |level, blob, stamps| {
        let rows = |stamps| codec::decode_rows(blob, stamps).map(drop);
        let done = if level == 0 { rows(stamps) } else { bucket_codec::decode(blob).map(drop) };
        done.map_err(|e| damaged(format_args!("{}: a chunk", file.display()), e))
    })?;
    let frames = each(&conn, "SELECT 0, bytes, NULL FROM frames", |_, bytes, _| {
        let done = Frame::decode(bytes).map(drop);
        done.map_err(|e| damaged(format_args!("{}: a frame", file.display()), e))
    })?;
    // Databases of before have none.
    let mut has = conn.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'waveforms'").map_err(db)?;
    if has.exists([]).map_err(in_file(file))? {
        each(&conn, "SELECT 0, blob, NULL FROM waveforms", |_, blob, _| {
            let done = Waveform::take(blob).map(drop);
            done.map_err(|e| damaged(format_args!("{}: a waveform", file.display()), e))
        })?;
    }
    Ok(Verified { bytes, digest, chunks, frames, digest_fits })
}

/// Reads a number, a blob and perhaps another of each row.
fn each(
    conn: &Connection,
    sql: &str,
    check: impl Fn(i64, &[u8], Option<&[u8]>) -> Result<()>,
) -> Result<u64> {
    let mut statement = conn.prepare(sql).map_err(db)?;
    let mut rows = statement.query([]).map_err(db)?;
    let mut n = 0;
    while let Some(row) = rows.next().map_err(db)? {
        let blob = row.get_ref(1).map_err(db)?.as_blob().map_err(|e| damaged("a blob", e))?;
        let other = row.get_ref(2).map_err(db)?.as_blob_or_null().map_err(|e| damaged("a blob", e))?;
        check(row.get(0).map_err(db)?, blob, other)?;
        n += 1;
    }
    Ok(n)
}

/// Writes a database anew without the room that is free in it, verifies that, and puts it in its place. Its size before and after.
///
/// # Errors
/// When a cloud uses the database, it is damaged, not there or of a newer program, or the disk has no room for both. Nothing has
/// changed then.
pub fn shrink(path: &Path) -> Result<(u64, u64)> {
    let _lock = sqlite::lock(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(in_file(path))?;
    // What a log holds would be taken for the new one's.
    without_log(&conn, path)?;
    let size = |file: &Path| std::fs::metadata(file).map(|m| m.len()).map_err(io(file));
    let before = size(path)?;
    let part = beside(path, ".shrinking");
    remove(&part)?;
    let name = part.to_str().ok_or_else(|| refused(format!("{}: its path is no UTF-8", part.display())))?;
    let made = conn
        .execute("VACUUM INTO ?1", [name])
        .map_err(in_file(path))
        .and_then(|_| verify(&part))
        .and_then(|_| like(&part, path).and_then(|()| sync(&part)).map_err(io(&part)));
    drop(conn);
    let done = made.and_then(|()| size(&part)).and_then(|after| {
        std::fs::rename(&part, path).map_err(io(path))?;
        Ok((before, after))
    });
    if done.is_err() {
        let _ = remove(&part);
    }
    sync_folder(path)?;
    done
}

/// Brings all of a database's log into its file: it is one file then, without a log beside it.
pub(crate) fn without_log(conn: &Connection, path: &Path) -> Result<()> {
    let mode: String = conn
        .pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))
        .map_err(in_file(path))?;
    if !mode.eq_ignore_ascii_case("delete") {
        return Err(refused(format!("{}: journal mode stays {mode}", path.display())));
    }
    Ok(())
}

pub(crate) fn open_reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(in_file(path))?;
    conn.busy_timeout(std::time::Duration::from_secs(5)).map_err(in_file(path))?;
    Ok(conn)
}

pub(crate) fn in_file(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError + '_ {
    |e| refused(format!("{}: {}", path.display(), db(e)))
}

pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> StoreError + '_ {
    |e| refused(format!("{}: {e}", path.display()))
}

pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    PathBuf::from(name)
}

/// Where the digest of a backup stands.
fn digest_file(path: &Path) -> PathBuf {
    beside(path, ".sha256")
}

pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io(path)(e)),
        _ => Ok(()),
    }
}

/// Gives a file the owner and the rights of another.
fn like(file: &Path, other: &Path) -> std::io::Result<()> {
    let of = std::fs::metadata(other)?;
    std::os::unix::fs::chown(file, Some(of.uid()), Some(of.gid()))?;
    std::fs::set_permissions(file, of.permissions())
}

pub(crate) fn sync(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

pub(crate) fn sync_folder(of: &Path) -> Result<()> {
    let folder = of.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync(folder).map_err(io(folder))
}

/// Size and SHA-256 of a file.
fn sha256(path: &Path) -> Result<(u64, String)> {
    let mut file = File::open(path).map_err(io(path))?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut block = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut block).map_err(io(path))?;
        if n == 0 {
            break;
        }
        hash.update(&block[..n]);
        bytes += n as u64;
    }
    Ok((bytes, hex(&hash.finalize())))
}
