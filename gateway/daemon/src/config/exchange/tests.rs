//! Export and import: what goes out comes back unchanged, a dry run writes nothing, and hand-written files stay.

use std::fs;

use super::*;

const MAIN: &str = r#"# by hand
[gateway]
id = "g1"
data_dir = "/tmp"
[[template]]
name = "pump"
[template.modbus]
host = "pump"
[[template.point]]
name = "speed"
type = "f64"
unit = "1/min"
modbus = { table = "holding", address = 4, type = "f32" }
[[device]]
name = "plc"
asset = "p/c/plc"
[device.modbus]
host = "h"
[[device.point]]
name = "hand"
type = "f64"
scale = 0.1
labels = []
modbus = { table = "holding", address = 0 }
[[device]]
name = "p1"
asset = "p/c/p1"
template = "pump"
"#;

struct Box {
    dir: tempfile::TempDir,
}

impl Box {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("gateway.toml"), MAIN).unwrap();
        Self { dir }
    }

    fn import(&self, name: &str, table: &[u8], apply: bool) -> Imported {
        let table_path = self.dir.path().join(name);
        fs::write(&table_path, table).unwrap();
        let config = self.dir.path().join("gateway.toml");
        import(&Import { config, table: table_path, into: None, device: None, apply }).unwrap()
    }

    fn points(&self) -> Option<String> {
        fs::read_to_string(self.dir.path().join("conf.d/points.csv")).ok()
    }
}

fn told(imported: &Imported) -> Vec<String> {
    imported.mistakes.iter().map(ToString::to_string).collect()
}

const TABLE: &str =
    "device,name,type,scale,modbus.table,modbus.address\nplc,a,f64,0.5,holding,10\nplc,b,u64,,input,7\n";

#[test]
fn a_dry_run_tells_the_difference_and_writes_nothing() {
    let b = Box::new();
    let dry = b.import("t.csv", TABLE.as_bytes(), false);
    assert_eq!(told(&dry), [""; 0]);
    assert_eq!((dry.difference.added.len(), dry.difference.unchanged, dry.written), (2, 2, false));
    assert_eq!(b.points(), None);
    let shown = dry.difference.to_string();
    assert!(
        shown.contains("+ plc/a: modbus.address 10, modbus.table holding, scale 0.5, type f64"),
        "{shown}"
    );
    assert!(shown.ends_with("2 added, 0 removed, 0 changed, 2 as before"), "{shown}");
    let done = b.import("t.csv", TABLE.as_bytes(), true);
    assert!(done.written);
    assert_eq!(b.points().unwrap(), TABLE);
    assert_eq!(fs::read_to_string(b.dir.path().join("gateway.toml")).unwrap(), MAIN);
    let again = b.import("t.csv", TABLE.as_bytes(), true);
    assert!(again.difference.is_empty() && !again.written);
    let next = TABLE.replace("plc,b,u64,,input,7\n", "plc,c,bool,,coil,1\n").replace("0.5", "0.25");
    let next = b.import("t.csv", next.as_bytes(), true);
    let shown = next.difference.to_string();
    assert!(shown.contains("- plc/b\n") && shown.contains("~ plc/a: scale 0.5 -> 0.25"), "{shown}");
    assert_eq!(fs::read_to_string(b.dir.path().join("conf.d/points.csv.before")).unwrap(), TABLE);
}

#[test]
fn an_export_comes_back_without_a_difference() {
    let b = Box::new();
    assert!(b.import("t.csv", TABLE.as_bytes(), true).written);
    let config = b.dir.path().join("gateway.toml");
    for name in ["e.csv", "e.xlsx"] {
        let to = b.dir.path().join(name);
        assert_eq!(export(&config, &to, None, false).unwrap(), 4);
        let back = b.import(name, &fs::read(&to).unwrap(), true);
        assert_eq!(told(&back), [""; 0]);
        assert!(back.difference.is_empty() && !back.written, "{name}: {}", back.difference);
    }
    let to = b.dir.path().join("one.csv");
    assert_eq!(export(&config, &to, Some("p1"), false).unwrap(), 1);
    let text = fs::read_to_string(&to).unwrap();
    assert_eq!(
        text,
        "device,name,type,unit,modbus.table,modbus.address,modbus.type\np1,speed,f64,1/min,holding,4,f32\n"
    );
    assert!(export(&config, &to, Some("none"), false).is_err());
    assert_eq!(export(&config, &to, None, true).unwrap(), 0);
    assert!(fs::read_to_string(&to).unwrap().contains("mqtt.topic"));
}

#[test]
fn rows_change_single_keys_of_a_templates_point_and_contradict_no_hand() {
    let b = Box::new();
    let table =
        "device,name,type,unit,modbus.table,modbus.address,modbus.type\np1,speed,f64,1/s,holding,4,f32\n";
    let done = b.import("t.csv", table.as_bytes(), true);
    assert_eq!(told(&done), [""; 0]);
    assert!(done.difference.to_string().contains("~ p1/speed: unit 1/min -> 1/s"));
    assert_eq!(b.points().unwrap(), "device,name,unit\np1,speed,1/s\n", "the rest stays the template's");
    let hand = "device,name,scale\nplc,hand,0.2\n";
    let refused = b.import("t.csv", hand.as_bytes(), true);
    let told = told(&refused);
    assert!(
        told[0].contains("t.csv:2:3: scale: `plc/hand` stands in") && told[0].contains("gateway.toml:19"),
        "{told:?}"
    );
    assert!(!refused.written);
}

#[test]
fn spreadsheets_of_windows_are_read_and_mistakes_are_told_in_them() {
    let b = Box::new();
    let table =
        b"device;name;type;unit;scale;modbus.table;modbus.address\r\nplc;a;f64;\xb0C;0,5;holding;10\r\n";
    let done = b.import("t.csv", table, true);
    assert_eq!(told(&done), [""; 0]);
    assert!(done.notes[0].contains("Windows-1252"));
    assert!(b.points().unwrap().contains("plc,a,f64,°C,0.5,holding,10\n"), "{:?}", b.points());
    let wrong = b.import(
        "t.csv",
        b"device,name,type,modbus.table,modbus.address\nplc,a,f64,hodling,1\npcl,x,f64,coil,1\n",
        true,
    );
    let told = told(&wrong);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(
        told.iter()
            .any(|m| m.contains("t.csv:2:4: modbus.table: `hodling` is not known: did you mean `holding`?"))
    );
    assert!(
        told.iter().any(|m| m.contains("t.csv:3:1: device: there is no device `pcl`: did you mean `plc`?"))
    );
    assert!(!wrong.written && b.points().unwrap().contains("plc,a,f64,°C"));
}

#[test]
fn a_table_with_few_columns_changes_only_these() {
    let b = Box::new();
    assert!(b.import("t.csv", TABLE.as_bytes(), true).written);
    let few = "device,name,description\nplc,a,tank level\nplc,b,\n";
    let done = b.import("few.csv", few.as_bytes(), true);
    assert_eq!(told(&done), [""; 0]);
    assert_eq!(done.difference.to_string().lines().next(), Some("~ plc/a: description (none) -> tank level"));
    assert!(b.points().unwrap().contains("plc,a,f64,tank level,0.5,holding,10"), "{:?}", b.points());
}
