//! A folder as the disk beneath it knows it: what of it is durable, and what was only written. Follows what the shim
//! notes, call by call, and says what a loss of power may leave.
//!
//! What may be left of a file: the bytes of its last sync, and of what was written since then any set of blocks of
//! 512 or 4096 bytes (or all up to some call, the last one torn), with any length between. Of names, changes since the
//! folder's last sync may be there or not, each by itself, or all up to one; a rename within a folder is one change.
//! Syncing a file makes no name durable. At a failed sync the same is drawn of what was written before it, for good:
//! no later sync brings the rest.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::draw::Random;

/// Bytes before what a record carries: length, kind, file, nothing (32 bits each), two numbers (64 bits each).
const HEAD: usize = 32;
/// Linux' `O_CREAT` and `O_TRUNC`, on all machines that we build for.
const CREATE: i64 = 0o100;
const TRUNCATE: i64 = 0o1000;

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Size(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, data) => {
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
            Self::Size(size) => bytes.resize(*size, 0),
        }
    }
}

#[derive(Debug, Default)]
struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What came since the last sync, each with its place in the journal.
    since: Vec<(u64, Change)>,
}

type Names = BTreeMap<String, usize>;
/// Bytes of a file, none for a folder, by path.
type Found = BTreeMap<PathBuf, Option<Vec<u8>>>;

#[derive(Debug)]
enum Node {
    Folder { now: Names, durable: Names },
    File(Contents),
}

impl Node {
    fn folder() -> Self {
        Self::Folder { now: Names::new(), durable: Names::new() }
    }

    fn names_now(&self) -> Option<&Names> {
        match self {
            Self::Folder { now, .. } => Some(now),
            Self::File(_) => None,
        }
    }

    fn names_durable(&self) -> Option<&Names> {
        match self {
            Self::Folder { durable, .. } => Some(durable),
            Self::File(_) => None,
        }
    }
}

/// A change of names in a folder.
#[derive(Debug, Clone)]
enum Naming {
    Put(String, usize),
    Gone(String),
    /// From a name, of this folder or another one, to a name of this one.
    Move(usize, String, String, usize),
}

/// The disk.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    journal: PathBuf,
    read: u64,
    /// The first is the folder above the root.
    nodes: Vec<Node>,
    /// Not durable yet: place in the journal, folder, what.
    naming: Vec<(u64, usize, Naming)>,
    open: HashMap<i32, usize>,
}

/// What is memory, and no file of the disk.
fn is_memory(name: &str) -> bool {
    name.ends_with("-shm")
}

impl Disk {
    /// One whose root is not there yet.
    pub(super) fn new(root: &Path, journal: &Path) -> Self {
        let (root, journal) = (root.to_owned(), journal.to_owned());
        Self { root, journal, read: 0, nodes: vec![Node::folder()], naming: Vec::new(), open: HashMap::new() }
    }

