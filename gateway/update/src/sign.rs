//! Makes a bundle of a folder as packages are laid out (`cross/stage.sh`).

use std::fs;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use common::text::hex;
use flate2::{Compression, GzBuilder};
use ring::signature::KeyPair as _;
use semver::Version;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::bundle::{MAGIC, MOST_SIGNATURES, signed};
use crate::folder::sum_of;
use crate::keys::{id_of, private};
use crate::manifest::{FORMAT, File, Manifest, judge_path};
use crate::{Bundle, Error};

/// What `twinway-gateway version --json` says, in the staged folder.
pub(crate) const BUILD: &str = "usr/lib/twinway-gateway/build.json";

#[derive(Deserialize)]
struct Build {
    product: String,
    version: Version,
    arch: String,
    #[serde(default)]
    commit: String,
    store_format: u32,
    config_schema: u32,
}

/// Packs what is below `usr` of a staged folder and signs it with each of the keys. The same folder gives the same bytes.
///
/// # Errors
/// When the folder is not of a package of the gateway, has what a bundle cannot hold, or a key or file cannot be read.
pub fn sign(
    staged: &Path,
    keys: &[PathBuf],
    min_from: Option<Version>,
    to: &Path,
) -> Result<Manifest, Error> {
    if !(1..=MOST_SIGNATURES).contains(&keys.len()) {
        return Error::refused(format!("{} keys, expected 1 to {MOST_SIGNATURES}", keys.len()));
    }
    let keys = keys.iter().map(|k| private(k)).collect::<Result<Vec<_>, _>>()?;
    let build_path = staged.join(BUILD);
    let build = fs::read(&build_path).map_err(Error::disk(&build_path))?;
    let build: Build = serde_json::from_slice(&build)
        .map_err(|e| Error::Refused(format!("{}: {e}", build_path.display())))?;

    let mut paths = Vec::new();
    walk(staged, Path::new("usr"), &mut paths)?;
    paths.sort();
    // Beside the bundle: it may be larger than what /tmp holds.
    let mut payload_path = to.as_os_str().to_owned();
    payload_path.push(".payload");
    let payload_path = PathBuf::from(payload_path);
    let packed = pack(staged, &paths, &payload_path);
    let made = packed.and_then(|(mut payload, files)| {
        let summed = payload.rewind().and_then(|()| sum_of(&mut payload));
        let (payload_sha256, payload_bytes) = summed.map_err(Error::disk(&payload_path))?;
        let manifest = Manifest {
            format: FORMAT,
            product: build.product,
            version: build.version,
            arch: build.arch,
            commit: build.commit,
            min_from,
            store_format: build.store_format,
            config_schema: build.config_schema,
            payload_sha256,
            payload_bytes,
            files,
        };
        manifest.judge()?;
        write(&manifest, &keys, &mut payload, to)?;
        Ok(manifest)
    });
    let _ = fs::remove_file(&payload_path);
    let manifest = made?;
    Bundle::open(to)?;
    Ok(manifest)
}

fn walk(staged: &Path, folder: &Path, paths: &mut Vec<String>) -> Result<(), Error> {
    let full = staged.join(folder);
    for entry in fs::read_dir(&full).map_err(Error::disk(&full))? {
        let entry = entry.map_err(Error::disk(&full))?;
        let path = folder.join(entry.file_name());
        let kind = entry.file_type().map_err(Error::disk(&entry.path()))?;
        if kind.is_dir() {
            walk(staged, &path, paths)?;
        } else if kind.is_file() {
            let path = path.to_string_lossy().into_owned();
            judge_path(&path)?;
            paths.push(path);
        } else {
            return Error::refused(format!(
                "{}: neither a file nor a folder: a bundle has no links",
                entry.path().display()
            ));
        }
    }
    Ok(())
}

fn pack(staged: &Path, paths: &[String], payload: &Path) -> Result<(fs::File, Vec<File>), Error> {
    let to = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(payload);
    let to = to.map_err(Error::disk(payload))?;
    // Neither name nor time: the same files give the same bytes.
    let mut to = GzBuilder::new().write(to, Compression::best());
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let full = staged.join(path);
        let bytes = fs::read(&full).map_err(Error::disk(&full))?;
        let mode = fs::metadata(&full).map_err(Error::disk(&full))?.permissions().mode();
        to.write_all(&bytes).map_err(Error::disk(payload))?;
        files.push(File {
            path: path.clone(),
            size: bytes.len() as u64,
            executable: mode & 0o100 != 0,
            sha256: hex(&Sha256::digest(&bytes)),
        });
    }
    Ok((to.finish().map_err(Error::disk(payload))?, files))
}

fn write(
    manifest: &Manifest,
    keys: &[ring::signature::Ed25519KeyPair],
    payload: &mut fs::File,
    to: &Path,
) -> Result<(), Error> {
    let text = serde_json::to_vec(manifest).map_err(|e| Error::Refused(format!("manifest: {e}")))?;
    let length = u32::try_from(text.len()).map_err(|_| Error::Refused("manifest: too long".to_owned()))?;
    let mut head = MAGIC.to_vec();
    head.push(u8::try_from(keys.len()).unwrap_or_default());
    for key in keys {
        head.extend(id_of(key.public_key().as_ref()));
        head.extend(key.sign(&signed(&text)).as_ref());
    }
    head.extend(length.to_le_bytes());
    head.extend(text);
    let mut put = || {
        let mut file = fs::File::create(to)?;
        file.write_all(&head)?;
        payload.rewind()?;
        io::copy(payload, &mut file)?;
        file.sync_all()
    };
    put().map_err(Error::disk(to))
}
