//! The contract on PostgreSQL: a real server of the distribution, see `test-postgres`.

#![allow(clippy::unwrap_used)] // all of it is tests

#[macro_use]
mod contract;

use std::sync::Arc;

use cloud_core::Storage;
use cloud_store::{Options, Place, Server, Store};
use common::Clock;
use contract::Backend;

struct Database(String);

impl Backend for Database {
    fn fresh() -> Self {
        Self(test_postgres::Server::shared().create())
    }

    fn open_with(
        &self,
        options: impl FnOnce(Place) -> (Options, Clock) + Send + 'static,
    ) -> Arc<dyn Storage> {
        let url = test_postgres::Server::shared().url(&self.0);
        let (options, clock) = options(Place::Postgres(Server::new(&url, None, None).unwrap()));
        // It blocks, which a runtime's own thread must not.
        std::thread::spawn(move || Store::open(options, clock).unwrap()).join().unwrap()
    }
}

contract! { Database, 16 }
