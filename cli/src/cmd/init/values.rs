//! First values of new devices, from the gateway that reads them.

use std::time::Duration;

use common::api::TwinView;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::super::Context;
use crate::error::Result;
use crate::table::{Table, time};
use crate::value::show;

const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long points that are still bad are waited for when others are good.
const SETTLE: Duration = Duration::from_secs(5);

/// What the devices' points are, once all are good or it has been waited long enough.
pub(super) async fn first(ctx: &Context, devices: &[String], wait: Duration) -> Result<Vec<TwinView>> {
    let began = Instant::now();
    loop {
        let mut twins = ctx.client.twins(None).await?;
        twins.retain(|t| t.device.as_ref().is_some_and(|d| devices.contains(d)));
        let points = || twins.iter().flat_map(|t| &t.points);
        let good = points().filter(|p| p.quality.is_good()).count();
        let limit = if good > 0 { SETTLE.min(wait) } else { wait };
        let is_all = twins.len() == devices.len() && good == points().count();
        if is_all || began.elapsed() >= limit {
            return Ok(twins);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Whether any value is there.
pub(super) fn has_good(twins: &[TwinView]) -> bool {
    twins.iter().flat_map(|t| &t.points).any(|p| p.quality.is_good())
}

pub(super) fn text(twins: &[TwinView]) -> String {
    let mut table = Table::new(&["TWIN", "POINT", ">VALUE", "UNIT", "QUALITY", "AT"]);
    for (t, p) in twins.iter().flat_map(|t| t.points.iter().map(move |p| (t, p))) {
        table.row([
            t.asset.clone(),
            p.schema.name.to_string(),
            show(p.value.as_ref(), Some(&p.schema)),
            p.schema.unit.to_string(),
            p.quality.to_string(),
            time(p.source_us),
        ]);
    }
    table.text()
}

pub(super) fn told(twins: &[TwinView]) -> Value {
    let one = |(t, p): (&TwinView, &common::api::PointView)| {
        json!({ "device": t.device, "asset": t.asset, "point": p.schema.name, "value": p.value, "quality": p.quality,
            "source_us": p.source_us })
    };
    twins.iter().flat_map(|t| t.points.iter().map(move |p| (t, p))).map(one).collect()
}
