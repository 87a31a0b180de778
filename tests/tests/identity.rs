//! Two boxes under one name, a box and a cloud that come back from a backup: with real processes. Each is noticed and
//! told on both sides, nothing is written to the plant again, and nothing that is stored is changed.

use std::path::Path;
use std::time::Duration;

use common::api::{AcceptRequest, CommandView, GatewayView, Page, SwitchPosition, TwinView};
use common::command::DesiredState;
use common::names::action;
use common::{CommandState, Value};
use reqwest::Method;
use tests::field::{ModbusDevice, numbered_device};
use tests::folder::copy;
use tests::gateway::{Setup, registers_device};
use tests::load::number;
use tests::{Api, Cloud, Gateway, Load, until};

const LIMIT: Duration = Duration::from_secs(60);

async fn gateway_of(cloud: &Api) -> Option<GatewayView> {
    cloud.get::<Page<GatewayView>>("/api/v1/gateways").await.items.into_iter().next()
}

async fn drained(gateway: &Gateway) {
    until("an empty buffer", LIMIT, || async {
        let health = gateway.health().await;
        (health.uplink && health.buffer.unacked_frames == 0).then_some(())
    })
    .await;
}

fn put_back(backup: &Path, place: &Path) {
    std::fs::remove_dir_all(place).expect("what is there goes");
    copy(backup, place);
}

async fn stopped(process: &mut tests::process::Process) {
    process.signal("TERM");
    process.wait(LIMIT).await;
}

/// A setup of a machine of its own.
fn on_machine(dir: &Path, name: &str, setup: &Setup) -> Setup {
    let file = dir.join(name);
    std::fs::write(&file, name).expect("a file");
    Setup { extra: format!("machine_id_file = {file:?}\n{}", setup.extra), ..setup.clone() }
}

async fn held(cloud: &Api, n: usize) -> GatewayView {
    until("boxes held back", LIMIT, || async { gateway_of(cloud).await.filter(|g| g.held.len() == n) }).await
}

