//! Listeners: TLS, WebSocket, both, passwords, and who may do what.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use gateway_broker::{Broker, Error, Listener, Options, Rule, Tls, Users};
use gateway_core::DropCounts;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::rig::*;

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata").join(name)
}

fn tls() -> Tls {
    Tls { cert: testdata("server.crt"), key: testdata("server.key") }
}

fn local() -> Listener {
    Listener::new("127.0.0.1:0".parse().unwrap())
}

async fn over_tls(addr: std::net::SocketAddr) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(testdata("server.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// Says hello, publishes to itself and hears it, over a WebSocket.
async fn echo_over_websocket<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
    let (mut socket, response) = client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
    // Two packets in one message, one packet in two messages: their borders mean nothing.
    let mut both = connect5("ws", true, &[]);
    both.extend(subscribe5("a", 0, &[]));
    socket.send(Message::Binary(both.into())).await.unwrap();
    let publish = publish5("a", &[], &[7; 40_000], 0, 0);
    for half in publish.chunks(publish.len() / 2 + 1) {
        socket.send(Message::Binary(half.to_vec().into())).await.unwrap();
    }
    let mut got = Vec::new();
    while !got.ends_with(&publish) {
        match tokio::time::timeout(LIMIT, socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Binary(bytes) => got.extend(bytes),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got[0], 0x20);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_tls_websocket_and_both_are_open_at_once_for_both_versions() {
    let rig = Rig::start(|o| {
        o.listeners = vec![
            local(),
            Listener { tls: Some(tls()), ..local() },
            Listener { websocket: true, ..local() },
            Listener { tls: Some(tls()), websocket: true, ..local() },
        ];
    })
    .await;
    let addrs = rig.handle.addrs();
    let mut plain = rig.v3("plain", true).await;
    assert_eq!(plain.subscribe3("t", 1).await, 1);
    let mut secure = Client::new(over_tls(addrs[1]).await);
    secure.send(&connect3("secure", true, None)).await;
    assert_eq!(secure.packet().await, [0x20, 2, 0, 0]);
    secure.send(&publish3("t", b"over tls", 1, 1, false)).await;
    assert_eq!(plain.message3().await.1, b"over tls");
    echo_over_websocket(TcpStream::connect(addrs[2]).await.unwrap()).await;
    echo_over_websocket(over_tls(addrs[3]).await).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_tls_and_websocket_peers_keep_nobody_out() {
    let rig = Rig::start(|o| {
        o.listeners = vec![Listener { tls: Some(tls()), ..local() }, Listener { websocket: true, ..local() }];
    })
    .await;
    let addrs = rig.handle.addrs();
    // More than there are places for newcomers.
    let mut silent = Vec::new();
    for n in 0..150 {
        silent.push(TcpStream::connect(addrs[n % 2]).await.unwrap());
    }
    let mut secure = Client::new(over_tls(addrs[0]).await);
    secure.send(&connect3("secure", true, None)).await;
    assert_eq!(secure.packet().await, [0x20, 2, 0, 0]);
    echo_over_websocket(TcpStream::connect(addrs[1]).await.unwrap()).await;
    rig.stop().await;
}

async fn sign_in(rig: &Rig, login: Option<(&str, &str)>) -> u8 {
    let mut client = rig.tcp().await;
    client.send(&connect3("c", true, login)).await;
    client.packet().await[3]
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_in_wrong_is_told_so_in_the_codes_of_its_version() {
    let users = Users::parse(&Users::line("ann", b"secret").unwrap()).unwrap();
    let rig = Rig::start(|o| {
        o.users = users;
        o.listeners[0].allow_anonymous = false;
    })
    .await;
    assert_eq!(sign_in(&rig, None).await, 5);
    assert_eq!(sign_in(&rig, Some(("ann", "wrong"))).await, 4);
    assert_eq!(sign_in(&rig, Some(("bob", "secret"))).await, 4);
    assert_eq!(sign_in(&rig, Some(("ann", "secret"))).await, 0);
    let mut client = rig.tcp().await;
    client.send(&connect5("c", true, &[])).await;
    assert_eq!(client.packet().await[3], 0x87);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_users_must_sign_in_and_need_rights() {
    let mut options = Options::new("0.0.0.0:0".parse().unwrap());
    let refused = Broker::start(options.clone(), DropCounts::default()).await.err().unwrap();
    assert!(matches!(refused, Error::Open { .. }));
    assert!(refused.to_string().contains("allow_anonymous"), "{refused}");
    options.listeners[0].allow_anonymous = true;
    Broker::start(options, DropCounts::default()).await.unwrap();

    let users = Users::parse(&Users::line("ann", b"secret").unwrap()).unwrap();
    let rig = Rig::start(|o| {
        o.users = users;
        o.listeners = vec![Listener::new("0.0.0.0:0".parse().unwrap())];
    })
    .await;
    let mut client = Client::new(TcpStream::connect(("127.0.0.1", rig.addr().port())).await.unwrap());
    client.send(&connect3("c", true, Some(("ann", "secret")))).await;
    assert_eq!(client.packet().await, [0x20, 2, 0, 0]);
    assert_eq!(client.subscribe3("anything", 0).await, 0x80);
    client.send(&publish3("anything", b"1", 1, 1, false)).await;
    assert_eq!(client.packet().await, [0x40, 2, 0, 1]);
    assert_eq!(rig.lost("not_authorized"), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_hold_for_publishing_subscribing_and_wills() {
    let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let rig = Rig::start(|o| {
        o.rights = vec![Rule {
            clients: own(&["press-*"]),
            publish: own(&["sensors/%c/#"]),
            subscribe: own(&["cmd/%c/+", "all"]),
            ..Rule::default()
        }];
    })
    .await;
    let mut watcher = rig.v3("watcher", true).await;
    assert_eq!(watcher.subscribe3("#", 0).await, 0);
    let (mut press, _) = rig.v5("press-1", true, &[]).await;
    for (filter, code) in [
        ("cmd/press-1/go", 1),
        ("cmd/press-2/go", 0x87),
        ("#", 0x87),
        ("cmd/press-1/#", 0x87),
        ("$share/g/all", 1),
    ] {
        assert_eq!(press.subscribe5(filter, 1, &[]).await, code, "{filter}");
    }
    press.send(&publish5("sensors/press-2/x", &[], b"no", 1, 1)).await;
    assert_eq!(press.packet().await, [0x40, 3, 0, 1, 0x87]);
    press.send(&publish5("sensors/press-2/x", &[], b"no", 2, 2)).await;
    assert_eq!(press.packet().await, [0x50, 3, 0, 2, 0x87]);
    press.send(&publish5("sensors/press-1/x", &[], b"yes", 1, 3)).await;
    assert_eq!(press.packet().await, [0x40, 2, 0, 3]);
    assert_eq!(watcher.message3().await.1, b"yes");
    assert_eq!(rig.lost("not_authorized"), 2);
    assert_eq!(rig.handle.status().clients[0].denied, 2);
    // A will where it may not publish: refused at once, not when it is too late.
    let mut body = text("MQTT");
    body.extend([4, 6, 0, 60]);
    for field in ["press-3", "sensors/press-1/x", "gone"] {
        body.extend(text(field));
    }
    let mut willing = rig.tcp().await;
    willing.send(&packet(0x10, &body)).await;
    assert_eq!(willing.packet().await, [0x20, 2, 0, 5]);
    rig.stop().await;
}
