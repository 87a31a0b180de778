//! What a node is, and its name: the text of its node id, which stays the same over restarts and reloads.
//!
//! `oven` is a device, `oven/zone1` its point; after a colon stands what belongs to one of them
//! (`oven/zone1:EURange`, `oven:Health/Connected`). What belongs to no device begins with a colon (`:gateway`,
//! `:area/plant/coating`, `:type/pump/speed`). Names of devices and points have no slash and no colon.

/// A property of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Property {
    EuRange,
    EngineeringUnits,
    TrueState,
    FalseState,
    EnumStrings,
    EnumValues,
    ValueAsText,
}

impl Property {
    pub(crate) const ALL: [Self; 7] = [
        Self::EuRange,
        Self::EngineeringUnits,
        Self::TrueState,
        Self::FalseState,
        Self::EnumStrings,
        Self::EnumValues,
        Self::ValueAsText,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::EuRange => "EURange",
            Self::EngineeringUnits => "EngineeringUnits",
            Self::TrueState => "TrueState",
            Self::FalseState => "FalseState",
            Self::EnumStrings => "EnumStrings",
            Self::EnumValues => "EnumValues",
            Self::ValueAsText => "ValueAsText",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }
}

/// What a device has besides its points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// Folder of what identifies it (DI, part 100, 5.6).
    Identification,
    AssetId,
    ComponentName,
    DeviceClass,
    Twin,
    Manufacturer,
    Model,
    ProductCode,
    HardwareRevision,
    SoftwareRevision,
    SerialNumber,
    DeviceManual,
    /// Folder of how it fares.
    Health,
    /// Of DI: 0 normal, 1 failure.
    DeviceHealth,
    Connected,
    Since,
    LastError,
    GoodCount,
    BadCount,
    /// A method: writes a point and tells what became of it.
    Command,
    CommandInputs,
    CommandOutputs,
}

const PARTS: [(Part, &str); 22] = [
    (Part::Identification, "Identification"),
    (Part::AssetId, "Identification/AssetId"),
    (Part::ComponentName, "Identification/ComponentName"),
    (Part::DeviceClass, "Identification/DeviceClass"),
    (Part::Twin, "Identification/Twin"),
    (Part::Manufacturer, "Identification/Manufacturer"),
    (Part::Model, "Identification/Model"),
    (Part::ProductCode, "Identification/ProductCode"),
    (Part::HardwareRevision, "Identification/HardwareRevision"),
    (Part::SoftwareRevision, "Identification/SoftwareRevision"),
    (Part::SerialNumber, "Identification/SerialNumber"),
    (Part::DeviceManual, "Identification/DeviceManual"),
    (Part::Health, "Health"),
    (Part::DeviceHealth, "Health/DeviceHealth"),
    (Part::Connected, "Health/Connected"),
    (Part::Since, "Health/Since"),
    (Part::LastError, "Health/LastError"),
    (Part::GoodCount, "Health/GoodCount"),
    (Part::BadCount, "Health/BadCount"),
    (Part::Command, "Command"),
    (Part::CommandInputs, "Command/InputArguments"),
    (Part::CommandOutputs, "Command/OutputArguments"),
];

impl Part {
    pub(crate) const IDENTIFICATION: [Self; 4] =
        [Self::AssetId, Self::ComponentName, Self::DeviceClass, Self::Twin];
    /// Those of which a device has only what its configuration says.
    pub(crate) const NAMEPLATE: [Self; 7] = [
        Self::Manufacturer,
        Self::Model,
        Self::ProductCode,
        Self::HardwareRevision,
        Self::SoftwareRevision,
        Self::SerialNumber,
        Self::DeviceManual,
    ];
    pub(crate) const HEALTH: [Self; 6] =
        [Self::DeviceHealth, Self::Connected, Self::Since, Self::LastError, Self::GoodCount, Self::BadCount];

    pub(crate) fn path(self) -> &'static str {
        PARTS.iter().find(|(p, _)| *p == self).map_or("", |(_, path)| path)
    }

    pub(crate) fn name(self) -> &'static str {
        let path = self.path();
        path.rsplit('/').next().unwrap_or(path)
    }

    fn at(path: &str) -> Option<Self> {
        PARTS.iter().find(|(_, p)| *p == path).map(|(part, _)| *part)
    }

    /// Whether its name is one of DI.
    pub(crate) fn is_of_di(self) -> bool {
        use Part::{AssetId, ComponentName, DeviceClass, DeviceHealth, Identification};
        matches!(self, Identification | AssetId | ComponentName | DeviceClass | DeviceHealth)
            || Self::NAMEPLATE.contains(&self)
    }
}

