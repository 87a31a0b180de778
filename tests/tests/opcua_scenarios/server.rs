//! node-opcua as the server behind a real gateway: trusted by hand, read, written and called by the command line,
//! killed and started again.

use std::path::Path;

use common::Value;
use common::api::{OpcuaEndpoint, OpcuaPoint, Page, SwitchPosition};
use common::command::LogEntry;
use tests::gateway::Setup;
use tests::{Api, Gateway};

use crate::counterparts::{Cli, NodeServer, eventually};

const NS: &str = "nsu=http://twinway.test/node";

fn device(url: &str) -> String {
    format!(
        r#"
[[device]]
name = "press"
asset = "plant/forming/press"
[device.opcua]
url = "{url}"
security = "aes256_sha256_rsa_pss"
mode = "sign_and_encrypt"
publishing_ms = 100
silence_ms = 2000
timeout_ms = 2000
reconnect_max_ms = 500
refused_pause_ms = 1000
[[device.point]]
name = "temp"
type = "f64"
opcua = {{ node = "{NS};s=Temp" }}
[[device.point]]
name = "nowhere"
type = "f64"
opcua = {{ node = "{NS};s=Nowhere" }}
[[device.point]]
name = "count"
type = "u64"
opcua = {{ node = "{NS};s=Count", sampling_ms = 0, queue = 100 }}
[[device.point]]
name = "speed"
type = "i64"
access = "read_write"
write_min = 0
write_max = 50
opcua = {{ node = "{NS};s=Speed" }}
[[device.point]]
name = "reset"
type = "i64"
access = "write"
write_min = -100
write_max = 100
opcua = {{ node = "{NS};s=Plant", method = "{NS};s=Reset", arguments = ["$value"] }}
"#
    )
}

struct Plant {
    server: NodeServer,
    gateway: Gateway,
    cli: Cli,
}

/// A gateway whose server is trusted and read.
async fn plant(dir: &Path) -> Plant {
    let server = NodeServer::start(&dir.join("server"), 0).await;
    let setup = Setup { devices: device(&server.url()), ..Setup::default() };
    let gateway = Gateway::start(&dir.join("box"), &setup).await;
    let cli = Cli(gateway.dir().join("api.sock"));
    // Nobody is trusted at first sight.
    let offered: Vec<OpcuaEndpoint> = cli.json(&["opcua", "endpoints", &server.url()]).await;
    let secure = offered.iter().find(|e| e.policy == "Aes256_Sha256_RsaPss").expect("a secure endpoint");
    assert!(secure.doubts.iter().any(|d| d.contains("not trusted")), "{secure:?}");
    eventually("the gateway has refused it", || async {
        cli.run(&["opcua", "trust"]).await.1.contains(&secure.fingerprint[..16]).then_some(())
    })
    .await;
    assert_eq!(value(&gateway.api(), "temp").await, None, "read before it was trusted");
    let (code, said) = cli.run(&["opcua", "trust", &secure.fingerprint]).await;
    assert_eq!(code, 0, "{said}");
    eventually("it is read", || async { value(&gateway.api(), "temp").await }).await;
    Plant { server, gateway, cli }
}

async fn value(api: &Api, point: &str) -> Option<Value> {
    api.value("forming/press", point).await
}

async fn quality(api: &Api, point: &str) -> String {
    let twin = api.twin("forming/press").await.expect("the twin");
    let point = twin.points.into_iter().find(|p| *p.schema.name == *point).expect("the point");
    point.quality.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_others_is_trusted_read_written_and_called_and_one_wrong_node_harms_only_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let Plant { mut server, gateway, cli } = plant(dir.path()).await;
    let api = gateway.api();
    gateway.set_switch(SwitchPosition::Remote).await;
    server.say("set Temp 31.25").await;
    eventually("what it shows", || async { (value(&api, "temp").await? == Value::F64(31.25)).then_some(()) })
        .await;

    let points: Vec<OpcuaPoint> = cli.json(&["opcua", "points"]).await;
    let statuses: Vec<_> = points.iter().map(|p| (p.point.as_str(), p.status.as_str())).collect();
    for (point, status) in
        [("temp", "Good"), ("count", "Good"), ("speed", "Good"), ("nowhere", "BadNodeIdUnknown")]
    {
        assert!(statuses.contains(&(point, status)), "{point}: {statuses:?}");
    }
    assert_eq!(
        (value(&api, "nowhere").await, quality(&api, "nowhere").await.as_str()),
        (None, "bad_unknown")
    );

    let (code, said) = cli.run(&["opcua", "write", "press", "speed=42"]).await;
    assert!(code == 0 && said.contains("read back 42"), "{code}: {said}");
    assert_eq!(server.say("get Speed").await, "42");
    let (code, said) = cli.run(&["opcua", "write", "press", "speed=51"]).await;
    assert_eq!(code, 6, "beyond its limit: {said}");
    assert_eq!(server.say("get Speed").await, "42");

    let (code, said) = cli.run(&["opcua", "call", "press", "reset=7"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(server.say("get Resets").await, "7");
    let (code, said) = cli.run(&["opcua", "call", "press", "reset=-7"]).await;
    assert!(code == 7 && said.contains("BadOutOfRange"), "the server refuses: {code}: {said}");
    assert_eq!(server.say("get Resets").await, "7");

    let audit: Page<LogEntry> = api.get("/api/v1/audit?limit=1000").await;
    for action in
        ["certificate.trusted", "device.online", "command.succeeded", "command.rejected", "command.failed"]
    {
        assert!(audit.items.iter().any(|e| e.action == action), "{action}: {:#?}", audit.items);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_is_told_and_read_written_and_called_again_when_it_is_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let Plant { mut server, gateway, cli } = plant(dir.path()).await;
    let api = gateway.api();
    gateway.set_switch(SwitchPosition::Remote).await;
    server.say("count 20").await;
    eventually("it counts", || async { (value(&api, "count").await?.as_f64()? >= 5.0).then_some(()) }).await;

    let port = server.kill().await;
    eventually("it is away", || async {
        (quality(&api, "temp").await == "bad_not_connected" && value(&api, "temp").await.is_none())
            .then_some(())
    })
    .await;
    let (code, said) = cli.run(&["opcua", "write", "press", "speed=9"]).await;
    assert_eq!(code, 6, "nothing was sent: {said}");

    let mut server = NodeServer::start(&dir.path().join("server"), port).await;
    server.say("set Temp 5.5").await;
    eventually("it is back", || async { (value(&api, "temp").await? == Value::F64(5.5)).then_some(()) })
        .await;
    server.say("count 20").await;
    eventually("it counts anew", || async { (value(&api, "count").await?.as_f64()? >= 5.0).then_some(()) })
        .await;
    assert_eq!(quality(&api, "nowhere").await, "bad_unknown");
    let (code, said) = cli.run(&["opcua", "write", "press", "speed=11"]).await;
    assert!(code == 0 && said.contains("read back 11"), "{code}: {said}");
    assert_eq!(server.say("get Speed").await, "11");
    let (code, said) = cli.run(&["opcua", "call", "press", "reset=3"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(server.say("get Resets").await, "3");
    let told: Page<LogEntry> = api.get("/api/v1/audit?limit=1000").await;
    let times = |action: &str| told.items.iter().filter(|e| e.action == action).count();
    assert!(times("device.offline") >= 1 && times("device.online") >= 2, "{:#?}", told.items);
}
