//! Identities: twins, gateways, tenants, incarnations and schema hashes. All are opaque outside this
//! file; names that people type are checked where they are parsed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A twin's opaque identity: the same on the box and in the cloud, for the twin's whole life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct TwinId(pub Uuid);

impl TwinId {
    /// The id of a device that has none configured: derived from its place, so that a box that lost
    /// its state finds its twins again.
    pub fn derived(tenant: &TenantId, gateway: &GatewayId, device: &str) -> Self {
        let name = format!("twinway:{tenant}/{gateway}/{device}");
        Self(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()))
    }
}

/// A box: made at its first start and kept with its state. What signs in under a gateway's name is a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct BoxId(pub Uuid);

impl BoxId {
    /// A new one.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for BoxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BoxId {
    type Err = uuid::Error;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(s).map(Self)
    }
}

impl fmt::Display for TwinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TwinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TwinId({})", self.0)
    }
}

impl FromStr for TwinId {
    type Err = uuid::Error;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(s).map(Self)
    }
}

/// What is wrong with a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` is not a name: use 1 to 63 of a-z, A-Z, 0-9, `_`, `-`, `.`, starting with a letter or digit"
)]
pub struct NameError {
    name: String,
}

/// Whether `s` may name a device, a point, a gateway or a tenant: 1 to 63 characters of
/// `[A-Za-z0-9_.-]`, the first a letter or digit. Such a name is safe in topics, paths and files.
pub fn check_name(s: &str) -> Result<(), NameError> {
    let first = s.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if first && rest && s.len() <= 63 { Ok(()) } else { Err(NameError { name: s.to_owned() }) }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(s: &str) -> Result<Self, NameError> {
                check_name(s).map(|()| Self(s.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type!(
    /// A gateway's name, unique in its tenant.
    GatewayId
);
name_type!(
    /// A tenant's name; in every key, topic and grant.
    TenantId
);

impl Default for TenantId {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

/// A random 128-bit number, new at every boot of a gateway. With a sequence number it names a frame for
/// ever: a restored backup or a lost state starts a new incarnation and so never uses a number twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u128);

impl Incarnation {
    /// A new one from the system's random source.
    ///
    /// # Errors
    /// When the system has no random source.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(u128::from_le_bytes(bytes)))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Incarnation {
    type Err = std::num::ParseIntError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(s, 16).map(Self)
    }
}

impl Serialize for Incarnation {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The first 16 bytes of the SHA-256 of a schema's canonical form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaHash(pub [u8; 16]);

impl fmt::Display for SchemaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::text::hex(&self.0))
    }
}

impl fmt::Debug for SchemaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SchemaHash {
    type Err = std::num::ParseIntError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(s, 16).map(|n| Self(n.to_be_bytes()))
    }
}

impl Serialize for SchemaHash {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SchemaHash {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_break_a_topic_or_a_path_are_refused() {
        for bad in ["", "a/b", "a+b", "#", "..", "-x", "a b", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        for good in ["a", "oven-1", "T_1.pv", "9"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn hash_and_incarnation_survive_their_text_form() {
        let h = SchemaHash([7; 16]);
        assert_eq!(h.to_string().parse::<SchemaHash>().unwrap(), h);
        let i = Incarnation(0xdead_beef);
        assert_eq!(i.to_string().parse::<Incarnation>().unwrap(), i);
    }

    #[test]
    fn a_derived_twin_id_depends_on_every_part_of_its_place() {
        let t = TenantId::default();
        let g: GatewayId = "g1".parse().unwrap();
        let id = TwinId::derived(&t, &g, "oven");
        assert_eq!(id, TwinId::derived(&t, &g, "oven"));
        assert_ne!(id, TwinId::derived(&t, &g, "oven2"));
        assert_ne!(id, TwinId::derived(&t, &"g2".parse().unwrap(), "oven"));
    }
}
