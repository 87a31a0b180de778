//! Blocks of waveforms: kept as they came, once, until they are deleted.

use common::wire::{Body, WaveValues, Waveform};
use common::{PointId, Quality};

use super::Backend;
use super::fixtures::{SECOND, Stream, T0, compact_all, entry, oven, twin};

fn part(t0_us: i64, first: u32, values: &[i16]) -> Waveform {
    Waveform {
        point: PointId(0),
        quality: Quality::GOOD,
        t0_us,
        received_us: t0_us + SECOND,
        dt_ps: 1_000_000_000,
        first,
        total: 6,
        scale: 0.5,
        offset: 1.0,
        values: WaveValues::I16(values.to_vec()),
    }
}

fn frame(s: &Stream, seq: u64, wave: Waveform) -> cloud_core::NewFrame {
    s.frame(seq, Body::Waveform(Box::new(wave)))
}

pub(crate) async fn blocks_are_kept_once_and_go_when_they_are_deleted(backend: &impl Backend) {
    let mut storage = backend.open();
    let s = oven(&storage).await;
    let other = T0 + 10 * SECOND;
    let [a, b] = [part(T0, 0, &[1, -2, 3, 4]), part(T0, 4, &[5, i16::MIN])];
    // The second part first, the frame of the first one twice.
    assert_eq!(
        storage.accept(&[frame(&s, 2, b.clone()), frame(&s, 1, a.clone())]).await.unwrap(),
        [true, true]
    );
    assert_eq!(storage.accept(&[frame(&s, 1, a.clone())]).await.unwrap(), [false]);
    storage.accept(&[frame(&s, 3, part(other, 0, &[7, 8]))]).await.unwrap();
    // What no schema has means nothing.
    storage.accept(&[frame(&s, 4, Waveform { point: PointId(9_999), ..a.clone() })]).await.unwrap();
    compact_all(&storage).await;
    drop(storage);
    storage = backend.open();
    let list = storage.waveforms(twin(1), "temp", T0, T0 + 100 * SECOND, 10).await.unwrap();
    let told: Vec<_> = list.iter().map(|w| (w.t0_us, w.total, w.stored, w.dt_ps)).collect();
    assert_eq!(told, [(T0, 6, 6, 1_000_000_000), (other, 6, 2, 1_000_000_000)]);
    assert_eq!(storage.waveforms(twin(1), "temp", T0, T0 + 1, 10).await.unwrap().len(), 1);
    assert_eq!(storage.waveforms(twin(1), "temp", T0, i64::MAX, 1).await.unwrap().len(), 1);
    assert!(storage.waveforms(twin(1), "level", T0, i64::MAX, 10).await.unwrap().is_empty());
    assert!(storage.waveforms(twin(77), "temp", T0, i64::MAX, 10).await.is_err());
    assert_eq!(storage.waveform(twin(1), "temp", T0).await.unwrap(), [a, b.clone()]);
    assert!(storage.waveform(twin(1), "temp", T0 + 1).await.unwrap().is_empty());
    // A part comes again under another number; an older frame that comes late does not take it back.
    let again = part(T0, 0, &[9, 9, 9, 9]);
    storage.accept(&[frame(&s, 9, again.clone())]).await.unwrap();
    storage.accept(&[frame(&s, 8, part(T0, 0, &[0, 0, 0, 0]))]).await.unwrap();
    assert_eq!(storage.waveform(twin(1), "temp", T0).await.unwrap(), [again.clone(), b.clone()]);
    // Or shorter: nothing of the longer one is left, nor comes back with a part that is late.
    let short = Waveform { total: 3, ..part(T0, 0, &[1, 2, 3]) };
    storage.accept(&[frame(&s, 11, short.clone())]).await.unwrap();
    storage.accept(&[frame(&s, 10, b.clone())]).await.unwrap();
    assert_eq!(storage.waveform(twin(1), "temp", T0).await.unwrap(), [short]);
    let list = storage.waveforms(twin(1), "temp", T0, T0 + 1, 10).await.unwrap();
    assert_eq!(list.iter().map(|w| (w.total, w.stored)).collect::<Vec<_>>(), [(3, 3)]);
    storage.accept(&[frame(&s, 13, again), frame(&s, 12, b)]).await.unwrap();
    assert_eq!(storage.waveform(twin(1), "temp", T0).await.unwrap().len(), 2);
    let audit = entry(T0, "history.deleted", Some(twin(1)), common::command::Severity::Info);
    assert_eq!(storage.delete_history(twin(1), "temp", T0 - 1, T0 + 1, &audit).await.unwrap(), 6);
    drop(storage);
    storage = backend.open();
    let left = storage.waveforms(twin(1), "temp", i64::MIN, i64::MAX, 10).await.unwrap();
    assert_eq!(left.iter().map(|w| w.t0_us).collect::<Vec<_>>(), [other]);
}

/// A publisher says a block again with other values, of the same time, length and rate: what it is has been received at another time.
pub(crate) async fn parts_of_two_blocks_are_never_one_block(backend: &impl Backend) {
    let mut storage = backend.open();
    let s = oven(&storage).await;
    let of = |received_us, wave| Waveform { received_us, ..wave };
    let first = [part(T0, 0, &[1, 2, 3, 4]), part(T0, 4, &[5, 6])].map(|p| of(T0 + 7, p));
    let other = [part(T0, 0, &[-1, -2, -3, -4]), part(T0, 4, &[-5, -6])].map(|p| of(T0 + 8, p));
    let block = async |storage: &std::sync::Arc<dyn cloud_core::Storage>| {
        storage.waveform(twin(1), "temp", T0).await.unwrap()
    };
    storage.accept(&[frame(&s, 1, first[0].clone()), frame(&s, 2, first[1].clone())]).await.unwrap();
    storage.accept(&[frame(&s, 4, other[1].clone())]).await.unwrap();
    assert_eq!(block(&storage).await, [other[1].clone()], "the rest is on its way");
    drop(storage);
    storage = backend.open();
    // A part of the first that is late is of a block that is no more.
    storage.accept(&[frame(&s, 3, first[0].clone())]).await.unwrap();
    assert_eq!(block(&storage).await, [other[1].clone()]);
    storage.accept(&[frame(&s, 5, other[0].clone())]).await.unwrap();
    assert_eq!(block(&storage).await, other);
}
