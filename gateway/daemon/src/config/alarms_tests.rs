//! Mistakes in alarms, each at its place.

use super::super::tests::mistakes;

fn told(alarms: &str) -> Vec<String> {
    let text = format!(
        r#"[gateway]
id = "g"
[[device]]
name = "plc"
asset = "a/plc"
[device.modbus]
host = "h"
[[device.point]]
name = "sp"
type = "f64"
modbus = {{ table = "input", address = 4 }}
[[device.point]]
name = "pv"
type = "f64"
setpoint = "sp"
modbus = {{ table = "input", address = 0 }}
{alarms}"#
    );
    mistakes(&[&text])
}

#[test]
fn alarms_of_every_kind_are_taken() {
    let all = r#"
[[device.point.alarm]]
kind = "hihi"
limit = 95
priority = "urgent"
text = "far too hot"
group = "oven"
[[device.point.alarm]]
kind = "hi"
limit = 90
hysteresis = 2
on_delay_ms = 500
off_delay_ms = 1000
[[device.point.alarm]]
kind = "lo"
limit = 5
[[device.point.alarm]]
kind = "lolo"
limit = 1
enabled = false
[[device.point.alarm]]
kind = "deviation"
limit = 3
[[device.point.alarm]]
kind = "rate"
limit = 1.5
window_s = 30
[[device.point.alarm]]
kind = "equals"
value = 0
[[device.point.alarm]]
kind = "bad"
[[device.point.alarm]]
kind = "stale"
[[device.point.alarm]]
kind = "comms"
"#;
    assert_eq!(told(all), [""; 0]);
}

#[test]
fn mistakes_stand_at_their_key() {
    for (keys, key, expected) in [
        ("kind = \"hi\"", "limit", "needs a limit"),
        ("kind = \"hi\"\nlimit = nan", "limit", "not a limit"),
        ("kind = \"bad\"\nlimit = 1", "limit", "has no limit"),
        ("kind = \"hi\"\nlimit = 1\nvalue = 1", "value", "only `equals`"),
        ("kind = \"equals\"", "value", "missing"),
        ("kind = \"rate\"\nlimit = 1\nwindow_s = 0", "window_s", "not within"),
        ("kind = \"deviation\"\nlimit = -1", "limit", "not a distance"),
        ("kind = \"hi\"\nlimit = 1\nhysteresis = -1", "hysteresis", "not a width"),
        ("kind = \"hi\"\nlimit = 1\non_delay_ms = 86400001", "on_delay_ms", "more than a day"),
        ("kind = \"hi\"\nlimit = 1\nname = \"a b\"", "name", "not a name"),
        (
            "kind = \"hi\"\nlimit = 1\n[[device.point.alarm]]\nkind = \"hi\"\nlimit = 2",
            "name",
            "stands twice",
        ),
        ("kind = \"higher\"\nlimit = 1", "kind", "hihi"),
    ] {
        let told = told(&format!("[[device.point.alarm]]\n{keys}"));
        let found = told.iter().any(|m| m.contains("alarm[") && m.contains(key) && m.contains(expected));
        assert!(found, "{keys}: {told:?}");
    }
}
