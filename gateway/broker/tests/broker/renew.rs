//! Other users, rights, limits and listeners while clients are connected: what they hold for at once, whom they close,
//! and that nobody else notices.

use std::net::SocketAddr;
use std::process::Command;

use gateway_broker::{Error, Listener, Options, Rule, Tls, Users};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::*;

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn options(listeners: Vec<Listener>) -> Options {
    Options { listeners, ..Options::new(any()) }
}

fn users(names: &[&str]) -> Users {
    let lines: Vec<_> = names.iter().map(|n| Users::line(n, n.as_bytes()).unwrap()).collect();
    Users::parse(&lines.join("\n")).unwrap()
}

fn rights(topics: &str) -> Vec<Rule> {
    let topics = vec![topics.to_owned()];
    vec![Rule { publish: topics.clone(), subscribe: topics, ..Rule::default() }]
}

async fn at(addr: SocketAddr) -> Client<TcpStream> {
    Client::new(TcpStream::connect(addr).await.unwrap())
}

/// A client of MQTT 5 with user and password, and a will.
fn willing(name: &str, will: &str) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend([5, 0xc6, 0, 60, 0]);
    body.extend(text(name));
    body.push(0);
    for field in [will, "gone", name, name] {
        body.extend(text(field));
    }
    packet(0x10, &body)
}

