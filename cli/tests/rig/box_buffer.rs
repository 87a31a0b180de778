//! What the server of the tests, as a box, tells of its buffer; that the real one tells the same is shown with its process.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use common::api::*;
use common::names::Code;

use super::{NOW_US, Shared, gateway, lock};

pub(super) fn routes() -> Router<Shared> {
    let export = || async { "time,received,device,point,value,unit,quality\nt,r,oven,temp,1,Cel,good\n" };
    Router::new()
        .route("/buffer", get(status))
        .route("/buffer/export", get(export))
        .route("/buffer/verify", get(verify))
        .route("/buffer/drop", post(drop))
}

async fn status(State(w): State<Shared>) -> Response {
    if !lock(&w).is_box {
        return Problem::new(Code::NotFound, "no such route").into_response();
    }
    Json(BufferStatus {
        health: gateway().health.unwrap().buffer,
        segments: 7,
        oldest_us: Some(NOW_US),
        newest_us: None,
        samples: BufferClass { frames: 100, unacked_frames: 11 },
        critical: BufferClass::default(),
        trends: BufferClass { frames: 3, unacked_frames: 2 },
        records: BufferClass { frames: 9, unacked_frames: 1 },
        records_bytes: (2048, 1 << 28),
        readers: vec![BufferReader {
            name: "host\x1b[2J".into(),
            lag_frames: 5,
            lag_bytes: 4096,
            most_bytes: Some(1 << 20),
        }],
        quarantine: BufferQuarantine { files: 2, bytes: 3000, since_start: 1 },
        lost: [("quota".to_owned(), BufferLoss { frames: 3, samples: 333 })].into(),
        refusing: true,
    })
    .into_response()
}

async fn verify() -> Json<BufferVerify> {
    let damage =
        BufferDamage { file: "1.seg".into(), seqs: Some((4, 6)), detail: "records are not sound".into() };
    Json(BufferVerify { segments: 3, frames: 99, bytes: 1 << 20, damage: vec![damage] })
}

async fn drop(Json(asked): Json<BufferDropRequest>) -> Json<BufferDropped> {
    assert!(asked.from_us < asked.to_us && !asked.reason.is_empty());
    Json(BufferDropped { frames: 4, samples: 400, acked_frames: 6 })
}
