//! The table of protocols: one row each. The daemon reads its names from here.

/// One protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// Name of its sub-table in the configuration, and in health and metrics.
    pub name: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// Whether it can write to devices.
    pub writes: bool,
    /// A device that uses every key, as TOML.
    pub sample: &'static str,
}

/// Every protocol.
pub const PROTOCOLS: &[Protocol] = &[
    Protocol {
        name: "modbus",
        title: "Modbus TCP",
        writes: true,
        sample: include_str!("modbus/sample.toml"),
    },
    Protocol {
        name: "mqtt",
        title: "MQTT, through the gateway's own broker",
        writes: false,
        sample: include_str!("mqtt/sample.toml"),
    },
    Protocol { name: "opcua", title: "OPC UA", writes: true, sample: include_str!("opcua/sample.toml") },
    Protocol {
        name: "sparkplug",
        title: "Sparkplug B, through the gateway's own broker",
        writes: true,
        sample: include_str!("sparkplug/sample.toml"),
    },
];
