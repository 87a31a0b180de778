//! `twins watch`: values as they change, from the live channel; where there is none, as on a box, by
//! asking every second.

use std::collections::HashMap;
use std::time::Duration;

use common::api::{ServerMessage, TwinView};
use common::{PointSchema, TwinId};
use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::Context;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::live::{Change, Heard, Live, Rows};
use crate::out::clean;
use crate::table::time;
use crate::value::show;

const POLL: Duration = Duration::from_secs(1);

/// What is watched, and how much is still to be printed.
struct Watch<'a> {
    ctx: &'a Context,
    twin: Option<TwinId>,
    points: Vec<String>,
    left: Option<u64>,
    twins: HashMap<TwinId, TwinView>,
}

pub(super) async fn watch(
    ctx: &Context,
    twin: Option<String>,
    points: Vec<String>,
    count: Option<u64>,
    max_hz: f64,
) -> Result<Exit> {
    let twins = match &twin {
        Some(name) => vec![ctx.client.twin(name).await?],
        None => ctx.client.twins(None).await?,
    };
    for point in &points {
        if !twins.iter().any(|t| t.points.iter().any(|p| *p.schema.name == **point)) {
            return Err(Error::new(Exit::NotFound, format!("there is no point `{point}`"))
                .remedy("`twinway twins get <twin>` lists its points"));
        }
    }
    let only = twin.and(twins.first().map(|t| t.id));
    let mut watch = Watch { ctx, twin: only, points, left: count, twins: HashMap::new() };
    if count == Some(0) {
        return Ok(Exit::Ok);
    }
    match Live::open(&ctx.client, max_hz).await? {
        Some(live) => watch.live(live, twins).await?,
        None => watch.poll(twins).await?,
    }
    Ok(Exit::Ok)
}

impl Watch<'_> {
    async fn live(&mut self, mut live: Live, twins: Vec<TwinView>) -> Result<()> {
        let mut rows = Rows::default();
        self.learn(&mut rows, twins);
        loop {
            let changes = match live.next().await? {
                Heard::Frame(frame) => rows.frame(&frame),
                Heard::Message(message) => match *message {
                    ServerMessage::Schema { area, epoch, rows: names, .. } => {
                        if self.twin.is_none() && names.iter().any(|(id, _)| !self.twins.contains_key(id)) {
                            self.reload(&mut rows).await?;
                        }
                        rows.learn_rows(area, epoch, names);
                        continue;
                    }
                    ServerMessage::Texts { area, epoch, values } => rows.texts(area, epoch, values),
                    ServerMessage::Twins => {
                        self.reload(&mut rows).await?;
                        continue;
                    }
                    ServerMessage::Lost { count } => {
                        self.ctx.out.note(&format!("twinway: too slow, {count} messages were left out"));
                        continue;
                    }
                    _ => continue,
                },
            };
            if self.print(changes)? {
                live.close().await;
                return Ok(());
            }
        }
    }

    async fn poll(&mut self, mut twins: Vec<TwinView>) -> Result<()> {
        let mut tick = tokio::time::interval(POLL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        let mut last: HashMap<(TwinId, String), Change> = HashMap::new();
        loop {
            let mut changes = Vec::new();
            for (twin, p) in twins.iter().flat_map(|t| t.points.iter().map(move |p| (t.id, p))) {
                let point = p.schema.name.to_string();
                let now = Change {
                    twin,
                    point,
                    value: p.value.clone(),
                    quality: p.quality,
                    source_us: p.source_us,
                };
                let key = (twin, now.point.clone());
                if last.get(&key) != Some(&now) {
                    last.insert(key, now.clone());
                    changes.push(now);
                }
            }
            self.twins = twins.into_iter().map(|t| (t.id, t)).collect();
            if self.print(changes)? {
                return Ok(());
            }
            tick.tick().await;
            twins = self.fetch().await?;
        }
    }

    async fn fetch(&self) -> Result<Vec<TwinView>> {
        match self.twin {
            Some(id) => Ok(vec![self.ctx.client.twin(&id.to_string()).await?]),
            None => self.ctx.client.twins(None).await,
        }
    }

    async fn reload(&mut self, rows: &mut Rows) -> Result<()> {
        let twins = self.fetch().await?;
        self.learn(rows, twins);
        Ok(())
    }

    fn learn(&mut self, rows: &mut Rows, twins: Vec<TwinView>) {
        rows.learn_types(&twins);
        self.twins = twins.into_iter().map(|t| (t.id, t)).collect();
    }

    /// Prints what is watched; true when enough was printed.
    fn print(&mut self, changes: Vec<Change>) -> Result<bool> {
        let out = self.ctx.out;
        for c in changes {
            let wanted = self.twin.is_none_or(|t| t == c.twin);
            if !wanted || !(self.points.is_empty() || self.points.contains(&c.point)) {
                continue;
            }
            let twin = self.twins.get(&c.twin);
            let schema = twin.and_then(|t| t.points.iter().map(|p| &p.schema).find(|p| *p.name == *c.point));
            let asset = twin.map_or_else(|| c.twin.to_string(), |t| t.asset.clone());
            if out.is_json() {
                out.json_line(&json!({
                    "source_us": c.source_us, "twin": c.twin, "asset": asset, "point": c.point,
                    "value": c.value, "quality": c.quality,
                }))?;
            } else {
                out.line(&line(&c, &asset, schema))?;
            }
            if let Some(left) = &mut self.left {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

fn line(c: &Change, asset: &str, schema: Option<&PointSchema>) -> String {
    let unit = schema.map(|s| s.unit.as_str()).filter(|u| !u.is_empty() && c.value.is_some());
    let unit = unit.map(|u| format!(" {u}")).unwrap_or_default();
    let quality = if c.quality.is_good() { String::new() } else { format!("  {}", c.quality) };
    let value = show(c.value.as_ref(), schema);
    clean(&format!("{}  {asset}  {}  {value}{unit}{quality}", time(c.source_us), c.point)).into_owned()
}
