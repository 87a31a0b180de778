//! Tests of the settings of lines and devices.

use gateway_modbus::frame::Framing;

use super::*;

fn device(text: &str) -> DeviceConfig {
    toml::from_str(text).unwrap()
}

fn line(text: &str) -> LineConfig {
    toml::from_str(&format!("name = \"l\"\n{text}")).unwrap()
}

#[test]
fn defaults_are_as_documented() {
    let d = device("host = \"plc\"");
    assert_eq!((d.port, d.unit, d.timeout_ms, d.single_writes), (502, 1, 1000, true));
    assert_eq!((d.connect_timeout_ms, d.reconnect_max_ms, d.park_after), (2000, 10_000, 3));
    assert_eq!(
        (d.max_registers, d.max_bits, d.max_write_registers, d.max_write_bits),
        (125, 2000, 123, 1968)
    );
    let rtu = line("transport = \"rtu\"\npath = \"/dev/ttyS0\"");
    assert_eq!((rtu.baud, rtu.data_bits(), rtu.parity, rtu.stop_bits()), (19_200, 8, Parity::Even, 1));
    let ascii = line("transport = \"ascii\"\npath = \"/dev/ttyS0\"\nparity = \"none\"");
    assert_eq!((ascii.data_bits(), ascii.stop_bits(), ascii.framing()), (7, 2, Framing::Ascii));
    assert_eq!(LineConfig::implicit(&d).check(), Ok(()));
}

#[test]
fn every_transport_has_its_framing() {
    for (text, framing) in [
        ("transport = \"tcp\"\nhost = \"h\"", Framing::Mbap),
        ("transport = \"rtu_over_tcp\"\nhost = \"h\"", Framing::Rtu),
        ("transport = \"ascii_over_tcp\"\nhost = \"h\"", Framing::Ascii),
        ("transport = \"rtu\"\npath = \"/dev/ttyS0\"", Framing::Rtu),
        ("transport = \"dtu\"\nlisten = \"0.0.0.0:5020\"\nregistration = \"box7\"", Framing::Rtu),
        (
            "transport = \"dtu\"\nlisten = \"0.0.0.0:5020\"\nregistration = \"box7\"\nframing = \"tcp\"",
            Framing::Mbap,
        ),
    ] {
        let line = line(text);
        assert_eq!((line.check(), line.framing()), (Ok(()), framing), "{text}");
    }
}

#[test]
fn keys_that_do_not_fit_each_other_are_refused_by_name() {
    for (text, key) in [
        ("host = \"plc\"\ntimeout_ms = 0", "timeout_ms"),
        ("line = \"a\"\nhost = \"plc\"", "host"),
        ("unit = 3", "host"),
        ("line = \"\"", "line"),
        ("host = \"plc\"\nport = 0", "port"),
        ("host = \"plc\"\nmax_registers = 126", "max_registers"),
        ("host = \"plc\"\nmax_bits = 0", "max_bits"),
        ("host = \"plc\"\nbit_offset = -70000", "bit_offset"),
        ("host = \"plc\"\nretries = 11", "retries"),
        ("host = \"plc\"\npark_after = 0", "park_after"),
    ] {
        assert_eq!(device(text).check().unwrap_err().0, key, "{text}");
    }
    let dtu = "transport = \"dtu\"\nlisten = \"127.0.0.1:0\"";
    for (text, key) in [
        ("transport = \"tcp\"", "host"),
        ("transport = \"tcp\"\nhost = \"\"", "host"),
        ("transport = \"tcp\"\nhost = \"h\"\npath = \"/dev/x\"", "path"),
        ("transport = \"tcp\"\nhost = \"h\"\nlisten = \"127.0.0.1:1\"", "listen"),
        ("transport = \"tcp\"\nhost = \"h\"\nrs485 = {}", "rs485"),
        ("transport = \"tcp\"\nhost = \"h\"\nframing = \"rtu\"", "framing"),
        ("transport = \"rtu\"", "path"),
        ("transport = \"rtu\"\npath = \"/dev/x\"\nbackup_host = \"h\"", "backup_host"),
        ("transport = \"rtu\"\npath = \"/dev/x\"\ndata_bits = 7", "data_bits"),
        ("transport = \"rtu\"\npath = \"/dev/x\"\nbaud = 1", "baud"),
        ("transport = \"rtu\"\npath = \"/dev/x\"\nstop_bits = 3", "stop_bits"),
        ("transport = \"dtu\"\nregistration = \"box\"", "listen"),
        (dtu, "registration"),
    ] {
        assert_eq!(line(text).check().unwrap_err().0, key, "{text}");
    }
    for (text, key) in
        [("hex:0", "registration"), ("hex:zz", "registration"), ("x", "registration"), ("", "registration")]
    {
        let text = format!("{dtu}\nregistration = \"{text}\"");
        assert_eq!(line(&text).check().unwrap_err().0, key, "{text}");
    }
    assert!(toml::from_str::<LineConfig>("name = \"l\"\ntransport = \"udp\"").is_err());
    assert!(toml::from_str::<DeviceConfig>("hots = \"h\"").is_err());
    assert_eq!(super::line::packet("hex:01 fF"), Ok(vec![1, 255]));
}

#[test]
fn what_only_all_lines_together_show_is_told() {
    let lines = ["a", "a", "b"].map(|name| {
        let mut line = line("transport = \"rtu\"\npath = \"/dev/ttyS0\"");
        line.name = name.to_owned();
        line
    });
    let keys: Vec<_> = LineConfig::check_all(&lines).into_iter().map(|(at, key, _)| (at, key)).collect();
    assert_eq!(keys, [(1, "name"), (1, "path"), (2, "path")]);
    let modems = ["box1", "box12", "box2"].map(|registration| {
        let text =
            format!("transport = \"dtu\"\nlisten = \"127.0.0.1:0\"\nregistration = \"{registration}\"");
        let mut line = line(&text);
        line.name = registration.to_owned();
        line
    });
    let keys: Vec<_> = LineConfig::check_all(&modems).into_iter().map(|(at, key, _)| (at, key)).collect();
    assert_eq!(keys, [(1, "registration")]);
}

#[test]
fn the_sample_fits_the_keys() {
    let file: toml::Table = toml::from_str(include_str!("../sample.toml")).unwrap();
    let lines: Vec<LineConfig> = file["line"].clone().try_into().unwrap();
    assert_eq!(LineConfig::check_all(&lines), []);
    for device in file["device"].as_array().unwrap() {
        let d: DeviceConfig = device["modbus"].clone().try_into().unwrap();
        assert_eq!(d.check(), Ok(()));
        assert!(d.line.is_none() || lines.iter().any(|l| d.line.as_ref() == Some(&l.name)));
        for point in device["point"].as_array().unwrap() {
            let p: crate::modbus::PointConfig = point["modbus"].clone().try_into().unwrap();
            assert_eq!(p.check(), Ok(()));
        }
    }
}
