//! Which store this is: a random number, given when the database is first opened and anew when a backup is restored. Codes that
//! were open in the backup may have been used or taken back since: they are good no more.

use uuid::Uuid;

use crate::db::Result;
use crate::sql::{Conn, params};

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
