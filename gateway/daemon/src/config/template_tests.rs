//! Templates: parameters fill keys and points, a device stands above single keys, and mistakes are told in the
//! template with the devices that they are wrong for.

use common::Access;

use super::*;

fn sources(texts: &[&str]) -> Vec<Source> {
    let source =
        |(n, text): (usize, &&str)| Source { path: format!("{n}.toml").into(), text: (*text).to_owned() };
    texts.iter().enumerate().map(source).collect()
}

fn mistakes(texts: &[&str]) -> Vec<String> {
    Report::of(&sources(texts), false).mistakes.iter().map(ToString::to_string).collect()
}

fn warnings(texts: &[&str]) -> Vec<String> {
    Report::of(&sources(texts), false).warnings.iter().map(ToString::to_string).collect()
}

const TEMPLATE: &str = r#"[[template]]
name = "pump"
asset = "plant/{area}/{device}"
description = "pump {number}"
[template.parameters]
area = "hall"
number = { type = "integer", description = "as on its plate" }
base = { type = "integer", default = 100 }
host = { type = "text" }
[template.modbus]
host = "{host}"
unit = "{number}"
[[template.point]]
name = "speed"
type = "f64"
unit = "1/min"
description = "speed of {device}, {{as shown}}"
access = "read_write"
write_min = 0
write_max = "{number * 1000}"
modbus = { table = "holding", address = "{base}+4", type = "f32" }
[[template.point]]
name = "state_{number + 1}"
type = "u64"
modbus = { table = "input", address = "{base} * 2" }
"#;

const GATEWAY: &str = "[gateway]\nid = \"g1\"\n";

#[test]
fn a_template_gives_devices_their_keys_and_points() {
    let devices = r#"[[device]]
name = "p1"
template = "pump"
parameters = { number = 3, host = "10.0.0.3" }
[[device]]
name = "p2"
template = "pump"
asset = "plant/yard/p2"
parameters = { number = 4, host = "10.0.0.4", base = 200 }
omit = ["state_{number + 1}"]
[device.modbus]
port = 1502
[[device.point]]
name = "speed"
write_max = 7
modbus = { type = "u32" }
[[device.point]]
name = "extra"
type = "bool"
modbus = { table = "coil", address = 1 }
"#;
    let config = Config::from_sources(sources(&[GATEWAY, TEMPLATE, devices])).unwrap();
    let [p1, p2] = &config.devices[..] else { panic!() };
    let (m1, m2) = (p1.modbus.as_ref().unwrap(), p2.modbus.as_ref().unwrap());
    assert_eq!((p1.asset.as_str(), p1.description.as_str()), ("plant/hall/p1", "pump 3"));
    assert_eq!((m1.unit, m1.host.as_str(), m1.port), (3, "10.0.0.3", 502));
    assert_eq!((p2.asset.as_str(), m2.port, m2.host.as_str()), ("plant/yard/p2", 1502, "10.0.0.4"));
    let find = |device: &str, point: &str| config.registry.find(device, point).unwrap();
    let speed = find("p1", "speed");
    assert_eq!((speed.schema.write_max, speed.schema.access), (Some(3000.0), Access::ReadWrite));
    assert_eq!(speed.schema.description, "speed of p1, {as shown}");
    assert_eq!(p1.point[0].modbus.as_ref().unwrap().address, 104);
    assert_eq!((p1.point[1].name.as_str(), p1.point[1].modbus.as_ref().unwrap().address), ("state_4", 200));
    let names: Vec<_> = p2.point.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["speed", "extra"]);
    assert_eq!(find("p2", "speed").schema.write_max, Some(7.0));
    let speed = p2.point[0].modbus.as_ref().unwrap();
    assert_eq!((speed.address, speed.count()), (204, 2));
}

#[test]
fn a_mistake_in_a_template_is_told_once_and_names_its_devices() {
    let bad = TEMPLATE
        .replace("type = \"u64\"\nmodbus", "type = \"u64\"\nscael = 1\nmodbus")
        .replace("write_max = \"{number * 1000}\"\n", "");
    let device = |n: u32| {
        format!(
            "[[device]]\nname = \"p{n}\"\ntemplate = \"pump\"\nparameters = {{ number = {n}, host = \"h{n}\" }}\n"
        )
    };
    let devices: String = (1..=5).map(device).collect();
    let told = mistakes(&[GATEWAY, &bad, &devices]);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].starts_with("1.toml:13:1: template[0].point[0].write_max: missing"), "{told:#?}");
    assert!(told[0].ends_with("(devices `p1`, `p2`, `p3` and 2 more)"), "{told:#?}");
    assert!(
        told[1].starts_with(
            "1.toml:24:1: template[0].point[1].scael: unknown key `scael`: did you mean `scale`?"
        ),
        "{told:#?}"
    );
    let one = mistakes(&[GATEWAY, TEMPLATE, &device(1).replace("host = \"h1\"", "host = \"\"")]);
    assert_eq!(
        one,
        [
            "1.toml:11:8: template[0].modbus.host: expected a name or an address, or the `line` that it hangs on (device `p1`)"
        ]
    );
}

