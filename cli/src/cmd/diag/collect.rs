//! What a bundle is made of: what the gateway says if it runs, its files, its log, and the machine. Each part stands for itself:
//! what cannot be had says why.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use common::Clock;
use reqwest::Method;
use tokio::process::Command;
use tokio::time::timeout;

use super::redact::{self, Redacted};
use super::scrub::Secrets;
use crate::client::Client;
use crate::error::Result;
use crate::machine;

/// Longest wait for a program of the system.
const LIMIT: Duration = Duration::from_secs(20);
/// Most bytes of one part, the last ones: a log may be long.
const MOST: usize = 4 << 20;
/// Most entries of the data folder that are listed, and files that are read for secrets.
const MOST_ENTRIES: usize = 2000;
/// Larger files hold no secret but data.
const SECRET_FILE: u64 = 64 * 1024;

/// Parts by their names.
pub(super) type Parts = Vec<(String, String)>;

/// What a program of the system says.
pub(super) async fn said(program: &str, words: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).env("LC_ALL", "C").kill_on_drop(true);
    match timeout(LIMIT, command.output()).await {
        Err(_) => format!("{program}: no answer within {} s\n", LIMIT.as_secs()),
        Ok(Err(e)) => format!("{program}: {e}\n"),
        Ok(Ok(output)) => {
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            format!("{}{err}", last(&out))
        }
    }
}

/// Properties of a unit without what somebody put into its environment and its credentials: which of it is a secret, only they know.
pub(super) fn without_environment(properties: &str) -> String {
    let kept = |line: &str| match line.split_once('=') {
        Some((key, value))
            if !value.is_empty() && (key == "Environment" || key.starts_with("SetCredential")) =>
        {
            format!("{key}={}\n", redact::STRUCK)
        }
        _ => format!("{line}\n"),
    };
    properties.lines().map(kept).collect()
}

/// The last part of a long text, from the start of a line on.
pub(super) fn last(text: &str) -> String {
    let Some(mut from) = text.len().checked_sub(MOST) else { return text.to_owned() };
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let tail = text.get(from..).unwrap_or("");
    let tail = tail.split_once('\n').map_or(tail, |(_, rest)| rest);
    format!("(the first {} bytes are left out)\n{tail}", text.len() - tail.len())
}

/// What the gateway says of itself, a file each; what it does not answer says why.
pub(super) async fn gateway(client: &Client, parts: &mut Parts) -> bool {
    let routes: [(&str, &[&str]); 12] = [
        ("gateways", &["gateways"]),
        ("configuration", &["config"]),
        ("buffer", &["buffer"]),
        ("identity", &["identity"]),
        ("twins", &["twins"]),
        ("alarms", &["alarms"]),
        ("events", &["audit"]),
        ("commands", &["commands"]),
        ("broker", &["broker"]),
        ("modbus-lines", &["modbus", "endpoints"]),
        ("opcua-points", &["opcua", "points"]),
        ("opcua-certificates", &["opcua", "certificates"]),
    ];
    let mut answers = false;
    for (name, route) in routes {
        let text = match json(client, route).await {
            Ok(text) => {
                answers = true;
                text
            }
            Err(e) => format!("{{ \"not had\": {} }}\n", serde_json::Value::from(e.to_string())),
        };
        parts.push((format!("gateway/{name}.json"), text));
        if name == "gateways" && !answers {
            // It would say the same eleven times more.
            return false;
        }
    }
    let metrics = match client.send(client.outside_api("metrics")).await {
        Ok(answer) => answer.text().await.unwrap_or_else(|e| e.to_string()),
        Err(e) => e.to_string(),
    };
    parts.push(("gateway/metrics.txt".to_owned(), last(&metrics)));
    answers
}

async fn json(client: &Client, route: &[&str]) -> Result<String> {
    let request = client.request(Method::GET, route)?.query(&[("limit", "200")]);
    let value: serde_json::Value = client.fetch(request).await?;
    Ok(serde_json::to_string_pretty(&value).unwrap_or_default() + "\n")
}

