//! Builds `cloud/web` with Vite into OUT_DIR and writes the table of files that the crate embeds. Not
//! here: what the build does (vite.config.ts), serving. `TWINWAY_UI_DIST=<dir>` embeds a page built
//! elsewhere, `TWINWAY_UI_DIST=none` builds without a page. Nothing is written beside the sources but
//! `node_modules`.

#![allow(clippy::print_stdout, reason = "cargo reads what a build script prints")]

use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

const OPTIONS: &str = "set TWINWAY_UI_DIST=<folder> to embed a page that was built elsewhere, or \
                       TWINWAY_UI_DIST=none to build without the page";
/// What a build reads, in `cloud/web`.
const INPUTS: [&str; 8] = [
    "src",
    "public",
    "index.html",
    "package.json",
    "package-lock.json",
    ".npmrc",
    "tsconfig.json",
    "vite.config.ts",
];
/// The lock file that `node_modules` was installed from.
const STAMP: &str = ".twinway-lock.json";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    println!("cargo::rerun-if-env-changed=TWINWAY_UI_DIST");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let dist = match env::var("TWINWAY_UI_DIST") {
        Ok(none) if none == "none" => None,
        Ok(dir) if !dir.is_empty() => Some(given(Path::new(&dir))?),
        _ => Some(built(&out)?),
    };
    fs::write(out.join("assets.rs"), table(dist.as_deref())?)?;
    Ok(())
}

/// A folder that holds a built page.
fn given(dir: &Path) -> Result<PathBuf> {
    let at = |e: io::Error| {
        format!("TWINWAY_UI_DIST={} (from cloud/ui, if relative): {e}; {OPTIONS}", dir.display())
    };
    let dir = dir.canonicalize().map_err(at)?;
    if !dir.join("index.html").is_file() {
        return Err(format!("TWINWAY_UI_DIST={}: no index.html in it; {OPTIONS}", dir.display()).into());
    }
    println!("cargo::rerun-if-changed={}", dir.display());
    Ok(dir)
}

/// Builds the page; its folder.
fn built(out: &Path) -> Result<PathBuf> {
    let web = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../web").canonicalize()?;
    for input in INPUTS {
        println!("cargo::rerun-if-changed={}", web.join(input).display());
    }
    let modules = web.join("node_modules");
    fs::create_dir_all(&modules)?;
    // Two builds (debug and release, say) share node_modules: one at a time. The lock ends with the handle.
    let lock = File::open(web.join("package-lock.json"))?;
    lock.lock()?;
    install(&web, &modules)?;
    let dist = out.join("dist");
    let vite = modules.join("vite/bin/vite.js");
    let mut build = Command::new("node");
    build
        .current_dir(&web)
        .arg(vite)
        .args(["build", "--logLevel", "warn", "--emptyOutDir", "--outDir"])
        .arg(&dist);
    run(&mut build)?;
    drop(lock);
    Ok(dist)
}

/// `npm ci`, unless what is installed came from the present lock file.
fn install(web: &Path, modules: &Path) -> Result<()> {
    let wanted = fs::read(web.join("package-lock.json"))?;
    let stamp = modules.join(STAMP);
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.current_dir(web).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    run(&mut npm)?;
    fs::write(stamp, wanted)?;
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(format!("the web page is built with Node 20.19 or later, and `{program}` was not found: install it, or {OPTIONS}").into());
        }
        Err(e) => return Err(format!("`{program}`: {e}").into()),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{command:?} failed ({}):\n{}\nor {OPTIONS}", output.status, String::from_utf8_lossy(&said))
        .into())
}

/// The source of the table: files by path, each with its brotli copy where there is one.
fn table(dist: Option<&Path>) -> Result<String> {
    let mut files = Vec::new();
    if let Some(dist) = dist {
        list(dist, "", &mut files)?;
    }
    files.sort();
    let mut source = String::from("/// Every file of the page by path.\nstatic ASSETS: &[Asset] = &[\n");
    for (path, file) in &files {
        let small = file
            .with_extension(format!("{}.br", file.extension().and_then(|e| e.to_str()).unwrap_or_default()));
        let brotli =
            if small.is_file() { format!("Some(include_bytes!({small:?}))") } else { "None".to_owned() };
        let mime = mime(path);
        // Vite puts the hash of their content into the names of what is in `assets`.
        let immutable = path.starts_with("assets/");
        writeln!(
            source,
            "    Asset {{ path: {path:?}, mime: {mime:?}, bytes: include_bytes!({file:?}), brotli: {brotli}, immutable: {immutable} }},"
        )?;
    }
    source.push_str("];\n");
    Ok(source)
}

fn list(dir: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name =
            entry.file_name().into_string().map_err(|name| format!("{} is not UTF-8", name.display()))?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{prefix}{name}/"), files)?;
        } else if !name.ends_with(".br") {
            files.push((format!("{prefix}{name}"), entry.path()));
        }
    }
    Ok(())
}

fn mime(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "json" | "map" => "application/json",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    }
}
