//! Which store this is: a random number, given when the database is first opened and anew when a backup is restored.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::db::{Result, db};

/// The store's identity, given now if it has none.
pub(crate) fn of(conn: &Connection) -> Result<Uuid> {
    let found: Option<[u8; 16]> =
        conn.query_row("SELECT id FROM store", [], |row| row.get(0)).optional().map_err(db)?;
    match found {
        Some(id) => Ok(Uuid::from_bytes(id)),
        None => {
            let id = Uuid::new_v4();
            conn.execute("INSERT INTO store (id) VALUES (?1)", params![id.into_bytes()]).map_err(db)?;
            Ok(id)
        }
    }
}
