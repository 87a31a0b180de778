//! Every mistake is told at its place, the sample has every key, and conf.d adds and overrides.

use std::os::unix::fs::PermissionsExt;

use common::config::locate;
use serde::de::DeserializeOwned;

use super::sections::*;
use super::*;

const SAMPLE: &str = include_str!("../../../../config/gateway.toml");

pub(super) fn sources(texts: &[&str]) -> Vec<Source> {
    let source =
        |(n, text): (usize, &&str)| Source { path: format!("{n}.toml").into(), text: (*text).to_owned() };
    texts.iter().enumerate().map(source).collect()
}

pub(super) fn mistakes(texts: &[&str]) -> Vec<String> {
    match Config::from_sources(sources(texts)) {
        Ok(_) => vec![],
        Err(m) => m.0.iter().map(ToString::to_string).collect(),
    }
}

/// The sample with its switched-off keys on.
fn sample_in_full() -> String {
    let on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => rest.to_owned(),
        _ => line.to_owned(),
    };
    SAMPLE.lines().map(|l| on(l) + "\n").collect()
}

#[test]
fn the_sample_parses_without_a_mistake_as_it_is_and_in_full() {
    assert_eq!(mistakes(&[SAMPLE]), [""; 0]);
    let full = sample_in_full();
    // Two keys exclude each other by their nature.
    let full = full.replace("deadband = 0.2\n", "");
    assert_eq!(mistakes(&[&full]), [""; 0]);
}

#[test]
fn mistakes_of_lines_are_told_at_their_place() {
    let text = "[gateway]\nid = \"g\"\n[[line]]\nname = \"a\"\ntransport = \"rtu\"\n[[line]]\nname = \"a\"\n\
                transport = \"tcp\"\nhost = \"h\"\n[[device]]\nname = \"d\"\nasset = \"p/d\"\nmodbus = { line = \"b\" }\n";
    let found = mistakes(&[text]);
    let expected = [
        "0.toml:3:1: line[0].path: missing: expected a serial port, such as /dev/serial/by-id/...",
        "0.toml:7:8: line[1].name: `a` stands twice: a line has one place",
        "0.toml:13:19: device[0].modbus.line: there is no [[line]] with the name `b`",
    ];
    assert_eq!(found, expected);
}

/// The keys that a struct takes, as its own refusal of an unknown one names them.
fn keys_of<T: DeserializeOwned>() -> Vec<String> {
    let Err(error) = toml::from_str::<T>("no_such_key_at_all = 1") else { panic!("an unknown key is taken") };
    let text = error.message().to_owned();
    let keys: Vec<_> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|k| *k != "no_such_key_at_all")
        .map(str::to_owned)
        .collect();
    assert!(!keys.is_empty(), "{text}");
    keys
}

#[test]
fn the_sample_has_every_key_of_every_struct() {
    let full = sample_in_full();
    let check = |place: &str, keys: Vec<String>, inline: bool| {
        for key in keys {
            let found = if inline {
                // A key of an inline table, also one that excludes another.
                full.contains(&format!("{key} = "))
            } else {
                full.lines().any(|l| {
                    l.starts_with(&format!("{key} = "))
                        || l == format!("[{key}]")
                        || l == format!("[[{key}]]")
                        || l == format!("[device.{key}]")
                        || l == format!("[[device.{key}]]")
                        || l == format!("[[device.point.{key}]]")
                        || l == format!("[[broker.{key}]]")
                })
            };
            assert!(found, "{place}.{key} is not in config/gateway.toml");
        }
    };
    check("", keys_of::<File>(), false);
    check("gateway", keys_of::<GatewaySection>(), false);
    check("uplink", keys_of::<UplinkSection>(), false);
    check("api", keys_of::<ApiSection>(), false);
    check("broker", keys_of::<BrokerSection>(), false);
    check("broker.listener", keys_of::<ListenerSection>(), false);
    check("broker.rights", keys_of::<RightsSection>(), false);
    check("opcua_server", keys_of::<super::opcua_server::OpcuaServerSection>(), false);
    check("buffer", keys_of::<BufferSection>(), false);
    check("control", keys_of::<ControlSection>(), false);
    check("publish", keys_of::<super::publish::PublishSection>(), false);
    check("device", keys_of::<DeviceSection>(), false);
    check("device.point", keys_of::<PointSection>(), false);
    check("alarm", keys_of::<AlarmSection>(), false);
    check("virtual", keys_of::<VirtualDevice>(), false);
    check("point.virtual", keys_of::<VirtualPoint>(), true);
    check("identification", keys_of::<super::opcua_server::IdentificationSection>(), true);
    check("compression", keys_of::<CompressionSection>(), true);
    check("labels", keys_of::<LabelSection>(), true);
    check("line", keys_of::<gateway_adapters::modbus::LineConfig>(), false);
    check("modbus", keys_of::<gateway_adapters::modbus::DeviceConfig>(), false);
    check("point.modbus", keys_of::<gateway_adapters::modbus::PointConfig>(), true);
    check("mqtt", keys_of::<gateway_adapters::mqtt::DeviceConfig>(), false);
    check("point.mqtt", keys_of::<gateway_adapters::mqtt::PointConfig>(), true);
    check("opcua", keys_of::<gateway_adapters::opcua::DeviceConfig>(), false);
    check("point.opcua", keys_of::<gateway_adapters::opcua::PointConfig>(), true);
    check("sparkplug", keys_of::<gateway_adapters::sparkplug::DeviceConfig>(), false);
    check("point.sparkplug", keys_of::<gateway_adapters::sparkplug::PointConfig>(), true);
}

