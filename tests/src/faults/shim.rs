//! What stands between a program and its disk and wall clock (`shim/shim.c`): how it is told what to do, and what it
//! has done. The program itself knows nothing of it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::unsynced::Disk;
use crate::folder::copy;

/// A number of the control file, at its place there: orders first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// Who runs beneath it, as it says itself.
    Pid = 0,
    /// What is added to the wall clock, us.
    ClockUs = 1,
    /// Bytes that fit on the disk; below zero: all that come.
    Room = 2,
    /// How many writes fail; below zero: all.
    WriteTimes = 3,
    /// What they say.
    WriteErrno = 4,
    /// How many syncs fail.
    SyncTimes = 5,
    /// What they say.
    SyncErrno = 6,
    /// How many names cannot be made, moved or removed, or files cut.
    NameTimes = 7,
    /// What they say.
    NameErrno = 8,
    /// How many writes take a part only.
    ShortTimes = 9,
    /// Syncs do nothing and say that they did: no disk may do so, the oracle must find it.
    SyncLies = 10,
    /// How long each sync takes at least, us.
    SyncDelayUs = 11,
    /// Writes so far.
    Writes = 16,
    /// Syncs so far.
    Syncs = 17,
    /// Names made, moved, removed so far.
    Names = 18,
    /// Calls that a full disk refused or took in part.
    Fulls = 19,
    /// Writes that failed.
    WriteFails = 20,
    /// Syncs that failed.
    SyncFails = 21,
    /// Names that failed.
    NameFails = 22,
    /// Writes of a part.
    Shorts = 23,
    /// Syncs that lied.
    Lies = 24,
    /// Readings of a wall clock that was shifted.
    Clocks = 25,
}

const NUMBERS: usize = 64;

/// `EIO`.
pub const EIO: i64 = 5;

/// The orders of one program's disk and clock. Clones are the same ones.
#[derive(Debug, Clone)]
pub struct Control(Arc<File>);

impl Control {
    /// Gives an order; it holds at once.
    pub fn set(&self, number: Number, value: i64) {
        self.0.write_all_at(&value.to_ne_bytes(), number as u64 * 8).expect("a control file");
    }

    /// Reads a number.
    pub fn get(&self, number: Number) -> i64 {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, number as u64 * 8).expect("a control file");
        i64::from_ne_bytes(bytes)
    }

    /// Takes all orders back.
    pub fn heal(&self) {
        for number in [
            Number::ClockUs,
            Number::WriteTimes,
            Number::SyncTimes,
            Number::NameTimes,
            Number::ShortTimes,
            Number::SyncLies,
            Number::SyncDelayUs,
        ] {
            self.set(number, 0);
        }
        self.set(Number::Room, -1);
    }

    /// What was seen and done so far, by name.
    pub fn counts(&self) -> [(&'static str, u64); 9] {
        [
            ("writes seen", Number::Writes),
            ("syncs seen", Number::Syncs),
            ("calls refused or shortened for a full disk", Number::Fulls),
            ("writes failed", Number::WriteFails),
            ("syncs failed", Number::SyncFails),
            ("names failed", Number::NameFails),
            ("short writes", Number::Shorts),
            ("syncs that lied", Number::Lies),
            ("readings of a shifted clock", Number::Clocks),
        ]
        .map(|(name, number)| (name, self.get(number).cast_unsigned()))
    }
}

/// What stands between one program and its folder.
#[derive(Debug)]
pub struct Shim {
    /// Its orders.
    pub control: Control,
    control_path: PathBuf,
    journal: PathBuf,
    root: PathBuf,
    disk: Disk,
}

impl Shim {
    /// For a program that keeps its files in `root`, which it makes itself; what is noted goes beside it.
    ///
    /// # Panics
    /// When the control file cannot be made.
    pub fn new(root: &Path) -> Self {
        let beside = root.parent().expect("a folder above");
        fs::create_dir_all(beside).expect("a folder");
        let (control_path, journal) = (beside.join("shim.control"), beside.join("shim.journal"));
        let control = File::options().create(true).truncate(true).read(true).write(true).open(&control_path);
        let control = control.expect("a control file");
        control.write_all_at(&[0; NUMBERS * 8], 0).expect("a control file");
        let control = Control(Arc::new(control));
        control.heal();
        Self { control, disk: Disk::new(root, &journal), control_path, journal, root: root.to_owned() }
    }

    /// What the program's environment must hold.
    pub fn env(&self) -> Vec<(String, String)> {
        let path = |p: &Path| p.to_str().expect("a UTF-8 path").to_owned();
        vec![
            ("LD_PRELOAD".into(), env!("FAULTS_SHIM").into()),
            ("FAULTS_ROOT".into(), path(&self.root)),
            ("FAULTS_CONTROL".into(), path(&self.control_path)),
            ("FAULTS_JOURNAL".into(), path(&self.journal)),
        ]
    }

    /// After the program's end: takes in what it did, and looks whether that is what its folder holds.
    ///
    /// # Panics
    /// When the folder holds something that was not seen: then no loss of power can be shown.
    pub fn ended(&mut self) {
        self.disk.follow();
        self.disk.agree();
    }

    /// After the program's end: what its folder holds otherwise than it was seen to be made.
    pub fn unseen(&mut self) -> Vec<PathBuf> {
        self.disk.follow();
        self.disk.unseen().0
    }

    /// After the program's end: its folder as a disk may hold it after a loss of power; seed 0: without all that was
    /// not synced.
    ///
    /// # Panics
    /// As `ended`.
    pub fn lose_power(&mut self, seed: u64) {
        self.ended();
        self.disk.lose_power(seed);
    }

    /// What was changed in the folder from outside, while the program was down, is durable.
    pub fn rebase(&mut self) {
        self.disk.rebase();
    }

    /// A copy of the folder, as a backup takes it while the program is down.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn back_up(&self) {
        let to = self.backup();
        let _ = fs::remove_dir_all(&to);
        copy(&self.root, &to);
    }

    /// Puts the copy in the place of the folder, while the program is down.
    ///
    /// # Panics
    /// When there is none.
    pub fn restore(&mut self) {
        let addresses = fs::read(self.root.join("addresses.json"));
        fs::remove_dir_all(&self.root).expect("the folder");
        copy(&self.backup(), &self.root);
        // The copy is from before, where it listens is not.
        if let Ok(addresses) = addresses {
            fs::write(self.root.join("addresses.json"), addresses).expect("a file");
        }
        self.rebase();
    }

    fn backup(&self) -> PathBuf {
        self.root.with_extension("backup")
    }
}
