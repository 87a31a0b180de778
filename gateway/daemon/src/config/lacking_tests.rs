//! All that is missing is told in one go, and bits of one register have a point each.

use super::tests::mistakes;

#[test]
fn all_that_is_missing_is_told_at_once_each_at_its_place() {
    let text = "[gateway]\nid = \"g\"\n[[line]]\nname = \"l\"\ntransport = \"dtu\"\nport = 0\n[[device]]\ndescription = \"d\"\n\
                [[device]]\nname = \"plc\"\nasset = \"p/plc\"\n[device.modbus]\ntimeout_ms = 0\npark_after = 0\n\
                [[device.point]]\nunit = \"bar\"\n\
                [[device.point]]\ntype = \"f64\"\naccess = \"read_write\"\n\
                [[device.point]]\nname = \"c\"\ntype = \"f64\"\naccess = \"read_write\"\n\
                modbus = { table = \"holding\", address = 1 }\n";
    let mut expected = [
        "0.toml:3:1: line[0].listen: missing: expected address and port",
        "0.toml:3:1: line[0].registration: missing: expected what the modem",
        "0.toml:6:8: line[0].port: 0 is not a port",
        "0.toml:7:1: device[0]: has no protocol",
        "0.toml:7:1: device[0]: missing key `asset`",
        "0.toml:7:1: device[0]: missing key `name`",
        "0.toml:12:1: device[1].modbus.host: expected a name or an address",
        "0.toml:13:14: device[1].modbus.timeout_ms: 0 is not a time",
        "0.toml:14:14: device[1].modbus.park_after: expected 1 or more",
        "0.toml:15:1: device[1].point[0]: expected `modbus = { ... }`",
        "0.toml:15:1: device[1].point[0]: missing key `name`",
        "0.toml:15:1: device[1].point[0]: missing key `type`",
        "0.toml:17:1: device[1].point[1]: expected `modbus = { ... }`",
        "0.toml:17:1: device[1].point[1]: missing key `name`",
        "0.toml:17:1: device[1].point[1].write_max: missing",
        "0.toml:17:1: device[1].point[1].write_min: missing",
        "0.toml:20:1: device[1].point[2].write_max: missing",
        "0.toml:20:1: device[1].point[2].write_min: missing",
    ];
    let mut told = mistakes(&[text]);
    told.sort();
    expected.sort_unstable();
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}\n{expected}");
    }
}

#[test]
fn bits_of_one_register_are_written_by_a_point_each_and_a_whole_register_by_one() {
    let bit = |name: &str, key: &str| {
        format!(
            "[[device.point]]\nname = \"{name}\"\ntype = \"bool\"\naccess = \"read_write\"\n\
             modbus = {{ table = \"holding\", address = 7, {key} }}\n"
        )
    };
    let text = |points: &str| {
        format!(
            "[gateway]\nid = \"g\"\n[[device]]\nname = \"d\"\nasset = \"p/d\"\n[device.modbus]\nhost = \"h\"\n{points}"
        )
    };
    let two = bit("a", "bit = 3") + &bit("b", "bit = 4");
    assert_eq!(mistakes(&[&text(&two)]), [""; 0]);
    for other in [bit("c", "bit = 3"), bit("c", "type = \"bool\"")] {
        let told = mistakes(&[&text(&(two.clone() + &other))]);
        assert!(told.len() == 1 && told[0].contains("writes the same registers"), "{told:#?}");
    }
}