#[test]
fn the_sample_shows_the_defaults() {
    let file: File = toml::from_str(SAMPLE).unwrap();
    let with_id = "[gateway]\nid = \"line1-box\"\n";
    let default: File = toml::from_str(with_id).unwrap();
    assert_eq!(format!("{:?}", file.api), format!("{:?}", default.api));
    assert_eq!(format!("{:?}", file.broker), format!("{:?}", default.broker));
    assert_eq!(format!("{:?}", file.buffer), format!("{:?}", default.buffer));
    assert_eq!(format!("{:?}", file.control), format!("{:?}", default.control));
    assert_eq!(format!("{:?}", file.gateway), format!("{:?}", default.gateway));
    let full = sample_in_full().replace("deadband = 0.2\n", "");
    let full = Config::from_sources(sources(&[&full])).unwrap();
    assert_eq!(full.uplink.unwrap().window_bytes, UplinkSection::default().window_bytes);
}

const BASE: &str = r#"[gateway]
id = "g1"
[[device]]
name = "plc"
asset = "p/c/plc"
[device.modbus]
host = "h"
[[device.point]]
name = "a"
type = "f64"
modbus = { table = "holding", address = 0 }
[[device.point]]
name = "w"
type = "f64"
access = "read_write"
write_min = 0
write_max = 10
modbus = { table = "holding", address = 1 }
"#;