async fn is_told_why(held: &Gateway) {
    until("why it is held", LIMIT, || async {
        let error = held.health().await.uplink_error?;
        error.contains("held back").then_some(())
    })
    .await;
    held.api().told("the box's own entry", action::GATEWAY_HELD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_box_is_held_back_until_it_is_accepted_and_a_copy_is_held_as_well() {
    let dir = tempfile::tempdir().expect("a folder");
    let plc = ModbusDevice::start().await;
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let secret = cloud.gateway_secret("box1").await;
    let setup = Setup {
        uplink: Some((cloud.ingress, secret)),
        devices: registers_device(plc.addr, 2, 50),
        ..Setup::default()
    };
    let (one, two) = (on_machine(dir.path(), "one", &setup), on_machine(dir.path(), "two", &setup));
    let mut first = Gateway::start(&dir.path().join("first"), &one).await;
    drained(&first).await;
    // A copy of its state from before its next start.
    stopped(&mut first.process).await;
    copy(&dir.path().join("first/data"), &dir.path().join("copy/data"));
    // Another machine has a port of its own.
    std::fs::remove_file(dir.path().join("copy/data/addresses.json")).expect("the addresses");
    first = Gateway::start(&dir.path().join("first"), &one).await;
    drained(&first).await;

    let second = Gateway::start(&dir.path().join("second"), &two).await;
    let view = held(cloud.api(), 1).await;
    assert!(view.connected);
    is_told_why(&second).await;
    let copied = Gateway::start(&dir.path().join("copy"), &one).await;
    held(cloud.api(), 2).await;
    is_told_why(&copied).await;
    drop(copied);
    // The first one has gone on all the while.
    plc.set(0, 77);
    until("the new value", LIMIT, || async {
        (cloud.api().value("hall/plc", "r0").await? == Value::F64(7.7)).then_some(())
    })
    .await;
    let alarms = cloud.api().entries(action::GATEWAY_DUPLICATE).await;
    assert_eq!(alarms.len(), 2, "once each, however often they ask: {alarms:?}");
    assert!(alarms[0].detail.contains("twinway gateway accept box1"), "{}", alarms[0].detail);
    assert!(first.health().await.uplink);

    let incarnation = Some(view.held[0].incarnation);
    let request = AcceptRequest { incarnation, reason: "the first one broke".into() };
    let accept = cloud.api().request(Method::POST, "/api/v1/gateways/box1/accept").json(&request);
    let answer = accept.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    drained(&second).await;
    is_told_why(&first).await;
    let accepted = cloud.api().told("who let it in", action::GATEWAY_ACCEPTED).await;
    assert!(accepted.actor == "admin" && accepted.detail.contains("the first one broke"), "{accepted:?}");
    assert!(gateway_of(cloud.api()).await.expect("the gateway").connected);
}

/// What both tests of backups need: a plant that counts writes, and numbered samples.
struct Site {
    dir: tempfile::TempDir,
    plc: ModbusDevice,
    cloud: Cloud,
    setup: Setup,
}

impl Site {
    async fn start(devices: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let plc = ModbusDevice::start().await;
        let cloud = Cloud::start(&dir.path().join("cloud")).await;
        let secret = cloud.gateway_secret("box1").await;
        let devices = registers_device(plc.addr, 4, 50) + devices;
        let setup = Setup { uplink: Some((cloud.ingress, secret)), devices, ..Setup::default() };
        Self { dir, plc, cloud, setup }
    }

    async fn gateway(&self) -> Gateway {
        let gateway = Gateway::start(&self.dir.path().join("box"), &self.setup).await;
        gateway.set_switch(SwitchPosition::Remote).await;
        drained(&gateway).await;
        until("the plant in the twin", LIMIT, || self.cloud.api().value("hall/plc", "r0")).await;
        gateway
    }

    async fn writes(&self, point: &str, value: f64) -> CommandView {
        let done = self.cloud.api().command("hall/plc", point, value).await;
        assert_eq!(done.state, CommandState::Succeeded, "{done:?}");
        done
    }

    async fn twin(&self) -> TwinView {
        self.cloud.api().twin("hall/plc").await.expect("the twin")
    }

    async fn wants(&self, point: &str, value: f64) {
        let path = "/api/v1/twins/hall%2Fplc/desired";
        let request = self
            .cloud
            .api()
            .request(Method::PATCH, path)
            .header("content-type", "application/merge-patch+json")
            .header("if-match", format!("\"{}\"", self.twin().await.desired_version))
            .body(
                serde_json::json!({ point: { "value": value, "reason": "test", "ttl_ms": 3_600_000 } })
                    .to_string(),
            );
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
        until("the desired value applied", LIMIT, || async {
            self.is_applied(point, value).await.then_some(())
        })
        .await;
    }

    async fn is_applied(&self, point: &str, value: f64) -> bool {
        let twin = self.twin().await;
        let desired = twin.points.into_iter().find(|p| *p.schema.name == *point).and_then(|p| p.desired);
        desired.is_some_and(|d| d.state == DesiredState::Applied && d.value == Value::F64(value))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_comes_back_from_a_backup_is_told_and_writes_nothing_again() {
    let site = Site::start("").await;
    let data = site.dir.path().join("box/data");
    let backup = site.dir.path().join("backup");
    let mut gateway = site.gateway().await;
    site.writes("r2", 40.0).await;
    site.wants("r3", 10.0).await;
    drained(&gateway).await;
    stopped(&mut gateway.process).await;
    copy(&data, &backup);

    gateway = site.gateway().await;
    let later = site.writes("r2", 50.0).await;
    site.wants("r3", 20.0).await;
    site.plc.set(0, 55);
    until("the new value", LIMIT, || async {
        (site.cloud.api().value("hall/plc", "r0").await? == Value::F64(5.5)).then_some(())
    })
    .await;
    drained(&gateway).await;
    stopped(&mut gateway.process).await;
    put_back(&backup, &data);
    let before = site.plc.writes();

    gateway = site.gateway().await;
    let on_cloud = site.cloud.api().told("the cloud's entry", action::GATEWAY_RESTORED).await;
    assert!(on_cloud.detail.contains("restored from a backup"), "{}", on_cloud.detail);
    gateway.api().told("the box's entry", action::GATEWAY_RESTORED).await;
    site.writes("r1", 5.0).await;
    assert_eq!(site.plc.writes(), before + 1, "nothing but what was asked: {:?}", site.plc.written());
    assert_eq!((site.plc.get(2), site.plc.get(3)), (500, 200));
    assert!(site.is_applied("r3", 20.0).await, "{:?}", site.twin().await);
    let same: CommandView = site.cloud.api().get(&format!("/api/v1/commands/{}", later.id)).await;
    assert_eq!(same.state, CommandState::Succeeded);
    assert_eq!(site.cloud.api().value("hall/plc", "r0").await, Some(Value::F64(5.5)));
    // From here on it is the box: another start is nothing to speak of.
    drained(&gateway).await;
    stopped(&mut gateway.process).await;
    gateway = site.gateway().await;
    drained(&gateway).await;
    assert_eq!(site.cloud.api().entries(action::GATEWAY_RESTORED).await.len(), 2, "its own, and the box's");
    assert!(site.cloud.api().entries(action::GATEWAY_DUPLICATE).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_comes_back_from_a_backup_gets_again_what_it_lacks() {
    const POINTS: u64 = 10;
    let mut site = Site::start(&numbered_device(POINTS)).await;
    let data = site.dir.path().join("cloud/data");
    let backup = site.dir.path().join("backup");
    let gateway = site.gateway().await;
    let mut load = Load::start(&gateway, POINTS, 1000, number);
    site.writes("r2", 40.0).await;
    load.reach(2_000).await;
    stopped(&mut site.cloud.process).await;
    copy(&data, &backup);
    site.cloud = site.cloud.restart().await;
    until("the box again", LIMIT, || async { gateway.health().await.uplink.then_some(()) }).await;
    let later = site.writes("r2", 50.0).await;
    load.reach(6_000).await;
    drained(&gateway).await;
    stopped(&mut site.cloud.process).await;
    put_back(&backup, &data);
    let before = site.plc.writes();
    site.cloud = site.cloud.restart().await;

    let on_box = gateway.api().told("the box's entry", action::CLOUD_RESTORED).await;
    assert!(on_box.detail.contains("are sent again, 0 are no longer here"), "{}", on_box.detail);
    let on_cloud = site.cloud.api().told("the cloud's entry", action::CLOUD_RESTORED).await;
    assert!(on_cloud.detail.contains("restored from a backup"), "{}", on_cloud.detail);
    load.reach(8_000).await;
    load.end().await;
    drained(&gateway).await;
    let verdict = load.compare(site.cloud.api()).await;
    assert!(verdict.is_exact(), "{verdict:?}");
    assert!(verdict.durable >= 8_000, "{verdict:?}");
    // The result of a command that the restored store never heard of, and its audit.
    let command: CommandView = site.cloud.api().get(&format!("/api/v1/commands/{}", later.id)).await;
    assert_eq!((command.state, &command.value), (CommandState::Succeeded, &Value::F64(50.0)));
    let done = site.cloud.api().entries(action::COMMAND_SUCCEEDED).await;
    assert!(done.iter().any(|e| e.at_us >= later.created_us), "{done:?}");
    assert_eq!(
        (site.plc.writes(), site.plc.get(2)),
        (before, 500),
        "written again: {:?}",
        site.plc.written()
    );
    let mut gateway = gateway;
    stopped(&mut gateway.process).await;
    load.ended().await;
}
