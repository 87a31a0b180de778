//! A backup in the place of a database. Whatever moment it is cut at, the database that was there or the restored one is in its
//! place, each whole; or none is, and then none is made anew until somebody has seen to it.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::backup::{beside, in_file, io, open_reader, remove, sync, sync_folder, verify, without_log};
use crate::db::{Result, refused};
use crate::sqlite;

/// Where the database goes that was there.
const BEFORE: &str = ".before-restore";
/// The restored one, until it is in its place.
const RESTORING: &str = ".restoring";

/// Verifies a backup and puts it in the place of a database, under a new identity. Where the database that was there was
/// moved to, if there was one.
///
/// # Errors
/// When a cloud uses the database, the backup is damaged, or there is a database and `replace` is false. Nothing has
/// changed then.
pub fn restore(file: &Path, to: &Path, replace: bool) -> Result<Option<PathBuf>> {
    restore_in_steps(file, to, replace, &mut || Ok(()))
}

/// `step` is called after each change of what is where, and ends it there by an error.
fn restore_in_steps(
    file: &Path,
    to: &Path,
    replace: bool,
    step: &mut dyn FnMut() -> Result<()>,
) -> Result<Option<PathBuf>> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).map_err(io(folder))?;
    }
    let _lock = sqlite::lock(to)?;
    let (aside, part) = (beside(to, BEFORE), beside(to, RESTORING));
    if to.exists() && !replace {
        return Err(refused(format!("{}: is there already; replace it if it is to go", to.display())));
    }
    if to.exists() && aside.exists() {
        if !is_same(to, &aside) {
            let what = "is there from the last time; move it elsewhere first";
            return Err(refused(format!("{}: {what}", aside.display())));
        }
        // A second name that a restore gave to it before it was cut.
        remove(&aside)?;
    }
    let has_log = |path: &Path| std::fs::metadata(beside(path, "-wal")).is_ok_and(|m| m.len() > 0);
    // A log says nothing of the file that it belongs to: beside another one it would spoil it. Without its database it is only
    // moved where a restore was cut between the two.
    let was_cut = aside.exists() && part.exists() && !has_log(&aside);
    let strays = [(to, !to.exists() && !was_cut), (&aside, !aside.exists())];
    if let Some((path, _)) = strays.iter().find(|(path, is_alone)| *is_alone && has_log(path)) {
        let what = "is there without its database; move it elsewhere first";
        return Err(refused(format!("{}: {what}", beside(path, "-wal").display())));
    }
    if has_log(file) {
        let what = "it has a log beside it, so it is no backup but a database; make one of it with `twinway-cloud backup`";
        return Err(refused(format!("{}: {what}", file.display())));
    }
    verify(file)?;
    remove(&part)?;
    std::fs::copy(file, &part).map_err(io(&part))?;
    let conn = Connection::open(&part).map_err(in_file(&part))?;
    let has: bool = conn
        .prepare("SELECT 1 FROM sqlite_schema WHERE name = 'store'")
        .and_then(|mut s| s.exists([]))
        .map_err(in_file(&part))?;
    if has {
        // The next opening gives it a new one.
        conn.execute("DELETE FROM store", []).map_err(in_file(&part))?;
    }
    conn.close().map_err(|(_, e)| in_file(&part)(e))?;
    sync(&part).map_err(io(&part))?;
    sync_folder(to)?;
    step()?;
    let was_there = to.exists() || aside.exists();
    if !(to.exists() && swap(&part, to, &aside, step)?) {
        move_away(to, &aside, step)?;
        std::fs::rename(&part, to).map_err(io(to))?;
        sync_folder(to)?;
        step()?;
    }
    Ok(was_there.then_some(aside))
}

/// In one step, if the database that is there can be made one file with a second name. False: it cannot.
fn swap(part: &Path, to: &Path, aside: &Path, step: &mut dyn FnMut() -> Result<()>) -> Result<bool> {
    if !is_one_file(to) || std::fs::hard_link(to, aside).is_err() {
        return Ok(false);
    }
    sync_folder(to)?;
    step()?;
    std::fs::rename(part, to).map_err(io(to))?;
    sync_folder(to)?;
    step()?;
    Ok(true)
}

/// Whether a database has no log beside it, or is sound enough that all of the log can be brought into the file.
fn is_one_file(path: &Path) -> bool {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).map_err(in_file(path));
    let whole = opened.and_then(|conn| without_log(&conn, path)).and_then(|()| sync(path).map_err(io(path)));
    whole.is_ok() && !beside(path, "-wal").exists()
}