#[test]
fn every_mistake_is_told_with_file_line_key_and_what_was_expected() {
    assert_eq!(mistakes(&[BASE]), [""; 0]);
    let p = "modbus = { table = \"holding\", address = 1 }\n";
    // (text replaced, by what, line, key, words)
    let cases: &[(&str, &str, usize, &str, &str)] = &[
        ("id = \"g1\"", "idd = \"g1\"", 2, "gateway.idd", "expected one of `id`"),
        ("id = \"g1\"\n", "", 1, "gateway.id", "needs a name"),
        ("id = \"g1\"", "id = \"g/1\"", 2, "gateway.id", "is not a name"),
        ("id = \"g1\"", "id = \"g1\"\ntenant = \"\"", 3, "gateway.tenant", "is not a name"),
        ("id = \"g1\"", "id = \"g1\"\n[api]\nlisten = \"0.0.0.0:80\"", 4, "api.listen", "not on loopback"),
        ("id = \"g1\"", "id = \"g1\"\n[api]\nlisten = 80", 4, "api.listen", "socket address"),
        (
            "id = \"g1\"",
            "id = \"g1\"\n[broker]\nlisten = \"0.0.0.0:80\"",
            4,
            "broker.listen",
            "not on loopback",
        ),
        (
            "id = \"g1\"",
            "id = \"g1\"\n[broker]\nlisten = \"127.0.0.1:8480\"",
            4,
            "broker.listen",
            "API as well",
        ),
        ("id = \"g1\"", "id = \"g1\"\n[broker]\nsync_ms = 101", 4, "broker.sync_ms", "0 to 100"),
        (
            "id = \"g1\"",
            "id = \"g1\"\n[[broker.listener]]\nlisten = \"0.0.0.0:1\"",
            4,
            "broker.listener[0].listen",
            "nobody could sign in",
        ),
        (
            "id = \"g1\"",
            "id = \"g1\"\n[[broker.rights]]\npublish = [\"a/#/b\"]",
            4,
            "broker.rights[0].publish",
            "whole level",
        ),
        ("id = \"g1\"", "id = \"g1\"\n[buffer]\nsync_ms = 101", 4, "buffer.sync_ms", "1 to 100"),
        ("id = \"g1\"", "id = \"g1\"\n[buffer]\nquota_mb = 32", 3, "buffer.segment_mb", "quarter"),
        ("id = \"g1\"", "id = \"g1\"\n[buffer]\nsegment_kb = 8", 4, "buffer.segment_kb", "16 to 1024"),
        ("id = \"g1\"", "id = \"g1\"\n[control]\nqueue = 0", 4, "control.queue", "1 to 10000"),
        (
            "id = \"g1\"",
            "id = \"g1\"\n[uplink]\nurl = \"http://x\"\npassword_file = \"x\"",
            4,
            "uplink.url",
            "mqtt",
        ),
        (
            "id = \"g1\"",
            "id = \"g1\"\n[uplink]\nurl = \"mqtt://x:0\"\npassword_file = \"x\"",
            4,
            "uplink.url",
            "mqtt",
        ),
        (
            "id = \"g1\"",
            "id = \"g1\"\n[uplink]\nurl = \"mqtt://x\"\nca_file = \"x\"\npassword_file = \"x\"",
            5,
            "uplink.ca_file",
            "no certificates",
        ),
        (
            p,
            "deadband = 1\nmax_interval_ms = 0\nmodbus = { table = \"holding\", address = 1 }\n",
            19,
            "device[0].point[1].max_interval_ms",
            "look stale",
        ),
        (
            p,
            "deadband = 1\nstale_ms = 9000\nmodbus = { table = \"holding\", address = 1 }\n",
            12,
            "device[0].point[1].max_interval_ms",
            "stale_ms = 9000",
        ),
        ("id = \"g1\"", "id = \"g1\"\n[uplink]\nquiet = [\"22:00\"]", 4, "uplink.quiet", "22:00-06:30"),
        ("id = \"g1\"", "id = \"g1\"\n[uplink]\nday_mb = 0", 4, "uplink.day_mb", "0.01 to"),
        ("id = \"g1\"", "id = \"g1\"\n[uplink]\nmax_delay_s = 0", 4, "uplink.max_delay_s", "1 to 3600"),
        ("name = \"plc\"", "name = \"p l c\"", 4, "device[0].name", "is not a name"),
        ("asset = \"p/c/plc\"", "asset = \"p//plc\"", 5, "device[0].asset", "is not a place"),
        ("host = \"h\"", "host = \"\"", 7, "device[0].modbus.host", "expected a name"),
        ("host = \"h\"", "host = \"h\"\nprot = 1", 8, "device[0].modbus.prot", "`port`"),
        ("host = \"h\"", "host = \"h\"\n[device.mqtt]", 8, "device[0].mqtt", "one protocol"),
        ("[device.modbus]\nhost = \"h\"\n", "", 3, "device[0]", "no protocol"),
        ("name = \"w\"", "name = \"a\"", 13, "device[0].point[1].name", "stands twice"),
        ("type = \"f64\"\naccess", "type = \"f32\"\naccess", 14, "device[0].point[1].type", "`f64`"),
        ("write_min = 0\n", "", 12, "device[0].point[1].write_min", "needs its limits"),
        ("write_max = 10\n", "", 12, "device[0].point[1].write_max", "needs its limits"),
        ("write_max = 10", "write_max = -1", 17, "device[0].point[1].write_max", "below"),
        (
            "write_max = 10",
            "write_max = 70000",
            17,
            "device[0].point[1].write_max",
            "does not fit the register",
        ),
        ("access = \"read_write\"\n", "", 15, "device[0].point[1].write_min", "not writable"),
        (
            p,
            "modbus = { table = \"input\", address = 1 }\n",
            15,
            "device[0].point[1].access",
            "cannot be written",
        ),
        (
            p,
            "modbus = { table = \"coil\", address = 1, type = \"u16\" }\n",
            18,
            "device[0].point[1].modbus.type",
            "bits",
        ),
        (p, "modbus = { table = \"holding\" }\n", 18, "device[0].point[1].modbus", "address"),
        (p, "mqtt = { topic = \"x\" }\n", 12, "device[0].point[1]", "speaks Modbus"),
        (
            p,
            "setpoint = \"nope\"\nmodbus = { table = \"holding\", address = 1 }\n",
            18,
            "device[0].point[1].setpoint",
            "no point `nope`",
        ),
        (
            p,
            "setpoint = \"w\"\nmodbus = { table = \"holding\", address = 1 }\n",
            18,
            "device[0].point[1].setpoint",
            "its own",
        ),
        (
            p,
            "scale = 0\nmodbus = { table = \"holding\", address = 1 }\n",
            18,
            "device[0].point[1].scale",
            "not 0",
        ),
        (
            p,
            "deadband = -1\nmodbus = { table = \"holding\", address = 1 }\n",
            18,
            "device[0].point[1].deadband",
            "0 or more",
        ),
        (
            p,
            "deadband_percent = 1\nmodbus = { table = \"holding\", address = 1 }\n",
            18,
            "device[0].point[1].deadband_percent",
            "range_min",
        ),
        (
            p,
            "stale_ms = 0\nmodbus = { table = \"holding\", address = 1 }\n",
            18,
            "device[0].point[1].stale_ms",
            "at least 1",
        ),
        (
            p,
            "range_min = 5\nrange_max = 5\nmodbus = { table = \"holding\", address = 1 }\n",
            19,
            "device[0].point[1].range_max",
            "above",
        ),
        (
            p,
            "read_back_tolerance = -1\nmodbus = { table = \"holding\", address = 1 }\n",
            18,
            "device[0].point[1].read_back_tolerance",
            "0 or more",
        ),
        (
            p,
            "interlock = \"a < \"\nmodbus = { table = \"holding\", address = 1 }\n",
            18,
            "device[0].point[1].interlock",
            "column 5",
        ),
        (
            p,
            "interlock = \"b < 1\"\nmodbus = { table = \"holding\", address = 1 }\n",
            18,
            "device[0].point[1].interlock",
            "no `plc/b`",
        ),
        (
            p,
            "labels = [{ value = 1, text = \"x\" }]\nmodbus = { table = \"holding\", address = 1 }\n",
            18,
            "device[0].point[1].labels",
            "bool, i64",
        ),
        ("id = \"g1\"", "id = \"g1\"\n[nonsense]", 3, "nonsense", "expected one of"),
        ("id = \"g1\"", "id = ", 2, "", "string values"),
    ];
    for (from, to, line, key, words) in cases {
        assert!(BASE.contains(from), "{from}");
        let text = BASE.replacen(from, to, 1);
        let Err(told) = Config::from_sources(sources(&[&text])) else { panic!("{to:?} is taken") };
        let found = told.0.iter().find(|m| m.key == *key && m.message.contains(words));
        let Some(found) = found else { panic!("{to:?}: expected {key}: {words}, got\n{told}") };
        assert_eq!(found.at.map(|a| a.0), Some(*line), "{to:?}: {found}");
        assert_eq!(found.file, PathBuf::from("0.toml"));
    }
}

