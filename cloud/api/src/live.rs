//! The WebSocket of the live channel: carries what `cloud-live` has for a client, and closes when the
//! client stops reading or the session ends.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, Request};
use axum::response::Response;
use cloud_core::Access;
use cloud_live::{Client, ClientItem};
use common::api::ClientMessage;
use common::names::Code;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};

use crate::auth::origin::check_origin;
use crate::context::Api;
use crate::error::ApiError;
use crate::guard::Caller;

/// How often a client is asked whether it is there.
const PING: Duration = Duration::from_secs(15);
/// How long a client may go without reading.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the session is looked at.
const RECHECK: Duration = Duration::from_secs(30);
/// How long the end of a channel may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Largest message of a client.
const MOST_BYTES: usize = 16 * 1024;

pub(crate) async fn connect(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    request: Request<axum::body::Body>,
) -> Result<Response, ApiError> {
    check_origin(&headers, false)?;
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &api).await.map_err(|e| {
        let mut error = ApiError::invalid(format!("this is a WebSocket: {e}"));
        error.problem.status = e.status().as_u16();
        error
    })?;
    let permit = std::sync::Arc::clone(&api.live_clients).try_acquire_owned().map_err(|_| {
        ApiError::new(Code::Unavailable, "too many live clients").after(Duration::from_secs(10))
    })?;
    let upgrade = upgrade.max_message_size(MOST_BYTES).max_frame_size(MOST_BYTES);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let client = api.live.connect(caller.access.clone());
        serve(&api, &caller, socket, client).await;
        drop(permit);
    }))
}

/// Why a channel ends.
enum End {
    /// the client went, or reads no more
    Gone,
    /// said to the client
    Closed(u16, &'static str),
}

async fn serve(api: &Api, caller: &Caller, mut socket: WebSocket, mut client: Client) {
    let End::Closed(code, reason) = carry(api, caller, &mut socket, &mut client).await else { return };
    let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
    // Until the client has closed its side: a socket that is dropped over unread bytes is reset, and the
    // reset overtakes the reason. A client that does not read its end is gone anyway.
    let goodbye = async {
        if socket.send(close).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    let _ = timeout(GOODBYE, goodbye).await;
}

async fn carry(api: &Api, caller: &Caller, socket: &mut WebSocket, client: &mut Client) -> End {
    let (mut ping, mut recheck) = (interval(PING), interval(RECHECK));
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let mut unsure = false;
    let mut revoked = api.revoked.subscribe();
    loop {
        let message = tokio::select! {
            // In this order: neither a flood of words nor of values keeps an ended session alive, and
            // what a client has said is heard before it is taken for gone.
            biased;
            () = api.drain.started() => return End::Closed(close_code::AWAY, "the service is stopping"),
            () = due(&mut recheck, &mut revoked) => match is_valid(api, caller).await {
                Ok(true) => {
                    unsure = false;
                    continue;
                }
                Ok(false) => return End::Closed(close_code::POLICY, "the session has ended"),
                // One failure of storage may pass; a second one must not keep a revoked session alive.
                Err(_) if unsure => return End::Closed(close_code::AGAIN, "the session cannot be checked"),
                Err(_) => {
                    unsure = true;
                    continue;
                }
            },
            said = socket.recv() => match said {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    if let Err(end) = hear(client, &message) {
                        return end;
                    }
                    continue;
                }
                Some(Err(_)) | None => return End::Gone,
            },
            _ = ping.tick() => {
                if heard.elapsed() >= PATIENCE {
                    return End::Gone;
                }
                Message::Ping(axum::body::Bytes::new())
            }
            item = client.next() => match item {
                ClientItem::Text(text) => Message::Text(text.as_ref().into()),
                ClientItem::Binary(bytes) => Message::Binary(bytes),
            },
        };
        match timeout(PATIENCE, socket.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return End::Gone,
        }
    }
}

/// When the session is to be looked at: from time to time, and when one has been ended here.
async fn due(recheck: &mut Interval, revoked: &mut watch::Receiver<()>) {
    tokio::select! {
        _ = recheck.tick() => {}
        // The sender lives as long as the API.
        _ = revoked.changed() => {}
    }
}

fn hear(client: &mut Client, message: &Message) -> Result<(), End> {
    match message {
        Message::Text(text) => match serde_json::from_str(text.as_str()) {
            Ok(ClientMessage::Subscribe { max_hz }) => client.subscribe(max_hz),
            Err(_) => return Err(End::Closed(close_code::INVALID, "not a message of this channel")),
        },
        Message::Binary(_) => return Err(End::Closed(close_code::UNSUPPORTED, "clients send text")),
        Message::Close(_) => return Err(End::Gone),
        Message::Ping(_) | Message::Pong(_) => {}
    }
    Ok(())
}

/// Whether the session or key still holds, with the same grants.
async fn is_valid(api: &Api, caller: &Caller) -> Result<bool, cloud_core::StoreError> {
    let found = api.storage.authenticate(&caller.token_hash, api.clock.now_us()).await?;
    Ok(found.is_some_and(|(name, grants)| Access { name, grants } == caller.access))
}
