//! Keys that make sense, and keys that do not.

use super::*;

fn bind(device: &str, point: &str) -> Result<Binding, Wrong> {
    let device: DeviceConfig = toml::from_str(device).unwrap();
    toml::from_str::<PointConfig>(point).unwrap().bind(&device, "dev", "t1")
}

#[test]
fn wrong_keys_are_refused_by_name() {
    for (text, key) in [
        ("", "topic"),
        ("topic = \"a/#/b\"", "topic"),
        ("topic = \"\"", "topic"),
        ("topic = \"$SYS/x\"", "topic"),
        ("topic = \"a/x{y}\"", "topic"),
        ("topic = \"a\"\npointer = \"v\"", "pointer"),
        ("topic = \"a\"\nformat = \"json\"", "pointer"),
        ("topic = \"a\"\ntimestamp = \"/ts\"", "timestamp"),
        ("topic = \"a\"\npointer = \"/v\"\ntimestamp = 1", "timestamp"),
        ("topic = \"a\"\npointer = \"/v\"\nitems = \"/a\"", "items"),
        ("topic = \"a\"\npointer = \"/v\"\ncolumn = 1", "column"),
        ("topic = \"a\"\nformat = \"csv\"", "column"),
        ("topic = \"a\"\ncolumn = 0", "column"),
        ("topic = \"a\"\ncolumn = 1\ntimestamp = 0", "timestamp"),
        ("topic = \"a\"\ncolumn = 1\nseparator = '\"'", "separator"),
        ("topic = \"a\"\nseparator = \";\"", "separator"),
        ("topic = \"a\"\nformat = \"binary\"", "type"),
        ("topic = \"a\"\noffset = 2", "offset"),
        ("topic = \"a\"\ntype = \"u8\"\nlength = 2", "length"),
        ("topic = \"a\"\ntype = \"string\"\nlength = 0", "length"),
        ("topic = \"a\"\ntype = \"u8\"\nbit = 2", "bit"),
        ("topic = \"a\"\ntype = \"bool\"\nbit = 8", "bit"),
        ("topic = \"a\"\ntype = \"u8\"\noffset = 99999999", "offset"),
        ("topic = \"a\"\ntype = \"u8\"\ntimestamp = 1", "timestamp"),
    ] {
        assert_eq!(bind("", text).unwrap_err().0, key, "{text}");
    }
    assert!(toml::from_str::<PointConfig>("topc = \"a\"").is_err());
    let own: DeviceConfig = toml::from_str("parameters = { point = \"x\" }").unwrap();
    assert_eq!(own.check().unwrap_err().0, "parameters");
    let open: DeviceConfig = toml::from_str("topic = \"a/{point\"").unwrap();
    assert_eq!(open.check().unwrap_err().0, "topic");
}

#[test]
fn one_pattern_of_a_device_binds_its_points() {
    let device = "topic = \"plant/{area}/{device}/{any}/{point}\"\nparameters = { area = \"wet\" }";
    let filter = |point: &str| bind(device, point).unwrap().filter;
    assert_eq!(filter(""), "plant/wet/dev/+/t1");
    assert_eq!(filter("source = \"Temp 1\""), "plant/wet/dev/+/Temp 1");
    assert_eq!(filter("parameters = { area = \"dry\" }"), "plant/dry/dev/+/t1");
    assert_eq!(filter("topic = \"other/{area}\""), "other/wet");
}

#[test]
fn the_format_follows_from_the_keys() {
    let source = |point: &str| bind("topic = \"t\"", point).unwrap().source;
    assert_eq!(source(""), Source::Plain);
    assert!(matches!(source("pointer = \"\""), Source::Json { .. }));
    assert!(matches!(source("column = \"t\"\nseparator = \"\\t\""), Source::Csv { separator: '\t', .. }));
    assert!(
        matches!(source("type = \"f32\"\norder = \"cdab\"\noffset = 4"), Source::Binary(f) if f.offset == 4)
    );
}

#[test]
fn the_sample_fits_the_keys() {
    let file: toml::Table = toml::from_str(include_str!("sample.toml")).unwrap();
    for device in file["device"].as_array().unwrap() {
        let Some(mqtt) = device.get("mqtt") else { continue };
        let d: DeviceConfig = mqtt.clone().try_into().unwrap();
        assert_eq!(d.check(), Ok(()));
        for point in device["point"].as_array().unwrap() {
            let p: PointConfig = point["mqtt"].clone().try_into().unwrap();
            p.bind(&d, "d", "p").unwrap();
        }
    }
}
