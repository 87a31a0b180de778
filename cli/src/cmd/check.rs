//! `check`: has the gateway's own program check a configuration. Its parser is the gateway's; the CLI has
//! no copy of it.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::Out;

const PROGRAM: &str = "twinway-gateway";

pub(super) fn check(config: &Path, out: Out) -> Result<Exit> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent);
    let program = find(beside, std::env::var_os("PATH").as_deref()).ok_or_else(|| {
        Error::new(
            Exit::NotFound,
            format!("`{PROGRAM}`, which checks configurations, is neither beside this program nor in PATH"),
        )
        .remedy("install the gateway package, or run `twinway-gateway check` on the box itself")
    })?;
    let failed =
        |e: std::io::Error| Error::new(Exit::Failed, format!("{} cannot be run: {e}", program.display()));
    let mut command = Command::new(&program);
    command.arg("check").arg(config).stdin(Stdio::null());
    if out.is_json() {
        let done = command.output().map_err(failed)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let ok = done.status.success();
        out.json(&json!({ "ok": ok, "output": text(&done.stdout), "errors": text(&done.stderr) }))?;
        return Ok(if ok { Exit::Ok } else { Exit::Failed });
    }
    let status = command.status().map_err(failed)?;
    Ok(if status.success() { Exit::Ok } else { Exit::Failed })
}

fn find(beside: Option<&Path>, path: Option<&OsStr>) -> Option<PathBuf> {
    let on_path = path.into_iter().flat_map(std::env::split_paths).filter(|p| p.is_absolute());
    let runs = |p: &PathBuf| p.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    beside.map(Path::to_path_buf).into_iter().chain(on_path).map(|dir| dir.join(PROGRAM)).find(runs)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_checker_beside_the_program_goes_before_the_one_in_the_path() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = Some(b.path().as_os_str());
        let program = |d: &Path, mode| {
            let p = d.join(PROGRAM);
            fs::write(&p, "").unwrap();
            fs::set_permissions(&p, fs::Permissions::from_mode(mode)).unwrap();
            p
        };
        assert_eq!(find(Some(a.path()), path), None);
        program(a.path(), 0o644);
        let in_path = program(b.path(), 0o755);
        assert_eq!(find(Some(a.path()), path), Some(in_path));
        let beside = program(a.path(), 0o755);
        assert_eq!(find(Some(a.path()), path), Some(beside));
    }
}
