//! What of the plant the box can reach: which ports, hosts and servers are looked at, and what the devices found are called.

use std::net::Ipv4Addr;

use super::super::Context;
use super::ask::Ask;
use super::files::Standing;
use super::modbus::{self, Unit};
use super::opcua;
use super::text::{Device, Line, Speaks};
use crate::args::Init;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::machine::{self, Range};
use crate::target::Hints;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Field {
    pub(super) lines: Vec<Line>,
    pub(super) devices: Vec<Device>,
}

impl Field {
    /// Names of the devices that have points: the others are remarks in the configuration.
    pub(super) fn names(&self) -> Vec<String> {
        self.devices.iter().filter(|d| d.points() > 0).map(|d| d.name.clone()).collect()
    }
}

/// What is to be looked at.
struct Places {
    ports: Vec<String>,
    hosts: Vec<String>,
    servers: Vec<String>,
    /// Found in a network, and not named by anybody: one that is not what it seemed is passed over.
    found_hosts: Vec<String>,
    found_servers: Vec<String>,
}

pub(super) async fn look(
    ask: Ask,
    asked: &Init,
    hints: &Hints,
    ctx: &Context,
    standing: &mut Standing,
    location: &str,
) -> Result<Field> {
    let places = places(ask, asked).await?;
    let mut found: Vec<(Unit, Option<String>)> = Vec::new();
    let mut field = Field::default();
    if !places.ports.is_empty() {
        ask.say("Modbus on serial ports:");
    }
    let known = machine::serial_ports();
    for port in &places.ports {
        let units = modbus::on_port(ask, hints, asked, port).await.and_then(|u| some(u, port));
        let units = passed_over(ask, units, asked.serial.iter().any(|s| s == "all"))?;
        let Some(setting) = units.first().and_then(|u| u.serial) else { continue };
        let name = standing.free("serial");
        if units.iter().any(|u| !u.points.is_empty()) {
            let path = known.iter().find(|k| k.path == *port).map_or(port.as_str(), |k| k.best());
            field.lines.push(Line { name: name.clone(), path: path.to_owned(), setting });
        }
        standing.taken.insert(name.clone());
        found.extend(units.into_iter().map(|u| (u, Some(name.clone()))));
    }
    if !places.hosts.is_empty() || !places.found_hosts.is_empty() {
        ask.say("Modbus TCP:");
    }
    for (hosts, is_chance) in [(&places.hosts, false), (&places.found_hosts, true)] {
        for host in hosts {
            let units = modbus::at_host(ask, hints, asked, host).await.and_then(|u| some(u, host));
            let units = passed_over(ask, units, is_chance)?;
            found.extend(units.into_iter().map(|u| (u, None)));
        }
    }
    for (unit, line) in found {
        let begin = Device { name: String::new(), asset: String::new(), speaks: Speaks::Modbus(unit, line) };
        field.devices.push(named(ask, standing, location, "modbus", begin).await?);
    }
    if !places.servers.is_empty() || !places.found_servers.is_empty() {
        ask.say("OPC UA:");
    }
    for (servers, is_chance) in [(&places.servers, false), (&places.found_servers, true)] {
        for url in servers {
            let server = opcua::server(ask, ctx, asked, url).await.and_then(|s| match s.nodes.is_empty() {
                true => Err(nothing(url, "no variable of it can be read")),
                false => Ok(vec![s]),
            });
            for server in passed_over(ask, server, is_chance)? {
                let begin =
                    Device { name: String::new(), asset: String::new(), speaks: Speaks::Opcua(server) };
                field.devices.push(named(ask, standing, location, "opcua", begin).await?);
            }
        }
    }
    Ok(field)
}

fn nothing(at: &str, why: &str) -> Error {
    Error::new(Exit::NotFound, format!("{at}: {why}")).remedy(
        "is it on, and is the cable in? Without it here the rest is written; add it later with another init",
    )
}

fn some(units: Vec<Unit>, at: &str) -> Result<Vec<Unit>> {
    let tried =
        "no Modbus device answers; look at wiring, baud, parity and unit ids (--baud, --parity, --units)";
    if units.is_empty() { Err(nothing(at, tried)) } else { Ok(units) }
}

/// What was named on the command line must be there; what somebody types may be wrong; what was found by chance may be anything.
fn passed_over<T>(ask: Ask, found: Result<Vec<T>>, is_chance: bool) -> Result<Vec<T>> {
    found.or_else(|e| {
        let e = match e.what_to_do() {
            Some(_) if e.exit() == Exit::Rejected => {
                e.remedy("it is in the configuration already; to look at it anew stop the gateway first")
            }
            None => e.remedy("is it on, is the cable in, and is the address right?"),
            Some(_) => e,
        };
        if is_chance {
            ask.say(&format!("    {}", crate::out::clean(&e.to_string())));
        } else {
            ask.again(e)?;
        }
        Ok(Vec::new())
    })
}

