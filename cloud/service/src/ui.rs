//! The page's files as the API takes them.

use std::sync::Arc;

use axum::body::Bytes;
use cloud_api::{Ui, UiAsset};

/// Finds files of the page.
pub(crate) fn files() -> Ui {
    Arc::new(|path| {
        let asset = cloud_ui::asset(path)?;
        Some(UiAsset {
            body: Bytes::from_static(asset.bytes),
            brotli: asset.brotli.map(Bytes::from_static),
            content_type: asset.mime,
            immutable: asset.immutable,
        })
    })
}
