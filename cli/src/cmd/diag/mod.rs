//! `diag`: all that somebody who is asked for help needs to know of a box, in one file without secrets. It works with the gateway
//! down as well: then the bundle says so, and holds the rest.

mod bundle;
mod collect;
mod redact;
mod scrub;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use common::Clock;
use common::text::counted;
use serde_json::json;

use super::{check, own_token};
use crate::args::Diag;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::Out;
use crate::table::size;
use crate::target::{BOX_SOCKET, Hints, Target};
use collect::Parts;
use scrub::Secrets;

/// The gateway's data, if its configuration does not say another place.
const DATA_DIR: &str = "/var/lib/twinway";

pub(super) async fn diag(asked: Diag, hints: Hints, ca: Option<PathBuf>, out: Out) -> Result<Exit> {
    let clock = Clock::system();
    let now_us = clock.now_us();
    let (mut parts, mut secrets) = (Parts::new(), Secrets::default());
    let data_dir = collect::configuration(&asked.config, &mut parts, &mut secrets);
    let data_dir = data_dir.unwrap_or_else(|| DATA_DIR.into());
    let table: toml::Table =
        std::fs::read_to_string(&asked.config).ok().and_then(|t| t.parse().ok()).unwrap_or_default();
    let text =
        |section: &str, key: &str| table.get(section).and_then(|s| s.get(key)).and_then(|v| v.as_str());
    let target = match hints.named()? {
        Some(target) => target,
        None => Target::Socket(text("api", "socket").unwrap_or(BOX_SOCKET).into()),
    };
    parts.push(("data-folder.txt".to_owned(), collect::data_folder(&data_dir, &mut secrets)));
    parts.push(("versions.txt".to_owned(), versions(&asked).await));
    parts.push(("configuration/check.json".to_owned(), checked(&asked.config)));
    let token = own_token(&target)?;
    token.iter().for_each(|t| secrets.add(t));
    let client = Client::new(target, token.as_deref(), ca.as_deref())?;
    let answers = collect::gateway(&client, &mut parts).await;
    let unit = &asked.service;
    let service = collect::said("systemctl", &["status", "--no-pager", "--full", "--lines=0", unit]).await
        + &collect::without_environment(&collect::said("systemctl", &["show", "--no-pager", unit]).await);
    parts.push(("service.txt".to_owned(), service));
    parts.push(("log.txt".to_owned(), log(&asked).await));
    parts.push(("machine/clock.txt".to_owned(), collect::clock(&clock).await));
    collect::system(&data_dir, &mut parts).await;

    // The last word, whatever a part was made of.
    let mut struck = 0;
    for (_, text) in &mut parts {
        let (clean, count) = secrets.out_of(text);
        struck += count;
        *text = clean;
    }
    let at_fault = parts.iter().find(|(_, text)| secrets.are_in(text));
    if let Some((name, _)) = at_fault {
        return Err(Error::new(Exit::Failed, format!("a secret would stand in {name}: nothing was written")));
    }
    let state = if answers { "runs" } else { "does not answer" };
    parts.insert(0, ("README.txt".to_owned(), readme(&parts, now_us, state, struck)));
    let id = text("gateway", "id").filter(|id| common::ids::check_name(id).is_ok()).unwrap_or("box");
    write(&asked, id, now_us, &parts, out, struck, answers)
}

async fn versions(asked: &Diag) -> String {
    let gateway = match check::program() {
        Ok(program) => collect::said(&program.get_program().to_string_lossy(), &["version"]).await,
        Err(e) => format!("{e}\n"),
    };
    let manager = collect::said("systemctl", &["--version"]).await;
    let packages = collect::said("dpkg-query", &["--show", "twinway-gateway", "twinway-cloud"]).await;
    format!(
        "twinway {}\n{gateway}\n{packages}{}\nconfiguration {}\n",
        env!("CARGO_PKG_VERSION"),
        manager.lines().next().unwrap_or_default(),
        asked.config.display()
    )
}

fn checked(config: &Path) -> String {
    match check::report(config) {
        Ok(report) => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
        Err(e) => format!("{e}\n"),
    }
}

async fn log(asked: &Diag) -> String {
    if let Some(file) = &asked.log {
        let text = std::fs::read(file).map(|b| String::from_utf8_lossy(&b).into_owned());
        return match text {
            Ok(text) => {
                let skip = text.lines().count().saturating_sub(asked.lines as usize);
                collect::last(&text.lines().skip(skip).map(|l| format!("{l}\n")).collect::<String>())
            }
            Err(e) => format!("{}: {e}\n", file.display()),
        };
    }
    let lines = asked.lines.to_string();
    collect::said(
        "journalctl",
        &["--unit", &asked.service, "--lines", &lines, "--no-pager", "--output=short-iso"],
    )
    .await
}

fn readme(parts: &Parts, now_us: i64, state: &str, struck: usize) -> String {
    let mut text = format!(
        "What `twinway diag` found at {}. The gateway {state}.\n\
         Secrets are struck out: values of secret keys, what stands in files of secrets, and what has the form of one ({struck} places\n\
         in texts). Names of devices and points, addresses, and values of the plant are in it.\n\n",
        crate::table::time(now_us)
    );
    for (name, content) in parts {
        text += &format!("{:>10}  {name}\n", size(content.len() as u64));
    }
    text
}

fn write(
    asked: &Diag,
    id: &str,
    now_us: i64,
    parts: &Parts,
    out: Out,
    struck: usize,
    answers: bool,
) -> Result<Exit> {
    let seconds = u64::try_from(now_us / 1_000_000).unwrap_or_default();
    let time: String =
        crate::table::time(now_us).chars().take(19).filter(char::is_ascii_alphanumeric).collect();
    let name = format!("twinway-diag-{id}-{time}");
    let path = asked.to.clone().unwrap_or_else(|| format!("{name}.tar.gz").into());
    let told = |e: std::io::Error| {
        let error = Error::new(Exit::Failed, format!("{}: {e}", path.display()));
        if e.kind() == std::io::ErrorKind::AlreadyExists {
            error.remedy("--to names another file")
        } else {
            error
        }
    };
    let files: Vec<_> = parts.iter().map(|(n, t)| (n.clone(), t.as_bytes().to_vec())).collect();
    let bytes = bundle::archive(&name, &files, seconds).map_err(told)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(told)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(told)?;
    let names: Vec<&str> = parts.iter().map(|p| p.0.as_str()).collect();
    out.show(&json!({ "file": path, "bytes": bytes.len(), "struck_out": struck, "gateway": answers, "parts": names }), |_| {
        let mut text = String::new();
        for (name, content) in parts {
            text += &format!("{:>10}  {name}\n", size(content.len() as u64));
        }
        let places = counted(struck, "place");
        let down = if answers { "" } else { "the gateway does not answer: what it would say is not in it\n" };
        text + &format!(
            "{down}{}: {}, mode 600; secrets are struck out ({places} in texts)\n",
            path.display(),
            size(bytes.len() as u64)
        )
    })?;
    Ok(Exit::Ok)
}
