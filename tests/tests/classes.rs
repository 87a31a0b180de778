//! A buffer that is full before the cloud comes back, through the real programs: trends have gone, critical points have all of
//! their samples, and the history says at each point what it lacks and why.

use std::time::Duration;

use common::api::{BufferStatus, GapReason};
use tests::faults::link::{Link, Shape};
use tests::field::classed_device;
use tests::gateway::Setup;
use tests::load::incompressible;
use tests::{Cloud, Gateway, Load, until};

const POINTS: u64 = 20;
const RATE: u64 = 8_000;
const LIMIT: Duration = Duration::from_secs(90);

fn class(point: u64) -> &'static str {
    match point {
        0 => "critical",
        1..=9 => "normal",
        _ => "trend",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_buffer_drops_are_trends_and_the_history_says_so_at_each_point() {
    let dir = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let link = Link::unnoted(cloud.ingress).await;
    let setup = Setup {
        uplink: Some((link.addr, cloud.gateway_secret("box1").await)),
        devices: classed_device(POINTS, class),
        extra: "[buffer]\nquota_mb = 1\nsegment_kb = 64\n".to_owned(),
        ..Setup::default()
    };
    let gateway = Gateway::start(&dir.path().join("box"), &setup).await;
    let mut load = Load::start(&gateway, POINTS, RATE, incompressible);
    load.reach(RATE / 4).await;
    link.shape(Shape { closed: true, ..Shape::default() });
    let api = gateway.api();
    let status = async || api.get::<BufferStatus>("/api/v1/buffer").await;
    until("trends that are dropped", LIMIT, || async {
        status().await.lost.get("quota").is_some_and(|lost| lost.samples > 10_000).then_some(())
    })
    .await;
    let sent = load.end().await;
    load.reach(sent).await;
    let full = status().await;
    assert!(full.critical.frames > full.trends.frames, "{full:?}");
    link.heal();
    gateway.emptied().await;
    let lost = status().await.lost["quota"].samples;

    let query = "from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&max_points=10000";
    let mut missing = 0;
    for point in 0..POINTS {
        let all = sent / POINTS + u64::from(point > 0 && point <= sent % POINTS);
        let page = cloud.api().history("hall/load", &format!("p{point}"), query).await;
        let there: u64 = page.points.iter().map(|p| p.count).sum();
        let told = page.gaps.iter().filter(|g| g.cause == GapReason::Quota).count();
        missing += all - there;
        match class(point) {
            "trend" => assert!(there < all && told > 0, "p{point}: {there} of {all}, {told} gaps"),
            name => assert_eq!((there, told), (all, 0), "p{point} is {name}: {:?}", page.gaps),
        }
    }
    assert_eq!(missing, lost, "what was dropped is what was told");
}
