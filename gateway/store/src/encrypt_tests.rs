//! Tests of encryption: places, heads, keys.
#![allow(clippy::unwrap_used, clippy::panic)] // tests may

use proptest::prelude::*;

use super::*;
use crate::disk::{SystemDisk, read_full, read_small, replace};

fn key(n: u8) -> Key {
    Key::new([n; 32])
}

fn disk(keys: Vec<Key>) -> EncryptedDisk {
    EncryptedDisk::over(Arc::new(SystemDisk), keys.into())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against a file in memory: writes, cuts and reads at any place are as without encryption.
    #[test]
    fn any_writes_read_back_as_from_a_plain_file(
        steps in prop::collection::vec((0..20_000u64, prop::collection::vec(any::<u8>(), 0..3000), any::<bool>()), 1..12),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let disk = disk(vec![key(1)]);
        let file = disk.create(&path).unwrap();
        let mut plain: Vec<u8> = Vec::new();
        for (at, bytes, cut) in steps {
            // A file that grows over its end has zeros beneath, which are none above: the log never reads them.
            let at = at.min(plain.len() as u64);
            if cut {
                plain.truncate(usize::try_from(at).unwrap());
                file.set_size(at).unwrap();
            }
            write_all(&*file, &bytes, at).unwrap();
            let (at, end) = (usize::try_from(at).unwrap(), usize::try_from(at).unwrap() + bytes.len());
            plain.resize(plain.len().max(end), 0);
            plain[at..end].copy_from_slice(&bytes);
            prop_assert_eq!(file.size().unwrap(), plain.len() as u64);
        }
        drop(file);
        let again = disk.open(&path, false).unwrap();
        let mut read = vec![0; plain.len() + 10];
        let got = read_full(&*again, &mut read, 0).unwrap();
        prop_assert_eq!(&read[..got], &plain[..]);
        prop_assert_eq!(disk.kind(&path).unwrap(), Kind::File(plain.len() as u64));
    }
}

#[test]
fn nothing_of_what_was_written_stands_on_the_disk_and_equal_files_differ() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(vec![key(1)]);
    let text = b"pressure 4.2 bar ".repeat(100);
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    [&one, &two].iter().for_each(|path| replace(&disk, path, &text).unwrap());
    let [a, b] = [&one, &two].map(|path| std::fs::read(path).unwrap());
    assert!(!a.windows(8).any(|w| w == b"pressure"));
    assert_ne!(a[HEAD as usize..], b[HEAD as usize..]);
    assert_eq!(read_small(&disk, &one, 1 << 20).unwrap(), text);
}

#[test]
fn one_spoilt_head_is_got_over_and_two_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, path) = (disk(vec![key(1)]), dir.path().join("f"));
    replace(&disk, &path, b"kept").unwrap();
    for (spoilt, ok) in
        [(vec![3], true), (vec![20], true), (vec![4096 + 20], true), (vec![20, 4096 + 20], false)]
    {
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        spoilt.iter().for_each(|at: &usize| bytes[*at] ^= 1);
        std::fs::write(&path, bytes).unwrap();
        let read = read_small(&disk, &path, 100);
        assert_eq!(read.is_ok_and(|r| r == b"kept"), ok, "{spoilt:?}");
        std::fs::write(&path, whole).unwrap();
    }
}

#[test]
fn a_new_key_comes_before_the_old_one_and_what_is_plain_stays_readable() {
    let dir = tempfile::tempdir().unwrap();
    let [plain, old, new] = ["plain", "old", "new"].map(|name| dir.path().join(name));
    replace(&disk(vec![]), &plain, b"0").unwrap();
    replace(&disk(vec![key(1)]), &old, b"1").unwrap();
    let both = disk(vec![key(2), key(1)]);
    replace(&both, &new, b"2").unwrap();
    assert_eq!([&plain, &old, &new].map(|p| read_small(&both, p, 9).unwrap()), [b"0", b"1", b"2"]);
    let refused = read_small(&disk(vec![key(2)]), &old, 9).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    assert!(read_small(&disk(vec![key(2)]), &new, 9).is_ok());
    let missing = |keys: Vec<Key>| without_key(&SystemDisk, dir.path(), &keys.into()).map(|(path, _)| path);
    assert_eq!(missing(vec![key(2), key(1)]), None);
    assert_eq!(missing(vec![]), Some(new));
    assert_eq!(missing(vec![key(2)]), Some(old));
}

#[test]
fn the_reserve_may_outlive_its_key_and_what_was_never_written_is_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(vec![key(1)]);
    replace(&disk, &dir.path().join("reserve"), b"noise").unwrap();
    assert_eq!(without_key(&SystemDisk, dir.path(), &vec![key(2)].into()), None);
    let file = disk.create(&dir.path().join("f")).unwrap();
    write_all(&*file, b"written", 0).unwrap();
    file.set_size(20_000).unwrap();
    let mut read = [1; 8000];
    assert_eq!(read_full(&*file, &mut read, 6000).unwrap(), 8000);
    assert!(read.iter().all(|b| *b == 0));
    assert_eq!(read_full(&*file, &mut read[..7], 0).unwrap(), 7);
    assert_eq!(&read[..7], b"written");
}

#[test]
fn small_values_are_sealed_with_their_key() {
    let keys = Keys::from(vec![key(1)]);
    let sealed = keys.seal(b"{}".to_vec()).unwrap();
    assert!(!sealed.ends_with(b"{}"));
    assert_eq!(keys.open(&sealed).unwrap(), b"{}");
    assert_eq!(keys.open(b"{}").unwrap(), b"{}");
    assert_eq!(Keys::default().seal(b"{}".to_vec()).unwrap(), b"{}");
    assert!(Keys::default().open(&sealed).is_err());
    let cut = |n: usize| keys.open(&sealed[..n]).is_ok_and(|v| v == b"{}");
    assert!(!(0..sealed.len()).any(cut));
}
