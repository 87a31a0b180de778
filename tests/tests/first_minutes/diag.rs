//! `twinway diag` of a box with a secret in every place that holds one: with the gateway up, and down.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value as Json;
use tests::field::ModbusDevice;
use tests::gateway::{Setup, registers_device, write_private};
use tests::process::program;
use tests::{Cloud, Gateway};

use crate::site::{LIMIT, NO_SERVICE, code, json, twinway};

/// A certificate and its key, of nobody.
const CERTIFICATE: &str = include_str!("../../../cloud/ingest/tests/testdata/server.crt");
const KEY: &str = include_str!("../../../cloud/ingest/tests/testdata/server.key");
/// 32 bytes.
const BUFFER_KEY: &str = "UExBTlRFRC1CVUZGRVItS0VZLTAxMjM0NTY3ODlhYmM=";
const TOKEN_HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

/// Every secret key of the schema, each with a secret behind it.
fn secrets(dir: &Path) -> String {
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        write_private(&path, text);
        path.display().to_string()
    };
    // A user's line is as the program makes it.
    let mut made = Command::new(program("twinway-gateway"));
    made.args(["broker", "passwd", "press"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = made.spawn().expect("it runs");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), b"PLANTED-BROKER\n")
        .expect("it reads");
    let line = child.wait_with_output().expect("it ends").stdout;
    let users = file("users", &String::from_utf8(line).expect("UTF-8"));
    let (tokens, keys) = (file("tokens", &format!("anna:viewer:{TOKEN_HASH}\n")), file("keys", BUFFER_KEY));
    let (tls_key, tls_cert) = (file("tls.key", KEY), file("tls.crt", CERTIFICATE));
    let (published, pressed) = (file("uns", "PLANTED-PUBLISH"), file("press", "PLANTED-OPCUA\n"));
    std::fs::create_dir_all(dir.join("secrets")).expect("a folder");
    file("secrets/uplink", "PLANTED-CREDENTIAL");
    format!(
        r#"
passwords_file = "{users}" # the old one was PLANTED-COMMENT
[[broker.listener]]
listen = "127.0.0.1:0"
tls_cert = "{tls_cert}"
tls_key = "{tls_key}"
[buffer]
keys_file = "{keys}"
[opcua_server]
listen = "127.0.0.1:0"
passwords_file = "{users}"
[[publish]]
name = "uns"
url = "mqtt://127.0.0.1:1"
username = "line1"
password_file = "{published}"
[[line]]
name = "well"
transport = "dtu"
listen = "127.0.0.1:0"
registration = "PLANTED-REGISTRATION"
framing = "rtu"
[[device]]
name = "well-meter"
asset = "plant/well/meter"
modbus = {{ line = "well" }}
[[device.point]]
name = "level"
type = "f64"
modbus = {{ table = "holding", address = 0 }}
[[device]]
name = "press"
asset = "plant/hall/press"
[device.opcua]
url = "opc.tcp://127.0.0.1:1"
user = "twinway"
password_file = "{pressed}"
[[device.point]]
name = "force"
type = "f64"
opcua = {{ node = "ns=2;s=Force" }}
[[device]]
name = "robot"
asset = "plant/hall/robot"
[device.opcua]
url = "opc.tcp://127.0.0.1:1"
user_certificate = "{tls_cert}"
user_key = "{tls_key}"
[[device.point]]
name = "busy"
type = "bool"
opcua = {{ node = "ns=2;s=Busy" }}
#!TOKENS {tokens}
"#
    )
}

/// The files of a bundle by their names, read by somebody else's tar.
fn unpacked(bundle: &Path) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().expect("a folder");
    let tar =
        Command::new("tar").arg("-xzf").arg(bundle).arg("-C").arg(dir.path()).output().expect("tar runs");
    assert!(tar.status.success(), "{tar:?}");
    let list = Command::new("find").arg(dir.path()).args(["-type", "f"]).output().expect("find runs");
    let read = |path: &str| {
        let inner = path.strip_prefix(dir.path().to_str()?)?.trim_start_matches('/').split_once('/')?.1;
        Some((inner.to_owned(), String::from_utf8(std::fs::read(path).ok()?).expect("UTF-8")))
    };
    String::from_utf8_lossy(&list.stdout).lines().filter_map(read).collect()
}

