//! The first packet: who it is, whether it may come in, and what CONNACK says.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::door::Door;
use super::talk::Talk;
use super::wire::Wire;
use crate::access::Access;
use crate::codec::{self, Connect, Fault, Granted, Packet, Reason, Version};
use crate::core::{Attach, Attached};
use crate::handle::Hub;

/// Longest client id, bytes.
const MAX_CLIENT_ID: usize = 256;
/// Topic aliases that a client of MQTT 5 may use.
pub(super) const ALIASES: u16 = 64;

/// A client that was let in.
pub(super) struct Welcome {
    pub(super) talk: Talk,
    pub(super) attached: Attached,
    pub(super) client: String,
}

/// A handshake record, and the major version of all of TLS.
const TLS_HELLO: &[u8] = &[0x16, 3];

/// Reads CONNECT and answers it.
pub(super) async fn hello<S: AsyncRead + AsyncWrite + Unpin>(
    hub: &Arc<Hub>,
    wire: &mut Wire<S>,
    door: &Door,
    peer: &str,
) -> Result<Welcome, Fault> {
    let limit = hub.options().limits.packet;
    loop {
        let first = codec::decode(&wire.input, Version::V3, limit);
        let (packet, used) = match first {
            Ok(Some(found)) => found,
            Ok(None) => {
                wire.step(true).await?;
                continue;
            }
            // What a TLS client says first is no packet of MQTT.
            Err(_) if wire.input.starts_with(TLS_HELLO) => {
                return Err(Fault::Refused { detail: "a TLS client at a listener without TLS" });
            }
            Err(fault) => {
                if let Fault::Version { level } = fault {
                    // A newer client understands its own CONNACK, an older one that of 3.1.1.
                    let (version, code) = match level {
                        6.. => (Version::V5, Reason::UnsupportedVersion as u8),
                        _ => (Version::V3, 1),
                    };
                    codec::connack(version, false, code, &Granted::default(), &mut wire.out);
                    wire.drain().await?;
                }
                return Err(fault);
            }
        };
        let Packet::Connect(connect) = packet else { return Err(Fault::NotConnect) };
        let version = connect.version;
        let mut out = BytesMut::new();
        let welcome = enter(hub, &connect, door, peer, &mut out).await;
        wire.input.advance(used);
        wire.out.unsplit(out);
        return match welcome {
            Ok(welcome) => Ok(welcome),
            Err(reason) => {
                let code = if version == Version::V5 { reason as u8 } else { code_of(reason) };
                codec::connack(version, false, code, &Granted::default(), &mut wire.out);
                wire.drain().await?;
                Err(Fault::Refused { detail: words(reason) })
            }
        };
    }
}

async fn enter(
    hub: &Arc<Hub>,
    connect: &Connect<'_>,
    door: &Door,
    peer: &str,
    out: &mut BytesMut,
) -> Result<Welcome, Reason> {
    if connect.authentication {
        return Err(Reason::BadAuthenticationMethod);
    }
    let user = match (connect.user, connect.password) {
        (None, _) if door.allow_anonymous => None,
        (None, _) => return Err(Reason::NotAuthorized),
        // Where nobody has to sign in and nobody can, a name says nothing.
        (Some(_), _) if door.allow_anonymous && hub.auth.is_empty() => None,
        (Some(user), password) => {
            if !hub.auth.check(user, password.unwrap_or_default()).await {
                return Err(Reason::BadUserOrPassword);
            }
            Some(user)
        }
    };
    let mut client = connect.client.to_owned();
    if client.len() > MAX_CLIENT_ID {
        return Err(Reason::ClientIdNotValid);
    }
    let assigned = client.is_empty();
    if assigned {
        if connect.version == Version::V3 && !connect.clean {
            return Err(Reason::ClientIdNotValid);
        }
        client = chosen_id().ok_or(Reason::ServerUnavailable)?;
    }
    if let Some(will) = &connect.will
        && gateway_core::messages::check_topic(&will.topic).is_err()
    {
        return Err(Reason::TopicNameInvalid);
    }
    // Under the lock: users and rights change under it as well, and nobody falls between old and new.
    let (attached, options) = hub.with(|core| {
        let options = hub.options();
        if user.is_some_and(|u| !hub.auth.has(u)) {
            return Err(Reason::BadUserOrPassword);
        }
        let access = Access::new(&options.rights, &client, user, door.open);
        if connect.will.as_ref().is_some_and(|will| !access.may_publish(&will.topic)) {
            return Err(Reason::NotAuthorized);
        }
        let attach = Attach {
            connect,
            client: &client,
            user,
            access: access.into(),
            open: door.open,
            peer: peer.to_owned(),
            listener: door.name.clone(),
        };
        core.attach(&attach, hub.now_us()).map(|attached| (attached, options))
    })?;
    let most = options.keep_alive_max;
    let keep_alive = match connect.keep_alive {
        0 if connect.version == Version::V5 && most > 0 => most,
        asked if most > 0 => asked.min(most),
        asked => asked,
    };
    // A client of 3.1.1 cannot be told another one.
    let keep_alive = if connect.version == Version::V3 { connect.keep_alive } else { keep_alive };
    let limits = &options.limits;
    let granted = Granted {
        assigned_id: assigned.then_some(&*client),
        keep_alive: (keep_alive != connect.keep_alive).then_some(keep_alive),
        session_expiry: (attached.expiry != connect.session_expiry).then_some(attached.expiry),
        receive_maximum: u16::try_from(limits.in_flight).unwrap_or(u16::MAX),
        max_packet: u32::try_from(limits.packet).unwrap_or(u32::MAX),
        topic_alias_maximum: ALIASES,
    };
    codec::connack(connect.version, attached.present, 0, &granted, out);
    let expiring = connect.session_expiry > 0;
    let talk = Talk::new(hub, attached.seat, connect.version, limits, keep_alive, expiring);
    Ok(Welcome { talk, attached, client })
}

/// A client id that nobody has.
fn chosen_id() -> Option<String> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).ok()?;
    Some(format!("auto-{}", common::text::hex(&bytes)))
}

/// The code of CONNACK in MQTT 3.1.1.
fn code_of(reason: Reason) -> u8 {
    match reason {
        Reason::UnsupportedVersion => 1,
        Reason::ClientIdNotValid => 2,
        Reason::BadUserOrPassword | Reason::BadAuthenticationMethod => 4,
        Reason::NotAuthorized | Reason::TopicNameInvalid => 5,
        _ => 3,
    }
}

fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::BadAuthenticationMethod => "another way of signing in",
        Reason::NotAuthorized => "not authorized",
        Reason::BadUserOrPassword => "user or password is wrong",
        Reason::ClientIdNotValid => "client id",
        Reason::TopicNameInvalid => "topic of the will",
        Reason::QuotaExceeded => "too many clients or sessions",
        _ => "not ready",
    }
}