    /// Takes in what was noted since the last time.
    pub(super) fn follow(&mut self) {
        let Ok(journal) = fs::File::open(&self.journal) else { return };
        let mut bytes =
            vec![0; usize::try_from(journal.metadata().expect("a file").len() - self.read).expect("fits")];
        journal.read_exact_at(&mut bytes, self.read).expect("the journal");
        let mut rest = &bytes[..];
        while let Some((head, _)) = rest.split_at_checked(HEAD) {
            let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("four bytes"));
            let number = |at: usize| i64::from_ne_bytes(head[at..at + 8].try_into().expect("eight bytes"));
            let length = word(0) as usize;
            // The last one of a program that was killed.
            let Some(record) = rest.get(HEAD..length) else { break };
            self.take(word(4), word(8).cast_signed(), number(16), record);
            rest = &rest[length..];
            self.read += length as u64;
        }
        // What a program killed in the middle of a record left of it.
        let journal = fs::File::options().write(true).open(&self.journal).expect("the journal");
        journal.set_len(self.read).expect("the journal");
    }

    fn take(&mut self, kind: u32, fd: i32, a: i64, bytes: &[u8]) {
        let text = || std::str::from_utf8(bytes).expect("a UTF-8 path");
        let at = || usize::try_from(a).expect("not below zero");
        match kind {
            0 => self.open.clear(),
            1 => self.opened(fd, a, text()),
            2 => {
                let node = self.open[&i32::try_from(a).expect("a file's number")];
                self.open.insert(fd, node);
            }
            3 => self.change(fd, Change::Write(at(), bytes.to_vec())),
            4 => self.change(fd, Change::Size(at())),
            5 => self.sync(self.open[&fd], a.cast_unsigned()),
            6 => {
                // Some of it came to the disk; the rest is clean in memory, and no later sync writes it.
                if let Node::File(file) = &mut self.nodes[self.open[&fd]] {
                    file.durable = survivor(file, &mut Random::new(self.read));
                    file.since.clear();
                }
            }
            7 => {
                let (from, to) = text().split_once('\0').expect("two names");
                self.moved(from, to);
            }
            8 | 10 => {
                let (folder, name) = self.place(text());
                if self.names(folder).remove(&name).is_some() {
                    self.naming.push((self.read, folder, Naming::Gone(name)));
                }
            }
            9 => drop(self.make(text(), Node::folder())),
            11 => panic!("a file was mapped to write: {}", self.open[&fd]),
            other => panic!("no kind of record: {other}"),
        }
    }

    fn moved(&mut self, from: &str, to: &str) {
        let ((from_folder, from), (folder, to)) = (self.place(from), self.place(to));
        let node = self.names(from_folder).remove(&from).expect("a name that is there");
        self.names(folder).insert(to.clone(), node);
        self.naming.push((self.read, folder, Naming::Move(from_folder, from, to, node)));
    }

    fn opened(&mut self, fd: i32, flags: i64, path: &str) {
        let node = match self.find(path) {
            Some(node) => node,
            None if flags & CREATE != 0 => self.make(path, Node::File(Contents::default())),
            // The harness put it there while the program was down.
            None => {
                let bytes = fs::read(path).unwrap_or_default();
                self.make(
                    path,
                    Node::File(Contents { now: bytes.clone(), durable: bytes, ..Contents::default() }),
                )
            }
        };
        self.open.insert(fd, node);
        if flags & TRUNCATE != 0 {
            self.change(fd, Change::Size(0));
        }
    }

    fn make(&mut self, path: &str, node: Node) -> usize {
        let (folder, name) = self.place(path);
        self.nodes.push(node);
        let node = self.nodes.len() - 1;
        self.names(folder).insert(name.clone(), node);
        self.naming.push((self.read, folder, Naming::Put(name, node)));
        node
    }

    fn change(&mut self, fd: i32, change: Change) {
        let Node::File(file) = &mut self.nodes[self.open[&fd]] else { panic!("a write to a folder") };
        change.apply(&mut file.now);
        file.since.push((self.read, change));
    }

    /// What was noted before `upto` is durable.
    fn sync(&mut self, node: usize, upto: u64) {
        match &mut self.nodes[node] {
            Node::File(file) => {
                let later = file.since.partition_point(|(at, _)| *at < upto);
                for (_, change) in file.since.drain(..later) {
                    change.apply(&mut file.durable);
                }
            }
            Node::Folder { .. } => {
                let naming = std::mem::take(&mut self.naming);
                for (at, folder, change) in naming {
                    if folder == node && at < upto {
                        self.name(folder, &change);
                    } else {
                        self.naming.push((at, folder, change));
                    }
                }
            }
        }
    }

    /// Makes a change of names durable.
    fn name(&mut self, folder: usize, change: &Naming) {
        match change {
            Naming::Put(name, node) => drop(self.durable(folder).insert(name.clone(), *node)),
            Naming::Gone(name) => drop(self.durable(folder).remove(name)),
            Naming::Move(from, old, new, node) => {
                self.durable(*from).remove(old);
                self.durable(folder).insert(new.clone(), *node);
            }
        }
    }

    fn durable(&mut self, folder: usize) -> &mut Names {
        match &mut self.nodes[folder] {
            Node::Folder { durable, .. } => durable,
            Node::File(_) => panic!("names in a file"),
        }
    }

    /// Folder and last name of a path.
    fn place(&self, path: &str) -> (usize, String) {
        let (above, name) = path.trim_end_matches('/').rsplit_once('/').expect("an absolute path");
        (self.find(above).unwrap_or_else(|| panic!("{above} is not known")), name.to_owned())
    }

    fn find(&self, path: &str) -> Option<usize> {
        let top = self.root.parent().expect("a folder above");
        let mut node = 0;
        for part in Path::new(path).strip_prefix(top).ok()? {
            let Node::Folder { now, .. } = &self.nodes[node] else { return None };
            node = *now.get(part.to_str()?)?;
        }
        Some(node)
    }

    fn names(&mut self, folder: usize) -> &mut Names {
        match &mut self.nodes[folder] {
            Node::Folder { now, .. } => now,
            Node::File(_) => panic!("names in a file"),
        }
    }

    /// All that is there, by path from above the root: bytes of a file, none for a folder.
    fn tree(&self, of: fn(&Node) -> Option<&Names>) -> BTreeMap<PathBuf, usize> {
        let (mut found, mut waiting) = (BTreeMap::new(), vec![(PathBuf::new(), 0)]);
        while let Some((path, node)) = waiting.pop() {
            for (name, node) in of(&self.nodes[node]).into_iter().flatten() {
                waiting.push((path.join(name), *node));
                found.insert(path.join(name), *node);
            }
        }
        found
    }

    /// Looks whether the folder is what was noted. One call may be missing, that of a program killed in the middle of it.
    ///
    /// # Panics
    /// When more is missing.
    pub(super) fn agree(&mut self) {
        let (strange, mut there) = self.unseen();
        // A rename is two names, of which one is gone.
        let gone = strange.iter().filter(|path| !there.contains_key(*path)).count();
        let is_one_call = strange.len() <= 1 || strange.len() == 2 && gone == 1;
        assert!(is_one_call, "changed and not seen: {strange:?}");
        if let Some((from, to)) = self.unseen_move(&strange, &there) {
            return self.moved(&from, &to);
        }
        for path in strange {
            self.adopt(&path, there.remove(&path));
        }
    }

    /// A rename that was done and not noted: the file of a name that is gone stands under another one. No write to what was there.
    fn unseen_move(&self, strange: &[PathBuf], there: &Found) -> Option<(String, String)> {
        let [a, b] = strange else { return None };
        let (from, to) = if there.contains_key(a) { (b, a) } else { (a, b) };
        let Node::File(file) = &self.nodes[self.find(from.to_str()?)?] else { return None };
        let is_it = !there.contains_key(from) && there.get(to)?.as_ref() == Some(&file.now);
        is_it.then_some((from.to_str()?.to_owned(), to.to_str()?.to_owned()))
    }

    /// What is not as it was noted, and all that is there: bytes of a file, none for a folder.
    pub(super) fn unseen(&self) -> (Vec<PathBuf>, Found) {
        let known = self.tree(Node::names_now);
        let mut there = BTreeMap::new();
        list(&self.root, &mut there);
        let top = self.root.parent().expect("a folder above");
        let mut strange = Vec::new();
        for (path, bytes) in &there {
            let short = path.strip_prefix(top).expect("within");
            let same = match known.get(short).map(|node| &self.nodes[*node]) {
                Some(Node::File(file)) => bytes.as_ref() == Some(&file.now),
                Some(Node::Folder { .. }) => bytes.is_none(),
                None => false,
            };
            if !same {
                strange.push(path.clone());
            }
        }
        let memory = |p: &PathBuf| p.file_name().is_some_and(|n| is_memory(&n.to_string_lossy()));
        let absent = known.keys().map(|short| top.join(short));
        strange.extend(absent.filter(|p| !there.contains_key(p) && !memory(p)));
        (strange, there)
    }

    /// What was done and not noted is there, and not durable.
    fn adopt(&mut self, path: &Path, there: Option<Option<Vec<u8>>>) {
        let path = path.to_str().expect("a UTF-8 path");
        let Some(bytes) = there else {
            let (folder, name) = self.place(path);
            self.names(folder).remove(&name);
            self.naming.push((self.read, folder, Naming::Gone(name)));
            return;
        };
        let node = self.find(path).unwrap_or_else(|| {
            let node = if bytes.is_some() { Node::File(Contents::default()) } else { Node::folder() };
            self.make(path, node)
        });
        if let (Node::File(file), Some(bytes)) = (&mut self.nodes[node], bytes) {
            let first = file.now.iter().zip(&bytes).position(|(a, b)| a != b);
            let first = first.unwrap_or(file.now.len().min(bytes.len()));
            file.since.push((self.read, Change::Size(bytes.len())));
            file.since.push((self.read, Change::Write(first, bytes[first..].to_vec())));
            file.now = bytes;
        }
    }

    /// All that is there now is durable.
    pub(super) fn rebase(&mut self) {
        let mut there = BTreeMap::new();
        list(&self.root, &mut there);
        (self.nodes, self.naming) = (vec![Node::folder()], Vec::new());
        self.open.clear();
        if !self.root.exists() {
            return;
        }
        let root = self.root.to_str().expect("a UTF-8 path").to_owned();
        self.make(&root, Node::folder());
        // Folders come before what is in them.
        for (path, bytes) in there {
            if path == self.root {
                continue;
            }
            let node = match bytes {
                Some(bytes) => {
                    Node::File(Contents { now: bytes.clone(), durable: bytes, ..Contents::default() })
                }
                None => Node::folder(),
            };
            self.make(path.to_str().expect("a UTF-8 path"), node);
        }
        for (_, folder, change) in std::mem::take(&mut self.naming) {
            self.name(folder, &change);
        }
    }

    /// Leaves in the folder what a disk may hold after a loss of power, which is durable then. Seed 0: nothing that was
    /// not synced.
    pub(super) fn lose_power(&mut self, seed: u64) {
        if seed == 0 {
            self.naming.clear();
            for node in &mut self.nodes {
                if let Node::File(file) = node {
                    file.since.clear();
                }
            }
        }
        let mut random = Random::new(seed);
        let naming = std::mem::take(&mut self.naming);
        let journal = (random.within(0, 1) == 0).then(|| random.within(0, naming.len() as u64));
        for (n, (_, folder, change)) in (0..).zip(naming) {
            if journal.map_or_else(|| random.within(0, 1) == 0, |upto| n < upto) {
                self.name(folder, &change);
            }
        }
        let left = self.tree(Node::names_durable);
        let _ = fs::remove_dir_all(&self.root);
        let top = self.root.parent().expect("a folder above");
        for (path, node) in left {
            let path = top.join(path);
            if is_memory(&path.file_name().unwrap_or_default().to_string_lossy()) {
                continue;
            }
            match &self.nodes[node] {
                Node::Folder { .. } => {
                    fs::create_dir(&path).expect("a folder");
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("its mode");
                }
                Node::File(file) => {
                    fs::write(&path, survivor(file, &mut random)).expect("a file");
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
                }
            }
        }
        self.rebase();
    }
}

