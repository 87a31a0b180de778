//! A link that is paid by the byte, through the real programs: when the month's bytes are used up, samples wait in the
//! buffer and what is urgent goes on, also after kill -9; with more bytes all of them come, each at its own time.

use std::time::Duration;

use common::api::{LinkHold, SwitchPosition};
use common::names::action;
use reqwest::Method;
use tests::field::classed_device;
use tests::gateway::Setup;
use tests::load::incompressible;
use tests::{Cloud, Gateway, Load, until};

const POINTS: u64 = 20;
const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn what_a_budget_holds_back_waits_in_the_buffer_and_comes_at_its_own_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let secret = cloud.gateway_secret("box1").await;
    let setup = |month_mb: f64| Setup {
        uplink: Some((cloud.ingress, secret.clone())),
        devices: classed_device(POINTS, |n| if n == 0 { "critical" } else { "normal" }),
        extra: format!("metered = true\nmax_delay_s = 1\nmonth_mb = {month_mb:?}\ncalendar = \"utc\"\n"),
        ..Setup::default()
    };
    let mut gateway = Gateway::start(&dir.path().join("box"), &setup(0.1)).await;
    let mut load = Load::start(&gateway, POINTS, 2000, incompressible);
    let held = async |gateway: &Gateway| gateway.health().await.link.expect("an uplink").held;
    until("the month's bytes are used up", LIMIT, || async {
        (held(&gateway).await == Some(LinkHold::Month)).then_some(())
    })
    .await;
    cloud.api().told("the cloud is told", action::UPLINK_HELD).await;
    gateway.set_switch(SwitchPosition::Remote).await;
    cloud.api().told("what is urgent goes on", action::SWITCH_REMOTE).await;
    let api = cloud.api();
    let seen = api.value("hall/load", "p0").await;
    until("what is critical goes on", LIMIT, || async {
        (api.value("hall/load", "p0").await != seen).then_some(())
    })
    .await;
    let metrics = gateway.api().request(Method::GET, "/metrics").send().await.expect("metrics");
    let metrics = metrics.text().await.expect("text");
    assert!(metrics.contains("twinway_gateway_uplink_held 1"), "{metrics}");
    assert!(metrics.contains("twinway_gateway_uplink_bytes_left{period=\"month\"} 0"), "{metrics}");

    gateway.process.kill();
    gateway = Gateway::start(&dir.path().join("box"), &setup(0.1)).await;
    load.follow(&gateway).await;
    let link = gateway.health().await.link.expect("an uplink");
    assert!(link.month_bytes >= 100_000 && link.held == Some(LinkHold::Month), "{link:?}");
    assert!(link.trends_held, "a part of the budget is not for them: {link:?}");
    load.reach(load.sent() + 3000).await;
    load.end().await;
    let buffer = gateway.health().await.buffer;
    assert!(buffer.unacked_frames > 100, "{buffer:?}");

    gateway.configure(&setup(1000.0));
    let answer =
        gateway.api().request(Method::POST, "/api/v1/config/reload").send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    gateway.emptied().await;
    assert_eq!(held(&gateway).await, None);
    cloud.api().told("the cloud is told", action::UPLINK_RELEASED).await;
    let verdict = load.compare(cloud.api()).await;
    assert!(verdict.is_exact(), "{verdict:?}");
    assert!(verdict.durable > 5_000, "{verdict:?}");
    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;
    load.ended().await;
}
