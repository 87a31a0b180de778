//! Small things that a part remembers over restarts and can do without, such as what a device refuses. What must not
//! be lost is in the log.

/// Where notes are kept. Writing goes to the disk: not on a task of the runtime.
pub trait Notes: Send + Sync {
    /// A note, if there is one.
    fn get(&self, key: &str) -> Option<Vec<u8>>;

    /// Keeps a note. A failure is the keeper's to tell; the old one stays then.
    fn set(&self, key: &str, value: &[u8]);
}