/// What stands beneath a path, itself too, if it is of the program alone: bytes of a file, none for a folder.
fn list(path: &Path, found: &mut Found) {
    if is_memory(&path.file_name().unwrap_or_default().to_string_lossy()) {
        return;
    }
    let Ok(of) = fs::symlink_metadata(path) else { return };
    if of.is_dir() {
        found.insert(path.to_owned(), None);
        for entry in fs::read_dir(path).expect("a folder").flatten() {
            list(&entry.path(), found);
        }
    } else if of.is_file() {
        found.insert(path.to_owned(), Some(fs::read(path).expect("a file")));
    }
}

/// What may be left of a file.
fn survivor(file: &Contents, random: &mut Random) -> Vec<u8> {
    let changes: Vec<&Change> = file.since.iter().map(|(_, change)| change).collect();
    let mut bytes = file.durable.clone();
    if changes.is_empty() {
        return bytes;
    }
    let block = if random.within(0, 1) == 0 { 512 } else { 4096 };
    let drawn =
        |random: &mut Random, below: usize| usize::try_from(random.within(0, below as u64)).expect("fits");
    match random.within(0, 3) {
        0 => {}
        1 => changes.iter().for_each(|c| c.apply(&mut bytes)),
        2 => {
            // All up to some call, and of that one some blocks.
            let upto = drawn(random, changes.len() - 1);
            changes[..upto].iter().for_each(|c| c.apply(&mut bytes));
            let mut whole = bytes.clone();
            changes[upto].apply(&mut whole);
            mix(&mut bytes, &whole, block, random);
        }
        _ => {
            // Any of the blocks, and any length.
            let (mut all, old) = (bytes.clone(), bytes.len());
            changes.iter().for_each(|c| c.apply(&mut all));
            mix(&mut bytes, &all, block, random);
            if all.len() > old {
                bytes.truncate(old + drawn(random, all.len() - old));
            }
        }
    }
    bytes
}

/// Takes blocks of `from` by chance; its length holds.
fn mix(bytes: &mut Vec<u8>, from: &[u8], block: usize, random: &mut Random) {
    bytes.resize(from.len(), 0);
    for start in (0..from.len()).step_by(block) {
        let end = (start + block).min(from.len());
        if random.within(0, 1) == 0 {
            bytes[start..end].copy_from_slice(&from[start..end]);
        }
    }
}

#[cfg(test)]
#[path = "unsynced_tests.rs"]
mod tests;