#[test]
fn mistakes_of_several_files_are_told_at_once_each_in_its_own() {
    let extra = "[[device]]\nname = \"plc\"\nasset = \"p/c/x\"\n[device.modbus]\nhost = \"h\"\n[[device.point]]\nname = \"again\"\ntype = \"f64\"\naccess = \"write\"\nwrite_min = 0\nwrite_max = 1\nmodbus = { table = \"holding\", address = 1 }\n[buffer]\nframe_ms = 0\n";
    let told = mistakes(&[BASE, extra]);
    assert_eq!(told.len(), 4, "{told:#?}");
    for (mistake, words) in told.iter().zip([
        "1.toml:2:8: device[0].name: `plc` stands twice",
        "1.toml:2:8: device[0].twin",
        "1.toml:12:",
        "1.toml:14:12: buffer.frame_ms",
    ]) {
        let place = words.split(": ").next().unwrap();
        assert!(mistake.starts_with(place) || mistake.contains("device[0].twin"), "{mistake} / {words}");
    }
    let mqtt = "[broker]\nenabled = false\n[[device]]\nname = \"m\"\nasset = \"p/c/m\"\n[device.mqtt]\n";
    assert!(mistakes(&[BASE, mqtt])[0].contains("needs the embedded broker"));
    assert!(
        mistakes(&[BASE, &mqtt.replace("p/c/m", "p/c/plc")])
            .iter()
            .any(|m| m.contains("place of another device"))
    );
}