/// Files of the configuration, and what they say is secret.
pub(super) fn configuration(main: &Path, parts: &mut Parts, secrets: &mut Secrets) -> Option<PathBuf> {
    let folder = main.with_file_name("conf.d");
    let mut files = vec![main.to_owned()];
    let mut more: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    more.retain(|p| p.extension().is_some_and(|e| e == "toml" || e == "csv"));
    more.sort();
    files.extend(more);
    let mut data_dir = None;
    for file in files {
        let inner = file.strip_prefix(main.parent().unwrap_or(Path::new("/"))).unwrap_or(&file);
        let text = match fs::read_to_string(&file) {
            Ok(text) if file.extension().is_some_and(|e| e == "csv") => text,
            Ok(text) => {
                if let Ok(table) = text.parse::<toml::Table>() {
                    let told = table.get("gateway").and_then(|g| g.get("data_dir")).and_then(|d| d.as_str());
                    data_dir = told.map(PathBuf::from).or(data_dir);
                }
                let Redacted { text, secrets: found, files } = redact::redact(&text);
                found.iter().for_each(|s| secrets.add(s));
                files.iter().for_each(|f| learn(f, main, secrets));
                text
            }
            Err(e) => format!("{}: {e}\n", file.display()),
        };
        parts.push((format!("configuration/{}", inner.display()), text));
    }
    // Those that systemd hands on, whatever the configuration says.
    learn_all(&main.with_file_name("secrets"), secrets);
    data_dir
}

/// A file that holds secrets, as the gateway would find it.
fn learn(file: &Path, main: &Path, secrets: &mut Secrets) {
    // A name without a folder may be meant from where the gateway was started, or beside its configuration.
    for at in [file.to_owned(), main.parent().unwrap_or(Path::new("/")).join(file)] {
        let is_small = fs::metadata(&at).is_ok_and(|m| m.is_file() && m.len() <= SECRET_FILE);
        if is_small && let Ok(bytes) = fs::read(&at) {
            secrets.learn(&String::from_utf8_lossy(&bytes));
        }
    }
}

/// Every small file of a folder of secrets.
fn learn_all(folder: &Path, secrets: &mut Secrets) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().take(MOST_ENTRIES) {
        learn(&entry.path(), folder, secrets);
    }
}

/// What lies in the data folder: names, sizes and times, no content; keys in it are learned, to be found elsewhere.
pub(super) fn data_folder(folder: &Path, secrets: &mut Secrets) -> String {
    let mut text = format!("{}\n", folder.display());
    let mut left = MOST_ENTRIES;
    list(folder, folder, &mut text, &mut left);
    if left == 0 {
        let _ = writeln!(text, "(and more)");
    }
    for inner in ["identity", "pki/own"] {
        learn_keys(&folder.join(inner), secrets);
    }
    text
}

/// Private keys in PEM, alone or in JSON: not the certificates beside them, which anybody may see.
fn learn_keys(folder: &Path, secrets: &mut Secrets) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().take(MOST_ENTRIES) {
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let text = text.replace("\\n", "\n");
        let mut parts = text.split("PRIVATE KEY-----");
        parts.next();
        // Between its first line and its last one.
        while let (Some(key), _) = (parts.next(), parts.next()) {
            secrets.learn(key);
        }
    }
}

fn list(folder: &Path, top: &Path, text: &mut String, left: &mut usize) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) => {
            let _ = writeln!(text, "{}: {e}", folder.display());
            return;
        }
    };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let modified = metadata.modified().ok().and_then(|m| m.duration_since(std::time::UNIX_EPOCH).ok());
        let modified = modified.and_then(|m| i64::try_from(m.as_micros()).ok()).unwrap_or_default();
        let inner = path.strip_prefix(top).unwrap_or(&path);
        let _ = writeln!(text, "{:>12} {} {}", metadata.len(), crate::table::time(modified), inner.display());
        if metadata.is_dir() {
            list(&path, top, text, left);
        }
    }
}

/// Kernel, memory, disks, ports and networks.
pub(super) async fn system(data_dir: &Path, parts: &mut Parts) {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_else(|e| format!("{path}: {e}\n"));
    let mut text = String::new();
    for (title, path) in [
        ("kernel", "/proc/version"),
        ("distribution", "/etc/os-release"),
        ("uptime and load", "/proc/uptime"),
        ("", "/proc/loadavg"),
        ("memory", "/proc/meminfo"),
        ("board", "/proc/device-tree/model"),
    ] {
        let _ = write!(text, "{}{}", section(title), file(path).replace('\0', ""));
    }
    let processor = file("/proc/cpuinfo");
    let first = processor.split("\n\n").next().unwrap_or_default();
    let _ = writeln!(text, "{}{first}", section("processor, the first"));
    parts.push(("machine/system.txt".to_owned(), text));

    let data_dir = data_dir.display().to_string();
    let mut text = section("space") + &said("df", &["-P", "-k"]).await;
    text += &(section("of the data folder") + &said("df", &["-P", "-i", &data_dir]).await);
    text += &(section("mounted") + &file("/proc/mounts"));
    text += &(section("read and written") + &file("/proc/diskstats"));
    parts.push(("machine/disks.txt".to_owned(), text));

    let mut text = section("serial ports");
    for port in machine::serial_ports() {
        let console = if port.is_console { " console" } else { "" };
        let _ = writeln!(
            text,
            "{} {}{console} {}",
            port.path,
            port.driver,
            port.stable.as_deref().unwrap_or("-")
        );
    }
    text += &(section("counts of the kernel's driver") + &file("/proc/tty/driver/serial"));
    text += &section("networks");
    for network in machine::networks() {
        let own = network.own.map_or_else(|| "-".to_owned(), |o| o.to_string());
        let _ = writeln!(text, "{} {} {own}", network.interface, network.range);
    }
    text += &(section("addresses") + &said("ip", &["address"]).await);
    text += &(section("routes") + &said("ip", &["route"]).await);
    text += &(section("names") + &file("/etc/resolv.conf"));
    text += &(section("who listens") + &said("ss", &["-tuln"]).await);
    text += &(section("interfaces") + &file("/proc/net/dev"));
    parts.push(("machine/ports-and-networks.txt".to_owned(), text));
}

