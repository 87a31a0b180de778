//! The core without sockets: sessions, queues, sharing, QoS, time; and that a journal tells the state it was made of.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::attach::{Attach, Leave};
use super::*;
use crate::access::Access;
use crate::codec::{self, Connect, Filter, Packet, Reason, RetainHandling, Version};
use crate::journal::{Body, Image, Journal, Record, replay};

const SECOND: i64 = 1_000_000;

fn core(change: impl FnOnce(&mut Limits)) -> Core {
    let mut limits = Limits::default();
    change(&mut limits);
    Core::new(limits, Losses::new(&DropCounts::default()))
}

fn with_journal() -> Core {
    let mut core = core(|_| {});
    core.journal = Some(Journal::new(0, Arc::default()));
    core
}

fn hello(client: &str, clean: bool) -> Connect<'_> {
    Connect {
        version: Version::V3,
        client,
        clean,
        keep_alive: 60,
        user: None,
        password: None,
        will: None,
        session_expiry: 0,
        receive_maximum: u16::MAX,
        max_packet: u32::MAX,
        authentication: false,
    }
}

fn attach(
    core: &mut Core,
    connect: &Connect<'_>,
    user: Option<&str>,
    now: i64,
) -> Result<(Seat, bool), Reason> {
    let attach = Attach {
        connect,
        client: connect.client,
        user,
        access: Access::everything().into(),
        open: true,
        peer: "test".to_owned(),
        listener: "test".into(),
    };
    core.attach(&attach, now).map(|a| (a.seat, a.present))
}

fn connect(core: &mut Core, client: &str, clean: bool) -> Seat {
    attach(core, &hello(client, clean), None, 0).unwrap().0
}

fn filter(filter: &str, qos: u8) -> Filter<'_> {
    Filter { filter, qos, no_local: false, as_published: false, retain: RetainHandling::Always }
}

fn subscribe(core: &mut Core, seat: Seat, text: &str, qos: u8) -> u8 {
    core.subscribe(seat, &filter(text, qos), None, &Access::everything()).unwrap()
}

fn publish(core: &mut Core, topic: &str, payload: &str, qos: u8) -> u64 {
    let message = Message::new(topic, Bytes::from(payload.to_owned()), qos, false);
    core.publish(None, message, 0).after
}

fn retain(core: &mut Core, topic: &str, payload: &str, qos: u8) -> u64 {
    let message = Message::new(topic, Bytes::from(payload.to_owned()), qos, true);
    core.publish(None, message, 0).after
}

fn of_the_gateway(core: &mut Core, topic: &str, payload: Vec<u8>) {
    let mut message = Message::new(topic, payload.into(), 1, false);
    message.volatile = true;
    core.publish(None, message, 0);
}

#[test]
fn a_stuck_disk_does_not_hold_what_the_gateway_says_without_end() {
    let mut core = with_journal();
    let seat = connect(&mut core, "durable", false);
    subscribe(&mut core, seat, "a", 1);
    for _ in 0..40 {
        of_the_gateway(&mut core, "a", vec![7; 1 << 20]);
    }
    let lost = core.losses.not_durable.load(Ordering::Relaxed);
    assert!((20..30).contains(&lost), "16 MiB wait for the disk, the rest is counted: {lost}");
    let (bytes, _) = core.journal_take();
    assert!(bytes.len() < 18 << 20, "{}", bytes.len());
}

#[test]
fn a_reader_inside_that_stalls_is_given_so_many_bytes_and_goes_on_when_it_lets_them_go() {
    let mut core = core(|_| {});
    let (to, mut from) = tokio::sync::mpsc::channel(10_000);
    core.tap(vec!["#".to_owned()], to, 0);
    for _ in 0..100 {
        of_the_gateway(&mut core, "large", vec![7; 256 * 1024]);
        of_the_gateway(&mut core, "small", b"1".to_vec());
    }
    let lost = core.losses.inbox_full.load(Ordering::Relaxed);
    assert!((36..40).contains(&lost), "16 MiB of large ones, and all small ones: {lost}");
    let mut got = 0;
    while let Ok(message) = from.try_recv() {
        assert_eq!(message.payload.len(), if message.topic == "large" { 256 * 1024 } else { 1 });
        got += 1;
    }
    assert_eq!(got, 200 - lost);
    of_the_gateway(&mut core, "large", vec![7; 256 * 1024]);
    assert!(from.try_recv().is_ok(), "there is room again");
}

