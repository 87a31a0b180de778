//! Configuration documents from the command line over the cloud to a box, with real processes: one is applied, others are
//! refused by the checker and by the box's own rules, one cuts the box off and gives way, a box is killed in the middle, and
//! somebody changes the box's files by hand.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::Value;
use common::api::{Accepts, ConfigurationState, ConfigurationView, TwinView};
use common::command::LogEntry;
use common::names::action;
use reqwest::Method;
use tests::cli::{Said, twinway};
use tests::field::ModbusDevice;
use tests::gateway::{Setup, registers_device};
use tests::relay::{self, Direction};
use tests::{Cloud, Gateway, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_secs(60);

async fn config(cloud: &Cloud, words: &[&str]) -> Said {
    twinway(cloud, &[&["gateway", "config"], words].concat()).await
}

/// A file with a document, which `config put` takes.
fn file(dir: &Path, text: &str) -> String {
    let path = dir.join("document.toml");
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("a UTF-8 path").to_owned()
}

/// A device that reads one register.
fn meter(name: &str, at: SocketAddr, more: &str) -> String {
    format!(
        "[[device]]\nname = \"{name}\"\nasset = \"plant/hall/{name}\"\n[device.modbus]\nhost = \"{}\"\nport = {}\n\
         [[device.point]]\nname = \"power\"\ntype = \"f64\"\n{more}\
         modbus = {{ table = \"holding\", address = 0, type = \"u16\", period_ms = 50 }}\n",
        at.ip(),
        at.port()
    )
}

async fn view(cloud: &Cloud) -> ConfigurationView {
    cloud.api().get("/api/v1/gateways/box1/configuration").await
}

async fn settled(cloud: &Cloud, state: ConfigurationState, version: u64) -> ConfigurationView {
    until(&format!("document {version} {state}"), LIMIT, || async {
        let now = view(cloud).await;
        let is_it = now.report.as_ref()?.judged.as_ref()?.version == version;
        (is_it && now.state == state).then_some(now)
    })
    .await
}

fn running(view: &ConfigurationView) -> u64 {
    view.report.as_ref().and_then(|r| r.running.as_ref()).map_or(0, |r| r.version)
}

async fn value(cloud: &Cloud, twin: &str, expected: f64) {
    until("the value in the cloud", LIMIT, || async {
        (cloud.api().value(twin, "power").await? == Value::F64(expected)).then_some(())
    })
    .await;
}

async fn told(cloud: &Cloud, action: &str) -> usize {
    let page: common::api::Page<LogEntry> = cloud.api().get("/api/v1/audit?limit=1000").await;
    page.items.iter().filter(|e| e.action == action && e.target == "box1").count()
}

/// A box with a device of its own and keys of `[uplink]`.
async fn setup(cloud: &Cloud, ingress: SocketAddr, plc: &ModbusDevice, keys: &str) -> Setup {
    Setup {
        uplink: Some((ingress, cloud.gateway_secret("box1").await)),
        devices: registers_device(plc.addr, 1, 50),
        extra: format!("{keys}\nconfiguration_trial_s = 5\n"),
        ..Setup::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_applied_refused_and_rolled_back_by_the_command_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let (plc, other) = (ModbusDevice::start().await, ModbusDevice::start().await);
    other.set(0, 42);
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let place = dir.path().join("box");
    let mut own = setup(&cloud, cloud.ingress, &plc, "").await;
    let gateway = Gateway::start(&place, &own).await;
    until("the box in the cloud", LIMIT, || async { view_if_known(&cloud).await }).await;

    // By default a box takes nothing, and says so.
    let first = meter("meter", other.addr, "");
    let said = config(&cloud, &["put", "box1", &file(dir.path(), &first), "--note", "a meter"]).await;
    assert!(said.code == 1 && said.err.contains("accept_configuration"), "{said:?}");
    assert_eq!(view(&cloud).await.state, ConfigurationState::NotAccepted);

    // Its installer allows it: what waits is taken at once.
    own.extra = "accept_configuration = \"read\"\nconfiguration_trial_s = 5\n".into();
    gateway.configure(&own);
    reload(&gateway).await;
    let now = settled(&cloud, ConfigurationState::Applied, 1).await;
    assert_eq!((running(&now), now.report.as_ref().map(|r| r.accepts)), (1, Some(Accepts::Read)));
    value(&cloud, "hall/meter", 42.0).await;
    let said = config(&cloud, &["status", "box1"]).await;
    assert!(said.code == 0 && said.out.contains("applied"), "{said:?}");

    // A mistake: the checker's words come back, and what ran goes on.
    let wrong = first.replace("type = \"f64\"", "typ = \"f64\"");
    let said = config(&cloud, &["put", "box1", &file(dir.path(), &wrong), "--over", "1"]).await;
    assert!(said.code == 1 && said.err.contains("cloud-configuration.toml:9:1"), "{said:?}");
    assert!(said.err.contains("typ"), "{said:?}");
    assert_eq!((view(&cloud).await.state, running(&view(&cloud).await)), (ConfigurationState::Refused, 1));

    // What is the box's own.
    for (over, (document, word)) in (2..).zip([
        ("[uplink]\nurl = \"mqtt://127.0.0.1:1\"\n".to_owned(), "uplink"),
        (
            meter("meter", other.addr, "access = \"read_write\"\nwrite_min = 0\nwrite_max = 9\n"),
            "accept_configuration",
        ),
        (meter("plc", other.addr, ""), "plc"),
    ]) {
        let over: u64 = over;
        let path = file(dir.path(), &document);
        let said = config(&cloud, &["put", "box1", &path, "--over", &over.to_string()]).await;
        assert!(said.code == 1 && said.err.contains(word), "{word}: {said:?}");
    }
    other.set(0, 43);
    value(&cloud, "hall/meter", 43.0).await;

    // Two people: who made theirs from an older one is told.
    let second = format!("{first}{}", meter("meter2", other.addr, ""));
    let path = file(dir.path(), &second);
    let said = config(&cloud, &["put", "box1", &path, "--over", "1"]).await;
    assert!(said.code != 0 && said.err.contains("somebody put another document"), "{said:?}");
    let said = config(&cloud, &["diff", "box1", "--file", &path]).await;
    assert!(said.code == 1 && said.out.contains("+name = \"meter2\""), "{said:?}");
    let said = config(&cloud, &["put", "box1", &path, "--over", "5"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    value(&cloud, "hall/meter2", 43.0).await;

    // Back to the first one, as the seventh.
    let said = config(&cloud, &["rollback", "box1", "1"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(running(&view(&cloud).await), 7);
    let said = config(&cloud, &["get", "box1"]).await;
    let (line, text) = said.out.split_once('\n').expect("lines");
    assert!(text == first && line.starts_with("# made from document 7 of box1 ("), "{line}");
    let said = config(&cloud, &["history", "box1"]).await;
    assert!(said.out.contains("as document 1") && said.out.contains("a meter"), "{said:?}");
    until("the second meter gone at the box", LIMIT, || async {
        let twins: common::api::Page<TwinView> = gateway.api().get("/api/v1/twins").await;
        (!twins.items.iter().any(|t| t.asset.ends_with("meter2"))).then_some(())
    })
    .await;
    assert_eq!(told(&cloud, action::CONFIGURATION_PUT).await, 7);
    assert_eq!(told(&cloud, action::CONFIGURATION_APPLIED).await, 3);
    assert_eq!(told(&cloud, action::CONFIGURATION_REFUSED).await, 4);

    // An empty document takes back what the cloud gave; the box's own device was never touched.
    let said = config(&cloud, &["put", "box1", &file(dir.path(), ""), "--over", "newest"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let twins: common::api::Page<TwinView> = gateway.api().get("/api/v1/twins").await;
    assert_eq!(twins.items.len(), 1);
}

/// What somebody got, with a line of their own, in a file of theirs.
async fn edited(cloud: &Cloud, dir: &Path, name: &str) -> String {
    let said = config(cloud, &["get", "box1"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let path = dir.join(format!("{name}.toml"));
    std::fs::write(&path, format!("{}# {name}\n", said.out)).expect("a file");
    path.to_str().expect("a UTF-8 path").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_puts_a_document_over_one_that_they_did_not_see() {
    let dir = tempfile::tempdir().expect("a folder");
    let plc = ModbusDevice::start().await;
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let own = setup(&cloud, cloud.ingress, &plc, "accept_configuration = \"read\"").await;
    let _gateway = Gateway::start(&dir.path().join("box"), &own).await;
    until("the box in the cloud", LIMIT, || async { view_if_known(&cloud).await }).await;
    let first = file(dir.path(), "# one\n");
    let said = config(&cloud, &["put", "box1", &first, "--note", "the first"]).await;
    assert!(said.code == 0 && said.err.contains("--over 1"), "{said:?}");

    // The same file once more: it does not say that it knows of what is there.
    let said = config(&cloud, &["put", "box1", &first]).await;
    assert!(said.code == 2 && said.err.contains("does not say what it was made from"), "{said:?}");
    assert!(said.err.contains("document 1 of admin at ") && said.err.contains("\"the first\""), "{said:?}");
    assert!(said.err.contains("--over 1"), "{said:?}");

    // Two have the first one in their editors. Whoever comes second is told of the other, also when asked by a line alone.
    let (slow, quick) = (edited(&cloud, dir.path(), "slow").await, edited(&cloud, dir.path(), "quick").await);
    let said = config(&cloud, &["put", "box1", &quick, "--note", "of quick"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let said = config(&cloud, &["put", "box1", &slow]).await;
    assert!(said.code == 1 && said.err.contains("slow.toml was made from document 1"), "{said:?}");
    assert!(said.err.contains("document 2 of admin at ") && said.err.contains("\"of quick\""), "{said:?}");
    let said = config(&cloud, &["diff", "box1", "--from", "2", "--file", &slow]).await;
    assert!(said.code == 1 && !said.out.contains("made from"), "{said:?}");
    assert!(said.out.contains("+# slow") && said.out.contains("-# quick"), "{said:?}");
    let kept: common::api::ConfigurationDocument =
        cloud.api().get("/api/v1/gateways/box1/configuration/documents/2").await;
    assert_eq!(kept.document, "# one\n# quick\n", "the line is no part of it");
    assert_eq!(view(&cloud).await.wanted.map(|w| w.version), Some(2));

    // The slow one has looked. To go back is no different where it says what it goes over.
    let said = config(&cloud, &["put", "box1", &slow, "--over", "2"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let said = config(&cloud, &["rollback", "box1", "1", "--over", "2"]).await;
    assert!(said.code == 1 && said.err.contains("somebody put another document"), "{said:?}");
    let said = config(&cloud, &["rollback", "box1", "1", "--over", "3"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(view(&cloud).await.wanted.map(|w| w.version), Some(4));
}

/// A box whose files are what they will be: the first start finds a port for its broker, and the second keeps it.
async fn settled_box(place: &Path, own: &Setup) -> Gateway {
    let mut gateway = Gateway::start(place, own).await;
    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;
    Gateway::start(place, own).await
}

async fn view_if_known(cloud: &Cloud) -> Option<()> {
    let page: common::api::Page<common::api::GatewayView> = cloud.api().get("/api/v1/gateways").await;
    let is_known = page.items.iter().any(|g| g.id.as_str() == "box1" && g.connected);
    (is_known && view(cloud).await.report.is_some()).then_some(())
}

async fn reload(gateway: &Gateway) {
    let answer =
        gateway.api().request(Method::POST, "/api/v1/config/reload").send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_at_the_box_is_seen_and_not_passed_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let (plc, other) = (ModbusDevice::start().await, ModbusDevice::start().await);
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let place = dir.path().join("box");
    let mut own = setup(&cloud, cloud.ingress, &plc, "accept_configuration = \"read\"").await;
    let gateway = Gateway::start(&place, &own).await;
    until("the box in the cloud", LIMIT, || async { view_if_known(&cloud).await }).await;
    let first = meter("meter", other.addr, "");
    let said = config(&cloud, &["put", "box1", &file(dir.path(), &first)]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!view(&cloud).await.report.expect("a report").changed);

    own.devices += &meter("by_hand", other.addr, "");
    gateway.configure(&own);
    reload(&gateway).await;
    until("the change in the cloud", LIMIT, || async {
        view(&cloud).await.report.filter(|r| r.changed).map(drop)
    })
    .await;
    let said = config(&cloud, &["status", "box1"]).await;
    assert!(said.out.contains("changed"), "{said:?}");
    assert_eq!(told(&cloud, action::CONFIGURATION_CHANGED).await, 1);

    let second = format!("{first}{}", meter("meter2", other.addr, ""));
    let path = file(dir.path(), &second);
    let said = config(&cloud, &["put", "box1", &path, "--over", "1"]).await;
    assert!(said.code == 1 && said.err.contains("own files") && said.err.contains("--force"), "{said:?}");
    assert_eq!(running(&view(&cloud).await), 1);
    let said = config(&cloud, &["put", "box1", &path, "--over", "2", "--force"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let twins: common::api::Page<TwinView> = gateway.api().get("/api/v1/twins").await;
    assert_eq!(twins.items.len(), 4, "what was done by hand is still there");
    assert!(!view(&cloud).await.report.expect("a report").changed);
}

/// The way between box and cloud, on which what the box says can be held up.
async fn way(to: SocketAddr) -> (SocketAddr, watch::Sender<bool>) {
    let (held, is_held) = watch::channel(false);
    let addr = relay::listen(to, move |up, down| {
        let is_held = is_held.clone();
        async move {
            tokio::select! {
                () = carry(up, Some(is_held)) => {}
                () = carry(down, None) => {}
            }
        }
    })
    .await;
    (addr, held)
}

async fn carry((mut from, mut to): Direction, held: Option<watch::Receiver<bool>>) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        if let Some(mut held) = held.clone()
            && held.wait_for(|held| !held).await.is_err()
        {
            return;
        }
        if to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}

/// The box's note of what runs.
fn note(place: &Path) -> serde_json::Value {
    let path: PathBuf = place.join("data/pushed/state.json");
    std::fs::read(path).map_or(serde_json::Value::Null, |b| serde_json::from_slice(&b).expect("JSON, whole"))
}

async fn noted(place: &Path, state: &str, version: u64) {
    until(&format!("{state} at the box"), LIMIT, || async {
        let note = note(place);
        (note["state"] == state && note["judged"]["version"] == version).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_is_cut_off_goes_back_by_itself_also_after_a_kill() {
    let dir = tempfile::tempdir().expect("a folder");
    let (plc, other) = (ModbusDevice::start().await, ModbusDevice::start().await);
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let (addr, held) = way(cloud.ingress).await;
    let place = dir.path().join("box");
    let own = setup(&cloud, addr, &plc, "accept_configuration = \"read\"").await;
    let gateway = settled_box(&place, &own).await;
    until("the box in the cloud", LIMIT, || async { view_if_known(&cloud).await }).await;
    let first = meter("meter", other.addr, "");
    let said = config(&cloud, &["put", "box1", &file(dir.path(), &first)]).await;
    assert_eq!(said.code, 0, "{said:?}");

    // The document comes, and from then on nothing of the box reaches the cloud.
    let second = format!("{first}{}", meter("meter2", other.addr, ""));
    held.send_replace(true);
    let path = file(dir.path(), &second);
    let said = config(&cloud, &["put", "box1", &path, "--over", "1", "--no-wait"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    noted(&place, "trial", 2).await;
    noted(&place, "refused", 2).await;
    until("the second meter gone at the box", LIMIT, || async {
        let twins: common::api::Page<TwinView> = gateway.api().get("/api/v1/twins").await;
        let has = |name: &str| twins.items.iter().any(|t| t.asset.ends_with(name));
        (has("/meter") && !has("meter2")).then_some(())
    })
    .await;
    held.send_replace(false);
    let now = settled(&cloud, ConfigurationState::Refused, 2).await;
    assert!(now.reason.contains("not reached for 5 s") && running(&now) == 1, "{now:?}");
    let said = config(&cloud, &["status", "box1"]).await;
    assert!(said.out.contains("not reached for 5 s"), "{said:?}");

    // The same, and the power goes while it is on trial.
    until("the box in the cloud", LIMIT, || async { view_if_known(&cloud).await }).await;
    held.send_replace(true);
    let said = config(&cloud, &["put", "box1", &path, "--over", "2", "--no-wait"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    noted(&place, "trial", 3).await;
    let mut gateway = gateway;
    gateway.process.kill();
    drop(gateway);
    assert_eq!(note(&place)["running"]["version"], 3);
    let gateway = Gateway::start(&place, &own).await;
    noted(&place, "refused", 3).await;
    held.send_replace(false);
    let now = settled(&cloud, ConfigurationState::Refused, 3).await;
    assert_eq!(running(&now), 1);
    drop(gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_is_killed_at_any_moment_runs_one_whole_document() {
    let dir = tempfile::tempdir().expect("a folder");
    let (plc, other) = (ModbusDevice::start().await, ModbusDevice::start().await);
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let place = dir.path().join("box");
    let own = setup(&cloud, cloud.ingress, &plc, "accept_configuration = \"read\"").await;
    let mut gateway = settled_box(&place, &own).await;
    until("the box in the cloud", LIMIT, || async { view_if_known(&cloud).await }).await;
    for (n, pause_ms) in [0, 3, 10, 30, 100, 300].into_iter().enumerate() {
        let version = n as u64 + 1;
        other.set(0, 100 + u16::try_from(n).expect("small"));
        let document = meter(&format!("meter{version}"), other.addr, "");
        let path = file(dir.path(), &document);
        let said = config(&cloud, &["put", "box1", &path, "--over", &n.to_string(), "--no-wait"]).await;
        assert_eq!(said.code, 0, "{said:?}");
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        gateway.process.kill();
        drop(gateway);
        let noted = note(&place);
        let state = noted["state"].as_str().unwrap_or("none");
        assert!(["none", "trial", "applied"].contains(&state), "{noted}");
        gateway = Gateway::start(&place, &own).await;
        let now = settled(&cloud, ConfigurationState::Applied, version).await;
        assert_eq!(running(&now), version);
        value(&cloud, &format!("hall/meter{version}"), 100.0 + n as f64).await;
        let twins: common::api::Page<TwinView> = gateway.api().get("/api/v1/twins").await;
        assert_eq!(twins.items.len(), 2, "the box's own and that of one document");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_configuration_at_all_is_refused_and_does_not_cut_the_box_off() {
    let dir = tempfile::tempdir().expect("a folder");
    let (plc, other) = (ModbusDevice::start().await, ModbusDevice::start().await);
    other.set(0, 42);
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let place = dir.path().join("box");
    let own = setup(&cloud, cloud.ingress, &plc, "accept_configuration = \"read\"").await;
    let gateway = Gateway::start(&place, &own).await;
    until("the box in the cloud", LIMIT, || async { view_if_known(&cloud).await }).await;
    // What somebody took for it: what is wrong is named by a name that no message would hold.
    for (n, text) in [
        format!("{} = 1\n", "k".repeat(700_000)),
        format!("[[device]]\nname = \"{}\"\n", "n".repeat(700_000)),
        "\u{1}".repeat(400_000),
    ]
    .into_iter()
    .enumerate()
    {
        let path = file(dir.path(), &text);
        let said = config(&cloud, &["put", "box1", &path, "--over", &n.to_string()]).await;
        assert!(said.code == 1 && said.err.contains("refused"), "{n}: {} {:.2000}", said.code, said.err);
    }
    let meter = meter("meter", other.addr, "");
    let said = config(&cloud, &["put", "box1", &file(dir.path(), &meter), "--over", "newest"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    value(&cloud, "hall/meter", 42.0).await;
    gateway.emptied().await;
    let page: common::api::Page<LogEntry> = cloud.api().get("/api/v1/audit?limit=1000").await;
    let refused = page.items.iter().filter(|e| e.action == action::CONFIG_REFUSED).count();
    assert_eq!(refused, 3, "each is told by the box as well");
}
