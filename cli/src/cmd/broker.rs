//! `mqtt clients`: who is connected to a box's broker. The cloud has no such list.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::error::Result;
use crate::exit::Exit;
use crate::out::clean;
use crate::table::{Table, age, size};

#[derive(Debug, Deserialize, Serialize)]
struct Broker {
    connected: usize,
    refused: u64,
    retained: usize,
    retained_bytes: u64,
    clients: Vec<Client>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Client {
    client: String,
    user: Option<String>,
    version: String,
    peer: Option<String>,
    listener: Option<String>,
    since_us: Option<i64>,
    session_expiry_s: u32,
    subscriptions: u64,
    filters: Vec<String>,
    queued: u64,
    queued_bytes: u64,
    in_flight: u64,
    received: u64,
    received_bytes: u64,
    sent: u64,
    sent_bytes: u64,
    dropped: u64,
    denied: u64,
}

pub(super) async fn clients(ctx: &Context) -> Result<Exit> {
    let request = ctx.client.request(Method::GET, &["broker"])?;
    let broker: Broker = ctx.client.fetch(request).await?;
    let now = ctx.clock.now_us();
    ctx.out.show(&broker, |b| table(b, now).text())?;
    ctx.out.note(&format!(
        "{} connected, {} connections refused or closed, {} retained messages of {}",
        broker.connected,
        broker.refused,
        broker.retained,
        size(broker.retained_bytes)
    ));
    Ok(Exit::Ok)
}

fn table(broker: &Broker, now_us: i64) -> Table {
    let columns = [
        "CLIENT", "USER", "MQTT", "FROM", ">SINCE", ">SUBS", ">QUEUED", ">BYTES", ">IN", ">OUT", ">DROPPED",
        ">DENIED",
    ];
    let mut table = Table::new(&columns);
    for c in &broker.clients {
        table.row(vec![
            clean(&c.client).into_owned(),
            c.user.as_deref().map(clean).unwrap_or_default().into_owned(),
            c.version.clone(),
            c.peer.clone().unwrap_or_else(|| "away".to_owned()),
            age(c.since_us.unwrap_or(0), now_us),
            c.subscriptions.to_string(),
            c.queued.to_string(),
            size(c.queued_bytes),
            c.received.to_string(),
            c.sent.to_string(),
            c.dropped.to_string(),
            c.denied.to_string(),
        ]);
    }
    table
}
