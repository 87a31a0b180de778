//! A new configuration while everything runs: devices that stay lose no sample and no connection, whatever happens
//! to the others; the cloud goes on in its session; a configuration with mistakes changes nothing.

use std::time::Duration;

use common::api::{ConfigView, GatewayView, Page, Problem, ReloadReport, TwinView};
use reqwest::Method;
use tests::field::{ModbusDevice, numbered_device};
use tests::gateway::Setup;
use tests::load::number;
use tests::{Api, Cloud, Gateway, Load, until};

const POINTS: u64 = 20;
const LIMIT: Duration = Duration::from_secs(60);

/// A device whose register 0 counts its reads.
fn counting(name: &str, device: &ModbusDevice, unit: &str) -> String {
    format!(
        "[[device]]\nname = \"{name}\"\nasset = \"plant/hall/{name}\"\n[device.modbus]\nhost = \"127.0.0.1\"\nport = {}\n\
         [[device.point]]\nname = \"c\"\ntype = \"u64\"\nunit = \"{unit}\"\n\
         modbus = {{ table = \"holding\", address = 0, type = \"u16\", period_ms = 10 }}\n",
        device.addr.port()
    )
}

fn other(topics: &[&str]) -> String {
    let mut text = "[[device]]\nname = \"other\"\nasset = \"plant/hall/other\"\n[device.mqtt]\n".to_owned();
    for topic in topics {
        text += &format!(
            "[[device.point]]\nname = \"{topic}\"\ntype = \"f64\"\nmqtt = {{ topic = \"x/{topic}\" }}\n"
        );
    }
    text
}

async fn reload(api: &Api) -> Result<ReloadReport, Problem> {
    let answer = api.request(Method::POST, "/api/v1/config/reload").send().await.expect("an answer");
    if answer.status().is_success() {
        return Ok(answer.json().await.expect("a report"));
    }
    Err(answer.json().await.expect("a problem"))
}

async fn since_us(cloud: &Cloud) -> i64 {
    let page: Page<GatewayView> = cloud.api().get("/api/v1/gateways").await;
    let gateway = &page.items[0];
    assert!(gateway.connected);
    gateway.since_us
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_loses_nothing_while_the_rest_is_changed() {
    let dir = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let (plc, extra) = (ModbusDevice::start().await, ModbusDevice::start().await);
    plc.count_reads_of(0);
    extra.count_reads_of(0);
    let uplink = Some((cloud.ingress, cloud.gateway_secret("box1").await));
    let setup =
        |devices: &[String]| Setup { uplink: uplink.clone(), devices: devices.concat(), ..Setup::default() };
    let numbered = numbered_device(POINTS);
    // What changes stands before what stays: a new configuration would number everything anew.
    let first = setup(&[other(&["a"]), numbered.clone(), counting("plc", &plc, "1")]);
    let gateway = Gateway::start(&dir.path().join("box"), &first).await;
    let api = gateway.api();

    let mut load = Load::start(&gateway, POINTS, 1000, number);
    load.more(1_000).await;
    let since = since_us(&cloud).await;

    // A device with more points, and a new one.
    gateway.configure(&setup(&[
        other(&["a", "b"]),
        counting("extra", &extra, "1"),
        numbered.clone(),
        counting("plc", &plc, "1"),
    ]));
    let report = reload(&api).await.expect("taken");
    assert_eq!((report.added.join(","), report.restarted.join(",")), ("extra".into(), "other".into()));
    assert!(report.removed.is_empty() && report.updated.is_empty(), "{report:?}");
    assert!(report.restart_needed.is_empty(), "{report:?}");
    load.more(1_000).await;

    // Mistakes: nothing happens.
    let bad = "[[device]]\nname = \"bad\"\nasset = \"x\"\nnonsense = 1\n".to_owned();
    gateway.configure(&setup(&[bad, numbered.clone()]));
    let problem = reload(&api).await.expect_err("refused");
    assert!(problem.detail.contains("gateway.toml:") && problem.detail.contains("nonsense"), "{problem}");
    let view: ConfigView = api.get("/api/v1/config").await;
    let attempt = view.last_reload.expect("an attempt");
    assert!(!attempt.taken && !attempt.mistakes.is_empty() && view.generation == 1, "{attempt:?}");
    let metrics = api.request(Method::GET, "/metrics").send().await.expect("an answer");
    let metrics = metrics.text().await.expect("text");
    let success = metrics.lines().find(|l| l.starts_with("twinway_gateway_config_last_reload_success"));
    assert!(success.is_some_and(|l| l.ends_with(" 0")), "{metrics}");
    load.more(1_000).await;

    // One is gone, another is told in another unit: its driver goes on.
    gateway.configure(&setup(&[counting("extra", &extra, "1"), numbered, counting("plc", &plc, "rpm")]));
    gateway.process.signal("HUP");
    let view: ConfigView = until("the second configuration", LIMIT, || async {
        let view: ConfigView = api.get("/api/v1/config").await;
        (view.generation == 2).then_some(view)
    })
    .await;
    assert!(view.last_reload.is_some_and(|r| r.taken && r.by == "SIGHUP"));
    load.more(1_000).await;
    load.end().await;
    plc.stop();
    extra.stop();

    gateway.emptied().await;
    let verdict = load.compare(cloud.api()).await;
    assert!(verdict.is_exact(), "{verdict:?}");
    assert_eq!(since_us(&cloud).await, since, "the session with the cloud went on");

    // Every value that a register ever gave arrived once and in order, over every reload.
    for (name, device, least) in [("plc", &plc, 100), ("extra", &extra, 50)] {
        let history = cloud.api().history(&format!("hall/{name}"), "c", "from=-1h&max_points=10000").await;
        let got: Vec<f64> =
            history.points.iter().filter_map(|p| p.value.as_ref().and_then(common::Value::as_f64)).collect();
        assert!(got.len() >= least, "{name}: {}", got.len());
        let expected: Vec<f64> = (1..=device.get(0)).map(f64::from).collect();
        let last_answer_may_be_lost = &expected[..got.len().min(expected.len())];
        assert_eq!(got, last_answer_may_be_lost, "{name}");
        assert!(expected.len() <= got.len() + 1, "{name}: {} of {}", got.len(), expected.len());
        assert_eq!(device.connections(), 1, "{name} kept its connection");
    }
    let twin: TwinView = cloud.api().get("/api/v1/twins/hall%2Fplc").await;
    assert_eq!(twin.points[0].schema.unit, "rpm");
    assert_eq!(twin.gateway.map(|g| g.to_string()).as_deref(), Some("box1"));
}
