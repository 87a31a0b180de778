//! What a Sparkplug host asks of our node: new births, and writes, which go to control like any other.

use std::sync::atomic::Ordering;

use common::TwinId;
use common::api::CommandRequest;
use common::command::{Origin, Requester};

use crate::edge::Ask;
use crate::options::{Error, Format};
use crate::publisher::{Publisher, Session};

impl Publisher {
    pub(crate) async fn command(
        &self,
        session: &mut Session<'_>,
        topic: &str,
        payload: &[u8],
    ) -> Result<(), Error> {
        let (Some(node), Format::Sparkplug(sparkplug)) = (&session.node, &self.options.format) else {
            return Ok(());
        };
        let asks = node.asks(topic, payload);
        let births = asks.contains(&Ask::Births);
        for (number, ask) in asks.into_iter().enumerate() {
            match ask {
                Ask::Births => {}
                Ask::Nonsense(detail) => {
                    tracing::warn!(publisher = self.options.name, topic, detail, "command of a host refused");
                }
                Ask::Write { point, .. } if !sparkplug.commands => {
                    let detail = "commands of hosts are not taken: `commands` is false";
                    tracing::warn!(
                        publisher = self.options.name,
                        topic,
                        point,
                        detail,
                        "command of a host refused"
                    );
                }
                Ask::Write { twin, point, value } => {
                    let mut name = format!("{topic}/{number}/").into_bytes();
                    name.extend_from_slice(payload);
                    // The same bytes again are the same wish: senders repeat, and stamp each wish.
                    let key = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &name).to_string();
                    let reason = format!("command of a host on {topic}");
                    self.submit(twin, CommandRequest { point, value, ttl_ms: 10_000, reason }, key);
                }
            }
        }
        if births { self.births(session).await } else { Ok(()) }
    }

    fn submit(&self, twin: TwinId, request: CommandRequest, key: String) {
        let publisher = self.options.name.clone();
        let Ok(permit) = self.writes.clone().try_acquire_owned() else {
            let queue = format!("publish.{publisher}");
            let full = self.parts.drops.counter(&queue, "commands_full");
            full.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let orders = self.parts.orders.clone();
        let requester = Requester { name: format!("sparkplug:{publisher}"), origin: Origin::Cloud };
        tokio::spawn(async move {
            let point = request.point.clone();
            if let Err((code, detail)) = orders.submit(twin, request, requester, key).await {
                tracing::warn!(publisher, point, %code, detail, "command of a host refused");
            }
            drop(permit);
        });
    }
}
