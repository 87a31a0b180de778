//! CONNECT [3.1], both versions.

use super::props::{self, Value};
use super::reader::{Reader, malformed};
use super::{Fault, Version};

/// The packet that a connection begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connect<'a> {
    pub(crate) version: Version,
    pub(crate) client: &'a str,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) user: Option<&'a str>,
    pub(crate) password: Option<&'a [u8]>,
    pub(crate) will: Option<Will>,
    /// MQTT 5: how long the session outlives the connection, seconds.
    pub(crate) session_expiry: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) max_packet: u32,
    /// Whether the client wants another way of signing in: none is spoken here.
    pub(crate) authentication: bool,
}

/// What is published when the connection fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) delay: u32,
    pub(crate) expiry: Option<u32>,
    /// Properties that go with the message.
    pub(crate) props: Vec<u8>,
}

const CONNECT: &[u8] = &[
    props::SESSION_EXPIRY,
    props::RECEIVE_MAXIMUM,
    props::MAXIMUM_PACKET_SIZE,
    props::TOPIC_ALIAS_MAXIMUM,
    props::REQUEST_RESPONSE,
    props::REQUEST_PROBLEM,
    props::USER_PROPERTY,
    props::AUTHENTICATION_METHOD,
    props::AUTHENTICATION_DATA,
];
const WILL: &[u8] = &[
    props::WILL_DELAY,
    props::PAYLOAD_FORMAT,
    props::MESSAGE_EXPIRY,
    props::CONTENT_TYPE,
    props::RESPONSE_TOPIC,
    props::CORRELATION_DATA,
    props::USER_PROPERTY,
];

pub(super) fn connect<'a>(mut body: Reader<'a>) -> Result<Connect<'a>, Fault> {
    if body.binary()? != b"MQTT" {
        // MQTT 3.1 says MQIsdp; whatever else it may be, its level decides nothing here.
        return Err(Fault::Version { level: 0 });
    }
    let version = match body.u8()? {
        4 => Version::V3,
        5 => Version::V5,
        level => return Err(Fault::Version { level }),
    };
    let flags = body.u8()?;
    if flags & 1 != 0 {
        return Err(malformed("CONNECT with its reserved flag"));
    }
    let keep_alive = body.u16()?;
    let mut connect = Connect {
        version,
        client: "",
        clean: flags & 2 != 0,
        keep_alive,
        user: None,
        password: None,
        will: None,
        session_expiry: 0,
        receive_maximum: u16::MAX,
        max_packet: u32::MAX,
        authentication: false,
    };
    if version == Version::V5 {
        properties(&mut body, &mut connect)?;
    }
    connect.client = body.text()?;
    if flags & 4 != 0 {
        connect.will = Some(will(&mut body, flags, version)?);
    } else if flags & 0x38 != 0 {
        return Err(malformed("CONNECT with the flags of a will and no will"));
    }
    if flags & 0x80 != 0 {
        connect.user = Some(body.text()?);
    }
    if flags & 0x40 != 0 {
        if version == Version::V3 && flags & 0x80 == 0 {
            return Err(malformed("CONNECT with a password and no user"));
        }
        connect.password = Some(body.binary()?);
    }
    if !body.is_empty() {
        return Err(malformed("CONNECT that goes on after its end"));
    }
    Ok(connect)
}

fn properties(body: &mut Reader<'_>, connect: &mut Connect<'_>) -> Result<(), Fault> {
    props::read(body, CONNECT, |id, value, _| {
        let number = value.number();
        let zero = || Fault::Protocol { detail: "a maximum of 0" };
        match id {
            props::SESSION_EXPIRY => connect.session_expiry = number,
            props::RECEIVE_MAXIMUM if number == 0 => return Err(zero()),
            props::RECEIVE_MAXIMUM => connect.receive_maximum = u16::try_from(number).unwrap_or(u16::MAX),
            props::MAXIMUM_PACKET_SIZE if number == 0 => return Err(zero()),
            props::MAXIMUM_PACKET_SIZE => connect.max_packet = number,
            props::AUTHENTICATION_METHOD | props::AUTHENTICATION_DATA => connect.authentication = true,
            _ => {}
        }
        Ok(())
    })
}

fn will(body: &mut Reader<'_>, flags: u8, version: Version) -> Result<Will, Fault> {
    let qos = flags >> 3 & 3;
    if qos == 3 {
        return Err(malformed("a will of QoS 3"));
    }
    let mut will = Will {
        topic: String::new(),
        payload: Vec::new(),
        qos,
        retain: flags & 0x20 != 0,
        delay: 0,
        expiry: None,
        props: Vec::new(),
    };
    if version == Version::V5 {
        props::read(body, WILL, |id, value, bytes| {
            match (id, value) {
                (props::WILL_DELAY, Value::Number(n)) => will.delay = n,
                (props::MESSAGE_EXPIRY, Value::Number(n)) => will.expiry = Some(n),
                _ => will.props.extend_from_slice(bytes),
            }
            Ok(())
        })?;
    }
    body.text()?.clone_into(&mut will.topic);
    will.payload = body.binary()?.to_vec();
    Ok(will)
}
