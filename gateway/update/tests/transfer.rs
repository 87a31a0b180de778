//! A bundle on its way into `incoming`: it goes on where it was, and has its name only when it is whole and verified.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use std::fs;

use gateway_update::{Folder, Transfer, can_receive, clear, is_waiting, take_back};
use rig::{Rig, sha256};

fn names(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(folder.incoming()).unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn it_goes_on_where_it_was_and_has_its_name_when_it_is_verified() {
    let rig = Rig::new();
    let bytes = fs::read(rig.bundle("1.1.0", |_| {})).unwrap();
    let (sum, size, half) = (sha256(&bytes), bytes.len() as u64, bytes.len() / 2);
    let folder = &rig.site.folder;
    let mut transfer = Transfer::begin(folder, &sum, size).unwrap();
    transfer.append(0, &bytes[..half]).unwrap();
    assert!(transfer.append(0, &bytes[..half]).is_err(), "that is there already");
    assert!(transfer.append(half as u64, &[&bytes[half..], b"x"].concat()).is_err(), "more than there is");
    drop(transfer);
    assert!(!is_waiting(folder), "no updater looks at a part");
    let mut transfer = Transfer::begin(folder, &sum, size).unwrap();
    assert_eq!((transfer.received(), transfer.is_complete()), (half as u64, false));
    transfer.append(half as u64, &bytes[half..]).unwrap();
    assert!(transfer.is_complete() && transfer.is_whole().unwrap());
    let (manifest, digest) = transfer.verify(&rig.site.keys).unwrap();
    assert_eq!((manifest.version.to_string().as_str(), digest.len()), ("1.1.0", 64));
    transfer.place("1.1.0").unwrap();
    assert_eq!(names(folder), [format!("1.1.0-{}.twup", &sum[..8])]);
    assert!(is_waiting(folder));
    let placed = fs::read(folder.incoming().join(&names(folder)[0])).unwrap();
    take_back(folder).unwrap();
    assert!(!is_waiting(folder), "nobody took it");
    fs::write(folder.incoming().join("again.twup"), placed).unwrap();
    let took = gateway_update::take_incoming(&rig.site, &mut |_, took| assert!(took.is_ok(), "{took:?}"));
    assert!(took.unwrap().is_some(), "the updater takes it");
}

#[test]
fn one_that_is_spoilt_or_signed_by_others_is_not_verified_and_leaves_nothing() {
    let rig = Rig::new();
    let folder = &rig.site.folder;
    let bytes = fs::read(rig.bundle("1.1.0", |_| {})).unwrap();
    let size = bytes.len() as u64;
    let mut spoilt = bytes.clone();
    spoilt[bytes.len() - 1] ^= 1;
    // As it was offered, and with a sum that fits what came.
    let mut transfer = Transfer::begin(folder, &sha256(&bytes), size).unwrap();
    transfer.append(0, &spoilt).unwrap();
    assert!(!transfer.is_whole().unwrap());
    let mut transfer = Transfer::begin(folder, &sha256(&spoilt), size).unwrap();
    assert_eq!(names(folder).len(), 1, "what came of another one is gone");
    transfer.append(0, &spoilt).unwrap();
    assert!(transfer.is_whole().unwrap());
    let told = transfer.verify(&rig.site.keys).unwrap_err().to_string();
    assert!(told.contains("not those that were signed"), "{told}");
    transfer.discard().unwrap();
    let mut transfer = Transfer::begin(folder, &sha256(&bytes), size).unwrap();
    transfer.append(0, &bytes).unwrap();
    fs::remove_file(rig.site.keys.join("builder.pub")).unwrap();
    let told = transfer.verify(&rig.site.keys).unwrap_err().to_string();
    assert!(told.contains("no key is trusted"), "{told}");
    drop(transfer);
    clear(folder).unwrap();
    assert!(names(folder).is_empty());
}

#[test]
fn what_is_no_bundle_or_has_no_room_is_refused_before_a_byte_comes() {
    let rig = Rig::new();
    let folder = &rig.site.folder;
    let sum = sha256(b"x");
    for (sum, size) in [("../../etc/passwd", 1), (sum.as_str(), 0), (sum.as_str(), (512 << 20) + 1)] {
        assert!(Transfer::begin(folder, sum, size).is_err(), "{sum} {size}");
    }
    assert!(names(folder).is_empty());
    let nowhere = Folder::new(&rig.path("nowhere"));
    let told = can_receive(&nowhere).unwrap_err().to_string();
    assert!(told.contains("not there: the package makes it"), "{told}");
    assert!(Transfer::begin(&nowhere, &sum, 1).is_err());
    // A part that is longer than what is offered is of no use.
    fs::write(folder.incoming().join(format!("{sum}.part")), b"longer").unwrap();
    assert_eq!(Transfer::begin(folder, &sum, 3).unwrap().received(), 0);
}
