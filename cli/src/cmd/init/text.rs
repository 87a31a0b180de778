//! The text of a starting configuration. Pure.

use std::fmt::Write as _;

use common::GatewayId;
use common::text::counted;

use super::super::modbus::direct::At;
use super::super::opcua::made::{self, quoted};
use super::modbus::{Unit, shown};
use super::opcua::Server;
use crate::args::ParityArg;

/// A serial line of the configuration.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) setting: (u32, ParityArg),
}

/// A device of the configuration.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) asset: String,
    pub(super) speaks: Speaks,
}

#[derive(Debug)]
pub(super) enum Speaks {
    /// By way of a line if it is serial.
    Modbus(Unit, Option<String>),
    Opcua(Server),
}

impl Device {
    /// Points that it has.
    pub(super) fn points(&self) -> usize {
        match &self.speaks {
            Speaks::Modbus(unit, _) => unit.points.len(),
            Speaks::Opcua(server) => server.nodes.len(),
        }
    }

    /// Where it is, for people.
    pub(super) fn place(&self) -> String {
        match &self.speaks {
            Speaks::Modbus(unit, _) => {
                let serial = unit.serial.map(|s| format!(" {}", shown(s))).unwrap_or_default();
                format!("{}{serial}, unit {}", unit.at, unit.found.unit)
            }
            Speaks::Opcua(server) => server.url.clone(),
        }
    }
}

/// A whole configuration; `kept` are settings of the one before.
pub(super) fn whole(file: &str, id: &GatewayId, socket: &str, kept: &toml::Table, field: &str) -> String {
    let mut text = format!(
        "# The gateway's configuration, begun by `twinway init`. Every key beside its default is in\n\
         # /usr/share/doc/twinway-gateway/examples/gateway.toml. Devices stand here or, one file each, in conf.d/ beside this file.\n\
         # After a change: `twinway-gateway check {file}`, then `twinway reload`.\n\n\
         [gateway]\n# Name of this box, unique among all boxes of its cloud.\nid = {}\n",
        quoted(id.as_str())
    );
    let section = |name: &str, without: &str| {
        let mut table = kept.get(name).and_then(toml::Value::as_table).cloned().unwrap_or_default();
        table.remove(without);
        toml::to_string(&table).unwrap_or_default()
    };
    text += &section("gateway", "id");
    text += &format!(
        "\n[api]\n# Where `twinway` on this box looks for the gateway: root may do everything, others may look.\nsocket = {}\n{}",
        quoted(socket),
        section("api", "socket")
    );
    text += "\n# The cloud: `twinway enrol CODE --cloud URL` makes this box its gateway, and nothing stands here for that;\n\
             # `twinway enrol --show` says how it is enrolled.\n";
    let others = |name: &str| !["gateway", "api", "device", "line", "template"].contains(&name);
    let others: toml::Table =
        kept.iter().filter(|(n, _)| others(n)).map(|(n, v)| (n.clone(), v.clone())).collect();
    if !others.is_empty() {
        text += "\n# From the configuration before.\n";
        text += &toml::to_string(&others).unwrap_or_default();
    }
    text + field
}

/// Lines and devices.
pub(super) fn field(lines: &[Line], devices: &[Device]) -> String {
    let mut text = String::new();
    for line in lines {
        let parity = match line.setting.1 {
            ParityArg::None => "none",
            ParityArg::Even => "even",
            ParityArg::Odd => "odd",
        };
        let _ = write!(
            text,
            "\n# A serial line. Its devices say `line` and `unit`.\n[[line]]\nname = {}\ntransport = \"rtu\"\npath = {}\nbaud = {}\n\
             parity = \"{parity}\"\n",
            quoted(&line.name),
            quoted(&line.path),
            line.setting.0
        );
    }
    for device in devices {
        text.push('\n');
        match &device.speaks {
            Speaks::Modbus(unit, line) => modbus(&mut text, device, unit, line.as_deref()),
            Speaks::Opcua(server) => opcua(&mut text, device, server),
        }
    }
    text
}

fn modbus(text: &mut String, device: &Device, unit: &Unit, line: Option<&str>) {
    let _ = writeln!(text, "# Modbus: {} answered in {:.1} ms.", device.place(), unit.found.round_trip_ms);
    let range = |r: &super::super::modbus::scan::Readable| format!("{} {} to {}", r.table, r.first, r.last);
    let ranges: Vec<_> = unit.found.readable.iter().map(range).collect();
    if unit.points.is_empty() {
        // A device without points is none: what is known of it stands here for whoever has its manual.
        let _ = writeln!(
            text,
            "# Nothing of it could be read at the addresses that were tried: with the addresses of its manual it becomes a device.\n\
             #[[device]]\n#name = {}\n#asset = {}\n#{}",
            quoted(&device.name),
            quoted(&device.asset),
            connection(unit, line).trim_end().replace('\n', "\n#")
        );
        return;
    }
    let _ = write!(
        text,
        "# It can read {}; {} made of it.\n\
         [[device]]\nname = {}\n# Its place in the plant, its own name last.\nasset = {}\n{}\n\
         # Types are guesses from what the registers held: compare with the manual (`twinway modbus probe` helps), give names, units and\n\
         # scale, and take out what is not needed. All is read only; access = \"read_write\" needs write_min and write_max.\n",
        ranges.join(", "),
        counted(unit.points.len(), "point"),
        quoted(&device.name),
        quoted(&device.asset),
        connection(unit, line)
    );
    for point in &unit.points {
        let order =
            if point.raw_type == "u16" { String::new() } else { format!(", order = \"{}\"", point.order) };
        let _ = write!(
            text,
            "[[device.point]]\nname = \"{table}_{at}\"\ntype = \"f64\"\n# {why}\n\
             modbus = {{ table = \"{table}\", address = {at}, type = \"{raw}\"{order} }}\n",
            table = point.at.table,
            at = point.at.at,
            why = crate::out::clean(&point.why),
            raw = point.raw_type,
        );
    }
}

fn connection(unit: &Unit, line: Option<&str>) -> String {
    let id = unit.found.unit;
    match (&unit.at, line) {
        (At::Host(host, port), _) => {
            format!("[device.modbus]\nhost = {}\nport = {port}\nunit = {id}\n", quoted(host))
        }
        (At::Port(_), line) => {
            format!("[device.modbus]\nline = {}\nunit = {id}\n", quoted(line.unwrap_or_default()))
        }
    }
}

fn opcua(text: &mut String, device: &Device, server: &Server) {
    let _ = writeln!(
        text,
        "# OPC UA. What its server calls a variable is the description: give better names, and take out what is not needed."
    );
    if server.beyond > 0 {
        let _ = writeln!(
            text,
            "# {} further variables: `twinway opcua browse {} --device NAME --asset PLACE` makes points of all.",
            server.beyond, device.name
        );
    }
    text.push_str(&made::device(&device.name, &device.asset, &server.url, server.insecure, &server.nodes));
}
