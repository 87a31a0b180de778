//! A file system in memory that knows what was synced: it can be cut at any call, and then says what a disk may hold
//! after a loss of power; and it can be full, fail, and write half.
//!
//! What may be left of a file: the bytes of its last sync, and of what was written since then any set of blocks of
//! 512 or 4096 bytes (or all up to some call, the last one torn), with a length anywhere between; blocks that were
//! never written are zeros. Of names, changes since the folder's last sync may be there or not, each by itself; a rename
//! is one change. Syncing a file makes no name durable.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use gateway_store::disk::{Disk, DiskFile, Kind};

/// Numbers from a seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.number() % n
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    File(usize),
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Size(usize),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    since: Vec<Change>,
    /// A sync failed: what was written before it is clean in memory and not on disk, whatever a later one says.
    forgotten: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Rename {
    Add(PathBuf, Node),
    Remove(PathBuf),
    Move(PathBuf, PathBuf, Node),
}

impl Rename {
    fn folder(&self) -> &Path {
        match self {
            Self::Add(p, _) | Self::Remove(p) | Self::Move(_, p, _) => p.parent().unwrap(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Add(path, node) => drop(names.insert(path.clone(), *node)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Move(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

/// What a call is refused with, or done by half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `ENOSPC`, after half of the bytes.
    Full,
    /// `EIO`.
    Broken,
}

/// Which calls a fault is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Write,
    Sync,
    Create,
    SyncDir,
    Rename,
    Remove,
    Open,
    Read,
}

type Look = Box<dyn Fn() + Send>;

#[derive(Default)]
struct Inside {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    since: Vec<Rename>,
    calls: u64,
    /// Power goes before this call, after a look at what was promised.
    cut_at: Option<(u64, Option<Look>)>,
    off: bool,
    /// No call counts and none fails.
    held: bool,
    faults: HashMap<u8, (Fault, u64)>,
    /// Readings that come before those that fail.
    sound_readings: u64,
    /// Bytes that fit on it.
    room: Option<u64>,
    forbidden: Vec<PathBuf>,
    /// Readings so far.
    reads: u64,
    /// How many more are let through; all if none.
    readings_left: Option<u64>,
    let_through: Arc<Condvar>,
    reading_waits: bool,
    /// Bytes that cannot be read, by file.
    bad: Vec<(usize, Range<usize>)>,
    /// Most bytes that a write takes at once.
    short: Option<usize>,
}

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} files, {} calls", self.inodes.len(), self.calls)
    }
}

/// The disk. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelDisk(Arc<Mutex<Inside>>);

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn enospc() -> io::Error {
    io::Error::from_raw_os_error(28)
}

impl Inside {
    /// Counts a call, and says whether it can be made.
    fn call(&mut self, call: Call) -> io::Result<()> {
        if self.held && !self.off {
            return Ok(());
        }
        self.calls += 1;
        if self.cut_at.as_ref().is_some_and(|(at, _)| self.calls >= *at) {
            if let Some((_, Some(look))) = self.cut_at.take() {
                look();
            }
            self.off = true;
        }
        if self.off {
            return Err(eio());
        }
        self.fault(call)
    }

    fn fault(&mut self, call: Call) -> io::Result<()> {
        if let Some((fault, left)) = self.faults.get_mut(&(call as u8)).filter(|(_, left)| *left > 0) {
            *left -= 1;
            return Err(if *fault == Fault::Full { enospc() } else { eio() });
        }
        Ok(())
    }

    fn used(&self) -> u64 {
        let files = self.names.values().filter_map(|n| match n {
            Node::File(at) => Some(self.inodes[*at].now.len() as u64),
            Node::Folder => None,
        });
        files.sum()
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: Rename) {
        change.apply(&mut self.names);
        self.since.push(change);
    }

