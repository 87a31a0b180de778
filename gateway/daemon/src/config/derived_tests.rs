//! Mistakes in virtual points and compression, each at its place.

use super::super::tests::mistakes;

fn told(points: &str) -> Vec<String> {
    let text = format!(
        r#"[gateway]
id = "g"
[[device]]
name = "plc"
asset = "a/plc"
[device.modbus]
host = "h"
[[device.point]]
name = "power"
type = "f64"
modbus = {{ table = "input", address = 0 }}
[[device.point]]
name = "running"
type = "bool"
modbus = {{ table = "coil", address = 0 }}
[[device]]
name = "calc"
asset = "a/calc"
[device.virtual]
{points}"#
    );
    mistakes(&[&text])
}

fn point(name: &str, value_type: &str, expr: &str) -> String {
    format!(
        "[[device.point]]\nname = \"{name}\"\ntype = \"{value_type}\"\nvirtual = {{ expr = \"{expr}\" }}\n"
    )
}

#[test]
fn sound_virtual_points_are_taken_in_any_order() {
    let points =
        point("b", "f64", "a * 2") + &point("a", "f64", "plc/power + 1") + &point("c", "bool", "a > b");
    assert_eq!(told(&points), [""; 0]);
}

#[test]
fn mistakes_in_expressions_stand_at_their_key() {
    for (expr, value_type, expected) in [
        ("plc/powr + 1", "f64", "did you mean `plc/power`?"),
        ("plv/power + 1", "f64", "did you mean device `plc`?"),
        ("avrg(plc/power, 10s)", "f64", "did you mean `avg`?"),
        ("plc/power > 1", "f64", "is true or false: expected `type = \"bool\"`"),
        ("plc/power", "bool", "is a number: expected `type = \"f64\"`"),
        ("plc/power", "text", "is a number"),
        ("plc/power +", "f64", "column 12: expected a point"),
        ("v + 1", "f64", "depends on itself: `calc/v` needs `calc/v`"),
    ] {
        let told = told(&point("v", value_type, expr));
        let places = |m: &String| m.contains("device[1].point[0]") && m.contains(expected);
        assert!(told.iter().any(places), "{expr}: {told:?}");
    }
}

#[test]
fn a_circle_is_told_with_its_way() {
    let told =
        told(&(point("a", "f64", "b + 1") + &point("b", "f64", "c + 1") + &point("c", "f64", "a + 1")));
    assert!(told[0].contains("`calc/a` needs `calc/b` needs `calc/c` needs `calc/a`"), "{told:?}");
}

#[test]
fn a_virtual_device_has_nothing_else() {
    let other =
        "[[device.point]]\nname = \"x\"\ntype = \"f64\"\nmodbus = { table = \"input\", address = 0 }\n";
    assert!(told(other).iter().any(|m| m.contains("its device is virtual")));
    let period = point("v", "f64", "1").replace(" }", ", period_ms = 5 }");
    assert!(told(&period).iter().any(|m| m.contains("period_ms") && m.contains("not within 10")));
    let writable = point("v", "f64", "1") + "access = \"read_write\"\nwrite_min = 0\nwrite_max = 1\n";
    assert!(told(&writable).iter().any(|m| m.contains("cannot be written")));
}

#[test]
fn compression_is_checked() {
    for (keys, expected) in [
        ("compression = { swinging_door = 0.5 }", ""),
        ("compression = { swinging_door = -1.0 }", "not a deviation"),
        ("compression = {}", "expected `swinging_door`"),
        ("compression = { swinging_door = 1, swinging_door_percent = 1 }", "one of swinging_door and"),
        ("compression = { swinging_door_percent = 1.0 }", "range_min"),
        ("compression = { swinging_door = 1.0 }\ndeadband = 1.0", "one of deadband and compression"),
        ("compression = { swinging_door = 1.0, min_interval_ms = 20000 }", "not below max_interval_ms"),
    ] {
        let told = told(&(point("v", "f64", "plc/power") + keys));
        if expected.is_empty() {
            assert_eq!(told, [""; 0]);
        } else {
            assert!(told.iter().any(|m| m.contains(expected)), "{keys}: {told:?}");
        }
    }
}
