//! The simulator serves a configuration as its devices: read as the gateway reads, written, refused where nothing is,
//! on each line at its unit ids. libmodbus (mbpoll) reads it as well, so that not only our own code finds it right.
// Helpers of tests are tests: the lints' exemption sees only what carries `#[test]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use common::config::Source;
use common::{Drain, Value};
use gateway_modbus::Table;
use gateway_modbus::client::{CallError, Client, Options as Talk};
use gateway_modbus::frame::Framing;
use gateway_modbus::pdu::{Answer, Exception, Request};
use gateway_modbus::value::{Format, Order, RawType};
use tokio::net::TcpStream;
use twinway_gateway::Config;
use twinway_gateway::simulate::{Options, SimulateError, Simulator};

const LIMIT: Duration = Duration::from_secs(20);

const CONFIG: &str = r#"
[gateway]
id = "g1"
[[line]]
name = "rs485"
transport = "rtu_over_tcp"
host = "10.0.0.9"
[[device]]
name = "oven"
asset = "p/oven"
[device.modbus]
line = "rs485"
unit = 3
[[device.point]]
name = "temperature"
type = "f64"
scale = 0.1
range_min = 20
range_max = 200
modbus = { register = 30001, type = "i16" }
[[device.point]]
name = "flow"
type = "f64"
range_min = 1
range_max = 2
modbus = { register = 30010, type = "f32", order = "cdab" }
[[device.point]]
name = "setpoint"
type = "f64"
scale = 0.1
access = "read_write"
write_min = 20
write_max = 180
modbus = { register = 40011 }
[[device.point]]
name = "power"
type = "f64"
range_min = 100
range_max = 900
modbus = { register = 40021, type = "i16", exponent = 40025 }
[[device]]
name = "meter"
asset = "p/meter"
[device.modbus]
host = "10.0.0.8"
unit = 1
[[device.point]]
name = "serial_number"
type = "text"
modbus = { register = 40001, type = "string", length = 16 }
[[device.point]]
name = "breaker"
type = "bool"
access = "read_write"
modbus = { register = "00005" }
"#;

fn options() -> Options {
    Options { listen: "127.0.0.1:0".parse().unwrap(), serial: None, fill_gaps: false }
}

fn config(text: &str) -> Config {
    Config::from_sources(vec![Source { path: "0.toml".into(), text: text.to_owned() }]).unwrap()
}

async fn read(
    client: &mut Client<TcpStream>,
    unit: u8,
    table: Table,
    address: u16,
    count: u16,
) -> Result<Vec<u8>, CallError> {
    match client.call(unit, &Request::Read { table, address, count }, LIMIT).await? {
        Answer::Read { data, .. } => Ok(data.to_vec()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_configuration_is_served_as_its_devices() {
    let config = config(CONFIG);
    let simulator = Simulator::bind(&config, &options()).await.unwrap();
    let places = simulator.places().to_vec();
    assert_eq!(places.iter().map(|p| p.framing).collect::<Vec<_>>(), [Framing::Rtu, Framing::Mbap]);
    assert_eq!(places[0].units, [(3, "oven".to_owned())]);
    let drain = Drain::new();
    let running = tokio::spawn(simulator.run(drain.clone()));
    let connect = async |at: usize| {
        let stream = TcpStream::connect(&places[at].at).await.unwrap();
        Client::new(stream, Talk::new(places[at].framing))
    };

    let mut oven = connect(0).await;
    let refused = CallError::Refused(Exception::ILLEGAL_ADDRESS);
    // The first step may still be on its way.
    let value = async |client: &mut Client<TcpStream>, format: Format, table, address| {
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            let raw = read(client, 3, table, address, format.registers()).await.unwrap();
            let value = format.decoder().decode(&raw).unwrap();
            if value.as_f64() != Some(0.0) {
                return value.as_f64().unwrap();
            }
            assert!(tokio::time::Instant::now() < deadline, "never moves");
            tokio::task::yield_now().await;
        }
    };
    let temperature = value(&mut oven, RawType::I16.into(), Table::Input, 0).await;
    assert!((200.0..=2000.0).contains(&temperature), "raw {temperature}");
    let flow = Format { order: Order::CDAB, ..RawType::F32.into() };
    let flow = value(&mut oven, flow, Table::Input, 9).await;
    assert!((1.0..=2.0).contains(&flow), "{flow}");
    let power = Format { exponent: Some(4), ..RawType::I16.into() };
    let power = value(&mut oven, power, Table::Holding, 20).await;
    assert!((100.0..=900.0).contains(&power), "{power}");
    assert_eq!(
        read(&mut oven, 3, Table::Input, 0, 2).await,
        Err(refused.clone()),
        "register 30002 is nobody's"
    );

    // What may be written is, and stays; what may not is refused.
    let write = |address, value| Request::WriteRegister { address, value };
    assert_eq!(read(&mut oven, 3, Table::Holding, 10, 1).await.unwrap(), 1000u16.to_be_bytes());
    oven.call(3, &write(10, 1234), LIMIT).await.unwrap();
    assert_eq!(oven.call(3, &write(20, 1), LIMIT).await.unwrap_err(), refused);
    let still = value(&mut oven, RawType::I16.into(), Table::Input, 0).await;
    assert!((200.0..=2000.0).contains(&still));
    assert_eq!(read(&mut oven, 3, Table::Holding, 10, 1).await.unwrap(), 1234u16.to_be_bytes());

    let mut meter = connect(1).await;
    let text = Format { length: Some(16), ..RawType::String.into() };
    let raw = read(&mut meter, 1, Table::Holding, 0, 8).await.unwrap();
    assert_eq!(text.decoder().decode(&raw), Ok(Value::from("SERIAL_NUMBER")));
    let absent = read(&mut meter, 9, Table::Holding, 0, 1).await.unwrap_err();
    assert_eq!(absent, CallError::Refused(Exception::GATEWAY_TARGET));

    // libmodbus: coil 5, written and read back.
    let port = places[1].at.rsplit(':').next().unwrap().to_owned();
    let mbpoll = async |args: &[&str]| {
        let mut command = tokio::process::Command::new("mbpoll");
        command.args(["-m", "tcp", "-p", &port, "-a", "1", "-1", "-q"]).args(args).kill_on_drop(true);
        let out = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    mbpoll(&["-t", "0", "-r", "5", "127.0.0.1", "--", "1"]).await;
    let seen = mbpoll(&["-t", "0", "-r", "5", "127.0.0.1"]).await;
    assert!(seen.contains("[5]: \t1"), "{seen}");

    drain.start();
    tokio::time::timeout(LIMIT, running).await.unwrap().unwrap();
}

#[tokio::test]
async fn nothing_to_simulate_and_a_port_in_use_are_told() {
    let empty = config("[gateway]\nid = \"g1\"\n");
    let Err(error) = Simulator::bind(&empty, &options()).await else { panic!("nothing is served") };
    assert!(matches!(error, SimulateError::Nothing), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options { listen: taken.local_addr().unwrap(), ..options() };
    let Err(error) = Simulator::bind(&config(CONFIG), &options).await else { panic!("two listen") };
    assert!(matches!(error, SimulateError::Listen { .. }), "{error}");
}
