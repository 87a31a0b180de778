//! Tables of points: rows are points like those of the files, with every mistake at its row and column.

use std::path::Path;

use common::config::Source;

use super::super::Report;
use super::*;

const MAIN: &str = r#"[gateway]
id = "g1"
[[template]]
name = "pump"
[template.modbus]
host = "h"
unit = 9
[[template.point]]
name = "speed"
type = "f64"
modbus = { table = "holding", address = 4, type = "f32" }
[[device]]
name = "plc"
asset = "p/c/plc"
[device.modbus]
host = "h"
[[device]]
name = "p1"
asset = "p/c/p1"
template = "pump"
"#;

fn report(csv: &str) -> Report {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.to_owned() };
    Report::of(&[source("main.toml", MAIN), source("points.csv", csv)], false)
}

fn mistakes(csv: &str) -> Vec<String> {
    report(csv).mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn rows_are_points_of_their_devices() {
    let csv = "\u{feff}device;name;type;Scale;labels;access;write_min;write_max;modbus.table;modbus.address;#note\r\n\
               plc;a;f64;0,5;;read_write;0;4,5;holding;10;for people\r\n\
               ;;;;;;;;;;\r\n\
               # plc;b;f64;;;;;;holding;11;\r\n\
               plc;state;u64;;\"0=off; 1=on\";;;;input;100.0;\r\n\
               p1;speed;;0.1;;;;;;40;\r\n\
               p1;more;bool;;;;;;coil;1;\r\n";
    let config = report(csv);
    assert_eq!(config.mistakes, []);
    let config = config.config.unwrap();
    let a = config.registry.find("plc", "a").unwrap();
    assert_eq!((a.scale.factor, a.schema.write_max), (0.5, Some(4.5)));
    let state = config.registry.find("plc", "state").unwrap();
    assert_eq!(state.schema.labels.iter().map(|l| l.text.as_str()).collect::<Vec<_>>(), ["off", "on"]);
    let p1 = &config.devices[1];
    let names: Vec<_> = p1.point.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["speed", "more"], "a row stands above single keys of a template's point");
    assert_eq!(p1.point[0].scale, 0.1);
}

#[test]
fn mistakes_are_told_with_row_column_and_the_nearest_match() {
    let head = "device,name,type,modbus.table,modbus.address\n";
    for (rows, expected) in [
        (
            "plc,a,f64,hodling,1\n",
            "points.csv:2:4: modbus.table: `hodling` is not known: did you mean `holding`?",
        ),
        ("plc,a,f46,holding,1\n", "points.csv:2:3: type: `f46` is not known: did you mean `f64`?"),
        ("\n\nplc,a b,f64,holding,1\n", "points.csv:4:2: name: `a b` is not a name"),
        ("plc,a,f64,holding,\"1,5\"\n", "points.csv:2:5: modbus.address: "),
        ("pcl,a,f64,holding,1\n", "points.csv:2:1: device: there is no device `pcl`: did you mean `plc`?"),
        (",a,f64,holding,1\n", "points.csv:2:1: device: missing"),
        ("plc,,f64,holding,1\n", "points.csv:2:1: missing key `name`"),
        ("plc,a,f64,holding,1,x\n", "points.csv:2:6: `x` stands in a column without a name"),
        (
            "plc,a,f64,holding,1\nplc,a,f64,holding,2\n",
            "points.csv:3:2: name: `a` stands twice in device `plc`",
        ),
        ("plc,\"a,f64,holding,1\n", "points.csv:2:1: a quote that is opened and never closed"),
    ] {
        let told = mistakes(&format!("{head}{rows}"));
        assert!(told.iter().any(|m| m.starts_with(expected)), "{rows:?}: {told:#?}");
    }
    for (head, expected) in [
        ("name,type\na,f64\n", "points.csv:1:1: no column `device`"),
        ("device,name,adress\nplc,a,1\n", "points.csv:1:3: adress: unknown column `adress`"),
        (
            "device,name,modbus.adress\nplc,a,1\n",
            "points.csv:1:3: modbus.adress: unknown column `modbus.adress`: did you mean `modbus.address`?",
        ),
        ("device,name,name\nplc,a,1\n", "points.csv:1:3: name: column `name` stands twice"),
    ] {
        let told = mistakes(head);
        assert!(told.iter().any(|m| m.starts_with(expected)), "{head:?}: {told:#?}");
    }
}

#[test]
fn columns_are_the_keys_of_a_point() {
    let columns = columns();
    assert_eq!(columns.iter().take(3).collect::<Vec<_>>(), ["device", "name", "type"]);
    assert!(columns.contains(&"modbus.address".to_owned()) && columns.contains(&"mqtt.topic".to_owned()));
    let mut tables: Vec<_> = nested().iter().map(|n| n.0).collect();
    tables.retain(|t| columns.iter().any(|c| c == t));
    assert_eq!(tables, [""; 0], "a table of a point is no column itself");
}

#[test]
fn a_spreadsheet_gives_the_cells_that_were_written() {
    use super::xlsx::Out;
    let names: Vec<String> = ["device", "name", "n", "b", "t"].map(str::to_owned).into();
    let rows = vec![
        vec![Out::Text("plc".into()), Out::Text("=a".into()), Out::Number(100.0), Out::Bool(true), Out::None],
        vec![],
        vec![Out::None, Out::None, Out::Number(4.5), Out::None, Out::Text("007".into())],
    ];
    let bytes = super::xlsx::write(&names, &rows).unwrap();
    let cells = super::xlsx::read(&bytes).unwrap();
    let texts: Vec<(u32, Vec<&str>)> =
        cells.rows.iter().map(|(line, row)| (*line, row.iter().map(AsRef::as_ref).collect())).collect();
    assert_eq!(texts[0].1, ["device", "name", "n", "b", "t"]);
    assert_eq!(texts[1], (2, vec!["plc", "=a", "100", "true"]));
    assert_eq!(texts[2], (4, vec!["", "", "4.5", "", "007"]));
    assert_eq!(cells.place(cells.width + 1), (2, 2, Some("B2".to_owned())));
    assert!(super::xlsx::read(b"no spreadsheet").is_err());
    assert_eq!(letters(27), "AB");
    let _ = Path::new("");
}
