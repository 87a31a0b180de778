//! Frames that the cloud cannot read, through a real session: they are set aside there, told on both sides, and keep
//! nothing else from coming in.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::api::{GapReason, SetAsideList};
use common::names::action;
use common::wire::{Batch, Frame, FrameKind, Up};
use tests::faults::packet;
use tests::field::numbered_device;
use tests::gateway::Setup;
use tests::load::number;
use tests::relay;
use tests::{Cloud, Gateway, Load, until};

const POINTS: u64 = 10;
const LIMIT: Duration = Duration::from_secs(60);

/// A link that spoils what it is told to, as a gateway with a fault in its encoder would.
#[derive(Default)]
struct Spoiler {
    closed: AtomicBool,
    /// The next frame of samples.
    frame: AtomicBool,
    /// The next frames that go together.
    batch: AtomicBool,
    /// Samples that were in the spoilt frame, and in the spoilt batch.
    samples: [AtomicU64; 2],
}

impl Spoiler {
    async fn start(self: &Arc<Self>, to: SocketAddr) -> SocketAddr {
        let link = self.clone();
        relay::listen(to, move |up, (mut from_cloud, mut to_gateway)| {
            let link = link.clone();
            async move {
                if link.closed.load(Ordering::SeqCst) {
                    return;
                }
                tokio::select! {
                    () = relay::packets(up, |packet| link.spoil(packet)) => {}
                    _ = tokio::io::copy(&mut from_cloud, &mut to_gateway) => {}
                }
            }
        })
        .await
    }

    fn spoil(&self, mut packet: Vec<u8>) -> Vec<u8> {
        let Some((_, payload)) = packet::publish(&packet) else { return packet };
        let at = packet.len() - payload.len();
        match Up::decode(payload) {
            Ok(Up::Frame(frame))
                if Frame::peek_kind(&frame) == Ok(FrameKind::Samples)
                    && self.frame.swap(false, Ordering::SeqCst) =>
            {
                let samples = Frame::decode(&frame).expect("a frame").body.sample_count();
                self.samples[0].store(samples as u64, Ordering::SeqCst);
                // More samples than there may be.
                packet[at + 2 + 63..at + 2 + 67].fill(0xff);
            }
            Ok(Up::Batch(batch)) if self.batch.swap(false, Ordering::SeqCst) => {
                let frames = Batch::decode(&batch).expect("a batch");
                let samples: usize = frames.iter().map(|f| f.body.sample_count()).sum();
                self.samples[1].store(samples as u64, Ordering::SeqCst);
                packet[at + 2..at + 6].fill(0xff);
            }
            _ => {}
        }
        packet
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_frame_is_set_aside_and_the_stream_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let secret = cloud.gateway_secret("box1").await;
    let link = Arc::new(Spoiler::default());
    link.closed.store(true, Ordering::SeqCst);
    let through = link.start(cloud.ingress).await;
    let setup =
        Setup { uplink: Some((through, secret)), devices: numbered_device(POINTS), ..Setup::default() };
    let mut gateway = Gateway::start(&dir.path().join("box"), &setup).await;
    let mut load = Load::start(&gateway, POINTS, 1000, number);
    let drained = async |gateway: &Gateway| {
        until("an empty buffer", LIMIT, || async {
            let health = gateway.health().await;
            (health.uplink && health.buffer.unacked_frames < 10).then_some(())
        })
        .await;
    };

    // A backlog, of which the first message cannot be read: its frames come one by one, and none is lost.
    load.reach(2_000).await;
    link.batch.store(true, Ordering::SeqCst);
    link.closed.store(false, Ordering::SeqCst);
    drained(&gateway).await;
    assert!(link.samples[1].load(Ordering::SeqCst) > 100, "a batch was spoilt");
    let aside = || async { cloud.api().get::<SetAsideList>("/api/v1/gateways/box1/set-aside").await.items };
    assert_eq!(aside().await, [], "the frames themselves are sound");

    // A live frame that cannot be read.
    link.frame.store(true, Ordering::SeqCst);
    let set = until("a frame set aside", LIMIT, || async { aside().await.pop() }).await;
    assert_eq!(
        (&set.cause[..], set.incarnation.is_some(), set.seq.is_some()),
        ("frame", true, true),
        "{set:?}"
    );
    load.reach(5_000).await;
    let seen = Mutex::new(Vec::new());
    until("both sides are told", LIMIT, || async {
        let (on_box, on_cloud) = (
            &gateway.api().entries(action::FRAME_SET_ASIDE).await,
            cloud.api().entries(action::FRAME_SET_ASIDE).await,
        );
        *seen.lock().expect("no panic holds it") = on_box.clone();
        // The cloud's own, and the box's.
        (on_box.len() == 1 && on_cloud.len() == 2).then_some(())
    })
    .await;
    let told = seen.into_inner().expect("no panic holds it").remove(0);
    assert!(
        told.detail.contains(&format!("({} of incarnation", set.seq.unwrap_or_default())),
        "{}",
        told.detail
    );
    load.end().await;
    gateway.emptied().await;
    let verdict = load.compare(cloud.api()).await;
    let spoilt = link.samples[0].load(Ordering::SeqCst);
    assert!(spoilt > 0);
    assert_eq!((verdict.lost, verdict.doubled, verdict.changed), (spoilt, 0, 0), "{verdict:?}");
    assert_eq!(aside().await.len(), 1, "once");
    // It is told where it is missing, and can be had as it came.
    let history = cloud.api().history("hall/load", "p0", "from=-10m&max_points=10000").await;
    let gap = history.gaps.iter().find(|g| g.cause == GapReason::SetAside).expect("a gap");
    assert!(gap.to_us > gap.from_us, "{gap:?}");
    let path = format!("/api/v1/gateways/box1/set-aside/{}", set.id);
    let answer = cloud.api().request(reqwest::Method::GET, &path).send().await.expect("an answer");
    let frame = answer.error_for_status().expect("the frame").bytes().await.expect("its bytes");
    assert_eq!(frame.len() as u64, set.bytes);
    let header = Frame::peek(&frame).expect("its header");
    assert_eq!((Some(header.seq), Some(header.incarnation)), (set.seq, set.incarnation));
    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;
    load.ended().await;
}
