//! The WebSocket on a real socket: values and messages by grant, origins, and how a channel ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use cloud_core::{LiveSink as _, Scope};
use common::api::{LiveFrame, Role, ServerMessage};
use futures_util::{SinkExt as _, StreamExt as _};
use support::{OVEN, Rig};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

type Socket = WebSocketStream<TcpStream>;

async fn serve(rig: &Rig) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = rig.router.clone().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

async fn connect(at: SocketAddr, headers: &[(&'static str, String)]) -> Result<Socket, Error> {
    let mut request = format!("ws://{at}/api/v1/live").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    client_async(request, TcpStream::connect(at).await.unwrap()).await.map(|(socket, _)| socket)
}

fn refused(result: Result<Socket, Error>) -> u16 {
    match result {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?}"),
    }
}

async fn next(socket: &mut Socket) -> Message {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
        match message.expect("a message within 10 s").expect("an open channel").unwrap() {
            Message::Ping(_) => {}
            other => return other,
        }
    }
}

async fn text(socket: &mut Socket) -> ServerMessage {
    match next(socket).await {
        Message::Text(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn closed(socket: &mut Socket) -> u16 {
    loop {
        match next(socket).await {
            Message::Close(Some(frame)) => return frame.code.into(),
            Message::Text(_) | Message::Binary(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

#[tokio::test]
async fn a_client_gets_the_areas_and_messages_of_its_grants_only() {
    let rig = Rig::new();
    let live = rig.live.clone();
    let ticks = tokio::spawn({
        let (live, drain) = (live.clone(), rig.drain.clone());
        async move { live.run(drain).await }
    });
    let at = serve(&rig).await;
    let token = rig.token("c", &[("plant/coating", Role::Viewer)]);
    let mut socket = connect(at, &[bearer(&token)]).await.unwrap();
    socket.send(Message::text(r#"{"op":"subscribe","max_hz":50}"#)).await.unwrap();
    match text(&mut socket).await {
        ServerMessage::Schema { path, rows, .. } => {
            assert_eq!(path, "plant/coating");
            assert_eq!(rows[0], (OVEN, "temperature".to_owned()));
        }
        other => panic!("{other:?}"),
    }
    let Message::Binary(bytes) = next(&mut socket).await else { panic!("no frame") };
    assert_eq!(LiveFrame::decode(&bytes).unwrap().rows.len(), 3);
    live.message(&Scope::Asset("plant/winding/line1/press".into()), ServerMessage::Lost { count: 7 });
    live.message(&Scope::Asset("plant/coating/line1/oven".into()), ServerMessage::Twins);
    loop {
        match next(&mut socket).await {
            Message::Binary(_) => {}
            Message::Text(text) => {
                let message: ServerMessage = serde_json::from_str(&text).unwrap();
                assert_eq!(message, ServerMessage::Twins);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    rig.drain.start();
    assert_eq!(closed(&mut socket).await, 1001);
    ticks.await.unwrap();
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_and_so_is_who_did_not_sign_in() {
    let rig = Rig::new();
    let at = serve(&rig).await;
    let token = rig.token("c", &[("", Role::Viewer)]);
    let cookie = ("cookie", format!("twinway_session={token}"));
    assert_eq!(refused(connect(at, &[]).await), 401);
    assert_eq!(refused(connect(at, &[cookie.clone(), ("origin", "http://evil.example".into())]).await), 403);
    assert_eq!(refused(connect(at, &[bearer(&token), ("origin", "null".into())]).await), 403);
    connect(at, &[cookie, ("origin", format!("http://{at}"))]).await.unwrap();
}

#[tokio::test]
async fn rubbish_closes_the_channel() {
    let rig = Rig::new();
    let at = serve(&rig).await;
    let token = rig.token("c", &[("", Role::Viewer)]);
    for (message, code) in [
        (Message::text("{}"), 1007),
        (Message::text(r#"{"op":"write","value":1}"#), 1007),
        (Message::binary(vec![1]), 1003),
    ] {
        let mut socket = connect(at, &[bearer(&token)]).await.unwrap();
        socket.send(message).await.unwrap();
        assert_eq!(closed(&mut socket).await, code);
    }
}

#[tokio::test]
async fn there_are_no_more_clients_than_allowed() {
    let rig = Rig::with(cloud_api::Options { live_clients: 1, ..Default::default() });
    let at = serve(&rig).await;
    let token = rig.token("c", &[("", Role::Viewer)]);
    let first = connect(at, &[bearer(&token)]).await.unwrap();
    assert_eq!(refused(connect(at, &[bearer(&token)]).await), 503);
    drop(first);
}

#[tokio::test]
async fn signing_out_ends_the_sessions_channel_at_once() {
    let rig = Rig::new();
    let at = serve(&rig).await;
    let (token, other) = (rig.token("c", &[("", Role::Viewer)]), rig.token("d", &[("", Role::Viewer)]));
    let mut socket = connect(at, &[bearer(&token)]).await.unwrap();
    let mut stays = connect(at, &[bearer(&other)]).await.unwrap();
    rig.ask("DELETE", "/api/v1/session").bearer(&token).send().await.ok(204);
    assert_eq!(closed(&mut socket).await, 1008);
    stays.send(Message::text(r#"{"op":"subscribe"}"#)).await.unwrap();
    assert!(matches!(text(&mut stays).await, ServerMessage::Schema { .. }));
}

/// Time is paused only while it is moved on: sockets do not wait for it.
#[tokio::test]
async fn a_session_that_ended_elsewhere_ends_its_channel_within_a_minute() {
    let rig = Rig::new();
    let at = serve(&rig).await;
    let token = rig.token("c", &[("", Role::Viewer)]);
    let mut socket = connect(at, &[bearer(&token)]).await.unwrap();
    socket.send(Message::text(r#"{"op":"subscribe"}"#)).await.unwrap();
    let _ = next(&mut socket).await;
    rig.storage.end_session(&token);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    assert_eq!(closed(&mut socket).await, 1008);
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_dropped() {
    let rig = Rig::with(cloud_api::Options { live_clients: 1, ..Default::default() });
    let at = serve(&rig).await;
    let token = rig.token("c", &[("", Role::Viewer)]);
    // Never read from: it answers no ping.
    let _deaf = connect(at, &[bearer(&token)]).await.unwrap();
    tokio::time::pause();
    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(15)).await;
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    // Its place is free again.
    let mut tries = 0;
    while connect(at, &[bearer(&token)]).await.is_err() {
        tries += 1;
        assert!(tries < 500, "its place is not free");
        tokio::task::yield_now().await;
    }
}
