//! The loop: a PLC, its gateway, its twin, and a command back, with real processes and real sockets.

use std::time::Duration;

use common::api::{CommandRequest, SwitchPosition};
use common::names::Code;
use common::{CommandState, Value};
use tests::field::ModbusDevice;
use tests::gateway::{Setup, registers_device};
use tests::{Cloud, Gateway, until};

const LIMIT: Duration = Duration::from_secs(20);

struct Site {
    _dir: tempfile::TempDir,
    plc: ModbusDevice,
    cloud: Cloud,
    gateway: Gateway,
}

async fn site() -> Site {
    let dir = tempfile::tempdir().expect("a folder");
    let plc = ModbusDevice::start().await;
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let secret = cloud.gateway_secret("box1").await;
    let setup = Setup {
        uplink: Some((cloud.ingress, secret)),
        devices: registers_device(plc.addr, 4, 50),
        ..Setup::default()
    };
    let gateway = Gateway::start(&dir.path().join("box"), &setup).await;
    until("first value in the twin", LIMIT, || cloud.api().value("hall/plc", "r0")).await;
    Site { _dir: dir, plc, cloud, gateway }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_the_plc_reaches_the_twin_with_quality_and_times() {
    let site = site().await;
    site.plc.set(1, 123);
    until("the new value", LIMIT, || async {
        (site.cloud.api().value("hall/plc", "r1").await? == Value::F64(12.3)).then_some(())
    })
    .await;
    let twin = site.cloud.api().twin("hall/plc").await.expect("the twin");
    assert!(twin.online);
    let point = twin.points.iter().find(|p| &*p.schema.name == "r1").expect("the point");
    assert!(point.quality.is_good() && point.source_us > 0 && point.received_us >= point.source_us);

    site.plc.stop();
    until("bad quality with its reason", LIMIT, || async {
        let twin = site.cloud.api().twin("hall/plc").await?;
        let point = twin.points.into_iter().find(|p| &*p.schema.name == "r1")?;
        (point.quality.is_bad() && point.value.is_none()).then_some(())
    })
    .await;
    let again = ModbusDevice::at(site.plc.addr).await;
    again.set(1, 55);
    until("the value of the device that is back", LIMIT, || async {
        (site.cloud.api().value("hall/plc", "r1").await? == Value::F64(5.5)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_changes_the_device_once_and_only_inside_its_rules() {
    let site = site().await;
    let api = site.cloud.api();

    let refused = api.command("hall/plc", "r2", 40.0).await;
    assert_eq!((refused.state, refused.code), (CommandState::Rejected, Some(Code::LocalMode)), "{refused:?}");
    assert_eq!(site.plc.writes(), 0);

    site.gateway.set_switch(SwitchPosition::Remote).await;
    let request =
        CommandRequest { point: "r2".into(), value: 40.0.into(), ttl_ms: 10_000, reason: "test".into() };
    let first: common::api::CommandView =
        api.send("hall/plc", &request, "key-1").await.json().await.expect("a command");
    let done = api.finished(first.id).await;
    assert_eq!(done.state, CommandState::Succeeded, "{done:?}");
    assert_eq!(done.read_back, Some(Value::F64(40.0)));
    assert_eq!((site.plc.get(2), site.plc.writes()), (400, 1));

    let again: common::api::CommandView =
        api.send("hall/plc", &request, "key-1").await.json().await.expect("a command");
    assert_eq!(again.id, first.id);
    assert_eq!(site.plc.writes(), 1, "the same key wrote twice");
    let other = CommandRequest { value: 41.0.into(), ..request.clone() };
    assert_eq!(api.send("hall/plc", &other, "key-1").await.status(), 409);

    let beyond = CommandRequest { value: 1000.5.into(), ..request };
    assert_eq!(api.send("hall/plc", &beyond, "key-2").await.status(), 422);
    assert_eq!(site.plc.writes(), 1);

    let audit: common::api::Page<common::command::LogEntry> = api.get("/api/v1/audit?limit=1000").await;
    assert!(audit.items.iter().any(|e| e.actor == "admin" && e.target.ends_with("r2")), "{:?}", audit.items);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_box_commands_without_any_cloud() {
    let dir = tempfile::tempdir().expect("a folder");
    let plc = ModbusDevice::start().await;
    let setup = Setup { devices: registers_device(plc.addr, 2, 50), ..Setup::default() };
    let gateway = Gateway::start(&dir.path().join("box"), &setup).await;
    until("first value", LIMIT, || async { gateway.api().value("hall/plc", "r0").await }).await;
    let done = gateway.api().command("hall/plc", "r0", 12.0).await;
    assert_eq!(done.state, CommandState::Succeeded, "{done:?}");
    assert_eq!(plc.get(0), 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_end_in_two_seconds_when_asked() {
    let mut site = site().await;
    for process in [&mut site.gateway.process, &mut site.cloud.process] {
        let began = tokio::time::Instant::now();
        process.signal("TERM");
        let status = process.wait(LIMIT).await;
        assert!(status.success(), "{status}: {}", process.log());
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}
