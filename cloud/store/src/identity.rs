//! Which store this is: a random number, given when the database is first opened and anew when a backup is restored. Codes that
//! were open in the backup may have been used or taken back since: they are good no more.

use uuid::Uuid;

use crate::db::{Result, refused};
use crate::sql::{Commit, Conn, params};
use crate::{damage, log};

/// The database's log is spoilt from a frame on, and commits that were durable are gone with it: gateways are to notice, as
/// after a restored backup, and people are told. How many parts were found.
pub(crate) fn renew(conn: &Conn, frame: u64, now: i64) -> Result<usize> {
    let detail = format!(
        "the database's write-ahead log is damaged from its frame {frame} on: what was committed after it is gone, so the database is \
         older than it was. Gateways send again what they still have; accounts, keys, commands and audit since are lost. See to the \
         disk; a backup may be newer than what is left (`twinway-cloud restore`)"
    );
    tracing::error!("{detail}");
    let tx = conn.write()?;
    tx.execute("DELETE FROM store", params![])?;
    log::append_own(&tx, &damage::entry(detail, now), now)?;
    match tx.commit()? {
        Commit::Done => Ok(1),
        Commit::Unknown(_) => Err(refused("the database went away while it was opened")),
    }
}

/// The store's identity, given now if it has none.
pub(crate) fn of(conn: &Conn) -> Result<Uuid> {
    let found: Option<[u8; 16]> = conn.first("SELECT id FROM store", params![], |row| row.get(0))?;
    match found {
        Some(id) => Ok(Uuid::from_bytes(id)),
        None => {
            let id = Uuid::new_v4();
            conn.execute("DELETE FROM enrolment_codes", params![])?;
            conn.execute("INSERT INTO store (id) VALUES (?1)", params![id.into_bytes()])?;
            Ok(id)
        }
    }
}
