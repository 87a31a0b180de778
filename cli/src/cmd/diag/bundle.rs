//! A tar archive of files that are in memory, compressed. Pure. The format is ustar (POSIX.1-1988), which every `tar` reads.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

const BLOCK: usize = 512;
/// Longest name of a file: what the first field of a header holds.
const LONGEST: usize = 100;

/// The archive, `.tar.gz`; all below `folder`, of a time in seconds since 1970.
///
/// # Errors
/// When a name is too long, or a file has 8 GiB or more.
pub(super) fn archive(folder: &str, files: &[(String, Vec<u8>)], at_s: u64) -> io::Result<Vec<u8>> {
    let mut to = GzEncoder::new(Vec::new(), Compression::default());
    for (name, bytes) in files {
        to.write_all(&header(&format!("{folder}/{name}"), bytes.len() as u64, at_s)?)?;
        to.write_all(bytes)?;
        to.write_all(&vec![0; bytes.len().next_multiple_of(BLOCK) - bytes.len()])?;
    }
    to.write_all(&[0; 2 * BLOCK])?;
    to.finish()
}

fn header(name: &str, size: u64, at_s: u64) -> io::Result<[u8; BLOCK]> {
    if name.len() > LONGEST || size >= 1 << 33 {
        return Err(io::Error::other(format!("{name} does not fit into an archive")));
    }
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        for (to, byte) in header.iter_mut().skip(at).zip(text.bytes()) {
            *to = byte;
        }
    };
    put(0, name);
    // Mode, owner and group; size and time; then the check sum counts as blanks, and a file as 0.
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, &format!("{:011o}\0", at_s.min((1 << 33) - 1)));
    put(148, "        0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    for (to, byte) in header.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
        *to = byte;
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn tar_reads_it() {
        let files = [("a.txt", &b"one"[..]), ("below/b", &[7; 512]), ("empty", b"")];
        let files: Vec<_> = files.map(|(n, b)| (n.to_owned(), b.to_vec())).into();
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("x.tar.gz");
        std::fs::write(&at, archive("top", &files, 1_795_000_000).unwrap()).unwrap();
        let tar = Command::new("tar").arg("-xzf").arg(&at).arg("-C").arg(dir.path()).output().unwrap();
        assert!(tar.status.success() && tar.stderr.is_empty(), "{tar:?}");
        for (name, bytes) in &files {
            assert_eq!(&std::fs::read(dir.path().join("top").join(name)).unwrap(), bytes, "{name}");
        }
        assert!(archive(&"x".repeat(100), &files, 0).is_err());
    }
}
