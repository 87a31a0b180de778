//! `twinway init`, without a question and at a terminal.

use std::os::unix::fs::PermissionsExt as _;

use common::Value;
use serde_json::{Value as Json, json};
use tests::field::ModbusDevice;
use tests::terminal::Terminal;
use tests::{Api, Cloud, until};

use crate::site::{
    LIMIT, Manager, Master, Meter, NO_SERVICE, Press, Site, code, json, twinway, twinway_with,
};

const NAMES: &str = "names = [\"127.0.0.1\", \"localhost\"]";

async fn value(api: &Api, twin: &str, point: &str, expected: Value) {
    until(&format!("{twin} {point} as {expected}"), LIMIT, || async {
        (api.value(twin, point).await? == expected).then_some(())
    })
    .await;
}

/// What an installer reads off the server: its certificate's fingerprint.
async fn fingerprint(site: &Site, url: &str) -> String {
    let asked =
        site.api().request(reqwest::Method::POST, "/api/v1/opcua/endpoints").json(&json!({ "url": url }));
    let found: Json = asked.send().await.expect("an answer").json().await.expect("JSON");
    let mut all = found["items"].as_array().expect("a list").iter().filter_map(|e| e["fingerprint"].as_str());
    all.find(|f| !f.is_empty()).unwrap_or_else(|| panic!("{found}")).to_owned()
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_is_set_up_without_a_question_and_its_samples_reach_the_cloud() {
    let dir = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start_with_ingress(&dir.path().join("cloud"), NAMES, Vec::new()).await;
    let (meter, plc) = (Meter::default(), ModbusDevice::start().await);
    // 72.5 as a float with its registers the other way round, and a counter.
    meter.set(4, 0x0000);
    meter.set(5, 0x4291);
    plc.set(7, 721);
    let port = meter.serve();
    let keys = tempfile::tempdir().expect("a folder");
    let press = Press::start(keys.path());
    let mut site = Site::new(&dir.path().join("box"));
    let installed = site.text();
    site.restart().await;

    let mut words = site.init();
    let (host, url) = (plc.addr.to_string(), format!("http://{}", cloud.http));
    let (code, trusted) = (code(&cloud, "line7-box").await, fingerprint(&site, &press.url).await);
    words.extend(self::words(&["--yes", "--name", "line7-box", "--location", "plant/hall/line7"]));
    words.extend(self::words(&["--cloud", &url, "--code", &code]));
    words.extend(self::words(&[
        "--serial", &port, "--modbus", &host, "--opcua", &press.url, "--trust", &trusted,
    ]));
    // The name is another one: whoever runs the gateway starts it anew.
    let (told, ()) = tokio::join!(twinway(words), site.follow("line7-box"));
    let told = json(&told);
    let devices: Vec<_> = told["devices"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|d| d["name"].as_str().unwrap_or(""))
        .collect();
    assert_eq!(devices, ["modbus1", "modbus2", "opcua1"], "{told:#}");
    assert_eq!((&told["enrolled"]["gateway"], &told["gateway"]), (&json!("line7-box"), &json!("line7-box")));
    assert!(told["devices"][0]["at"].as_str().is_some_and(|a| a.ends_with("unit 3")), "{told:#}");
    let of = |device: &str, point: &str| -> Json {
        let mut all = told["values"].as_array().expect("a list").iter();
        all.find(|v| v["device"] == device && v["point"] == point)
            .unwrap_or_else(|| panic!("{device} {point}: {told:#}"))
            .clone()
    };
    // Live values are there when it ends.
    assert_eq!(of("modbus1", "holding_4")["value"], 72.5);
    assert_eq!(of("modbus2", "holding_7")["value"], 721.0);
    assert_eq!(of("opcua1", "Temp")["value"], 20.5);

    // And what the plant does from now on comes to the cloud.
    meter.set(5, 0x42A2);
    plc.set(7, 722);
    value(cloud.api(), "plant/hall/line7/modbus1", "holding_4", Value::F64(81.0)).await;
    value(cloud.api(), "plant/hall/line7/modbus2", "holding_7", Value::F64(722.0)).await;
    value(cloud.api(), "plant/hall/line7/opcua1", "Temp", Value::F64(20.5)).await;
    assert_eq!((meter.writes(), plc.writes()), (0, 0), "nothing is written to a device");

    let text = site.text();
    assert!(
        text.contains("# held 72.5")
            && text.contains("order = \"cdab\"")
            && text.contains("id = \"line7-box\""),
        "{text}"
    );
    assert_eq!(std::fs::read_to_string(site.dir.join("gateway.toml.before")).expect("a copy"), installed);
    let mode = std::fs::metadata(site.file()).expect("it").permissions().mode();
    assert_eq!(mode & 0o444, 0o444, "the gateway's user reads it");

    // Again, for a device that came later: it is added, and what stands there stays.
    let later = ModbusDevice::start().await;
    later.set(0, 5);
    let network =
        ["--network", "127.0.0.0/30", "--modbus-port", &later.addr.port().to_string(), "--opcua-port", "1"]
            .map(str::to_owned);
    let again = site.init().into_iter().chain(["--yes".to_owned()]).chain(network);
    let told = json(&twinway(again.collect()).await);
    assert_eq!(told["devices"][0]["name"], "modbus3", "{told:#}");
    assert_eq!(site.text(), text);
    assert!(
        site.dir.join("conf.d/modbus3.toml").exists() && !site.dir.join("gateway.toml.before.1").exists()
    );
    value(cloud.api(), "plant/line7-box/modbus3", "holding_0", Value::F64(5.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_service_manager_runs_the_gateway_it_starts_it_anew_under_another_name_and_reloads_it_under_the_same()
 {
    let dir = tempfile::tempdir().expect("a folder");
    let (first, second) = (ModbusDevice::start().await, ModbusDevice::start().await);
    first.set(1, 11);
    second.set(2, 22);
    let site = Site::new(&dir.path().join("box"));
    let manager = Manager::new(&site);
    // Nothing runs yet: what is written is started.
    let run = async |more: &[&str]| {
        let words = site.init().into_iter().chain(words(more));
        json(&twinway_with(words.chain(["--yes".to_owned()]).collect(), Some(manager.path())).await)
    };
    let told = run(&["--name", "b1", "--modbus", &first.addr.to_string()]).await;
    assert_eq!(told["values"][1]["value"], 11.0, "{told:#}");
    let told = run(&["--modbus", &second.addr.to_string()]).await;
    assert_eq!(told["values"][2]["value"], 22.0, "{told:#}");
    let restarts = |asked: &str| asked.lines().filter(|l| *l == format!("restart {NO_SERVICE}")).count();
    assert_eq!(restarts(&manager.asked()), 1, "{}", manager.asked());
    // A device that the gateway has for itself is left alone.
    let words = site.init().into_iter().chain(words(&["--yes", "--modbus", &second.addr.to_string()]));
    let refused = twinway_with(words.collect(), Some(manager.path())).await;
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    // Somebody gave that device a better name, in its file: the file is theirs, whatever the next device is called.
    let own = site.dir.join("conf.d/modbus2.toml");
    let renamed = std::fs::read_to_string(&own).expect("it").replace("modbus2", "pump");
    std::fs::write(&own, &renamed).expect("a file");
    let pump = ModbusDevice::start().await;
    let told = run(&["--modbus", &pump.addr.to_string()]).await;
    assert_eq!(told["devices"][0]["name"], "modbus2", "{told:#}");
    assert_eq!(std::fs::read_to_string(&own).expect("it"), renamed);
    let third = ModbusDevice::start().await;
    let told = run(&["--existing", "replace", "--name", "b2", "--modbus", &third.addr.to_string()]).await;
    assert_eq!(
        (&told["gateway"], &told["devices"][0]["name"]),
        (&json!("b2"), &json!("modbus1")),
        "{told:#}"
    );
    assert_eq!(restarts(&manager.asked()), 2, "{}", manager.asked());
    let before = told["before"].as_str().expect("a copy");
    assert!(std::fs::read_to_string(before).expect("it").contains("id = \"b1\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_another_master_polls_is_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let site = Site::new(&dir.path().join("box"));
    let before = site.text();
    let master = Master::default();
    let port = master.poll();
    let look = ["--yes", "--no-start", "--name", "b1", "--serial", &port, "--baud", "19200"];
    let done = twinway(site.init().into_iter().chain(words(&look)).collect()).await;
    let err = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.code() == Some(1) && err.contains("another master polls there"), "{err}");
    let scan = ["modbus", "scan", &port, "--units", "1-1", "--baud", "19200", "--parity", "none"];
    let done = twinway(words(&scan)).await;
    let err = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.code() == Some(1) && err.contains("--talk-over"), "{err}");
    assert!(site.text() == before && !master.was_talked_over());
    // Who knows better may.
    let _ = twinway(words(&scan).into_iter().chain(words(&["--talk-over"])).collect()).await;
    assert!(master.was_talked_over());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_leaves_everything_as_it_was() {
    let dir = tempfile::tempdir().expect("a folder");
    let plc = ModbusDevice::start().await;
    let mut site = Site::new(&dir.path().join("box"));
    site.restart().await;
    let before = (site.text(), list(&site));
    let host = plc.addr.to_string();
    for (more, code, why) in [
        (&["--name", "no name"][..], 2, "is not a name"),
        (&["--name", "b1", "--location", "a//b"], 2, "is not a place"),
        (&["--name", "b1", "--cloud", "http://127.0.0.1:1", "--code", "x"], 5, "is not reachable"),
        (&["--name", "b1", "--modbus", "127.0.0.1:1"], 5, "127.0.0.1:1"),
        (&["--name", "b1", "--serial", "/dev/null/none"], 2, "is no serial port"),
        (&["--name", "b1", "--opcua", "opc.tcp://127.0.0.1:1"], 1, "opc.tcp://127.0.0.1:1"),
        // A device of the same place in a file that stays: the gateway's own check finds it.
        (&["--name", "b1", "--location", "plant", "--modbus", &host], 1, "the gateway's check refuses it"),
    ] {
        if why.starts_with("the gateway") {
            std::fs::write(site.dir.join("conf.d/bad.toml"), "[buffer]\nquota_mb = -1\n").expect("a file");
        }
        let words = site.init().into_iter().chain(["--yes".to_owned()]).chain(words(more));
        let done = twinway(words.collect()).await;
        let err = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{more:?}: {err}");
        let told: Json =
            serde_json::from_str(err.lines().last().unwrap_or("")).unwrap_or_else(|e| panic!("{e}: {err}"));
        assert!(told["error"]["detail"].as_str().is_some_and(|d| d.contains(why)), "{more:?}: {err}");
        assert!(told["error"]["remedy"].is_string(), "no remedy: {err}");
        assert_eq!(site.text(), before.0, "{more:?}");
    }
    std::fs::remove_file(site.dir.join("conf.d/bad.toml")).expect("it");
    assert_eq!(list(&site), before.1);
}

fn list(site: &Site) -> Vec<String> {
    let mut names: Vec<_> = [&site.dir, &site.dir.join("conf.d")]
        .into_iter()
        .flat_map(|d| std::fs::read_dir(d).expect("a folder").flatten())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installer_at_a_terminal_may_be_wrong_and_ends_with_live_values() {
    let dir = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start_with_ingress(&dir.path().join("cloud"), NAMES, Vec::new()).await;
    let plc = ModbusDevice::start().await;
    plc.set(3, 33);
    let mut site = Site::new(&dir.path().join("box"));
    site.restart().await;
    let words = site.init();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (good, other) = (code(&cloud, "line8-box").await, code(&cloud, "box9").await);

    let mut at = Terminal::twinway(&words);
    at.answer("Name of this box, unique among all boxes of its cloud [", "line 8").await;
    let told = at.answer("Name of this box", "line8-box").await;
    assert!(told.contains("`line 8` is not a name"), "{told}");
    at.answer("[plant/line8-box]: ", "").await;
    at.answer("Address of the cloud", "http://127.0.0.1:1").await;
    let told = at.answer("Address of the cloud", &format!("http://{}", cloud.http)).await;
    assert!(told.contains("is not reachable") && told.contains("check the address"), "{told}");
    at.answer("One-time code", "7Q2KD-0M3XA").await;
    let told = at.answer("One-time code", &other).await;
    assert!(told.contains("a code has 25 letters and digits"), "{told}");
    at.answer("serial ports: all, none, or their paths", "/dev/no-such-port").await;
    let told = at.answer("serial ports: all, none, or their paths", "none").await;
    assert!(told.contains("is no serial port"), "{told}");
    at.answer("Modbus TCP devices", &plc.addr.to_string()).await;
    at.answer("OPC UA servers", "").await;
    at.answer("in a whole network", "10.0.0.0/8").await;
    let told = at.answer("in a whole network", "").await;
    assert!(told.contains("more than 1024 addresses"), "{told}");
    at.answer("Name of the device at", "press 1").await;
    at.answer("Name of the device at", "press1").await;
    at.answer("with 1 device and 20 points? [Y/n]: ", "perhaps").await;
    let told = at.answer("with 1 device and 20 points? [Y/n]: ", "").await;
    assert!(told.contains("neither yes nor no"), "{told}");
    let told = at.until("start it anew").await;
    assert!(told.contains("written: ") && told.contains("the one before is "), "{told}");
    site.follow("line8-box").await;
    // The code is another box's.
    let told = at.answer("Another code", &good).await;
    assert!(told.contains("the code is for `box9`"), "{told}");
    let told = at.until("A live screen of it (Ctrl-C leaves it)? [Y/n]: ").await;
    assert!(
        told.contains("default/line8-box at mqtts://") && told.contains("connected to the cloud"),
        "{told}"
    );
    let row = told
        .lines()
        .find(|l| l.contains("press1") && l.contains("holding_3"))
        .unwrap_or_else(|| panic!("{told}"));
    assert!(row.contains(" 33 ") && row.contains("good"), "{row}");
    at.types("\n").await;
    at.until("line8-box/press1").await;
    at.types("\x03").await;
    assert_eq!(at.end().await, 0, "{}", at.seen());
    value(cloud.api(), "plant/line8-box/press1", "holding_3", Value::F64(33.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_nothing_half_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let plc = ModbusDevice::start().await;
    let mut site = Site::new(&dir.path().join("box"));
    site.restart().await;
    let before = (site.text(), list(&site));
    let mut words = site.init();
    words.extend(self::words(&[
        "--name",
        "b1",
        "--location",
        "plant",
        "--serial",
        "none",
        "--modbus",
        &plc.addr.to_string(),
    ]));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for question in ["Address of the cloud", "OPC UA servers", "Name of the device at", "20 points? [Y/n]: "]
    {
        let mut at = Terminal::twinway(&words);
        for (asked, answer) in [
            ("Address of the cloud", ""),
            ("OPC UA servers", ""),
            ("in a whole network", ""),
            ("Name of the device at", ""),
        ] {
            if question == asked {
                break;
            }
            at.answer(asked, answer).await;
        }
        at.until(question).await;
        at.types("\x03").await;
        assert_eq!(at.end().await, 1, "{}", at.seen());
        assert!(at.seen().contains("stopped: nothing was written"), "{question}: {}", at.seen());
        assert_eq!((site.text(), list(&site)), before, "{question}");
    }
}
