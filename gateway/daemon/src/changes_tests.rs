//! Tests of what a difference means.

use common::config::Source;

use super::*;

const MAIN: &str = r#"
[gateway]
id = "g1"
[[device]]
name = "plc"
asset = "a/b/plc"
modbus = { host = "127.0.0.1", port = 1502 }
[[device.point]]
name = "x"
type = "f64"
unit = "Cel"
modbus = { table = "input", address = 0 }
[[device]]
name = "mq"
asset = "a/b/mq"
mqtt = {}
[[device.point]]
name = "y"
type = "f64"
mqtt = { topic = "t" }
"#;

fn config(text: &str) -> Config {
    let source = Source { path: "g.toml".into(), text: text.to_owned() };
    Config::from_sources(vec![source]).unwrap_or_else(|m| panic!("{m}"))
}

/// With what is no device as well, as a reload does it.
fn difference(old: &Config, new: &Config, is: &Registry) -> Changes {
    let (standing, wanted) = (Standing::of(old, &old.registry), Standing::of(new, is));
    let mut changes = between(&standing, &old.registry, &wanted, is);
    settings(old, new, &mut changes);
    changes
}

fn changed(text: &str) -> Changes {
    let (old, new) = (config(MAIN), config(text));
    let next = old.registry.succeed(&new.registry);
    difference(&old, &new, &next)
}

fn one(list: &[String]) -> &str {
    assert_eq!(list.len(), 1, "{list:?}");
    &list[0]
}

#[test]
fn nothing_changed_means_nothing_is_done() {
    let again = MAIN.replace("[gateway]", "# a comment\n[gateway]");
    assert_eq!(changed(&again), Changes::default());
}

#[test]
fn what_is_judged_behind_a_driver_does_not_restart_it() {
    for (from, to) in [
        ("unit = \"Cel\"", "unit = \"K\""),
        ("unit = \"Cel\"", "deadband = 0.5"),
        ("asset = \"a/b/plc\"", "asset = \"a/c/plc\""),
        ("unit = \"Cel\"", "range_min = 0\nrange_max = 9\nstale_ms = 9000"),
    ] {
        let found = changed(&MAIN.replace(from, to));
        assert_eq!(one(&found.updated), "plc");
        assert!(found.stop.is_empty() && found.start.is_empty() && found.restarted.is_empty(), "{to}");
    }
}

#[test]
fn what_a_driver_looks_at_restarts_it_and_no_other() {
    for (from, to) in [
        ("port = 1502", "port = 1503"),
        ("address = 0", "address = 1"),
        ("name = \"x\"", "name = \"z\""),
        ("unit = \"Cel\"", "scale = 0.1"),
        ("type = \"f64\"\nunit", "type = \"i64\"\nunit"),
        ("asset = \"a/b/plc\"", "asset = \"a/b/plc\"\ntwin = \"01890a5d-ac96-774b-bcce-b302099a8057\""),
    ] {
        let found = changed(&MAIN.replace(from, to));
        assert_eq!(one(&found.restarted), "plc", "{to}");
        assert_eq!((found.stop.len(), found.start.len(), found.updated.len()), (1, 1, 0), "{to}");
        assert_eq!(found.stop[0].devices, found.start[0].unit.devices, "a device keeps its index");
    }
}

#[test]
fn devices_come_and_go() {
    let at = MAIN.rfind("[[device]]").unwrap();
    let gone = changed(&MAIN[..at]);
    assert_eq!((one(&gone.removed), gone.stop.len(), gone.start.len()), ("mq", 1, 0));
    let more = format!("{MAIN}[[device]]\nname = \"new\"\nasset = \"a/b/new\"\nmqtt = {{}}\n");
    let come = changed(&more);
    assert_eq!((one(&come.added), come.stop.len(), come.start.len()), ("new", 0, 1));
}

#[test]
fn settings_hold_at_once_or_need_a_restart() {
    let found = changed(&format!("{MAIN}[buffer]\nframe_ms = 20\n[api]\nhosts = [\"box\"]\n"));
    assert_eq!((one(&found.settings), one(&found.restart_needed)), ("api.hosts", "buffer"));
    let new = config(&format!("{MAIN}[buffer]\nframe_ms = 20\n"));
    assert_eq!(in_effect(&config(MAIN), new).buffer.frame_ms, 10, "what runs is what counts next time");
}

#[test]
fn a_line_starts_anew_with_all_its_devices_and_no_other_part_does() {
    let shared = |gap: u32, units: &str| {
        let mut text = format!(
            "{MAIN}[[line]]\nname = \"l1\"\ntransport = \"tcp\"\nhost = \"127.0.0.1\"\nport = 1600\ngap_ms = {gap}\n"
        );
        for unit in units.split(' ') {
            text += &format!(
                "[[device]]\nname = \"u{unit}\"\nasset = \"a/b/u{unit}\"\nmodbus = {{ line = \"l1\", unit = {unit} }}\n[[device.point]]\nname = \"x\"\ntype = \"f64\"\nmodbus = {{ table = \"input\", address = 0 }}\n"
            );
        }
        config(&text)
    };
    let compare = |old: &Config, new: &Config| {
        let next = old.registry.succeed(&new.registry);
        difference(old, new, &next)
    };
    let old = shared(0, "1 2");
    assert_eq!(compare(&old, &shared(0, "1 2")), Changes::default());
    let found = compare(&old, &shared(5, "1 2"));
    assert_eq!((found.restarted.join(" "), found.stop.len(), found.start.len()), ("u1 u2".into(), 1, 1));
    let found = compare(&old, &shared(0, "1 2 3"));
    assert_eq!((found.added.join(" "), found.restarted.join(" ")), ("u3".into(), "u1 u2".into()));
    assert_eq!(found.start[0].unit.devices.len(), 3);
}
