//! `command`: from the cloud's API to a Modbus register, read back, and the result at the API.

use std::io::Write as _;
use std::time::Instant;

use common::CommandState;
use common::api::{CommandRequest, CommandView, SwitchPosition};
use tests::field::ModbusDevice;
use tests::gateway::{Setup, registers_device};
use tests::{Cloud, Gateway};
use tokio_modbus::prelude::*;

use crate::figure::{Percentiles, print};

const COMMANDS: usize = 500;

/// `command_p50_ms`, `command_p99_ms`, less the device's own time.
pub async fn command() {
    let dir = tempfile::tempdir().expect("a folder");
    let plc = ModbusDevice::start().await;
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let secret = cloud.gateway_secret("box1").await;
    let setup = Setup {
        uplink: Some((cloud.ingress, secret)),
        devices: registers_device(plc.addr, 4, 100),
        ..Setup::default()
    };
    let gateway = Gateway::start(&dir.path().join("box"), &setup).await;
    let api = cloud.api();
    tests::until("first value", std::time::Duration::from_secs(20), || api.value("hall/plc", "r0")).await;
    gateway.set_switch(SwitchPosition::Remote).await;

    let mut took = Vec::new();
    let mut disk = Vec::new();
    let mut file = std::fs::File::create(dir.path().join("floor")).expect("a file");
    for n in 0..COMMANDS + 20 {
        let request = CommandRequest {
            point: "r0".into(),
            value: (n as f64).into(),
            ttl_ms: 10_000,
            reason: "bench".into(),
        };
        let began = Instant::now();
        let accepted: CommandView =
            api.send("hall/plc", &request, &format!("bench-{n}")).await.json().await.expect("a command");
        let done = api.finished(accepted.id).await;
        assert_eq!(done.state, CommandState::Succeeded, "{done:?}");
        if n >= 20 {
            took.push(began.elapsed().as_secs_f64() * 1e3);
            // The floor, taken in turn with the commands: the three durable steps alone, on the same disk.
            let began = Instant::now();
            for _ in 0..3 {
                file.write_all(&[0; 4096]).and_then(|()| file.sync_data()).expect("written");
            }
            disk.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    // The device's own time: the same write and read-back, straight to it.
    let mut direct = tcp::connect(plc.addr).await.expect("the device");
    let mut device = Vec::new();
    for n in 0..COMMANDS {
        let began = Instant::now();
        let word = u16::try_from(n).expect("few commands");
        direct.write_single_register(0, word).await.expect("sent").expect("written");
        direct.read_holding_registers(0, 1).await.expect("sent").expect("read");
        device.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let (took, device, disk) = (Percentiles::of(took), Percentiles::of(device), Percentiles::of(disk));
    let own = device.at(50.0);
    let beside = |p| Some(("three fdatasyncs of 4 KiB alone, same percentile", disk.at(p)));
    print("command_p50_ms", took.at(50.0) - own, "ms", "report", beside(50.0));
    print("command_p99_ms", took.at(99.0) - own, "ms", "<= 20", beside(99.0));
    print("command_device_p50_ms", own, "ms", "report", None);
}