    /// A folder that the store does not make itself is there from the start.
    fn parent(&self, path: &Path) -> io::Result<()> {
        match self.names.get(path.parent().unwrap()) {
            Some(Node::Folder) => Ok(()),
            Some(Node::File(_)) => Err(io::Error::from_raw_os_error(20)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl ModelDisk {
    /// With the folder that the buffer stands in, durable.
    pub(crate) fn new(dir: &Path) -> Self {
        let disk = Self::default();
        {
            let mut inside = disk.lock();
            inside.names.insert(dir.to_owned(), Node::Folder);
            inside.durable.insert(dir.to_owned(), Node::Folder);
        }
        disk
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    pub(crate) fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Power goes before the `n`th call from now; `look` is called just before.
    pub(crate) fn cut_after(&self, n: u64, look: impl Fn() + Send + 'static) {
        let mut inside = self.lock();
        let at = inside.calls + n.max(1);
        inside.cut_at = Some((at, Some(Box::new(look))));
    }

    /// Power goes now, if it has not.
    pub(crate) fn cut(&self) {
        let mut inside = self.lock();
        if let Some((_, Some(look))) = inside.cut_at.take() {
            look();
        }
        inside.off = true;
    }

    /// Keeps power on from here, or lets it go again; whether it was on.
    pub(crate) fn hold(&self, on: bool) -> bool {
        let mut inside = self.lock();
        inside.held = on;
        !inside.off
    }

    pub(crate) fn is_off(&self) -> bool {
        self.lock().off
    }

    /// The next `n` calls of a kind fail.
    pub(crate) fn fail(&self, call: Call, fault: Fault, n: u64) {
        self.lock().faults.insert(call as u8, (fault, n));
    }

    /// The next `n` readings fail, but for so many before them.
    pub(crate) fn fail_readings_after(&self, sound: u64, n: u64) {
        self.lock().sound_readings = sound;
        self.fail(Call::Read, Fault::Broken, n);
    }

    /// Only so many bytes more than now fit on it; no bound if none.
    pub(crate) fn leave(&self, bytes: Option<u64>) {
        let mut inside = self.lock();
        let used = inside.used();
        inside.room = bytes.map(|b| used + b);
    }

    /// A write takes at most so many bytes.
    pub(crate) fn shorten(&self, most: Option<usize>) {
        self.lock().short = most;
    }

    /// A file that may not be opened.
    pub(crate) fn forbid(&self, path: &Path) {
        self.lock().forbidden.push(path.to_owned());
    }

    /// So many readings more are let through, and the next waits; all if none.
    pub(crate) fn let_read(&self, readings: Option<u64>) {
        let mut inside = self.lock();
        inside.readings_left = readings;
        inside.let_through.notify_all();
    }

    /// Whether one waits.
    pub(crate) fn reading_waits(&self) -> bool {
        self.lock().reading_waits
    }

    /// Readings so far.
    pub(crate) fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// The same may be opened again.
    pub(crate) fn permit(&self) {
        self.lock().forbidden.clear();
    }

    /// Bytes of a file become unreadable, as those of a bad sector.
    pub(crate) fn spoil(&self, path: &Path, bytes: Range<usize>) {
        let mut inside = self.lock();
        let Ok(Node::File(at)) = inside.node(path) else { panic!("no file {}", path.display()) };
        inside.bad.push((at, bytes));
    }

    /// What a file holds.
    pub(crate) fn content(&self, path: &Path) -> Vec<u8> {
        let inside = self.lock();
        let Ok(Node::File(at)) = inside.node(path) else { panic!("no file {}", path.display()) };
        inside.inodes[at].now.clone()
    }

    /// Names of the files in a folder.
    pub(crate) fn files(&self, dir: &Path) -> Vec<PathBuf> {
        self.lock().names.keys().filter(|p| p.parent() == Some(dir)).cloned().collect()
    }

    /// The same disk with the buffer in another folder.
    pub(crate) fn moved(&self, from: &Path, to: &Path) -> Self {
        let inside = self.lock();
        let moved = |names: &BTreeMap<PathBuf, Node>| -> BTreeMap<PathBuf, Node> {
            let at = |p: &Path| p.strip_prefix(from).map_or(p.to_owned(), |rest| to.join(rest));
            // A path that nothing is joined to stays without a slash at its end.
            names.iter().map(|(p, n)| (at(p).components().collect(), *n)).collect()
        };
        let out = Inside {
            inodes: inside.inodes.clone(),
            names: moved(&inside.names),
            durable: moved(&inside.durable),
            ..Inside::default()
        };
        Self(Arc::new(Mutex::new(out)))
    }

    /// What a file holds, and another content for it.
    pub(crate) fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut inside = self.lock();
        let Ok(Node::File(at)) = inside.node(path) else { panic!("no file {}", path.display()) };
        change(&mut inside.inodes[at].now);
        inside.inodes[at].durable = inside.inodes[at].now.clone();
    }

    /// Bytes of the files under a path.
    pub(crate) fn used_under(&self, path: &Path) -> u64 {
        let inside = self.lock();
        let sizes = inside.names.iter().filter(|(p, _)| p.starts_with(path)).filter_map(|(_, n)| match n {
            Node::File(at) => Some(inside.inodes[*at].now.len() as u64),
            Node::Folder => None,
        });
        sizes.sum()
    }

    /// A disk as the loss of power may leave it.
    pub(crate) fn image(&self, random: &mut Random) -> Self {
        let inside = self.lock();
        let mut names = inside.durable.clone();
        // All up to some change (a journal), or any of them.
        let journal = random.coin().then(|| random.below(inside.since.len() as u64 + 1));
        for (n, change) in (0..).zip(&inside.since) {
            if journal.map_or_else(|| random.coin(), |upto| n < upto) {
                change.apply(&mut names);
            }
        }
        // What stands in a folder that is not there is not there.
        let there = names.clone();
        names.retain(|path, _| {
            let mut above = path.parent();
            while let Some(dir) = above {
                if inside.names.contains_key(dir) && !there.contains_key(dir) {
                    return false;
                }
                above = dir.parent();
            }
            true
        });
        let mut out = Inside::default();
        for (path, node) in names {
            let node = match node {
                Node::Folder => Node::Folder,
                Node::File(at) => {
                    let bytes = survivor(&inside.inodes[at], random);
                    out.inodes.push(Inode { now: bytes.clone(), durable: bytes, ..Inode::default() });
                    Node::File(out.inodes.len() - 1)
                }
            };
            out.names.insert(path.clone(), node);
            out.durable.insert(path, node);
        }
        Self(Arc::new(Mutex::new(out)))
    }
}

fn write(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, data) => {
            if bytes.len() < at + data.len() {
                bytes.resize(at + data.len(), 0);
            }
            bytes[*at..at + data.len()].copy_from_slice(data);
        }
        Change::Size(size) => bytes.resize(*size, 0),
    }
}

/// What may be left of a file.
fn survivor(inode: &Inode, random: &mut Random) -> Vec<u8> {
    let changes: Vec<&Change> = inode.forgotten.iter().chain(&inode.since).collect();
    let mut bytes = inode.durable.clone();
    if changes.is_empty() {
        return bytes;
    }
    let block = if random.coin() { 512 } else { 4096 };
    match random.below(4) {
        0 => bytes,
        1 => {
            // Everything but, perhaps, the length.
            changes.iter().for_each(|c| write(&mut bytes, c));
            if random.coin() {
                bytes.truncate(inode.durable.len().max(block));
            }
            bytes
        }
        2 => {
            // All up to some call, and of that one some blocks.
            let upto = usize::try_from(random.below(changes.len() as u64)).unwrap();
            changes[..upto].iter().for_each(|c| write(&mut bytes, c));
            if let Change::Write(at, data) = changes[upto] {
                let mut torn = bytes.clone();
                write(&mut torn, changes[upto]);
                bytes.resize(torn.len(), 0);
                for start in (0..torn.len()).step_by(block) {
                    let end = (start + block).min(torn.len());
                    if end > *at && start < at + data.len() && random.coin() {
                        bytes[start..end].copy_from_slice(&torn[start..end]);
                    }
                }
            }
            bytes
        }
        _ => {
            // Any of the blocks, and any length.
            let mut all = bytes.clone();
            changes.iter().for_each(|c| write(&mut all, c));
            let old = bytes.len();
            bytes.resize(all.len(), 0);
            for start in (0..all.len()).step_by(block) {
                let end = (start + block).min(all.len());
                if random.coin() {
                    bytes[start..end].copy_from_slice(&all[start..end]);
                }
            }
            if all.len() > old {
                let more = random.below((all.len() - old) as u64 + 1);
                bytes.truncate(old + usize::try_from(more).unwrap());
            }
            bytes
        }
    }
}

impl Disk for ModelDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        let mut inside = self.lock();
        inside.call(Call::Create)?;
        match inside.names.get(path) {
            Some(Node::Folder) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            None => {
                inside.parent(path)?;
                inside.change(Rename::Add(path.to_owned(), Node::Folder));
                Ok(())
            }
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut inside = self.lock();
        inside.call(Call::Open)?;
        match inside.node(dir)? {
            Node::Folder => Ok(inside.names.keys().filter(|p| p.parent() == Some(dir)).cloned().collect()),
            Node::File(_) => Err(io::Error::from_raw_os_error(20)),
        }
    }

    fn kind(&self, path: &Path) -> io::Result<Kind> {
        let inside = self.lock();
        Ok(match inside.node(path)? {
            Node::Folder => Kind::Folder,
            Node::File(at) => Kind::File(inside.inodes[at].now.len() as u64),
        })
    }

    fn open(&self, path: &Path, _write: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut inside = self.lock();
        inside.call(Call::Open)?;
        if inside.forbidden.iter().any(|p| p == path) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        match inside.node(path)? {
            Node::File(at) => Ok(Box::new(ModelFile { disk: self.clone(), at })),
            Node::Folder => Err(io::Error::from_raw_os_error(21)),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut inside = self.lock();
        inside.call(Call::Create)?;
        inside.parent(path)?;
        if inside.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        inside.inodes.push(Inode::default());
        let at = inside.inodes.len() - 1;
        inside.change(Rename::Add(path.to_owned(), Node::File(at)));
        Ok(Box::new(ModelFile { disk: self.clone(), at }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inside = self.lock();
        inside.call(Call::Rename)?;
        let node = inside.node(from)?;
        inside.parent(to)?;
        inside.change(Rename::Move(from.to_owned(), to.to_owned(), node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inside = self.lock();
        inside.call(Call::Remove)?;
        match inside.node(path)? {
            Node::File(_) => inside.change(Rename::Remove(path.to_owned())),
            Node::Folder => return Err(io::Error::from_raw_os_error(21)),
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inside = self.lock();
        inside.call(Call::SyncDir)?;
        let (synced, rest) = std::mem::take(&mut inside.since).into_iter().partition(|c| c.folder() == dir);
        inside.since = rest;
        let synced: Vec<Rename> = synced;
        let mut durable = std::mem::take(&mut inside.durable);
        synced.iter().for_each(|c| c.apply(&mut durable));
        inside.durable = durable;
        Ok(())
    }
}

#[derive(Debug)]
struct ModelFile {
    disk: ModelDisk,
    at: usize,
}

impl DiskFile for ModelFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.lock().inodes[self.at].now.len() as u64)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut inside = self.disk.lock();
        let let_through = inside.let_through.clone();
        while inside.readings_left == Some(0) {
            inside.reading_waits = true;
            inside = let_through.wait(inside).unwrap();
        }
        inside.reading_waits = false;
        let sound = inside.sound_readings > 0;
        inside.sound_readings = inside.sound_readings.saturating_sub(1);
        inside.readings_left = inside.readings_left.map(|left| left - 1);
        inside.reads += 1;
        if inside.off {
            return Err(eio());
        }
        // Not counted as a call: power that goes before a reading is power that goes before the next call.
        if !inside.held && !sound {
            inside.fault(Call::Read)?;
        }
        let bytes = &inside.inodes[self.at].now;
        let from = usize::try_from(offset).unwrap().min(bytes.len());
        let n = into.len().min(bytes.len() - from);
        if inside.bad.iter().any(|(at, bad)| *at == self.at && bad.start < from + n && from < bad.end) {
            return Err(eio());
        }
        into[..n].copy_from_slice(&bytes[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut inside = self.disk.lock();
        let refused = inside.call(Call::Write).err();
        if inside.off {
            return Err(eio());
        }
        let offset = usize::try_from(offset).unwrap();
        let mut take = bytes.len().min(inside.short.unwrap_or(usize::MAX));
        if let Some(room) = inside.room {
            let grows = (offset + take).saturating_sub(inside.inodes[self.at].now.len()) as u64;
            let left = room.saturating_sub(inside.used());
            if grows > left {
                take -= usize::try_from(grows - left).unwrap();
            }
        }
        // A refusal may come after half of it.
        if refused.is_some() {
            take /= 2;
        }
        if take > 0 {
            let change = Change::Write(offset, bytes[..take].to_vec());
            let inode = &mut inside.inodes[self.at];
            write(&mut inode.now, &change);
            inode.since.push(change);
        }
        match refused {
            Some(error) => Err(error),
            None if take == 0 && !bytes.is_empty() => Err(enospc()),
            None => Ok(take),
        }
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let mut inside = self.disk.lock();
        inside.call(Call::Write)?;
        let change = Change::Size(usize::try_from(size).unwrap());
        let inode = &mut inside.inodes[self.at];
        write(&mut inode.now, &change);
        inode.since.push(change);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inside = self.disk.lock();
        let result = inside.call(Call::Sync);
        if inside.off {
            return result;
        }
        let inode = &mut inside.inodes[self.at];
        let since = std::mem::take(&mut inode.since);
        match result {
            Ok(()) => {
                // Only what was written since the last call, as Linux does it.
                let mut durable = std::mem::take(&mut inode.durable);
                since.iter().for_each(|c| write(&mut durable, c));
                inode.durable = durable;
                inode.forgotten.clear();
                Ok(())
            }
            Err(error) => {
                inode.forgotten.extend(since);
                Err(error)
            }
        }
    }
}
