//! Commands sent while things break: each under one key, as often as it takes to get an answer, as a careful
//! client does.

use std::time::Duration;

use common::CommandId;
use common::api::{CommandRequest, CommandView};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::judge::{Sent, was_hidden};
use crate::Api;

/// How long a request may take before it is asked again.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a command may take to the device, ms.
const TTL_MS: u64 = 2000;

/// A command and what the cloud said to it.
#[derive(Debug)]
pub(super) struct Order {
    reason: String,
    register: usize,
    word: u16,
    pub(super) id: Option<CommandId>,
}

/// Sends all, each at its time.
pub(super) async fn send(
    api: Api,
    orders: Vec<(Duration, usize)>,
    start: tokio::time::Instant,
) -> Vec<Order> {
    let mut sending = JoinSet::new();
    for (n, (at, register)) in (0u16..).zip(orders) {
        let api = api.clone();
        sending.spawn(async move {
            sleep_until(start + at).await;
            // Each writes a word that no other writes.
            let word = 100 + 7 * n;
            let reason = format!("order-{n:04}");
            let id = ask(&api, register, word, &reason).await;
            Order { reason, register, word, id }
        });
    }
    sending.join_all().await
}

/// None if the cloud refused.
async fn ask(api: &Api, register: usize, word: u16, reason: &str) -> Option<CommandId> {
    let request = CommandRequest {
        point: format!("r{register}"),
        value: (f64::from(word) / 10.0).into(),
        ttl_ms: TTL_MS,
        reason: reason.to_owned(),
    };
    loop {
        let post = api.post_command("hall/plc", &request, reason).send();
        if let Ok(Ok(answer)) = timeout(PATIENCE, post).await {
            if !answer.status().is_success() {
                return None;
            }
            if let Ok(view) = answer.json::<CommandView>().await {
                return Some(view.id);
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// What both sides say of them now.
pub(super) async fn look(orders: &[Order], cloud: &Api, gateway: &Api, untimed: bool) -> Vec<Sent> {
    let mut all = Vec::new();
    for order in orders {
        let (mut at_cloud, mut at_box) = (None, None);
        if let Some(id) = order.id {
            let path = format!("/api/v1/commands/{id}");
            at_cloud = cloud.try_get(&path).await;
            at_box = gateway.try_get(&path).await;
        }
        let Order { reason, register, word, .. } = order;
        all.push(Sent {
            reason: reason.clone(),
            register: *register,
            word: *word,
            acknowledged: order.id.is_some(),
            cloud: at_cloud,
            gateway: at_box,
            untimed,
        });
    }
    all
}

/// Whether all have an end that both sides know, and what reading back can settle is settled.
pub(super) fn are_settled(all: &[Sent]) -> bool {
    let settled = |sent: &Sent, view: &CommandView| {
        let same = sent.gateway.as_ref().is_none_or(|g| g.state == view.state);
        let open = view.state == common::CommandState::Unknown && !was_hidden(all, sent);
        view.state.is_final() && same && !open
    };
    all.iter().all(|sent| sent.cloud.as_ref().is_none_or(|view| settled(sent, view)))
}