/// Whether the clock is right, and who sets it.
pub(super) async fn clock(clock: &Clock) -> String {
    let (now, synchronised) = (crate::table::time(clock.now_us()), clock.is_synchronised());
    let mut text = format!("now {now}\nsynchronised, as the gateway judges: {synchronised}\n");
    text += &(section("timedatectl") + &said("timedatectl", &["show"]).await);
    text += &said("timedatectl", &["show-timesync"]).await;
    text += &(section("chrony") + &said("chronyc", &["tracking"]).await);
    let battery = fs::read_to_string("/sys/class/rtc/rtc0/since_epoch").unwrap_or_else(|e| e.to_string());
    text + &section("clock of the board, seconds since 1970") + battery.trim() + "\n"
}

fn section(title: &str) -> String {
    if title.is_empty() { String::new() } else { format!("== {title}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_its_end() {
        let text = "ü".repeat(MOST) + "\nthe last line\n";
        let kept = last(&text);
        assert!(kept.len() < MOST + 100 && kept.ends_with("the last line\n"), "{}", kept.len());
        assert_eq!(last("short"), "short");
    }

    #[test]
    fn what_is_in_the_environment_of_a_unit_is_not_told() {
        let shown = "Restart=always\nEnvironment=DB_PWD=PLANTED \"X=a PLANTED\"\nSetCredential=x:PLANTED PLANTED\nEnvironmentFiles=/etc/x\n\
            SetCredentialEncrypted=\n";
        let told = without_environment(shown);
        assert!(!told.contains("PLANTED") && told.contains("Environment=(struck out)"), "{told}");
        assert!(told.contains("Restart=always\n") && told.contains("EnvironmentFiles=/etc/x\n"), "{told}");
    }

    #[test]
    fn secrets_of_every_file_that_is_named_or_beside_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let named = write("somewhere/uplink", "PLANTED-ONE\n");
        write("etc/secrets/press", "PLANTED-TWO");
        write("etc/beside.key", "PLANTED-THREE");
        write(
            "data/identity/identity.json",
            r#"{"key":"-----BEGIN PRIVATE KEY-----\nPLANTEDFOUR\n-----END PRIVATE KEY-----\n","enrolled":{"url":"x"}}"#,
        );
        write("data/buffer/0.log", "frames");
        let data = dir.path().join("data");
        let main = write(
            "etc/gateway.toml",
            &format!("[gateway]\ndata_dir = \"{}\"\n[uplink]\npassword_file = \"{named}\"\n", data.display()),
        );
        write("etc/conf.d/a.toml", "[buffer]\nkeys_file = \"beside.key\"\n");
        let (mut parts, mut secrets) = (Parts::new(), Secrets::default());
        let found = configuration(Path::new(&main), &mut parts, &mut secrets);
        assert_eq!(found.as_deref(), Some(data.as_path()));
        let listed = data_folder(&data, &mut secrets);
        assert!(listed.contains("buffer/0.log") && !listed.contains("frames"), "{listed}");
        for planted in ["PLANTED-ONE", "PLANTED-TWO", "PLANTED-THREE", "PLANTEDFOUR"] {
            assert!(secrets.are_in(planted), "{planted}");
        }
        assert!(!secrets.are_in(r#"{"url":"x"}"#));
        assert_eq!(
            parts.iter().map(|p| p.0.as_str()).collect::<Vec<_>>(),
            ["configuration/gateway.toml", "configuration/conf.d/a.toml"]
        );
    }
}