#[test]
fn a_later_file_overrides_single_keys_and_adds_devices() {
    let extra = "[buffer]\nframe_ms = 50\n[gateway]\ntenant = \"t2\"\n[[device]]\nname = \"m\"\nasset = \"p/c/m\"\n[device.mqtt]\n[[device.point]]\nname = \"x\"\ntype = \"f64\"\nmqtt = { topic = \"x\" }\n";
    let config =
        Config::from_sources(sources(&[BASE, "[buffer]\nsync_ms = 20\nframe_ms = 5\n", extra])).unwrap();
    assert_eq!((config.buffer.frame_ms, config.buffer.sync_ms), (50, 20));
    assert_eq!((config.id.as_str(), config.tenant.as_str()), ("g1", "t2"));
    let registry = &config.registry;
    assert_eq!(registry.count(), 3);
    assert_eq!(registry.find("m", "x").unwrap().schema.stale_ms, 60_000);
    let w = registry.find("plc", "w").unwrap();
    assert_eq!((w.schema.stale_ms, w.schema.write_min, w.schema.write_max), (5_000, Some(0.0), Some(10.0)));
}

#[test]
fn secrets_must_be_private_and_well_formed() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let tokens = write(
        "tokens",
        &format!("# people\nann:operator:{hash}\nbob:king:{hash}\nann:viewer:{hash}\nx:viewer:12\n"),
        0o600,
    );
    let password = write("password", "secret\n", 0o644);
    let text = format!(
        "{BASE}[api]\ntokens_file = {tokens:?}\n[uplink]\nurl = \"mqtt://h\"\npassword_file = {password:?}\n"
    );
    let main = write("gateway.toml", &text, 0o644);
    let told = Config::load(&main).unwrap_err().to_string();
    assert!(told.contains("has mode 644"), "{told}");
    assert!(told.contains("tokens:3:1: expected a role"), "{told}");
    assert!(told.contains("tokens:4:1: `ann` stands twice"), "{told}");
    assert!(told.contains("tokens:5:1: expected `name:role"), "{told}");
    assert!(!told.contains(hash));
    write("tokens", &format!("ann:operator:{hash}\n"), 0o600);
    write("password", "secret\n", 0o600);
    let config = Config::load(&main).unwrap();
    assert_eq!(config.tokens.len(), 1);
    let uplink = config.uplink.unwrap();
    assert_eq!(
        (uplink.password.as_str(), uplink.username.as_str(), uplink.url.port),
        ("secret", "default/g1", 1883)
    );
    assert!(!format!("{uplink:?}").contains("secret"));
    let gone = Config::load(&dir.path().join("none.toml")).unwrap_err().to_string();
    assert!(gone.contains("cannot read"), "{gone}");
}

#[test]
fn keys_of_the_buffer_are_read_and_wrong_ones_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (main, keys) = (dir.path().join("gateway.toml"), dir.path().join("keys"));
    std::fs::write(&main, format!("{BASE}[buffer]\nkeys_file = {keys:?}\n")).unwrap();
    let with = |text: &str, mode: u32| {
        std::fs::write(&keys, text).unwrap();
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(mode)).unwrap();
        Config::load(&main)
    };
    let [one, two] = ["A", "E"].map(|c| format!("{}=\n", c.repeat(43)));
    let config = with(&format!("# since May\n{one}\n{two}"), 0o400).unwrap();
    assert_eq!(config.buffer_keys, vec![gateway_store::Key::new([0; 32]), key_of(&two)].into());
    for (text, mode, told) in [
        ("", 0o600, "has no key"),
        ("AAAA\n", 0o600, "line 1 of"),
        (&format!("{one}{}", "C".repeat(44)), 0o600, "line 2 of"),
        (&one, 0o640, "has mode 640"),
    ] {
        let error = with(text, mode).unwrap_err().to_string();
        assert!(error.contains("buffer.keys_file") && error.contains(told), "{error}");
        assert!(!error.contains("CCCC"), "{error}");
    }
}

fn key_of(line: &str) -> gateway_store::Key {
    use base64::Engine as _;
    let bytes = base64::prelude::BASE64_STANDARD.decode(line.trim()).unwrap();
    gateway_store::Key::new(bytes.try_into().unwrap())
}

#[test]
fn keys_are_located_in_arrays_of_tables() {
    assert!(locate(BASE, "device[0].point[1].write_max").is_some());
}