/// A node by the numbers of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    Gateway,
    /// The local/remote switch.
    Switch,
    SwitchState(Property),
    /// Which generation of the configuration this is.
    Version,
    /// A place in the asset tree that is no device.
    Area(String),
    Device(usize),
    Part(usize, Part),
    Point(u32),
    Property(u32, Property),
    /// A type of devices, by its number.
    Type(usize),
    /// What its devices have, by number.
    Member(usize, usize),
    MemberProperty(usize, usize, Property),
    /// An alarm, by its number, and what it shows by path.
    Alarm(usize),
    AlarmField(usize, usize),
}

/// A node's text, apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Text<'t> {
    Gateway,
    Switch,
    SwitchState(Property),
    Version,
    Area(&'t str),
    Device(&'t str),
    Part(&'t str, Part),
    Point(&'t str, &'t str),
    Property(&'t str, &'t str, Property),
    Type(&'t str),
    Member(&'t str, &'t str),
    MemberProperty(&'t str, &'t str, Property),
    /// Device, point, alarm, and the path of a field, which may be empty.
    Alarm(&'t str, &'t str, &'t str, &'t str),
}

impl<'t> Text<'t> {
    pub(crate) fn parse(text: &'t str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix(':') {
            return Self::general(rest);
        }
        let (path, of) = text.split_once(':').map_or((text, None), |(path, of)| (path, Some(of)));
        Some(match (path.split_once('/'), of) {
            (None, None) if !path.is_empty() => Self::Device(path),
            (None, Some(of)) => Self::Part(path, Part::at(of)?),
            (Some((device, point)), None) => Self::Point(device, point),
            (Some((device, point)), Some(of)) => match of.strip_prefix('!') {
                Some(alarm) => {
                    let (alarm, field) = alarm.split_once('/').unwrap_or((alarm, ""));
                    Self::Alarm(device, point, alarm, field)
                }
                None => Self::Property(device, point, Property::named(of)?),
            },
            (None, None) => return None,
        })
    }

    fn general(rest: &'t str) -> Option<Self> {
        Some(match rest.split_once('/') {
            None if rest == "gateway" => Self::Gateway,
            Some(("gateway", "Switch")) => Self::Switch,
            Some(("gateway", "NodeVersion")) => Self::Version,
            Some(("gateway", of)) => Self::SwitchState(Property::named(of.strip_prefix("Switch:")?)?),
            Some(("area", path)) => Self::Area(path),
            Some(("type", name)) => match name.split_once('/') {
                None => Self::Type(name),
                Some((name, member)) => match member.split_once(':') {
                    None => Self::Member(name, member),
                    Some((member, of)) => Self::MemberProperty(name, member, Property::named(of)?),
                },
            },
            _ => return None,
        })
    }
}

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gateway => f.write_str(":gateway"),
            Self::Switch => f.write_str(":gateway/Switch"),
            Self::SwitchState(p) => write!(f, ":gateway/Switch:{}", p.name()),
            Self::Version => f.write_str(":gateway/NodeVersion"),
            Self::Area(path) => write!(f, ":area/{path}"),
            Self::Device(device) => f.write_str(device),
            Self::Part(device, part) => write!(f, "{device}:{}", part.path()),
            Self::Point(device, point) => write!(f, "{device}/{point}"),
            Self::Property(device, point, p) => write!(f, "{device}/{point}:{}", p.name()),
            Self::Type(name) => write!(f, ":type/{name}"),
            Self::Member(name, member) => write!(f, ":type/{name}/{member}"),
            Self::MemberProperty(name, member, p) => write!(f, ":type/{name}/{member}:{}", p.name()),
            Self::Alarm(device, point, alarm, "") => write!(f, "{device}/{point}:!{alarm}"),
            Self::Alarm(device, point, alarm, field) => write!(f, "{device}/{point}:!{alarm}/{field}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_nodes_are_read_back() {
        for text in [
            ":gateway",
            ":gateway/Switch",
            ":gateway/Switch:TrueState",
            ":gateway/NodeVersion",
            ":area/plant/coating",
            "oven",
            "oven:Health",
            "oven:Health/Connected",
            "oven:Command/InputArguments",
            "oven/zone1",
            "oven/zone1:EURange",
            "oven/zone1:!too-hot",
            "oven/zone1:!too-hot/ActiveState/Id",
            ":type/pump",
            ":type/pump/speed",
            ":type/pump/speed:EnumValues",
        ] {
            assert_eq!(Text::parse(text).map(|t| t.to_string()).as_deref(), Some(text));
        }
        for text in ["", ":", ":gate", "oven:", "oven:Wrong", "oven/p:Wrong", ":gateway/x", "a/b:!"] {
            let parsed = Text::parse(text);
            assert!(parsed.is_none() || matches!(parsed, Some(Text::Alarm(..))), "{text}: {parsed:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Some(parsed) = Text::parse(&text) {
                prop_assert_eq!(Text::parse(&parsed.to_string()).map(|t| t.to_string()), Some(parsed.to_string()));
            }
        }
    }
}
