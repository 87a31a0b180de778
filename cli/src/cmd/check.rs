//! `check` and `points`: the gateway's own program reads configurations and tables of points. Its parser is the gateway's;
//! the CLI has no copy of it.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::Out;

const PROGRAM: &str = "twinway-gateway";

pub(super) fn check(config: &Path, strict: bool, out: Out) -> Result<Exit> {
    let mut command = program()?;
    command.arg("check").arg(config);
    if strict {
        command.arg("--strict");
    }
    run(command, out)
}

/// `points export` and `points import`, with their words as they are.
pub(super) fn points(words: &[OsString], out: Out) -> Result<Exit> {
    let mut command = program()?;
    command.arg("points").args(words);
    run(command, out)
}

/// What `check --json` says of a configuration.
pub(super) fn report(config: &Path) -> Result<serde_json::Value> {
    let mut command = program()?;
    let output = command.arg("check").arg(config).arg("--json").stdin(Stdio::null()).output();
    let output = output.map_err(|e| Error::new(Exit::Failed, format!("{PROGRAM} cannot be run: {e}")))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Error::new(Exit::Failed, format!("{PROGRAM} does not check: {said}"))
            .remedy("are both programs of the same version? (`twinway --version`, `twinway-gateway version`)")
    })
}

/// The gateway's program.
pub(super) fn program() -> Result<Command> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent);
    let program = find(beside, std::env::var_os("PATH").as_deref()).ok_or_else(|| {
        Error::new(
            Exit::NotFound,
            format!("`{PROGRAM}`, which reads configurations, is neither beside this program nor in PATH"),
        )
        .remedy("install the gateway package, or run `twinway-gateway` on the box itself")
    })?;
    Ok(Command::new(program))
}

/// The program speaks for itself: as text, or as one JSON document.
fn run(mut command: Command, out: Out) -> Result<Exit> {
    if out.is_json() {
        command.arg("--json");
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).status();
    let status = status.map_err(|e| Error::new(Exit::Failed, format!("{program} cannot be run: {e}")))?;
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
