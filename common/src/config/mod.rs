//! Loads TOML configuration: one main file and `conf.d/*.toml` beside it. Every mistake is told with
//! file, line, column, key and what was expected, and all that can be found are told at once.

mod formula;
mod locate;
mod nearest;
mod reader;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

pub use formula::compute;
pub use locate::locate;
pub use nearest::{did_you_mean, nearest};
pub use reader::{Wrong, keys_of, read_tree};
pub use tree::{Entry, Node, Place, Table, Value, parse_tree};

/// One file, read.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// File.
    pub file: PathBuf,
    /// Line and column from 1; none if the file could not be read.
    pub at: Option<(usize, usize)>,
    /// Key, such as `device[2].point[0].address`; empty if none.
    pub key: String,
    /// What is wrong, and what was expected.
    pub message: String,
    /// Devices that it is wrong for, where the place does not say it: one in a template.
    pub devices: Vec<String>,
}

impl Mistake {
    /// A mistake at a line and column of a file, or of the file as a whole.
    pub fn new(file: &Path, at: Option<(usize, usize)>, key: &str, message: impl Into<String>) -> Self {
        let (key, message) = (key.to_owned(), message.into());
        Self { file: file.to_owned(), at, key, message, devices: Vec::new() }
    }
}

/// Devices named for one mistake; the rest is a number.
const NAMED: usize = 3;

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)?;
        let named: Vec<_> = self.devices.iter().take(NAMED).map(|d| format!("`{d}`")).collect();
        match (named.len(), self.devices.len()) {
            (0, _) => Ok(()),
            (1, 1) => write!(f, " (device {})", named.join(", ")),
            (n, all) if n == all => write!(f, " (devices {})", named.join(", ")),
            (n, all) => write!(f, " (devices {} and {} more)", named.join(", "), all - n),
        }
    }
}

/// All mistakes of a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Reads `main` and, sorted by name, every `*.toml` in `conf.d` beside it.
///
/// # Errors
/// When a file cannot be read.
pub fn read(main: &Path) -> Result<Vec<Source>, Mistakes> {
    read_all(main, &["toml"])
}

/// Reads a file that holds a secret: it must be readable by its owner alone, or a credential of systemd.
///
/// # Errors
/// Why it is not read, with its path.
pub fn read_secret(path: &Path) -> Result<String, String> {
    use std::os::unix::fs::MetadataExt as _;
    let told = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let metadata = std::fs::metadata(path).map_err(told)?;
    if !is_private(metadata.uid(), metadata.mode()) {
        let mode = metadata.mode() & 0o777;
        return Err(format!(
            "{} has mode {mode:o}: expected 600, readable by its owner alone",
            path.display()
        ));
    }
    std::fs::read_to_string(path).map_err(told)
}

/// Credentials of systemd from 254 on are root's, and their mode is 440: the service's user reads them by an access list, whose
/// mask stands where the group's rights do.
fn is_private(owner: u32, mode: u32) -> bool {
    mode & 0o077 == 0 || (owner == 0 && mode & 0o777 == 0o440)
}

/// Reads `main` and the files in `conf.d` beside it that end in one of `endings`: in the order of the endings, and
/// sorted by name within each.
///
/// # Errors
/// When a file cannot be read.
pub fn read_all(main: &Path, endings: &[&str]) -> Result<Vec<Source>, Mistakes> {
    let mut paths = vec![main.to_owned()];
    let dir = main.parent().unwrap_or(Path::new(".")).join("conf.d");
    let mut mistakes = Vec::new();
    let all: std::io::Result<Vec<_>> = match std::fs::read_dir(&dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.and_then(|entries| entries.map(|e| Ok(e?.path())).collect()),
    };
    match all {
        Ok(all) => {
            for ending in endings {
                let mut more: Vec<_> =
                    all.iter().filter(|p| p.extension().is_some_and(|e| e == *ending)).cloned().collect();
                more.sort();
                paths.extend(more);
            }
        }
        // Passed over, its devices would be gone, and nothing would say so.
        Err(e) => mistakes.push(Mistake::new(&dir, None, "", format!("cannot read: {e}"))),
    }
    let mut sources = Vec::new();
    for path in paths {
        match std::fs::read_to_string(&path) {
            Ok(text) => sources.push(Source { path, text }),
            Err(e) => mistakes.push(Mistake::new(&path, None, "", format!("cannot read: {e}"))),
        }
    }
    if mistakes.is_empty() { Ok(sources) } else { Err(Mistakes(mistakes)) }
}