/// Moves a database away with its log, which belongs to it. First the file itself: without it nothing is opened there.
fn move_away(to: &Path, aside: &Path, step: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    for end in ["", "-wal", "-shm"] {
        let old = beside(to, end);
        if old.exists() {
            std::fs::rename(&old, beside(aside, end)).map_err(io(&old))?;
            sync_folder(to)?;
            step()?;
        }
    }
    Ok(())
}

fn is_same(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    id(a).is_some() && id(a) == id(b)
}

/// A part of a point's history that was deleted on request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deleted {
    /// The point, as `twin:point`.
    pub point: String,
    /// Start, UTC us.
    pub from_us: i64,
    /// End (excluded).
    pub to_us: i64,
    at_us: i64,
}

/// What was deleted on request from a database and is there again in the one that was restored in its place.
///
/// # Errors
/// When one of them cannot be read.
pub fn deleted_since(restored: &Path, before: &Path) -> Result<Vec<Deleted>> {
    let (known, all) = (deletions(restored)?, deletions(before)?);
    Ok(all.difference(&known).cloned().collect())
}

fn deletions(path: &Path) -> Result<BTreeSet<Deleted>> {
    let conn = open_reader(path)?;
    // Databases of before have none.
    let mut has =
        conn.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'deletions'").map_err(in_file(path))?;
    if !has.exists([]).map_err(in_file(path))? {
        return Ok(BTreeSet::new());
    }
    let sql = "SELECT s.twin, s.point, d.from_us, d.to_us, d.at_us FROM deletions d JOIN series s ON s.id = d.series";
    let mut statement = conn.prepare(sql).map_err(in_file(path))?;
    let one = |r: &rusqlite::Row<'_>| {
        let point = format!("{}:{}", r.get::<_, String>(0)?, r.get::<_, String>(1)?);
        Ok(Deleted { point, from_us: r.get(2)?, to_us: r.get(3)?, at_us: r.get(4)? })
    };
    let rows = statement.query_map([], one).map_err(in_file(path))?;
    rows.map(|row| row.map_err(in_file(path))).collect()
}

