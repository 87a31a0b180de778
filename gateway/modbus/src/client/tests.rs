//! Tests of a conversation, against scripted answers.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::Table;
use crate::frame::FrameError;
use crate::pdu::{DecodeError, Exception, Misfit};

const LIMIT: Duration = Duration::from_millis(500);
const ASK: Request<'static> = Request::Read { table: Table::Holding, address: 0, count: 2 };

fn conversation(options: Options) -> (Client<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(4096);
    (Client::new(ours, options), theirs)
}

fn mbap(recovery: Recovery) -> Options {
    Options { recovery, ..Options::new(Framing::Mbap) }
}

fn rtu() -> Options {
    Options { recovery: Recovery::Silence(Duration::from_millis(20)), ..Options::new(Framing::Rtu) }
}

fn framed(framing: Framing, transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let add = |out: &mut Vec<u8>| {
        out.extend_from_slice(pdu);
        Ok(())
    };
    framing.encode(&mut out, transaction, unit, add).unwrap();
    out
}

/// The answer to `ASK` with `n` in both registers.
fn pdu(n: u8) -> Vec<u8> {
    vec![3, 4, 0, n, 0, n]
}

/// Reads one request of 12 bytes (Modbus TCP) or 8 (RTU), then says `bytes`.
async fn reply(peer: &mut DuplexStream, request: usize, bytes: &[u8]) {
    let mut buf = vec![0; request];
    peer.read_exact(&mut buf).await.unwrap();
    peer.write_all(bytes).await.unwrap();
}

async fn ask(client: &mut Client<DuplexStream>, unit: u8) -> Result<u8, CallError> {
    match client.call(unit, &ASK, LIMIT).await? {
        Answer::Read { data, .. } => Ok(data[1]),
        other => panic!("{other:?}"),
    }
}