async fn named(
    ask: Ask,
    standing: &mut Standing,
    location: &str,
    begin: &str,
    mut device: Device,
) -> Result<Device> {
    let default = standing.free(begin);
    let question = format!("Name of the device at {}", device.place());
    device.name = ask
        .text(&question, None, &default, |name| {
            common::ids::check_name(name).map_err(|e| Error::usage(e.to_string()))?;
            if standing.taken.contains(name) || standing.taken.contains(&format!("{location}/{name}")) {
                return Err(Error::usage(format!("`{name}` is taken")).remedy("give it another name"));
            }
            Ok(name.to_owned())
        })
        .await?;
    device.asset = format!("{location}/{}", device.name);
    standing.taken.extend([device.name.clone(), device.asset.clone()]);
    Ok(device)
}

async fn places(ask: Ask, asked: &Init) -> Result<Places> {
    let ports = ports(ask, asked).await?;
    let words = |given: &[String]| {
        let given = given.to_vec();
        move |text: &str| -> Result<Vec<String>> {
            let typed = text.split([' ', ',']).filter(|w| !w.is_empty() && *w != "none").map(str::to_owned);
            Ok(given.iter().cloned().chain(typed).collect())
        }
    };
    let list = async |question: &str, given: &[String]| {
        let first = (!given.is_empty()).then_some("");
        ask.text(question, first, "none", words(given)).await
    };
    let hosts = list("Modbus TCP devices, host or host:port, blanks between them", &asked.modbus).await?;
    let servers = list("OPC UA servers, opc.tcp://host:port, blanks between them", &asked.opcua).await?;
    let mut places = Places { ports, hosts, servers, found_hosts: Vec::new(), found_servers: Vec::new() };
    let own = machine::networks();
    let networks = if asked.network.is_empty() && ask.is_asked() {
        if !own.is_empty() {
            ask.say("Networks of this box:");
        }
        for network in &own {
            let at = network.own.map(|o| format!(", it is {o} there")).unwrap_or_default();
            ask.say(&format!("  {} on {}{at}", network.range, network.interface));
        }
        let take = |text: &str| -> Result<Vec<Range>> {
            let words = text.split([' ', ',']).filter(|w| !w.is_empty() && *w != "none");
            words.map(|w| w.parse().map_err(Error::usage)).collect()
        };
        let question = "Look for Modbus TCP and OPC UA in a whole network, such as 192.168.10.0/24";
        ask.text(question, None, "none", take).await?
    } else {
        asked.network.clone()
    };
    let own: Vec<Ipv4Addr> = own.iter().filter_map(|n| n.own).collect();
    for range in networks {
        ask.say(&format!("looking through {range} ..."));
        let modbus = modbus::open_hosts(range, asked.modbus_port, &own, asked.rate).await;
        let opcua = modbus::open_hosts(range, asked.opcua_port, &own, asked.rate).await;
        let fresh = |all: &[String], one: &String| !all.contains(one);
        let modbus = modbus.iter().map(|h| match asked.modbus_port {
            502 => h.to_string(),
            port => format!("{h}:{port}"),
        });
        places.found_hosts.extend(modbus.filter(|h| fresh(&places.hosts, h)));
        let opcua = opcua.iter().map(|h| format!("opc.tcp://{h}:{}", asked.opcua_port));
        places.found_servers.extend(opcua.filter(|h| fresh(&places.servers, h)));
    }
    Ok(places)
}

async fn ports(ask: Ask, asked: &Init) -> Result<Vec<String>> {
    let known = machine::serial_ports();
    let usable: Vec<String> = known.iter().filter(|p| !p.is_console).map(|p| p.path.clone()).collect();
    let take = |text: &str| -> Result<Vec<String>> {
        let mut ports = Vec::new();
        for word in text.split([' ', ',']).filter(|w| !w.is_empty() && *w != "none") {
            match word {
                "all" => ports.extend(usable.iter().cloned()),
                path if path.starts_with('/') && std::path::Path::new(path).exists() => {
                    ports.push(path.to_owned())
                }
                other => {
                    let known =
                        if usable.is_empty() { "this box has none".to_owned() } else { usable.join(", ") };
                    return Err(Error::usage(format!("`{other}` is no serial port")).remedy(known));
                }
            }
        }
        Ok(ports)
    };
    let given = (!asked.serial.is_empty()).then(|| asked.serial.join(" "));
    if given.is_none() && !ask.is_asked() {
        return Ok(Vec::new());
    }
    if given.is_none() {
        ask.say(if known.is_empty() { "This box has no serial port." } else { "Serial ports of this box:" });
        for port in &known {
            let stable = port.stable.as_ref().map(|s| format!(", {s}")).unwrap_or_default();
            let console = if port.is_console { ", the console: left alone" } else { "" };
            ask.say(&format!("  {} ({}{stable}{console})", port.path, port.driver));
        }
    }
    let default = if usable.is_empty() { "none" } else { "all" };
    let question = "Look for Modbus devices on serial ports: all, none, or their paths";
    ask.text(question, given.as_deref(), default, take).await
}
