//! Documents beside the files of a box: what is taken, what is refused, and with which words.

use super::*;

const LOCAL: &str = "[gateway]\nid = \"g1\"\n\
    [[template]]\nname = \"meter\"\nasset = \"plant/{device}\"\n[template.parameters]\nhost = { type = \"text\" }\n\
    [template.modbus]\nhost = \"{host}\"\n\
    [[template.point]]\nname = \"power\"\ntype = \"f64\"\nmodbus = { register = 40001, type = \"f32\" }\n\
    [[template]]\nname = \"press\"\nasset = \"plant/{device}\"\n[template.opcua]\nurl = \"opc.tcp://10.0.0.5:4840\"\n\
    user = \"twinway\"\npassword_file = \"/etc/twinway/secrets/press\"\n\
    [[template.point]]\nname = \"force\"\ntype = \"f64\"\nopcua = { node = \"ns=1;s=Force\" }\n\
    [[device]]\nname = \"oven\"\nasset = \"plant/oven\"\n[device.modbus]\nhost = \"10.0.0.2\"\n\
    [[device.point]]\nname = \"setpoint\"\ntype = \"f64\"\naccess = \"read_write\"\nwrite_min = 20\nwrite_max = 180\n\
    modbus = { register = 40003, type = \"u16\" }\n";

/// A device with a point, at a host.
fn device(name: &str, host: &str, access: &str) -> String {
    let limits = if access == "read" { "" } else { "write_min = 0\nwrite_max = 9000\n" };
    format!(
        "[[device]]\nname = \"{name}\"\nasset = \"plant/{name}\"\n[device.modbus]\nhost = \"{host}\"\n\
         [[device.point]]\nname = \"x\"\ntype = \"f64\"\naccess = \"{access}\"\n{limits}\
         modbus = {{ register = 40003, type = \"u16\" }}\n"
    )
}

fn local() -> Vec<Source> {
    vec![Source { path: "/etc/twinway/gateway.toml".into(), text: LOCAL.into() }]
}

fn wanted(document: &str) -> WantedConfiguration {
    WantedConfiguration {
        version: 1,
        hash: hex(&Sha256::digest(document.as_bytes())),
        document: document.into(),
        base: Some(digest(&local())),
        force: false,
        author: "anna".into(),
    }
}

fn judged(document: &str, accepts: Accepts) -> Result<(), String> {
    judge(&local(), &wanted(document), accepts, false)
}

fn refused(document: &str, accepts: Accepts) -> String {
    judged(document, accepts).expect_err(document)
}

#[test]
fn devices_lines_and_templates_are_added_to_what_the_box_has() {
    let meters = "[[device]]\nname = \"m1\"\ntemplate = \"meter\"\nparameters = { host = \"10.0.0.9\" }\n\
        [[line]]\nname = \"hall\"\ntransport = \"rtu\"\npath = \"/dev/ttyUSB0\"\n";
    for document in [meters, "", "# nothing\n", &device("meter7", "10.0.0.7", "read")] {
        assert_eq!(judged(document, Accepts::Read), Ok(()), "{document}");
    }
    assert_eq!(judged(&device("valve", "10.0.0.7", "read_write"), Accepts::Write), Ok(()));
    assert!(refused("", Accepts::Off).contains("accept_configuration"));
}

#[test]
fn a_mistake_is_told_with_its_place_as_check_tells_it() {
    let told = refused(
        "[[device]]\nname = \"m1\"\nasset = \"plant/m1\"\n[device.modbus]\nhots = \"h\"\n",
        Accepts::Read,
    );
    assert!(told.contains("cloud-configuration.toml:5:1") && told.contains("hots"), "{told}");
    let told = refused("[[device]\n", Accepts::Read);
    assert!(told.contains("cloud-configuration.toml:1"), "{told}");
    let many: String = (0..20).map(|n| format!("[[device]]\nname = \"m{n}\"\n")).collect();
    let told = refused(&many, Accepts::Read);
    assert!(told.contains("more mistakes"), "{told}");
}

