//! Bundles made by hand, as the format is described, and a box to install them on.
#![allow(dead_code, missing_docs, unreachable_pub)] // each test file uses its part
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use common::Clock;
use common::text::hex;
use flate2::Compression;
use flate2::write::GzEncoder;
use gateway_update::{File, Folder, Health, Manifest, Site, machine, make_key};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use semver::Version;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

pub const PROGRAM: &str = "usr/bin/twinway-gateway";

/// A box with one key that is trusted; its packaged program is 1.0.0.
pub struct Rig {
    pub dir: TempDir,
    pub site: Site,
    pub key: PathBuf,
}

impl Rig {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        fs::create_dir(&keys).unwrap();
        let key = keys.join("builder.key");
        make_key(&key).unwrap();
        let site = Site {
            folder: Folder::new(&dir.path().join("update")),
            keys,
            health: dir.path().join("health.json"),
            packaged: Version::new(1, 0, 0),
            store_format: 1,
            config_schema: 1,
            clock: Clock::simulated(1_700_000_000_000_000),
        };
        fs::create_dir_all(site.folder.incoming()).unwrap();
        Self { dir, site, key }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A bundle of a version, as it should be but for `change`.
    pub fn bundle(&self, version: &str, change: impl FnOnce(&mut Manifest)) -> PathBuf {
        let files: [(&str, &[u8]); 2] = [(PROGRAM, b"#!/bin/sh\n"), ("usr/share/doc/x", b"text")];
        let (mut manifest, payload) = manifest(version, &files);
        change(&mut manifest);
        let path = self.path(&format!("{version}.twup"));
        fs::write(&path, bundle(&manifest, &payload, &self.key)).unwrap();
        path
    }

    /// What the gateway says.
    pub fn fares(&self, health: &Health) {
        health.save(&self.site.health).unwrap();
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The manifest of files, and what follows it.
pub fn manifest(version: &str, files: &[(&str, &[u8])]) -> (Manifest, Vec<u8>) {
    let mut payload = GzEncoder::new(Vec::new(), Compression::best());
    let mut listed = Vec::new();
    for (path, bytes) in files {
        payload.write_all(bytes).unwrap();
        listed.push(File {
            path: (*path).to_owned(),
            size: bytes.len() as u64,
            executable: *path == PROGRAM,
            sha256: sha256(bytes),
        });
    }
    let payload = payload.finish().unwrap();
    let manifest = Manifest {
        format: 1,
        product: "twinway-gateway".to_owned(),
        version: version.parse().unwrap(),
        arch: machine().to_owned(),
        commit: "abc".to_owned(),
        min_from: None,
        store_format: 1,
        config_schema: 1,
        payload_sha256: sha256(&payload),
        payload_bytes: payload.len() as u64,
        files: listed,
    };
    (manifest, payload)
}

pub fn bundle(manifest: &Manifest, payload: &[u8], key: &Path) -> Vec<u8> {
    let pem = fs::read_to_string(key).unwrap();
    let inner: String = pem.lines().filter(|l| !l.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(inner).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(&der).unwrap();
    let text = serde_json::to_vec(manifest).unwrap();
    let mut bytes = b"TWINWAY-UPDATE 1\n\x01".to_vec();
    bytes.extend(&Sha256::digest(pair.public_key().as_ref())[..8]);
    bytes.extend(pair.sign(&[b"twinway update manifest\n", &text[..]].concat()).as_ref());
    bytes.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    bytes.extend(text);
    bytes.extend(payload);
    bytes
}
