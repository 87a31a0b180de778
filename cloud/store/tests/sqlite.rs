//! The contract on SQLite.

#![allow(clippy::unwrap_used)] // all of it is tests

#[macro_use]
mod contract;

use std::sync::Arc;

use cloud_core::Storage;
use cloud_store::{Options, Place, Store};
use common::Clock;
use contract::Backend;

struct Folder(tempfile::TempDir);

impl Backend for Folder {
    fn fresh() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open_with(
        &self,
        options: impl FnOnce(Place) -> (Options, Clock) + Send + 'static,
    ) -> Arc<dyn Storage> {
        let (options, clock) = options(Place::Sqlite(self.0.path().join("cloud.db")));
        Store::open(options, clock).unwrap()
    }
}

contract! { Folder, 48 }
