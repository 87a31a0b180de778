//! Which Modbus connections this gateway has for itself, so that a tool on the same machine leaves them alone.

use std::sync::{Arc, PoisonError, RwLock};

use axum::Json;
use axum::extract::State;
use common::api::{ModbusEndpoint, Page};
use gateway_adapters::modbus::{LineConfig, group};

use super::Api;
use crate::config::Config;

/// The connections of the configuration that runs. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Endpoints(Arc<RwLock<Arc<Vec<ModbusEndpoint>>>>);

impl Endpoints {
    pub(crate) fn new(config: &Config) -> Self {
        let endpoints = Self::default();
        endpoints.set(config);
        endpoints
    }

    /// Another configuration runs from now on.
    pub(crate) fn set(&self, config: &Config) {
        let made = Arc::new(of(config));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = made;
    }

    fn get(&self) -> Arc<Vec<ModbusEndpoint>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn of(config: &Config) -> Vec<ModbusEndpoint> {
    let devices = config.devices.iter().enumerate().filter_map(|(i, d)| Some((i, d.modbus.as_ref()?)));
    // A device that names a line which there is not was refused with the configuration.
    let groups = group(&config.lines, devices).unwrap_or_default();
    let name = |i: &usize| config.devices.get(*i).map(|d| d.name.clone());
    groups
        .iter()
        .map(|(line, devices)| ModbusEndpoint {
            line: line.name.clone(),
            at: places(line),
            devices: devices.iter().filter_map(name).collect(),
        })
        .collect()
}

/// Every place that a line may open.
fn places(line: &LineConfig) -> Vec<String> {
    let with_port = |host: &str, port| {
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    };
    let host = line.host.as_deref().map(|h| with_port(h, line.port));
    let backup = line.backup_host.as_deref().map(|h| with_port(h, line.backup_port.unwrap_or(line.port)));
    let listen = line.listen.map(|l| l.to_string());
    [host, backup, line.path.clone(), listen].into_iter().flatten().collect()
}

pub(super) async fn endpoints(State(api): State<Api>) -> Json<Page<ModbusEndpoint>> {
    Json(Page { items: api.endpoints.get().to_vec(), next_cursor: None })
}

#[cfg(test)]
mod tests {
    use common::config::Source;

    use super::*;

    #[test]
    fn every_place_of_every_line_with_devices_is_told() {
        let text = "[gateway]\nid = \"g\"\n\
            [[line]]\nname = \"a\"\ntransport = \"rtu_over_tcp\"\nhost = \"h1\"\nport = 4001\nbackup_host = \"fd00::1\"\n\
            [[line]]\nname = \"b\"\ntransport = \"rtu\"\npath = \"/dev/ttyUSB0\"\n\
            [[device]]\nname = \"d1\"\nasset = \"s/d1\"\n[device.modbus]\nline = \"a\"\nunit = 1\n\
            [[device]]\nname = \"d2\"\nasset = \"s/d2\"\n[device.modbus]\nline = \"a\"\nunit = 2\n\
            [[device]]\nname = \"d3\"\nasset = \"s/d3\"\n[device.modbus]\nhost = \"h3\"\n\
            [[device]]\nname = \"d4\"\nasset = \"s/d4\"\n[device.modbus]\nline = \"b\"\nunit = 2\n";
        let source = Source { path: "0.toml".into(), text: text.to_owned() };
        let config = Config::from_sources(vec![source]).unwrap();
        let told: Vec<_> = of(&config).into_iter().map(|e| (e.at.join(" "), e.devices.join(" "))).collect();
        let expected = [("h1:4001 [fd00::1]:4001", "d1 d2"), ("/dev/ttyUSB0", "d4"), ("h3:502", "d3")];
        assert_eq!(told, expected.map(|(a, d)| (a.to_owned(), d.to_owned())));
    }
}
