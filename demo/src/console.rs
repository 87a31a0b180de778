//! The demo at the terminal: what is up, three things to try, what goes wrong and how it recovers. The one
//! place of the demo that prints.

#![allow(clippy::print_stdout)] // talking to the person at the terminal is what this is for

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::Instant;

use crate::line::Demo;
use crate::options::{Fault, Options};

/// One line of JSON, for scripts.
pub fn json(demo: &Demo) {
    let a = demo.addresses();
    let line = serde_json::json!({
        "cloud": format!("http://{}", a.cloud),
        "gateway": format!("http://{}", a.gateway),
        "socket": a.socket,
        "uplink": a.uplink.to_string(),
        "mqtt": a.mqtt.to_string(),
        "modbus": a.modbus.to_string(),
        "oven": url(a.oven),
        "opcua": url(a.opcua),
        "user": demo.admin().user,
        "password": demo.admin().password,
        "box_user": demo.token().user,
        "box_token": demo.token().token,
    });
    println!("{line}");
}

fn url(addr: SocketAddr) -> String {
    format!("opc.tcp://{addr}/")
}

/// What a person needs to know.
pub fn banner(demo: &Demo) {
    let a = demo.addresses();
    println!(
        "
  The coating line is at work.

  page      http://{cloud}
  sign in   {user} / {password}      (this password is for this run)

  PLC (Modbus TCP)   {modbus}
  oven (OPC UA)      {oven}, encrypted, for the gateway alone
  sensors (MQTT)     {mqtt}
  whole line         {opcua}, the gateway's OPC UA server: anybody on this machine reads;
                     {box_user} / {box_token} writes, encrypted, once the client is trusted:
                     {cli} --socket {socket} opcua trust
  gateway API        http://{gateway}, socket {socket}
  uplink (MQTT)      {uplink}, for gateways of your own (docs/installer.md)
  The switch at the box stands on REMOTE: the demo set it there, at the box's socket.

  Three things to try
  1. In the page open line1/oven, point zone2_setpoint, and send 190: watch zone2_temp climb and the foil scorch above 165.
  2. Send it back by hand:
       {cli} login http://{cloud} --user {user}
       {cli} send line1/oven zone2_setpoint=120 --reason \"too hot\" --wait
  3. Type `stop cloud` here, wait a minute, type `start cloud`: the trend in the page has no hole.

  Type `help` for what else can go wrong. Ctrl-C ends the demo; its state stays for the next run.
",
        cli = cli(),
        cloud = a.cloud,
        gateway = a.gateway,
        uplink = a.uplink,
        socket = a.socket.display(),
        mqtt = a.mqtt,
        oven = url(a.oven),
        opcua = url(a.opcua),
        box_user = demo.token().user,
        box_token = demo.token().token,
        modbus = a.modbus,
        user = demo.admin().user,
        password = demo.admin().password,
    );
}

/// The command line as it can be typed here: beside this program, where it was built.
fn cli() -> String {
    let beside =
        std::env::current_exe().map(|path| path.with_file_name("twinway")).ok().filter(|path| path.exists());
    let Some(path) = beside else { return "twinway".to_owned() };
    let here = std::env::current_dir().ok();
    let short = here.as_deref().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(&path);
    short.display().to_string()
}

const HELP: &str = "  stop cloud | start cloud      the cloud service
  cut link | mend link          between gateway and cloud
  stop plc | start plc          the line's PLC
  stop oven | start oven        the oven's controller
  status                        buffer, link and devices of the box
  quit";

