//! Twins, their points and the asset tree, as the box sees them now.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use common::api::{AssetKind, AssetNode, Page, PointView, Problem, TwinView};
use common::names::Code;
use common::{DeviceSchema, TwinId};
use gateway_core::Registry;
use serde::Deserialize;

use super::{Api, invalid, limit, query};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    cursor: Option<usize>,
    limit: Option<usize>,
    filter: Option<String>,
}

pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Result<Json<Page<TwinView>>, Problem> {
    let q: ListQuery = query(&uri)?;
    let (start, limit) = (q.cursor.unwrap_or(0), limit(q.limit)?);
    let filter = q.filter.unwrap_or_default().to_lowercase();
    let registry = api.points.now();
    let devices = registry.schema().devices.iter();
    let mut found = devices.filter(|d| d.asset.to_lowercase().contains(&filter)).skip(start);
    let items: Vec<_> = found.by_ref().take(limit).map(|d| api.view(&registry, d)).collect();
    let next_cursor = found.next().map(|_| (start + items.len()).to_string());
    Ok(Json(Page { items, next_cursor }))
}

pub(super) async fn one(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, Problem> {
    let registry = api.points.now();
    let view = api.view(&registry, twin(&registry, &name)?);
    let etag = format!("\"{}\"", view.desired_version);
    Ok(([(header::ETAG, etag)], Json(view)).into_response())
}

pub(super) async fn assets(State(api): State<Api>) -> Json<Page<AssetNode>> {
    let registry = api.points.now();
    let mut nodes: BTreeMap<&str, Vec<TwinId>> = BTreeMap::from([("", vec![])]);
    for device in &registry.schema().devices {
        for (at, _) in device.asset.match_indices('/') {
            nodes.entry(&device.asset[..at]).or_default();
        }
        nodes.entry(&device.asset).or_default().push(device.twin);
    }
    let node = |(path, twins): (&str, Vec<TwinId>)| AssetNode {
        path: path.to_owned(),
        name: last_part(path).to_owned(),
        kind: kind(path),
        twins,
    };
    Json(Page { items: nodes.into_iter().map(node).collect(), next_cursor: None })
}

fn kind(path: &str) -> AssetKind {
    match path.split('/').filter(|p| !p.is_empty()).count() {
        0 => AssetKind::Enterprise,
        1 => AssetKind::Site,
        2 => AssetKind::Area,
        3 => AssetKind::Line,
        _ => AssetKind::Cell,
    }
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The device of a twin, by id or by the whole or a trailing part of its place.
pub(super) fn twin<'r>(registry: &'r Registry, name: &str) -> Result<&'r DeviceSchema, Problem> {
    let devices = &registry.schema().devices;
    if let Ok(id) = name.parse::<TwinId>()
        && let Some(device) = devices.iter().find(|d| d.twin == id)
    {
        return Ok(device);
    }
    if let Some(device) = devices.iter().find(|d| d.asset == name) {
        return Ok(device);
    }
    let is_named = |path: &str| path.strip_suffix(name).is_some_and(|front| front.ends_with('/'));
    let mut found = devices.iter().filter(|d| !name.is_empty() && is_named(&d.asset));
    match (found.next(), found.next()) {
        (Some(device), None) => Ok(device),
        (Some(a), Some(b)) => {
            Err(invalid(format!("`{name}` may be {} or {}: use a longer name", a.asset, b.asset)))
        }
        (None, _) => Err(Problem::new(Code::UnknownTwin, format!("there is no twin `{name}`"))),
    }
}

impl Api {
    fn view(&self, registry: &Registry, device: &DeviceSchema) -> TwinView {
        let index = registry.device_named(&device.name);
        let online = index.and_then(|i| self.vitals.health.get(i)).is_some_and(|d| d.connected);
        let now_us = self.vitals.clock.now_us();
        let own = index.and_then(|i| registry.device(i)).map(|d| registry.points_of(d));
        let points = own.into_iter().flatten().map(|point| {
            let sample = self.current.judged(point.id, point.schema.stale_ms, now_us);
            PointView {
                schema: point.schema.clone(),
                value: sample.value.filter(|_| !sample.quality.is_bad()),
                quality: sample.quality,
                source_us: sample.source_us,
                received_us: sample.received_us,
                desired: None,
            }
        });
        TwinView {
            id: device.twin,
            asset: device.asset.clone(),
            name: last_part(&device.asset).to_owned(),
            description: device.description.clone(),
            gateway: Some(self.id.clone()),
            device: Some(device.name.clone()),
            online,
            desired_version: 0,
            points: points.collect(),
        }
    }
}
