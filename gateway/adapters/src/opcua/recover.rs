//! What is done when a subscription is lost, silent or left behind by a session: it is taken over from the old session,
//! or made anew; and points are read or tried again.

use futures_util::FutureExt;
use opcua::client::UARequest;
use opcua::client::services::TransferSubscriptions;
use opcua::types::StatusCode;

use super::items::Subscription;
use super::session::{Ended, Live, Memory, Step};
use super::spec::{Place, Spec};
use super::{items, poll};

/// Takes the subscriptions of an earlier session over, with what they have kept. Those that the server does not give
/// are forgotten.
pub(super) async fn transfer(live: &mut Live<'_>) {
    let old = std::mem::take(&mut live.memory.subscriptions);
    if old.is_empty() {
        return;
    }
    let asked = TransferSubscriptions::new(&live.session)
        .subscription_ids(old.iter().map(|s| s.id).collect())
        .send_initial_values(true)
        .send(live.session.channel())
        .await;
    let mut results = asked.ok().and_then(|a| a.results).unwrap_or_default().into_iter();
    let all = old.len();
    live.memory.subscriptions.extend(
        old.into_iter().filter(|_| results.next().is_some_and(|result| result.status_code.is_good())),
    );
    let taken_over = live.memory.subscriptions.len();
    tracing::info!(taken_over, lost = all - taken_over, "subscriptions after a new session");
}

/// Makes a subscription anew.
pub(super) async fn renew(live: &mut Live<'_>, id: u32) -> Step {
    let Some(at) = live.memory.subscriptions.iter().position(|s| s.id == id) else { return Ok(()) };
    let old = live.memory.subscriptions.remove(at);
    items::delete(&live.session, vec![old.id]).await;
    anew(live, old.points, old.events).await
}

/// Makes all subscriptions anew: the server has none.
pub(super) async fn renew_all(live: &mut Live<'_>) -> Step {
    let old = std::mem::take(&mut live.memory.subscriptions);
    let (points, events): (Vec<_>, Vec<_>) = old.into_iter().map(|s| (s.points, s.events)).unzip();
    anew(live, points.concat(), events.concat()).await
}

async fn anew(live: &mut Live<'_>, points: Vec<Place>, events: Vec<usize>) -> Step {
    live.publisher.clear();
    let made = live.subscribe(points, events).await;
    made.map_err(|e| Ended::Lost(format!("no subscription: {e}")))?;
    live.set_publisher();
    Ok(())
}

/// Reads once what no subscription has told anything of since the connection is back.
pub(super) async fn read_all(live: &mut Live<'_>) -> Step {
    let (specs, failed) = (&live.shared.specs, &live.memory.failed);
    // What was refused stays so until the server takes it.
    let left = |at: &Place| !failed.contains(at) && specs.get(*at).is_some_and(Spec::is_left_behind);
    let all = live.memory.subscriptions.iter().flat_map(|s| s.points.iter().copied());
    let points: Vec<Place> = all.filter(left).collect();
    for chunk in points.chunks(live.limits.read) {
        let read = poll::once(live.ground(), chunk).boxed().await;
        match &read {
            // The server answers, though not what was asked: the points tell it.
            Err((_, error)) if error.status() != StatusCode::BadUnexpectedError => {
                return Err(Ended::Lost(format!("not read: {error}")));
            }
            _ => live.polled(read),
        }
    }
    Ok(())
}

/// Tries points again that the server refused.
pub(super) async fn retry(live: &mut Live<'_>) -> Step {
    let Memory { subscriptions, failed, .. } = &*live.memory;
    let of = |s: &Subscription| s.points.iter().copied().filter(|p| failed.contains(p)).collect();
    let places: Vec<(u32, Vec<Place>)> = subscriptions.iter().map(|s| (s.id, of(s))).collect();
    for (id, points) in places.into_iter().filter(|(_, p)| !p.is_empty()) {
        points.iter().for_each(|p| _ = live.memory.failed.remove(p));
        match items::fill(live.ground(), id, &points).await {
            Ok(refused) => live.refused(refused),
            Err(error) => {
                // Which of them the server has now is not known: all of the subscription is made anew.
                live.memory.subscriptions.retain(|s| s.id != id);
                live.memory.begun.push(id);
                return Err(Ended::Lost(format!("not subscribed: {error}")));
            }
        }
    }
    Ok(())
}
