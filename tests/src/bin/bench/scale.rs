//! Configuration at scale: how long 50,000 points take to be checked, and to be imported from a spreadsheet.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::figure::{Percentiles, print};

const DEVICES: usize = 100;
const POINTS: usize = 500;
const RUNS: usize = 5;

/// `check_50k_s` beside the program that only starts and ends, and `import_50k_s`: a dry run of the same points, from
/// CSV and from XLSX, the slower of the two.
pub fn configuration() {
    let dir = tempfile::tempdir().expect("a folder");
    let (full, empty) = (dir.path().join("full"), dir.path().join("empty"));
    for folder in [&full, &empty] {
        std::fs::create_dir(folder).expect("a folder");
    }
    let full = full.join("gateway.toml");
    std::fs::write(&full, text(true)).expect("a file");
    let empty = empty.join("gateway.toml");
    std::fs::write(&empty, text(false)).expect("a file");
    let floor = median(&["version".as_ref()]);
    let check = median(&["check".as_ref(), &full]);
    let beside = Some(("the program starts and ends", floor));
    print("check_50k_s", check, "s", "<= 2", beside);
    let mut slowest: f64 = 0.0;
    for name in ["points.csv", "points.xlsx"] {
        let table = dir.path().join(name);
        run(&["points".as_ref(), "export".as_ref(), &full, "--to".as_ref(), &table]);
        let took = median(&["points".as_ref(), "import".as_ref(), &table, "--config".as_ref(), &empty]);
        eprintln!("{name}: {took:.3} s");
        slowest = slowest.max(took);
    }
    print("import_50k_s", slowest, "s", "<= 2", beside);
}

fn median(arguments: &[&Path]) -> f64 {
    let took = |_| {
        let began = Instant::now();
        run(arguments);
        began.elapsed().as_secs_f64()
    };
    Percentiles::of((0..RUNS).map(took).collect()).at(50.0)
}

fn run(arguments: &[&Path]) {
    let mut program = Command::new(tests::process::program("twinway-gateway"));
    let done = program.args(arguments).stdout(Stdio::null()).status().expect("the program runs");
    assert!(done.success(), "{arguments:?} ended with {done}");
}

fn text(points: bool) -> String {
    let mut text = "[gateway]\nid = \"big\"\n".to_owned();
    for device in 0..DEVICES {
        let _ = write!(
            text,
            "[[device]]\nname = \"d{device}\"\nasset = \"plant/area/d{device}\"\n[device.modbus]\nhost = \"10.0.0.{device}\"\n"
        );
        for point in (0..POINTS).filter(|_| points) {
            let _ = write!(
                text,
                "[[device.point]]\nname = \"p{point}\"\ntype = \"f64\"\nunit = \"Cel\"\nscale = 0.1\nrange_min = 0\n\
                 range_max = 1000\ndescription = \"temperature {point} of device {device}\"\n\
                 modbus = {{ table = \"holding\", address = {}, type = \"f32\", order = \"cdab\" }}\n",
                point * 2
            );
        }
    }
    text
}
