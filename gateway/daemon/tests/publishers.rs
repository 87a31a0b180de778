//! Publishers to brokers of others: over TLS, changed by a reload while they publish, and too far behind for the buffer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use rig::mqtt::{Client, Mosquitto, certificates, free};
use rig::{Plc, Rig, until};
use rumqttc::QoS;
use serde_json::json;
use tokio::time::timeout;

fn password(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn measured(rig: &Rig, value: f64) {
    let what = format!("temperature is {value}");
    until(&what, || async { (rig.point("temperature").await.0 == Some(value)).then_some(()) }).await;
}

/// A value as it came.
#[derive(Debug, Clone, PartialEq)]
struct Heard {
    topic: String,
    value: f64,
    source_us: i64,
}

/// Waits for a value of the temperature under a topic; everything up to it.
async fn heard(client: &mut Client, topic: &str, value: f64) -> Vec<Heard> {
    let mut all = Vec::new();
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        assert!(tokio::time::Instant::now() < end, "no {value} under {topic}: {:?}", all.last());
        let (at, payload) = client.next().await;
        let json: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        let Some(got) = json["value"].as_f64() else { continue };
        let is_it = at == topic && got.to_bits() == value.to_bits();
        all.push(Heard { topic: at, value: got, source_us: json["source_us"].as_i64().unwrap() });
        if is_it {
            return all;
        }
    }
}

fn times(heard: &[Heard], root: &str) -> BTreeSet<i64> {
    heard.iter().filter(|h| h.topic.starts_with(root)).map(|h| h.source_us).collect()
}