/// A message as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    payload: String,
    qos: u8,
    pkid: u16,
    retain: bool,
}

fn take(core: &mut Core, seat: Seat, now: i64) -> Vec<Got> {
    let mut out = BytesMut::new();
    while core.take(seat, &mut out, now).unwrap() {}
    let (mut rest, mut all) = (&out[..], Vec::new());
    while let Some((packet, used)) = codec::decode(rest, Version::V3, usize::MAX).unwrap() {
        if let Packet::Publish(p) = packet {
            let payload = String::from_utf8(p.payload.to_vec()).unwrap();
            all.push(Got { payload, qos: p.qos, pkid: p.pkid, retain: p.retain });
        }
        rest = &rest[used..];
    }
    all
}

fn payloads(core: &mut Core, seat: Seat) -> Vec<String> {
    take(core, seat, 0).into_iter().map(|g| g.payload).collect()
}

fn lost(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[test]
fn a_message_comes_once_with_the_highest_qos_that_is_not_above_its_own() {
    let mut core = core(|_| {});
    let seat = connect(&mut core, "c", true);
    subscribe(&mut core, seat, "a/+", 0);
    subscribe(&mut core, seat, "a/#", 2);
    for (qos, expected) in [(0, 0), (1, 1), (2, 2)] {
        publish(&mut core, "a/b", "x", qos);
        let got = take(&mut core, seat, 0);
        assert_eq!(got.iter().map(|g| g.qos).collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn a_full_queue_drops_its_oldest_counts_it_and_stays_small() {
    let mut core = core(|l| {
        l.queued = 100;
        l.in_flight = 10;
    });
    let seat = connect(&mut core, "slow", true);
    subscribe(&mut core, seat, "#", 1);
    for n in 0..1000 {
        publish(&mut core, "t", &n.to_string(), 1);
    }
    assert_eq!(lost(&core.losses.slow_client), 900);
    assert!(core.queued_bytes < 100 * 200, "{}", core.queued_bytes);
    // The window holds ten; each acknowledgement lets the next out, and the newest are all there.
    let mut all = Vec::new();
    loop {
        let got = take(&mut core, seat, 0);
        if got.is_empty() {
            break;
        }
        assert!(got.len() <= 10);
        for g in got {
            core.acknowledged(seat, g.pkid).unwrap();
            all.push(g.payload);
        }
    }
    assert_eq!(all, (900..1000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(core.queued_bytes, 0);
}

#[test]
fn all_queues_together_are_bounded_and_the_largest_gives_way() {
    let mut core = core(|l| l.queued_total = 100_000);
    let (greedy, modest) = (connect(&mut core, "greedy", true), connect(&mut core, "modest", true));
    subscribe(&mut core, greedy, "g", 0);
    subscribe(&mut core, modest, "m", 0);
    let large = "x".repeat(1000);
    for _ in 0..1000 {
        publish(&mut core, "g", &large, 0);
    }
    for n in 0..10 {
        publish(&mut core, "m", &n.to_string(), 0);
    }
    assert!(core.queued_bytes <= 101_000 + 10 * 200, "{}", core.queued_bytes);
    assert_eq!(payloads(&mut core, modest).len(), 10);
}

#[test]
fn what_a_shared_member_leaves_unacknowledged_goes_to_another() {
    for clean in [true, false] {
        let mut core = with_journal();
        let (a, b) = (connect(&mut core, "a", clean), connect(&mut core, "b", true));
        for seat in [a, b] {
            subscribe(&mut core, seat, "$share/g/t", 1);
        }
        for n in 0..10 {
            publish(&mut core, "t", &n.to_string(), 1);
        }
        let (of_a, of_b) = (take(&mut core, a, 0), take(&mut core, b, 0));
        assert_eq!((of_a.len(), of_b.len()), (5, 5));
        // One is acknowledged, four are not.
        core.acknowledged(a, of_a[0].pkid).unwrap();
        core.detach(a, Leave::Failed, 0);
        let again = payloads(&mut core, b);
        assert_eq!(again, of_a[1..].iter().map(|g| g.payload.clone()).collect::<Vec<_>>());
        if !clean {
            // And they do not come twice when the member is back.
            let a = connect(&mut core, "a", false);
            assert!(take(&mut core, a, 0).is_empty());
        }
        assert_eq!(lost(&core.losses.session_ended), 0);
    }
}

#[test]
fn the_last_shared_member_that_ends_with_messages_loses_them_in_the_count() {
    let mut core = core(|_| {});
    let seat = connect(&mut core, "only", true);
    subscribe(&mut core, seat, "$share/g/#", 1);
    publish(&mut core, "t", "1", 1);
    take(&mut core, seat, 0);
    core.detach(seat, Leave::Failed, 0);
    assert_eq!(lost(&core.losses.session_ended), 1);
    // The group is gone with it, and a message finds nobody.
    publish(&mut core, "t", "2", 1);
    assert_eq!(core.queued_bytes, 0);
}

#[test]
fn qos_2_in_flight_stays_with_its_shared_member() {
    let mut core = core(|_| {});
    let (a, b) = (connect(&mut core, "a", false), connect(&mut core, "b", true));
    subscribe(&mut core, a, "$share/g/t", 2);
    publish(&mut core, "t", "1", 2);
    assert_eq!(take(&mut core, a, 0).len(), 1);
    subscribe(&mut core, b, "$share/g/t", 2);
    core.detach(a, Leave::Failed, 0);
    assert!(take(&mut core, b, 0).is_empty());
    let a = connect(&mut core, "a", false);
    assert_eq!(payloads(&mut core, a), ["1"]);
}

#[test]
fn qos_2_goes_through_its_four_steps_and_survives_a_new_connection_between_any_two() {
    let mut core = core(|_| {});
    let mut seat = connect(&mut core, "c", false);
    subscribe(&mut core, seat, "t", 2);
    publish(&mut core, "t", "1", 2);
    let first = take(&mut core, seat, 0).remove(0);
    core.detach(seat, Leave::Failed, 0);
    seat = connect(&mut core, "c", false);
    assert_eq!(take(&mut core, seat, 0)[0].pkid, first.pkid);
    assert_eq!(core.received(seat, first.pkid, false).unwrap(), Some(Reason::Success));
    core.detach(seat, Leave::Failed, 0);
    seat = connect(&mut core, "c", false);
    // The message was received: only PUBREL comes again.
    let mut out = BytesMut::new();
    core.take(seat, &mut out, 0).unwrap();
    assert_eq!(out[..], [0x62, 2, 0, u8::try_from(first.pkid).unwrap()]);
    assert_eq!(core.received(seat, first.pkid, false).unwrap(), Some(Reason::Success));
    core.completed(seat, first.pkid).unwrap();
    assert_eq!(core.received(seat, first.pkid, false).unwrap(), Some(Reason::PacketIdNotFound));
    assert_eq!(core.queued_bytes, 0);
}

#[test]
fn a_session_is_not_for_another_user_and_an_old_connection_has_no_say() {
    let mut core = core(|_| {});
    let (old, _) = attach(&mut core, &hello("c", false), Some("ann"), 0).unwrap();
    assert_eq!(attach(&mut core, &hello("c", false), Some("bob"), 0), Err(Reason::ClientIdNotValid));
    assert_eq!(attach(&mut core, &hello("c", true), None, 0), Err(Reason::ClientIdNotValid));
    let (new, present) = attach(&mut core, &hello("c", false), Some("ann"), 0).unwrap();
    assert!(present);
    assert_eq!(core.take(old, &mut BytesMut::new(), 0), Err(Fault::Replaced));
    core.detach(old, Leave::Failed, 0);
    assert_eq!(core.connected(), 1);
    assert_eq!(core.take(new, &mut BytesMut::new(), 0), Ok(false));
}

#[test]
fn time_ends_messages_sessions_and_the_patience_of_wills() {
    let mut core = core(|_| {});
    let watcher = connect(&mut core, "watcher", true);
    subscribe(&mut core, watcher, "will", 0);
    let will = codec::Will {
        topic: "will".into(),
        payload: b"gone".to_vec(),
        qos: 0,
        retain: false,
        delay: 10,
        expiry: None,
        props: Vec::new(),
    };
    let with_will =
        Connect { version: Version::V5, session_expiry: 100, will: Some(will), ..hello("c", true) };
    let (seat, _) = attach(&mut core, &with_will, None, 0).unwrap();
    subscribe(&mut core, seat, "t", 1);
    core.detach(seat, Leave::Failed, 0);
    // Back within the delay: no will.
    core.tick(9 * SECOND);
    let back = Connect { clean: false, ..with_will.clone() };
    let (seat, present) = attach(&mut core, &back, None, 9 * SECOND).unwrap();
    assert!(present);
    core.tick(60 * SECOND);
    assert!(payloads(&mut core, watcher).is_empty());
    // Not back: the will after its delay, and the session's end after its own.
    core.detach(seat, Leave::Failed, 100 * SECOND);
    let mut mortal = Message::new("t", "short".into(), 1, false);
    mortal.expires = Some(105 * SECOND);
    core.publish(None, mortal, 100 * SECOND);
    publish(&mut core, "t", "long", 1);
    core.tick(109 * SECOND);
    assert!(payloads(&mut core, watcher).is_empty());
    core.tick(111 * SECOND);
    assert_eq!(payloads(&mut core, watcher), ["gone"]);
    let (seat, _) = attach(&mut core, &Connect { will: None, ..back.clone() }, None, 112 * SECOND).unwrap();
    let got = take(&mut core, seat, 112 * SECOND);
    assert_eq!(got.len(), 1, "the message whose time is over is not sent");
    assert_eq!(lost(&core.losses.expired), 1);
    core.detach(seat, Leave::Failed, 112 * SECOND);
    core.tick(213 * SECOND);
    assert_eq!(lost(&core.losses.session_ended), 1);
    assert!(!core.by_client.contains_key("c"));
    assert_eq!(core.queued_bytes, 0);
}

#[test]
fn options_of_a_subscription_hold() {
    let mut core = core(|_| {});
    let seat = connect(&mut core, "c", true);
    let own =
        Filter { no_local: true, as_published: true, retain: RetainHandling::IfNew, ..filter("t/#", 1) };
    retain(&mut core, "t/old", "old", 1);
    core.subscribe(seat, &own, Some(7), &Access::everything()).unwrap();
    assert_eq!(take(&mut core, seat, 0).len(), 1);
    // Known already: nothing retained comes again.
    core.subscribe(seat, &own, Some(7), &Access::everything()).unwrap();
    assert!(take(&mut core, seat, 0).is_empty());
    core.publish(Some(seat.key), Message::new("t/a", "mine".into(), 0, false), 0);
    assert!(take(&mut core, seat, 0).is_empty());
    retain(&mut core, "t/a", "kept", 0);
    assert!(take(&mut core, seat, 0)[0].retain, "retain as published");
    let never = Filter { retain: RetainHandling::Never, ..filter("+/a", 0) };
    core.subscribe(seat, &never, None, &Access::everything()).unwrap();
    assert!(take(&mut core, seat, 0).is_empty());
    for (bad, reason) in [
        ("$share//t", Reason::TopicFilterInvalid),
        ("$share/g/", Reason::TopicFilterInvalid),
        ("$share/g+/t", Reason::TopicFilterInvalid),
        ("a/#/b", Reason::TopicFilterInvalid),
        ("$SYS/#", Reason::NotAuthorized),
    ] {
        assert_eq!(subscribe(&mut core, seat, bad, 0), reason as u8, "{bad}");
    }
    let deep = "a/".repeat(200);
    assert_eq!(subscribe(&mut core, seat, &deep, 0), Reason::TopicFilterInvalid as u8);
}

#[test]
fn subscriptions_of_a_client_are_bounded_in_number_and_bytes() {
    let mut core = core(|l| {
        l.filters = 3;
        l.filter_bytes = 100;
    });
    let seat = connect(&mut core, "c", true);
    assert_eq!(subscribe(&mut core, seat, &"x".repeat(101), 0), Reason::QuotaExceeded as u8);
    for n in 0..3 {
        assert_eq!(subscribe(&mut core, seat, &n.to_string(), 0), 0);
    }
    assert_eq!(subscribe(&mut core, seat, "more", 0), Reason::QuotaExceeded as u8);
    assert_eq!(subscribe(&mut core, seat, "1", 1), 1);
    core.unsubscribe(seat, "1").unwrap();
    assert_eq!(subscribe(&mut core, seat, "more", 0), 0);
}

#[test]
fn only_what_must_survive_waits_for_the_disk() {
    let mut core = with_journal();
    let clean = connect(&mut core, "clean", true);
    subscribe(&mut core, clean, "a", 2);
    assert_eq!(publish(&mut core, "a", "1", 2), 0);
    let kept = connect(&mut core, "kept", false);
    subscribe(&mut core, kept, "b", 1);
    assert_eq!(publish(&mut core, "b", "1", 0), 0);
    assert!(publish(&mut core, "b", "1", 1) > 0);
    assert!(retain(&mut core, "c", "1", 1) > 0);
    let mut own = Message::new("d", "1".into(), 2, true);
    own.volatile = true;
    assert_eq!(core.publish(None, own, 0).after, 0);
}

/// What a core would keep, as text: by its snapshot.
fn told(core: &mut Core) -> Vec<String> {
    let (frozen, _) = core.freeze();
    let mut image = Image::default();
    frozen.records().for_each(|r| image.apply(r));
    describe(&image)
}

fn describe(image: &Image) -> Vec<String> {
    let mut all = Vec::new();
    for (topic, message) in &image.retained {
        all.push(format!("retained {topic} {:?}", Body::of(message)));
    }
    for session in image.sessions.values() {
        all.push(format!("{} {:?} {:?}", session.client, session.filters, session.received));
        for q in &session.queue {
            all.push(format!("  {:?} qos {} as {:?}", q.message.payload, q.qos, q.pkid));
        }
        let released: std::collections::BTreeSet<_> = session.released.iter().collect();
        all.push(format!("  released {released:?}"));
    }
    all
}

#[derive(Debug, Clone)]
enum Op {
    Connect(u8, bool),
    Leave(u8),
    Subscribe(u8, u8, u8),
    Unsubscribe(u8, u8),
    Publish(u8, u8, bool),
    /// Takes what waits and acknowledges so many.
    Read(u8, u8),
    Accept(u8, u16),
    Release(u8, u16),
    Snapshot,
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..3u8;
    prop_oneof![
        2 => (client.clone(), any::<bool>()).prop_map(|(c, clean)| Op::Connect(c, clean)),
        1 => client.clone().prop_map(Op::Leave),
        3 => (client.clone(), 0..6u8, 0..3u8).prop_map(|(c, f, q)| Op::Subscribe(c, f, q)),
        1 => (client.clone(), 0..6u8).prop_map(|(c, f)| Op::Unsubscribe(c, f)),
        6 => (0..3u8, 0..3u8, any::<bool>()).prop_map(|(t, q, r)| Op::Publish(t, q, r)),
        3 => (client.clone(), 0..5u8).prop_map(|(c, n)| Op::Read(c, n)),
        1 => (client.clone(), 1..5u16).prop_map(|(c, p)| Op::Accept(c, p)),
        1 => (client, 1..5u16).prop_map(|(c, p)| Op::Release(c, p)),
        1 => Just(Op::Snapshot),
    ]
}

const FILTERS: [&str; 6] = ["t/0", "t/+", "#", "$share/g/t/+", "$share/g/#", "t/2"];

proptest! {
    #![proptest_config(crate::cases(1000))]

    /// Whatever happens, the log (and the snapshot before it) tells the state that the core has.
    #[test]
    fn the_journal_tells_the_state(ops in proptest::collection::vec(op(), 1..60)) {
        let mut core = with_journal();
        let mut image = Image::default();
        let mut seats: [Option<Seat>; 3] = [None; 3];
        let mut n = 0;
        for op in ops {
            match op {
                Op::Connect(c, clean) => {
                    let client = c.to_string();
                    seats[usize::from(c)] = Some(connect(&mut core, &client, clean));
                }
                Op::Leave(c) => {
                    if let Some(seat) = seats[usize::from(c)].take() {
                        core.detach(seat, Leave::Failed, 0);
                    }
                }
                Op::Subscribe(c, f, q) => {
                    if let Some(seat) = seats[usize::from(c)] {
                        let retain = RetainHandling::Never;
                        let filter = Filter { retain, ..filter(FILTERS[usize::from(f)], q) };
                        core.subscribe(seat, &filter, None, &Access::everything()).unwrap();
                    }
                }
                Op::Unsubscribe(c, f) => {
                    if let Some(seat) = seats[usize::from(c)] {
                        core.unsubscribe(seat, FILTERS[usize::from(f)]).unwrap();
                    }
                }
                Op::Publish(t, q, keep) => {
                    n += 1;
                    let payload = if keep && n % 4 == 0 { String::new() } else { n.to_string() };
                    let message = Message::new(&format!("t/{t}"), payload.into(), q, keep);
                    core.publish(None, message, 0);
                }
                Op::Read(c, acks) => {
                    if let Some(seat) = seats[usize::from(c)] {
                        for got in take(&mut core, seat, 0).into_iter().take(acks.into()) {
                            match got.qos {
                                1 => core.acknowledged(seat, got.pkid).unwrap(),
                                2 => {
                                    core.received(seat, got.pkid, false).unwrap();
                                    if got.pkid % 2 == 0 {
                                        core.completed(seat, got.pkid).unwrap();
                                    }
                                }
                                _ => {}
                            }
                        }
                    }
                }
                Op::Accept(c, p) => {
                    if let Some(seat) = seats[usize::from(c)] {
                        core.accept_once(seat, p).unwrap();
                    }
                }
                Op::Release(c, p) => {
                    if let Some(seat) = seats[usize::from(c)] {
                        core.released(seat, p).unwrap();
                    }
                }
                Op::Snapshot => {
                    let (frozen, _) = core.freeze();
                    image = Image::default();
                    frozen.records().for_each(|r| image.apply(r));
                }
            }
            let sum: usize = core.sessions.iter().flatten().map(|s| s.bytes).sum();
            prop_assert_eq!(core.queued_bytes, sum);
        }
        let (bytes, _) = core.journal_take();
        replay(&bytes, &mut image);
        let from_log = describe(&image);
        prop_assert_eq!(&from_log, &told(&mut core));
        // And a core made of it has it again.
        let mut second = self::core(|_| {});
        second.restore(image, Journal::new(1_000_000, Arc::default()), 0);
        prop_assert_eq!(from_log, told(&mut second));
    }
}

#[test]
fn a_record_of_nobody_is_left_out() {
    let mut image = Image::default();
    image.apply(Record::Done { sid: 1, mid: 2, qos: 1 });
    image.apply(Record::Queued { sid: 1, mid: 2, qos: 1, retain: false, shared: None, ids: vec![] });
    assert!(describe(&image).is_empty());
}
