//! The model of the OPC UA server as a file.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use common::api::Problem;
use common::names::Code;

use super::Api;

pub(super) async fn nodeset(State(api): State<Api>) -> Result<Response, Problem> {
    let (registry, nameplates) = (api.points.now(), api.opcua.nameplates_now());
    let (gateway, tenant) = (api.id.clone(), registry.schema().tenant.clone());
    let uri = gateway_opcua_server::namespace(&tenant, &gateway);
    let made = move || gateway_opcua_server::nodeset_xml(registry, gateway, &uri, nameplates);
    let xml = tokio::task::spawn_blocking(made).await;
    let xml = xml.map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/xml")], xml).into_response())
}