async fn diag(dir: &Path, to: &str) -> (Json, BTreeMap<String, String>) {
    let bundle = dir.join(to);
    let path = |p: &Path| p.to_str().expect("a UTF-8 path").to_owned();
    let socket = path(&dir.join("api.sock"));
    let words =
        ["--socket", &socket, "diag", "--config", &path(&dir.join("gateway.toml")), "--to", &path(&bundle)];
    let more = ["--log", &path(&dir.join("log")), "--service", NO_SERVICE];
    let told = json(&twinway(words.into_iter().chain(more).map(str::to_owned).collect()).await);
    assert_eq!(std::fs::metadata(&bundle).expect("it").permissions().mode() & 0o777, 0o600);
    (told, unpacked(&bundle))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_tells_all_of_a_box_but_its_secrets_with_the_gateway_up_and_down() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = dir.path().join("box");
    std::fs::create_dir_all(&place).expect("a folder");
    let cloud =
        Cloud::start_with_ingress(&dir.path().join("cloud"), "names = [\"127.0.0.1\"]", Vec::new()).await;
    let plc = ModbusDevice::start().await;
    let broker = secrets(&place);
    let (sections, tokens) = broker.split_once("#!TOKENS ").expect("both");
    let (more, extra) = sections.split_once("[[broker.listener]]").expect("both");
    // The API's section stands in a file of its own: the rig has written the first part of it.
    std::fs::create_dir_all(place.join("conf.d")).expect("a folder");
    std::fs::write(place.join("conf.d/api.toml"), format!("[api]\ntokens_file = {:?}\n", tokens.trim()))
        .expect("a file");
    let setup = Setup {
        devices: registers_device(plc.addr, 2, 50),
        broker: more.trim_start().to_owned(),
        extra: format!("[[broker.listener]]{extra}"),
        ..Setup::default()
    };
    let mut gateway = Gateway::start(&place, &setup).await;
    let code = code(&cloud, "box1").await;
    let enrol = [
        "--socket",
        place.join("api.sock").to_str().expect("UTF-8"),
        "enrol",
        &code,
        "--cloud",
        &format!("http://{}", cloud.http),
    ]
    .map(str::to_owned);
    json(&twinway(enrol.into()).await);
    // What somebody's program may have said in the log.
    let mut log = std::fs::OpenOptions::new().append(true).open(place.join("log")).expect("the log");
    std::io::Write::write_all(
        &mut log,
        format!("login with PLANTED-OPCUA failed\ntoken=PLANTED-LOGGED\ncode {code}\n").as_bytes(),
    )
    .expect("a line");

    let identity = std::fs::read_to_string(place.join("data/identity/identity.json")).expect("an identity");
    let identity: Json = serde_json::from_str(&identity).expect("JSON");
    let own_key = identity["key"].as_str().expect("a key").lines().nth(1).expect("its first line").to_owned();
    let tls_key = KEY.lines().nth(1).expect("its first line");
    let users = std::fs::read_to_string(place.join("users")).expect("users");
    let hash = users.trim().split_once(':').expect("a user and a hash").1;
    let planted = ["PLANTED", BUFFER_KEY, TOKEN_HASH, &own_key, tls_key, hash, &code, "PRIVATE KEY"];

    let (told, up) = diag(&place, "up.tar.gz").await;
    assert_eq!(told["gateway"], true, "{told:#}");
    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;
    let (told, down) = diag(&place, "down.tar.gz").await;
    assert_eq!(told["gateway"], false, "{told:#}");
    for (state, files) in [("up", &up), ("down", &down)] {
        for (name, text) in files {
            for secret in planted {
                assert!(!text.contains(secret), "{state}: {secret} in {name}:\n{text}");
            }
        }
        let has = |name: &str, wanted: &str| {
            let text =
                files.get(name).unwrap_or_else(|| panic!("{state}: no {name} among {:?}", files.keys()));
            assert!(text.contains(wanted), "{state}: no `{wanted}` in {name}:\n{text}");
        };
        has("README.txt", "log.txt");
        has("versions.txt", "twinway-gateway 0.");
        has("configuration/gateway.toml", "registration = \"(struck out)\"");
        has("configuration/gateway.toml", &place.join("press").display().to_string());
        has("configuration/conf.d/api.toml", "tokens_file");
        has("configuration/check.json", "\"ok\": true");
        has("log.txt", "gateway started");
        has("log.txt", "token=(struck out)");
        has("data-folder.txt", "identity/identity.json");
        has("machine/system.txt", "MemTotal");
        has("machine/clock.txt", "synchronised, as the gateway judges");
        has("machine/disks.txt", "Filesystem");
        has("machine/ports-and-networks.txt", "== serial ports");
    }
    let has = |name: &str, wanted: &str| {
        assert!(up[name].contains(wanted), "no `{wanted}` in {name}: {}", up[name])
    };
    has("gateway/gateways.json", "\"uplink\": true");
    has("gateway/gateways.json", "\"round_trip_us\"");
    has("gateway/buffer.json", "unacked");
    has("gateway/identity.json", "\"serial\"");
    has("gateway/metrics.txt", "twinway_gateway_");
    has("gateway/modbus-lines.json", "127.0.0.1");
    assert!(
        down["gateway/gateways.json"].contains("is not reachable")
            && !down.contains_key("gateway/buffer.json")
    );
    assert!(down["README.txt"].contains("does not answer"));
}