/// That nothing comes for a while that is long for a publisher that can publish.
async fn silence(client: &mut Client) {
    let heard = timeout(Duration::from_secs(1), client.next()).await;
    assert!(heard.is_err(), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_the_right_authority_and_password_publish_and_what_waited_comes_then() {
    let (dir, plc) = (tempfile::tempdir().unwrap(), Plc::start());
    certificates(dir.path()).await;
    let (broker, secure) = Mosquitto::start_tls(dir.path(), "box", "right").await;
    password(dir.path(), "right", "right");
    password(dir.path(), "wrong", "wrong");
    let publish = |host: &str, ca: &str, word: &str| {
        let at = |name: &str| dir.path().join(name).display().to_string();
        format!(
            "[[publish]]\nname = \"uns\"\nurl = \"mqtts://{host}:{}\"\ntopic = \"uns/{{device}}/{{point}}\"\n\
             username = \"box\"\nca_file = {:?}\npassword_file = {:?}\n",
            secure.port(),
            at(ca),
            at(word)
        )
    };
    let mut uns = Client::connect(broker.addr, "uns", &["uns/plc/temperature"]).await;
    plc.set(0, 200);
    let rig =
        Rig::start_with(tempfile::tempdir().unwrap(), &plc, &publish("localhost", "other.pem", "right"))
            .await;
    measured(&rig, 20.0).await;
    silence(&mut uns).await;
    // Another publisher takes the place of the one that could not, where it was.
    let report = rig.reload(&plc, &publish("localhost", "ca.pem", "wrong")).await.unwrap();
    assert_eq!((report.settings, report.restart_needed), (vec!["publish".to_owned()], vec![]));
    plc.set(0, 215);
    measured(&rig, 21.5).await;
    silence(&mut uns).await;
    rig.reload(&plc, &publish("localhost", "ca.pem", "right")).await.unwrap();
    let waited = heard(&mut uns, "uns/plc/temperature", 21.5).await;
    assert!(waited.iter().any(|h| h.value.to_bits() == 20f64.to_bits()), "{waited:?}");
    plc.set(0, 230);
    heard(&mut uns, "uns/plc/temperature", 23.0).await;
    // By its address as well, which stands in the certificate.
    rig.reload(&plc, &publish("127.0.0.1", "ca.pem", "right")).await.unwrap();
    plc.set(0, 245);
    heard(&mut uns, "uns/plc/temperature", 24.5).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_restarts_only_the_publishers_that_changed_and_each_goes_on_where_it_was() {
    let (broker, plc) = (Mosquitto::start().await, Plc::start());
    let json = |name: &str, root: &str| {
        let topic = format!("{root}/{{device}}/{{point}}");
        format!("[[publish]]\nname = {name:?}\nurl = \"mqtt://{}\"\ntopic = {topic:?}\n", broker.addr)
    };
    let node = format!(
        "[[publish]]\nname = \"scada\"\nurl = \"mqtt://{}\"\nformat = \"sparkplug\"\ngroup = \"plant\"\n",
        broker.addr
    );
    let filters = ["a/plc/temperature", "b/plc/temperature", "c/plc/temperature"];
    let mut uns = Client::connect(broker.addr, "uns", &filters).await;
    let mut scada =
        Client::connect(broker.addr, "scada", &["spBv1.0/plant/NBIRTH/#", "spBv1.0/plant/NDEATH/#"]).await;
    plc.set(0, 200);
    let first = json("uns", "a") + &node;
    let rig = Rig::start_with(tempfile::tempdir().unwrap(), &plc, &first).await;
    let mut all = heard(&mut uns, "a/plc/temperature", 20.0).await;
    assert!(scada.next().await.0.contains("NBIRTH"));

    // Another topic, and one more: what the first had taken does not come again.
    rig.reload(&plc, &(json("uns", "b") + &node + &json("more", "c"))).await.unwrap();
    plc.set(0, 210);
    all.extend(heard(&mut uns, "b/plc/temperature", 21.0).await);
    let (old, new) = (times(&all, "a/"), times(&all, "b/"));
    assert!(old.last() < new.first(), "something came twice: {all:?}");
    heard(&mut uns, "c/plc/temperature", 21.0).await;
    rig.reload(&plc, &node).await.unwrap();
    plc.set(0, 220);
    measured(&rig, 22.0).await;
    // The node that nobody touched went on: its first word after all this is its death at the end.
    rig.stop().await;
    assert!(scada.next().await.0.contains("NDEATH"));
    while let Ok((topic, payload)) = timeout(Duration::from_millis(300), uns.next()).await {
        let json: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_ne!(json["value"], json!(22.0), "{topic}: the publishers are gone");
    }
}

const HISTORIAN: &str = r#"
[buffer]
quota_mb = 4
segment_mb = 1
[[device]]
name = "camera"
asset = "plant/coating/line1/camera"
[device.mqtt]
[[device.point]]
name = "picture"
type = "text"
mqtt = { topic = "camera/picture" }
"#;

fn uns(broker: SocketAddr) -> String {
    format!(
        "[[publish]]\nname = \"uns\"\nurl = \"mqtt://{broker}\"\ntopic = \"uns/{{device}}/{{point}}\"\nlag_mb = 1\n"
    )
}

/// Text that does not compress.
fn noise(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let letter = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        char::from(b' ' + u8::try_from(*state % 94).unwrap())
    };
    (0..8_000).map(|_| letter(&mut state)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_whose_backlog_was_let_go_tells_the_gap_and_goes_on() {
    let (away, plc) = (free(), Plc::start());
    let rig = Rig::start_with(tempfile::tempdir().unwrap(), &plc, &(uns(away) + HISTORIAN)).await;
    let camera = Client::connect(rig.handle.broker_addr().unwrap(), "camera", &["none"]).await.client;
    let events = || async {
        let page = rig.get("/api/v1/audit?limit=200&min_severity=warning").await;
        page["items"].as_array().unwrap().clone()
    };
    // Four times what the buffer holds.
    for n in 0..2000 {
        camera.publish("camera/picture", QoS::AtLeastOnce, false, noise(n)).await.unwrap();
    }
    camera.publish("camera/picture", QoS::AtLeastOnce, false, "the last").await.unwrap();
    until("all of it came", || async {
        let twin = rig.get("/api/v1/twins/camera").await;
        (twin["points"][0]["value"] == "the last").then_some(())
    })
    .await;
    let broker = Mosquitto::start_at(away).await;
    let mut reader = Client::connect(broker.addr, "uns", &["uns/plc/temperature"]).await;
    let told = || async { events().await.into_iter().find(|e| e["action"] == "publish.gap") };
    let event = until("the event", told).await;
    assert_eq!((&event["target"], &event["severity"]), (&json!("publish/uns"), &json!("warning")));
    let detail = event["detail"].as_str().unwrap();
    assert!(detail.contains("went before they were published"), "{detail}");
    let health = rig.get("/api/v1/gateways").await["items"][0]["health"].clone();
    assert!(health["dropped"]["publish.uns:lagged"].as_u64().unwrap() > 0, "{health}");
    plc.set(0, 320);
    heard(&mut reader, "uns/plc/temperature", 32.0).await;
    rig.stop().await;
}