/// Whether a client is still served.
async fn pings(client: &mut Client<TcpStream>) {
    client.send(&packet(0xc0, &[])).await;
    assert_eq!(client.packet().await, [0xd0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_hold_from_the_next_packet_on_and_who_has_no_user_any_more_is_told_and_closed() {
    let secured = |names: &[&str], topics: &str| {
        let mut options =
            options(vec![Listener { allow_anonymous: false, open: false, ..Listener::new(any()) }]);
        (options.users, options.rights) = (users(names), rights(topics));
        options
    };
    let rig = Rig::start(|o| *o = secured(&["ann", "bob", "cyd"], "a/#")).await;
    let mut ann = rig.tcp().await;
    ann.send(&willing("ann", "a/will")).await;
    assert_eq!(ann.packet().await[3], 0);
    assert_eq!(ann.subscribe5("a/#", 1, &[]).await, 1);
    let mut bob = rig.tcp().await;
    bob.send(&willing("bob", "a/will")).await;
    assert_eq!(bob.packet().await[3], 0);
    let mut cyd = rig.tcp().await;
    cyd.send(&connect3("cyd", true, Some(("cyd", "cyd")))).await;
    assert_eq!(cyd.packet().await[3], 0);
    ann.send(&publish5("a/x", &[], b"1", 1, 1)).await;
    let (ack, message) = (ann.packet().await, ann.packet().await);
    assert!([&ack[..], &message[..]].contains(&&[0x40, 2, 0, 1][..]), "{ack:02x?} {message:02x?}");

    rig.handle.renew(rig.handle.prepare(secured(&["ann"], "b/#")).await.unwrap());
    // Who is gone, in the words of its version, and without its will.
    assert_eq!(bob.closed().await, [0xe0, 2, 0x87, 0]);
    assert!(cyd.closed().await.is_empty());
    for (packet, code) in [(willing("bob", "b/will"), 0x86), (connect3("cyd", true, Some(("cyd", "cyd"))), 4)]
    {
        let mut again = rig.tcp().await;
        again.send(&packet).await;
        assert_eq!(again.packet().await[3], code);
    }
    // Who stays, with other rights: the subscription is gone, and what it publishes is judged anew.
    ann.send(&publish5("a/x", &[], b"2", 1, 2)).await;
    assert_eq!(ann.packet().await, [0x40, 3, 0, 2, 0x87]);
    assert_eq!(ann.subscribe5("b/#", 1, &[]).await, 1);
    rig.handle.publish("a/x", "not for ann", false);
    rig.handle.publish("b/x", "for ann", false);
    let (topic, ..) = {
        let packet = ann.packet().await;
        (String::from_utf8_lossy(&packet).into_owned(),)
    };
    assert!(topic.contains("b/x") && topic.ends_with("for ann"), "{topic}");
    // Its will is not where it may publish any more: it is not said.
    let mut heard = rig.tcp().await;
    heard.send(&connect3("ann2", true, Some(("ann", "ann")))).await;
    assert_eq!(heard.packet().await[3], 0);
    assert_eq!(heard.subscribe3("b/#", 0).await, 0);
    drop(ann);
    wait_for("ann is gone", || rig.handle.clients() == 1).await;
    rig.handle.publish("b/last", "x", false);
    assert_eq!(heard.message3().await.0, "b/last");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_come_go_and_change_and_no_other_client_notices() {
    let with = |listener: Listener, allow_anonymous| Listener { allow_anonymous, ..listener };
    let rig =
        Rig::start(|o| o.listeners = vec![Listener::new(any()), Listener::new(any()), Listener::new(any())])
            .await;
    let [kept, gone, changed] = rig.handle.addrs()[..] else { panic!() };
    let mut sensor = at(kept).await;
    sensor.send(&connect3("sensor", true, None)).await;
    assert_eq!(sensor.packet().await, [0x20, 2, 0, 0]);
    let (mut left, mut other) = (at(gone).await, at(changed).await);
    for (client, id) in [(&mut left, "left"), (&mut other, "other")] {
        client.send(&connect5(id, true, &[])).await;
        assert_eq!(client.packet().await[3], 0);
    }

    // What cannot be had changes nothing.
    let taken = TcpListener::bind(any()).await.unwrap();
    let taken = taken.local_addr().map(|addr| (taken, addr)).unwrap();
    let refused = rig.handle.prepare(options(vec![Listener::new(kept), Listener::new(taken.1)])).await;
    assert!(matches!(refused, Err(Error::Bind { listen, .. }) if listen == taken.1));
    let tls = Tls { cert: "/nowhere/cert".into(), key: "/nowhere/key".into() };
    let listener = Listener { tls: Some(tls), ..Listener::new(kept) };
    assert!(matches!(rig.handle.prepare(options(vec![listener])).await, Err(Error::Tls { .. })));
    let open = Listener::new("0.0.0.0:0".parse().unwrap());
    assert!(matches!(rig.handle.prepare(options(vec![open])).await, Err(Error::Open { .. })));
    for client in [&mut sensor, &mut left, &mut other] {
        pings(client).await;
    }

    let free = TcpListener::bind(any()).await.unwrap().local_addr().unwrap();
    let next = vec![Listener::new(kept), with(Listener::new(changed), false), Listener::new(free)];
    rig.handle.renew(rig.handle.prepare(options(next)).await.unwrap());
    let addrs = rig.handle.addrs();
    assert_eq!(addrs, [kept, changed, free]);
    pings(&mut sensor).await;
    for client in [&mut left, &mut other] {
        assert_eq!(client.closed().await, [0xe0, 2, 0x8b, 0], "shutting down");
    }
    assert_eq!(rig.handle.clients(), 1);
    wait_refused(gone).await;
    let mut anonymous = at(changed).await;
    anonymous.send(&connect3("anonymous", true, None)).await;
    assert_eq!(anonymous.packet().await, [0x20, 2, 0, 5]);
    let mut new = at(addrs[2]).await;
    new.send(&connect3("new", true, None)).await;
    assert_eq!(new.packet().await, [0x20, 2, 0, 0]);
    pings(&mut sensor).await;
    rig.stop().await;
}

async fn wait_refused(addr: SocketAddr) {
    let end = tokio::time::Instant::now() + LIMIT;
    while TcpStream::connect(addr).await.is_ok() {
        assert!(tokio::time::Instant::now() < end, "{addr} still takes connections");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A certificate for a name that signs itself.
fn certificate(dir: &std::path::Path, name: &str) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", &format!("/CN={name}"), "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(dir)
        .output()
        .expect("openssl; see tests/setup.sh");
    assert!(made.status.success(), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_to_the_next_client_and_limits_hold_for_those_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "before");
    let tls = Tls { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    let listeners =
        || vec![Listener::new(any()), Listener { tls: Some(tls.clone()), ..Listener::new(any()) }];
    let rig = Rig::start(|o| o.listeners = listeners()).await;
    let shown = |addr: SocketAddr| async move {
        let args = ["s_client", "-showcerts", "-connect"];
        let mut command = tokio::process::Command::new("openssl");
        let done = command
            .args(args)
            .arg(addr.to_string())
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .unwrap();
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let secure = rig.handle.addrs()[1];
    assert!(shown(secure).await.contains("CN = before") || shown(secure).await.contains("CN=before"));
    let (mut client, _) = rig.v5("c", true, &[]).await;
    certificate(dir.path(), "after");
    let mut next = options(listeners());
    next.limits.rate = 3;
    rig.handle.renew(rig.handle.prepare(next).await.unwrap());
    let text = shown(secure).await;
    assert!(text.contains("CN = after") || text.contains("CN=after"), "{text}");
    for n in 1..=4 {
        client.send(&publish5("x", &[], b"1", 1, n)).await;
    }
    let rest = client.closed().await;
    assert!(rest.ends_with(&[0xe0, 2, 0x96, 0]), "{rest:02x?}");
    rig.stop().await;
}