/// Refuses to make a database where one was moved away: what was there would seem to be lost.
///
/// # Errors
/// When there is none, but what a restore leaves behind.
pub(crate) fn check(path: &Path) -> Result<()> {
    let left = [BEFORE, RESTORING].map(|end| beside(path, end));
    if path.exists() || !left.iter().any(|p| p.exists()) {
        return Ok(());
    }
    let there: Vec<_> = left.iter().filter(|p| p.exists()).map(|p| p.display().to_string()).collect();
    let back = if left[0].exists() {
        format!(
            "; or, to go on with what was there before, give {} its name back, and likewise what has -wal and -shm behind it",
            left[0].display()
        )
    } else {
        String::new()
    };
    Err(refused(format!(
        "{}: is not there, but {} is: a restore was cut. Restore once more (`twinway-cloud restore`){back}; to begin anew, move all \
         of it elsewhere",
        path.display(),
        there.join(" and "),
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may

    use std::sync::Arc;

    use cloud_core::storage::AuditStorage as _;
    use common::Clock;
    use common::command::{LogEntry, Severity};

    use super::*;
    use crate::{Options, Store, backup};

    async fn open(path: &Path) -> std::result::Result<Arc<Store>, String> {
        Store::open(Options::new(path), Clock::system()).map_err(|e| e.to_string())
    }

    async fn note(store: &Store, what: &str) {
        let entry = LogEntry {
            at_us: 1,
            actor: "a".into(),
            action: "user.login".into(),
            target: what.into(),
            twin: None,
            severity: Severity::Info,
            code: None,
            detail: String::new(),
        };
        store.append_audit(&entry).await.unwrap();
    }

    async fn notes(store: &Store) -> Vec<String> {
        let page = store.audit(None, Severity::Info, None, 9).await.unwrap();
        page.items.into_iter().map(|e| e.target).collect()
    }

    /// A database with a log beside it, as a kill leaves it, and a backup of another.
    async fn prepare(dir: &Path) -> (PathBuf, PathBuf) {
        let (to, file, other) = (dir.join("cloud.db"), dir.join("backup.db"), dir.join("other.db"));
        let store = open(&other).await.unwrap();
        note(&store, "restored").await;
        backup(&other, &file).unwrap();
        drop(store);
        let store = open(&dir.join("live.db")).await.unwrap();
        note(&store, "old").await;
        for end in ["", "-wal"] {
            std::fs::copy(beside(&dir.join("live.db"), end), beside(&to, end)).unwrap();
        }
        assert!(beside(&to, "-wal").metadata().unwrap().len() > 0);
        (to, file)
    }

    /// Cut at each moment: what is opened is the one or the other, whole, and a second run ends it.
    #[tokio::test]
    async fn a_restore_that_is_cut_leaves_one_of_both_or_is_told() {
        for is_sound in [true, false] {
            let mut refused_ones = 0;
            for cut in 0.. {
                let dir = tempfile::tempdir().unwrap();
                let (to, file) = prepare(dir.path()).await;
                let spoilt = vec![b'x'; 20_000];
                if !is_sound {
                    ["", "-wal"].iter().for_each(|end| std::fs::write(beside(&to, end), &spoilt).unwrap());
                }
                let mut steps = 0;
                let mut step = || {
                    steps += 1;
                    if steps > cut { Err(refused("killed")) } else { Ok(()) }
                };
                let done = restore_in_steps(&file, &to, true, &mut step);
                let what = format!("sound: {is_sound}, cut after {cut}");
                match open(&to).await {
                    Ok(store) => {
                        let found = notes(&store).await;
                        let old = if is_sound { "old" } else { "" };
                        assert!(found == ["restored"] || found == [old], "{what}: {found:?}");
                    }
                    Err(told) if told.contains("a restore was cut") => {
                        assert!(told.contains("cloud.db.before-restore") && !to.exists(), "{what}: {told}");
                        refused_ones += 1;
                    }
                    Err(told) => {
                        assert!(!is_sound && std::fs::read(&to).unwrap() == spoilt, "{what}: {told}")
                    }
                }
                if done.is_ok() {
                    assert_eq!(cut, 3, "{what}: each step was tried");
                    assert!(!beside(&to, RESTORING).exists());
                    break;
                }
                // A backup that is in its place already needs no second run.
                if open(&to)
                    .await
                    .is_ok_and(|_| beside(&to, BEFORE).exists() && !beside(&to, RESTORING).exists())
                {
                    continue;
                }
                restore(&file, &to, true).unwrap();
                assert_eq!(notes(&open(&to).await.unwrap()).await, ["restored"], "{what}");
                let before = beside(&to, BEFORE);
                if is_sound {
                    assert_eq!(notes(&open(&before).await.unwrap()).await, ["old"], "{what}");
                } else {
                    assert!(std::fs::read(&before).unwrap() == spoilt, "{what}");
                }
            }
            assert_eq!(refused_ones > 0, !is_sound, "a sound one is never away");
        }
    }

    /// The old database was kept, the restored one is gone and its log is not: that is not of the old one.
    #[tokio::test]
    async fn a_log_without_its_database_is_put_beside_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (to, file) = prepare(dir.path()).await;
        let log = std::fs::read(beside(&to, "-wal")).unwrap();
        restore(&file, &to, true).unwrap();
        std::fs::remove_file(&to).unwrap();
        std::fs::write(beside(&to, "-wal"), &log).unwrap();
        let told = restore(&file, &to, true).unwrap_err().to_string();
        assert!(told.contains("cloud.db-wal") && told.contains("move it elsewhere"), "{told}");
        assert!(!beside(&beside(&to, BEFORE), "-wal").exists());
        std::fs::remove_file(beside(&to, "-wal")).unwrap();
        std::fs::write(beside(&file, "-wal"), &log).unwrap();
        let told = restore(&file, &to, true).unwrap_err().to_string();
        assert!(told.contains("no backup"), "{told}");
        std::fs::remove_file(beside(&file, "-wal")).unwrap();
        restore(&file, &to, true).unwrap();
        assert_eq!(notes(&open(&to).await.unwrap()).await, ["restored"]);
        assert_eq!(notes(&open(&beside(&to, BEFORE)).await.unwrap()).await, ["old"]);
    }

    #[tokio::test]
    async fn no_database_is_made_where_one_was_moved_away() {
        let dir = tempfile::tempdir().unwrap();
        let (to, file) = prepare(dir.path()).await;
        restore(&file, &to, true).unwrap();
        std::fs::remove_file(&to).unwrap();
        let told = open(&to).await.err().unwrap();
        assert!(told.contains("twinway-cloud restore") && told.contains("cloud.db.before-restore"), "{told}");
        assert!(!to.exists(), "nothing was made");
        std::fs::rename(beside(&to, BEFORE), &to).unwrap();
        assert_eq!(notes(&open(&to).await.unwrap()).await, ["old"]);
    }
}