/// Reads one file as `T`. Let `T` refuse unknown fields.
///
/// # Errors
/// The first mistake, when the text is not TOML or does not fit `T`.
pub fn parse<T: DeserializeOwned>(source: &Source) -> Result<T, Mistake> {
    let (tree, wrong) = parse_tree(&source.text, 0);
    let place = |at: Place| Some(line_column(&source.text, at as usize));
    if let Some((at, message)) = wrong.into_iter().next() {
        return Err(Mistake::new(&source.path, place(at), "", message));
    }
    let mut first = None;
    let value = read_tree(&tree, &mut |w: Wrong| {
        first.get_or_insert_with(|| Mistake::new(&source.path, place(w.at), &w.key, w.message));
    });
    match (first, value) {
        (None, Some(value)) => Ok(value),
        (mistake, _) => {
            Err(mistake.unwrap_or_else(|| Mistake::new(&source.path, None, "", "cannot be read")))
        }
    }
}

/// A mistake at a key of a file: for what only a look at the whole can find.
pub fn mistake_at(source: &Source, key: &str, message: impl Into<String>) -> Mistake {
    let at = locate(&source.text, key).map(|at| line_column(&source.text, at));
    Mistake::new(&source.path, at, key, message)
}

/// Line and column, from 1, of a byte of a text.
pub fn line_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[serde(default)]
        #[allow(dead_code)]
        device: Vec<Device>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Device {
        #[allow(dead_code)]
        port: u16,
    }

    fn source(text: &str) -> Source {
        Source { path: "a.toml".into(), text: text.into() }
    }

    #[test]
    fn an_unknown_key_is_told_with_its_place_and_what_was_expected() {
        let e = parse::<Config>(&source("[[device]]\nport = 1\n\n[[device]]\nprot = 2\n")).unwrap_err();
        assert_eq!((e.at, e.key.as_str()), (Some((5, 1)), "device[1].prot"), "{e}");
        assert!(e.message.contains("expected `port`"), "{e}");
    }

    #[test]
    fn a_wrong_type_is_told_with_its_place_and_what_was_expected() {
        let e = parse::<Config>(&source("[[device]]\nport = \"x\"\n")).unwrap_err();
        assert_eq!((e.at, e.key.as_str()), (Some((2, 8)), "device[0].port"), "{e}");
        assert!(e.message.contains("u16"), "{e}");
    }

    #[test]
    fn a_syntax_error_is_told_with_its_place() {
        let e = parse::<Config>(&source("[[device]]\nport = \n")).unwrap_err();
        assert_eq!(e.at.map(|a| a.0), Some(2), "{e}");
    }

    #[test]
    fn a_mistake_that_only_the_whole_shows_is_located_by_its_key() {
        let m = mistake_at(
            &source("x = 1\n[[device]]\nport = 1\n[[device]]\nport = 7\n"),
            "device[1].port",
            "no",
        );
        assert_eq!(m.to_string(), "a.toml:5:8: device[1].port: no");
    }

    #[test]
    fn a_conf_d_that_cannot_be_read_is_a_mistake_and_none_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("a.toml");
        std::fs::write(&main, "").unwrap();
        assert_eq!(read(&main).unwrap().len(), 1);
        std::fs::write(dir.path().join("conf.d"), "").unwrap();
        let told = read(&main).unwrap_err().to_string();
        assert!(told.contains("conf.d: cannot read"), "{told}");
    }

    #[test]
    fn conf_d_is_read_in_order_after_the_main_file() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("m.toml");
        std::fs::write(&main, "").unwrap();
        std::fs::create_dir(dir.path().join("conf.d")).unwrap();
        for name in ["20-b.toml", "10-a.toml", "x.csv"] {
            std::fs::write(dir.path().join("conf.d").join(name), "").unwrap();
        }
        let names: Vec<_> = read(&main)
            .unwrap()
            .iter()
            .map(|s| s.path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["m.toml", "10-a.toml", "20-b.toml"]);
        assert!(read(&dir.path().join("none.toml")).unwrap_err().to_string().contains("cannot read"));
    }

    #[test]
    fn a_secret_is_its_owners_and_a_credential_of_systemd_is_one() {
        for (owner, mode) in [(0, 0o100_600), (0, 0o100_440), (998, 0o600), (998, 0o400)] {
            assert!(is_private(owner, mode), "{owner} {mode:o}");
        }
        for (owner, mode) in
            [(0, 0o100_640), (0, 0o444), (0, 0o540), (998, 0o440), (998, 0o640), (998, 0o604)]
        {
            assert!(!is_private(owner, mode), "{owner} {mode:o}");
        }
    }
}