/// Follows what is typed, and the fault that was asked for, until the end is asked for.
///
/// # Errors
/// When a part does not come back.
pub async fn follow(demo: &mut Demo, options: &Options, quiet: bool) -> anyhow::Result<()> {
    let mut typed = BufReader::new(tokio::io::stdin()).lines();
    let mut listening = true;
    let began = Instant::now();
    let mut next = options.fault.map(|fault| (fault, true, began + options.fault_after));
    let mut watch: Option<Recovery> = None;
    let mut tick = tokio::time::interval(Duration::from_secs(2));
    loop {
        let fault_at = next.map_or_else(|| Instant::now() + Duration::from_secs(3600), |(_, _, at)| at);
        tokio::select! {
            line = typed.next_line(), if listening => match line {
                Ok(Some(line)) if line.trim() == "quit" => return Ok(()),
                Ok(Some(line)) => obey(demo, line.trim()).await?,
                // No terminal: the end comes by a signal.
                Ok(None) | Err(_) => listening = false,
            },
            () = tokio::time::sleep_until(fault_at) => {
                let Some((fault, begins, _)) = next else { continue };
                if begins {
                    say(quiet, &format!("fault {}: begins, for {:?}", fault.name(), options.fault_for));
                    begin(demo, fault).await;
                    next = Some((fault, false, Instant::now() + options.fault_for));
                } else {
                    say(quiet, &format!("fault {}: ends", fault.name()));
                    end(demo, fault).await?;
                    next = None;
                    watch = Some(Recovery { since: Instant::now() });
                }
            }
            _ = tick.tick(), if next.is_some_and(|(_, begins, _)| !begins) || watch.is_some() => {
                let health = demo.health().await?;
                let waiting = health.buffer.unacked_frames;
                say(quiet, &format!("box: {waiting} frames wait for the cloud, link {}", if health.uplink { "up" } else { "down" }));
                let devices = health.devices.iter().all(|d| d.connected);
                if let Some(recovery) = watch.take_if(|_| health.uplink && devices && waiting < 50) {
                    let dropped: u64 = health.dropped.values().sum();
                    let took = recovery.since.elapsed().as_secs_f64();
                    say(quiet, &format!("recovered after {took:.1} s; samples dropped since the start: {dropped}"));
                }
            }
        }
    }
}

struct Recovery {
    since: Instant,
}

fn say(quiet: bool, text: &str) {
    if !quiet {
        println!("  {text}");
    }
}

async fn begin(demo: &mut Demo, fault: Fault) {
    match fault {
        Fault::UnitStop => demo.stop_plc().await,
        Fault::OvenStop => demo.stop_oven().await,
        Fault::LinkCut => demo.cut_link(),
        Fault::CloudStop => demo.stop_cloud().await,
    }
}

async fn end(demo: &mut Demo, fault: Fault) -> anyhow::Result<()> {
    match fault {
        Fault::UnitStop => demo.start_plc().await,
        Fault::OvenStop => demo.start_oven().await,
        Fault::LinkCut => {
            demo.mend_link();
            Ok(())
        }
        Fault::CloudStop => demo.start_cloud().await,
    }
}

async fn obey(demo: &mut Demo, line: &str) -> anyhow::Result<()> {
    match line {
        "" => return Ok(()),
        "stop cloud" => demo.stop_cloud().await,
        "start cloud" => demo.start_cloud().await?,
        "cut link" => demo.cut_link(),
        "mend link" => demo.mend_link(),
        "stop plc" => demo.stop_plc().await,
        "start plc" => demo.start_plc().await?,
        "stop oven" => demo.stop_oven().await,
        "start oven" => demo.start_oven().await?,
        "status" => {
            let health = demo.health().await?;
            let b = &health.buffer;
            println!(
                "  link {}; {} frames wait, the oldest {:.1} s; {} kB on disk",
                if health.uplink { "up" } else { "down" },
                b.unacked_frames,
                Duration::from_millis(b.oldest_unacked_ms).as_secs_f64(),
                b.disk_bytes / 1024
            );
            for d in &health.devices {
                println!("  {:10} {:7} {}", d.name, d.protocol, if d.connected { "up" } else { "down" });
            }
            return Ok(());
        }
        _ => {
            println!("{HELP}");
            return Ok(());
        }
    }
    println!("  done: {line}");
    Ok(())
}
