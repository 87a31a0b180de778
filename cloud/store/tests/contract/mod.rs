//! What any storage must hold, whatever it is built on. A backend says how it is opened; `contract_tests!` then
//! makes a test of each item. Nothing here knows SQLite.

#![allow(clippy::unwrap_used, clippy::expect_used)] // all of it is tests

pub(crate) mod accounts;
pub(crate) mod alarms;
pub(crate) mod boxes;
pub(crate) mod commands;
pub(crate) mod fixtures;
pub(crate) mod frames;
pub(crate) mod history;
pub(crate) mod model;
pub(crate) mod twins;

use std::sync::Arc;

use cloud_core::Storage;

/// A place that storage can be opened in again and again. What is dropped without a word must be there again.
pub(crate) trait Backend {
    /// A new, empty place.
    fn fresh() -> Self;
    /// Opens what is there. The one opened before has been dropped.
    fn open(&self) -> Arc<dyn Storage>;
}

/// One test for each item of the contract.
#[macro_export]
macro_rules! contract_tests {
    ($backend:ty: $($module:ident :: $name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $name() {
                let backend = <$backend as $crate::contract::Backend>::fresh();
                $crate::contract::$module::$name(&backend).await;
            }
        )*
    };
}