#[test]
fn mistakes_with_parameters_are_told_where_they_stand() {
    let device = |keys: &str| format!("[[device]]\nname = \"p1\"\n{keys}\n");
    for (keys, expected) in [
        (
            "template = \"pmup\"\nasset = \"a/b\"",
            "2.toml:3:12: device[0].template: there is no template `pmup`: did you mean `pump`?",
        ),
        (
            "template = \"pump\"\nparameters = { nubmer = 3, host = \"h\" }",
            "2.toml:4:16: device[0].parameters.nubmer: template `pump` has no parameter `nubmer`: did you mean `number`?",
        ),
        (
            "template = \"pump\"\nparameters = { host = \"h\" }",
            "2.toml:4:14: device[0].parameters: parameter `number` is missing: template `pump` expects an integer",
        ),
        (
            "template = \"pump\"\nparameters = { number = \"x\", host = \"h\" }",
            "2.toml:4:25: device[0].parameters.number: is text: expected an integer",
        ),
        (
            "template = \"pump\"\nparameters = { number = 3, host = \"h\" }\nomit = [\"sped\"]",
            "2.toml:5:9: device[0].omit[0]: the template has no point `sped`: did you mean `speed`?",
        ),
    ] {
        let told = mistakes(&[GATEWAY, TEMPLATE, &device(keys)]);
        assert!(told.iter().any(|m| m.starts_with(expected)), "{keys}: {told:#?}");
        assert_eq!(told.len(), 1, "no mistake that only follows: {told:#?}");
    }
}

#[test]
fn mistakes_in_the_text_of_a_template_are_told_in_it() {
    let device =
        "[[device]]\nname = \"p1\"\ntemplate = \"pump\"\nparameters = { number = 3, host = \"h\" }\n";
    for (from, to, expected) in [
        (
            "{base}+4",
            "{bsae}+4",
            "1.toml:21:41: template[0].point[0].modbus.address: there is no parameter `bsae`: did you mean `base`?",
        ),
        (
            "{base}+4",
            "{base+4",
            "1.toml:21:41: template[0].point[0].modbus.address: a brace that is not closed",
        ),
        ("{base}+4", "{base}/3", "1.toml:21:41: template[0].point[0].modbus.address: "),
        (
            "number * 1000",
            "host * 1000",
            "1.toml:20:13: template[0].point[0].write_max: `{host * 1000}` became `h * 1000`",
        ),
        (
            "type = \"integer\", default",
            "type = \"int\", default",
            "1.toml:8:17: template[0].parameters.base: `int` is not known",
        ),
        (
            "default = 100",
            "default = \"x\"",
            "1.toml:8:38: template[0].parameters.base: is text: expected an integer",
        ),
        (
            "default = 100",
            "defualt = 100",
            "1.toml:8:28: template[0].parameters.base: unknown key `defualt`: did you mean `default`?",
        ),
        ("name = \"pump\"\n", "", "1.toml:1:1: template[0].name: missing"),
    ] {
        assert!(TEMPLATE.contains(from), "{from}");
        let told = mistakes(&[GATEWAY, &TEMPLATE.replacen(from, to, 1), device]);
        assert!(told.iter().any(|m| m.starts_with(expected)), "{to}: {told:#?}");
    }
    let twice = mistakes(&[GATEWAY, TEMPLATE, TEMPLATE, device]);
    assert_eq!(twice, ["2.toml:2:8: template[0].name: template `pump` stands twice"]);
    let unused = TEMPLATE.replace("area = \"hall\"", "area = \"hall\"\nspare = 1");
    let told = warnings(&[GATEWAY, &unused, device]);
    assert_eq!(
        told,
        ["1.toml:7:1: template[0].parameters.spare: parameter `spare` is used nowhere in template `pump`"]
    );
}

#[test]
fn a_syntax_error_in_one_file_hides_nothing_in_another() {
    let broken = "[api]\nlisten = \n";
    let device = "[[device]]\nname = \"p 1\"\nasset = \"a/b\"\n[device.mqtt]\n[buffer]\nsync_ms = 0\n";
    let told = mistakes(&[GATEWAY, broken, device]);
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told[0].starts_with("1.toml:2:"), "{told:#?}");
    assert!(told[1].contains("device[0].name") && told[2].contains("buffer.sync_ms"), "{told:#?}");
}