/// One request; the peer says `bytes`.
async fn told(
    client: &mut Client<DuplexStream>,
    peer: &mut DuplexStream,
    bytes: &[u8],
) -> Result<u8, CallError> {
    let request = if client.options.framing == Framing::Mbap { 12 } else { 8 };
    tokio::join!(ask(client, 1), reply(peer, request, bytes)).0
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_back_however_it_is_cut() {
    for (framing, request) in [(Framing::Mbap, 12), (Framing::Rtu, 8), (Framing::Ascii, 17)] {
        let (mut client, mut peer) = conversation(Options::new(framing));
        for n in 1..5 {
            let bytes = framed(framing, n.into(), 1, &pdu(n));
            let slowly = async {
                reply(&mut peer, request, &[]).await;
                for byte in &bytes {
                    peer.write_all(&[*byte]).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            assert_eq!(tokio::join!(ask(&mut client, 1), slowly).0, Ok(n));
        }
        assert_eq!(client.counts(), Counts::default());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_leaves_the_conversation_open() {
    let (mut client, mut peer) = conversation(mbap(Recovery::Reopen));
    let bytes = framed(Framing::Mbap, 1, 1, &[0x83, 2]);
    let refused = told(&mut client, &mut peer, &bytes).await;
    assert_eq!(refused, Err(CallError::Refused(Exception::ILLEGAL_ADDRESS)));
    let bytes = framed(Framing::Mbap, 2, 1, &pdu(9));
    assert_eq!(told(&mut client, &mut peer, &bytes).await, Ok(9));
}

#[tokio::test(start_paused = true)]
async fn after_a_timeout_nothing_is_sent_any_more_unless_transactions_tell() {
    for options in [mbap(Recovery::Reopen), Options::new(Framing::Rtu), Options::new(Framing::Ascii)] {
        let (mut client, _peer) = conversation(options);
        assert_eq!(ask(&mut client, 1).await, Err(CallError::Timeout { limit: LIMIT }));
        assert!(!client.is_open());
        assert_eq!(ask(&mut client, 1).await, Err(CallError::Closed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_not_the_next_ones() {
    let (mut client, mut peer) = conversation(mbap(Recovery::Keep));
    assert_eq!(told(&mut client, &mut peer, &[]).await, Err(CallError::Timeout { limit: LIMIT }));
    let late = framed(Framing::Mbap, 1, 1, &pdu(66));
    let both = [late, framed(Framing::Mbap, 2, 1, &pdu(2))].concat();
    assert_eq!(told(&mut client, &mut peer, &both).await, Ok(2));
    assert_eq!(client.counts().late, 1);
    let (unit, after) = client.lateness().unwrap();
    assert!(unit == 1 && after >= LIMIT);
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_that_came_between_two_requests_is_not_the_next_ones() {
    let (mut client, mut peer) = conversation(mbap(Recovery::Keep));
    assert!(told(&mut client, &mut peer, &[]).await.is_err());
    peer.write_all(&framed(Framing::Mbap, 1, 1, &pdu(66))).await.unwrap();
    let bytes = framed(Framing::Mbap, 2, 1, &pdu(2));
    assert_eq!(told(&mut client, &mut peer, &bytes).await, Ok(2));
    assert_eq!(client.counts(), Counts { late: 1, ..Counts::default() });
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_answer_is_not_the_next_ones() {
    for recovery in [Recovery::Reopen, Recovery::Keep] {
        let (mut client, mut peer) = conversation(mbap(recovery));
        let twice = framed(Framing::Mbap, 1, 1, &pdu(1)).repeat(2);
        assert_eq!(told(&mut client, &mut peer, &twice).await, Ok(1));
        let bytes = framed(Framing::Mbap, 2, 1, &pdu(2));
        assert_eq!(told(&mut client, &mut peer, &bytes).await, Ok(2));
        assert_eq!(client.counts(), Counts { duplicate: 1, ..Counts::default() });
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_malformed_or_anothers_ends_a_connection() {
    let frame = |t, u, p: &[u8]| framed(Framing::Mbap, t, u, p);
    let cases = [
        (frame(7, 1, &pdu(1)), Wrong::Transaction { got: 7 }),
        (frame(1, 2, &pdu(1)), Wrong::Unit { asked: 1, got: 2 }),
        (frame(1, 1, &[4, 4, 0, 1, 0, 1]), Wrong::Misfit(Misfit::Function { asked: 3, got: 4 })),
        (frame(1, 1, &[3, 2, 0, 1]), Wrong::Misfit(Misfit::Bytes { asked: 4, got: 2 })),
        (frame(1, 1, &[3, 6, 0, 1, 0, 1, 0, 1]), Wrong::Misfit(Misfit::Bytes { asked: 4, got: 6 })),
        (
            frame(1, 1, &[3, 4, 0, 1, 0]),
            Wrong::Answer(DecodeError::Length { function: 3, got: 5, expected: 6 }),
        ),
        (frame(1, 1, &[0x2b, 1]), Wrong::Answer(DecodeError::Function { function: 0x2b })),
        (vec![0, 1, 0, 9], Wrong::Frame(FrameError::Protocol { got: 9 })),
        (vec![0, 1, 0, 0, 2, 0], Wrong::Frame(FrameError::Length { got: 512 })),
    ];
    for (bytes, wrong) in cases {
        for recovery in [Recovery::Reopen, Recovery::Keep] {
            let (mut client, mut peer) = conversation(mbap(recovery));
            assert_eq!(told(&mut client, &mut peer, &bytes).await, Err(CallError::Wrong(wrong)));
            assert!(!client.is_open(), "{wrong}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_frame_at_the_timeout_ends_a_connection_that_would_stay() {
    let (mut client, mut peer) = conversation(mbap(Recovery::Keep));
    let bytes = framed(Framing::Mbap, 1, 1, &pdu(1));
    let ended = told(&mut client, &mut peer, &bytes[..9]).await;
    assert_eq!(ended, Err(CallError::Timeout { limit: LIMIT }));
    assert!(!client.is_open());
}

#[tokio::test(start_paused = true)]
async fn bytes_that_nobody_asked_for_end_a_stream_without_transactions() {
    let (mut client, mut peer) = conversation(Options::new(Framing::Rtu));
    let twice = framed(Framing::Rtu, 0, 1, &pdu(1)).repeat(2);
    assert_eq!(told(&mut client, &mut peer, &twice).await, Ok(1));
    assert_eq!(ask(&mut client, 1).await, Err(CallError::Closed), "the duplicate would have been its answer");
    assert_eq!(client.counts().foreign, 1);
}

#[tokio::test(start_paused = true)]
async fn a_serial_line_is_read_until_it_is_silent() {
    let (mut client, mut peer) = conversation(rtu());
    // A duplicate, noise, and a broken frame: each is drained before the next request goes out.
    let twice = framed(Framing::Rtu, 0, 1, &pdu(1)).repeat(2);
    assert_eq!(told(&mut client, &mut peer, &twice).await, Ok(1));
    let mut broken = framed(Framing::Rtu, 0, 1, &pdu(3));
    broken[4] ^= 1;
    let ended = told(&mut client, &mut peer, &broken).await;
    assert!(matches!(ended, Err(CallError::Wrong(Wrong::Frame(FrameError::Checksum { .. })))), "{ended:?}");
    peer.write_all(&[0xff; 40]).await.unwrap();
    let bytes = framed(Framing::Rtu, 0, 1, &pdu(4));
    assert_eq!(told(&mut client, &mut peer, &bytes).await, Ok(4));
    // Late, while another unit is asked: its own answer is waited for.
    assert!(told(&mut client, &mut peer, &[]).await.is_err());
    let late = framed(Framing::Rtu, 0, 1, &pdu(66));
    let both = [late.clone(), framed(Framing::Rtu, 0, 2, &pdu(5))].concat();
    assert_eq!(tokio::join!(ask(&mut client, 2), reply(&mut peer, 8, &both)).0, Ok(5));
    let ended = tokio::join!(ask(&mut client, 2), reply(&mut peer, 8, &late)).0;
    assert_eq!(ended, Err(CallError::Wrong(Wrong::Unit { asked: 2, got: 1 })));
    assert!(client.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_line_that_babbles_is_told_and_nothing_is_sent() {
    let (mut client, mut peer) = conversation(rtu());
    let babble = async {
        loop {
            peer.write_all(&[0x55; 3]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        ended = ask(&mut client, 1) => assert_eq!(ended, Err(CallError::Noise)),
        () = babble => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_dropped_counts_as_timed_out() {
    let (mut client, mut peer) = conversation(mbap(Recovery::Reopen));
    assert!(tokio::time::timeout(Duration::from_millis(1), ask(&mut client, 1)).await.is_err());
    assert_eq!(ask(&mut client, 1).await, Err(CallError::Closed));
    let (mut kept, mut other) = conversation(mbap(Recovery::Keep));
    assert!(tokio::time::timeout(Duration::from_millis(1), ask(&mut kept, 1)).await.is_err());
    reply(&mut other, 12, &framed(Framing::Mbap, 1, 1, &pdu(66))).await;
    let bytes = framed(Framing::Mbap, 2, 1, &pdu(2));
    assert_eq!(told(&mut kept, &mut other, &bytes).await, Ok(2));
    let _ = peer.write_all(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_is_known_before_anything_is_sent() {
    let (mut client, peer) = conversation(mbap(Recovery::Reopen));
    drop(peer);
    let ended = ask(&mut client, 1).await.unwrap_err();
    assert!(!ended.is_sent());
}

#[tokio::test(start_paused = true)]
async fn an_echo_is_taken_away_and_checked() {
    let (mut client, mut peer) = conversation(Options { echo: true, ..rtu() });
    let request = framed(Framing::Rtu, 0, 1, &[3, 0, 0, 0, 2]);
    let both = [request, framed(Framing::Rtu, 0, 1, &pdu(8))].concat();
    assert_eq!(told(&mut client, &mut peer, &both).await, Ok(8));
    let ended = told(&mut client, &mut peer, &framed(Framing::Rtu, 0, 1, &pdu(8))).await;
    assert_eq!(ended, Err(CallError::Wrong(Wrong::Echo)));
}

#[tokio::test(start_paused = true)]
async fn the_gap_between_requests_is_kept() {
    let gap = Duration::from_millis(40);
    let (mut client, mut peer) = conversation(Options { gap, ..mbap(Recovery::Keep) });
    let begun = Instant::now();
    for n in 1..4 {
        let bytes = framed(Framing::Mbap, n.into(), 1, &pdu(n));
        assert_eq!(told(&mut client, &mut peer, &bytes).await, Ok(n));
    }
    assert!(begun.elapsed() >= gap * 3);
}

#[test]
fn transactions_are_known_over_the_end_of_their_numbers() {
    let now = Instant::now();
    let mut sent = Sent::new(u16::MAX - 1);
    for _ in 0..4 {
        sent.push(3, now);
        sent.answered();
    }
    sent.push(3, now);
    assert_eq!(sent.find(2, now), Found::Current);
    assert_eq!(sent.find(u16::MAX, now), Found::Answered);
    assert_eq!(sent.find(u16::MAX - 2, now), Found::Foreign);
    assert_eq!(sent.find(3, now), Found::Foreign, "not asked yet");
    for _ in 0..80 {
        sent.push(4, now);
    }
    assert_eq!(sent.find(2, now), Found::Foreign, "too long ago");
    assert_eq!(sent.find(81, now), Found::Unanswered);
    assert_eq!(sent.find(81, now), Found::Answered, "once");
}