#[test]
fn what_is_the_boxs_alone_is_refused_by_its_name() {
    for (document, key) in [
        ("[uplink]\nurl = \"mqtt://elsewhere\"\n", "uplink"),
        ("[gateway]\nid = \"g2\"\n", "gateway"),
        ("[api]\nhosts = [\"x\"]\n", "api"),
        ("[control]\nqueue = 1\n", "control"),
        ("[[publish]]\nname = \"p\"\n", "publish"),
        (
            "[[line]]\nname = \"m\"\ntransport = \"dtu\"\nlisten = \"0.0.0.0:1\"\nregistration = \"x\"\n",
            "line[0].listen",
        ),
        (
            "[[device]]\nname = \"p\"\nasset = \"plant/p\"\nopcua = { url = \"opc.tcp://evil\", user = \"u\", \
             password_file = \"/etc/twinway/secrets/uplink\" }\n",
            "device[0].opcua.password_file",
        ),
    ] {
        let told = refused(document, Accepts::Write);
        assert!(told.contains(key) && told.contains("own"), "{document}: {told}");
    }
    // A secret by way of a template of the box's own goes to no other server either.
    let told = refused(
        "[[device]]\nname = \"p\"\ntemplate = \"press\"\nopcua = { url = \"opc.tcp://evil:4840\" }\n",
        Accepts::Write,
    );
    assert!(told.contains("secret"), "{told}");
}

#[test]
fn devices_of_the_box_and_its_limits_stay_as_they_are() {
    // The same name; a second device with looser limits at the same place.
    let told = refused(&device("oven", "10.0.0.7", "read"), Accepts::Write);
    assert!(told.contains("oven"), "{told}");
    let told = refused(&device("oven2", "10.0.0.2", "read_write"), Accepts::Write);
    assert!(told.contains("`oven/setpoint` writes the same registers"), "{told}");
    let beside = device("oven2", "10.0.0.2", "read_write").replace("40003", "40013");
    let told = refused(&beside, Accepts::Write);
    assert!(told.contains("`oven2`") && told.contains("`oven` reaches"), "{told}");
    assert_eq!(judged(&device("oven2", "10.0.0.2", "read"), Accepts::Write), Ok(()), "reading is no harm");
    // The same device by another spelling, by the units that a device on TCP takes for itself, and by a line.
    for host in ["::ffff:10.0.0.2", "10.0.0.2."] {
        let told = refused(&device("oven2", host, "read_write"), Accepts::Write);
        assert!(told.contains("`oven` reaches"), "{host}: {told}");
    }
    for unit in [0, 255] {
        let host = format!("10.0.0.2\"\nunit = {unit}\n#");
        let told = refused(&device("oven2", &host, "read_write"), Accepts::Write);
        assert!(told.contains("`oven` reaches"), "{unit}: {told}");
    }
    let line = "[[line]]\nname = \"l\"\ntransport = \"tcp\"\nhost = \"10.0.0.2\"\n".to_owned()
        + &device("oven2", "x", "read_write").replace("host = \"x\"", "line = \"l\"");
    let told = refused(&line, Accepts::Write);
    assert!(told.contains("`oven` reaches"), "{told}");
    for url in ["opc.tcp://10.0.0.5:4840/", "opc.tcp://10.0.0.5", "OPC.TCP://10.0.0.5:4840/other"] {
        assert_eq!(server(url), server("opc.tcp://10.0.0.5:4840"), "{url}");
    }
    assert_ne!(server("opc.tcp://10.0.0.5:4841"), server("opc.tcp://10.0.0.5"));
    let other = device("oven2", "10.0.0.2\"\nunit = 2\n#", "read_write");
    assert_eq!(judged(&other, Accepts::Write), Ok(()), "another unit behind a Modbus gateway");
    let told = refused(&device("valve", "10.0.0.7", "read_write"), Accepts::Read);
    assert!(told.contains("`x`") && told.contains("accept_configuration = \"read\""), "{told}");
    let told = refused("[[template]]\nname = \"meter\"\nasset = \"x/{device}\"\n", Accepts::Write);
    assert!(told.contains("meter"), "{told}");
}

#[test]
fn a_document_rests_on_the_files_that_its_author_knew() {
    let other = WantedConfiguration { base: Some("00".repeat(32)), ..wanted("") };
    let told = judge(&local(), &other, Accepts::Read, false).unwrap_err();
    assert!(told.contains("own files") && told.contains("--force"), "{told}");
    let forced = WantedConfiguration { force: true, ..other };
    assert_eq!(judge(&local(), &forced, Accepts::Read, true), Ok(()));
    let told = judge(&local(), &wanted(""), Accepts::Read, true).unwrap_err();
    assert!(told.contains("the document that ran"), "{told}");
    let any = WantedConfiguration { base: None, ..wanted("") };
    assert_eq!(judge(&local(), &any, Accepts::Read, false), Ok(()));
    let spoilt = WantedConfiguration { document: "# other".into(), ..wanted("") };
    assert!(judge(&local(), &spoilt, Accepts::Read, false).unwrap_err().contains("SHA-256"));
}
