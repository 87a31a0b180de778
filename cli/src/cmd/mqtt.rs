//! `mqtt pub` and `mqtt sub`: a plain MQTT 3.1.1 client for the broker of a box, or any other.

use std::io::Read;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, Incoming, MqttOptions, Outgoing,
    Publish, QoS, SubscribeFilter, SubscribeReasonCode, valid_filter, valid_topic,
};
use serde_json::json;
use tokio::time::Instant;

use crate::args::Broker;
use crate::client::chain;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::{Out, clean};

/// Largest packet either way.
const LARGEST: usize = 1 << 20;
/// Longest wait for a broker that should answer at once.
const ANSWER: Duration = Duration::from_secs(10);

pub(super) async fn publish(
    topic: String,
    payload: String,
    retain: bool,
    broker: Broker,
    out: Out,
) -> Result<Exit> {
    if topic.is_empty() || !valid_topic(&topic) || topic.contains('\0') {
        return Err(Error::usage(format!(
            "`{topic}` is not a topic to publish to: it must not be empty or hold + or #"
        )));
    }
    let payload = if payload == "-" { stdin()? } else { payload.into_bytes() };
    if payload.len() + topic.len() + 16 > LARGEST {
        return Err(Error::usage(format!("the payload is larger than {LARGEST} bytes")));
    }
    let (client, mut events) = connect(&broker);
    let limit = Instant::now() + broker.timeout.unwrap_or(ANSWER);
    let qos = qos(broker.qos);
    client.publish(topic, qos, retain, payload).await.map_err(|e| Error::new(Exit::Failed, e.to_string()))?;
    loop {
        let event = next(&mut events, &broker, Some(limit)).await?;
        let Some(event) = event else {
            return Err(Error::new(Exit::Timeout, "the broker did not acknowledge the message in time"));
        };
        let done = matches!(
            (qos, event),
            (QoS::AtMostOnce, Event::Outgoing(Outgoing::Publish(_)))
                | (QoS::AtLeastOnce, Event::Incoming(Incoming::PubAck(_)))
                | (QoS::ExactlyOnce, Event::Incoming(Incoming::PubComp(_)))
        );
        if done {
            break;
        }
    }
    // A clean end, which also has the last bytes written.
    let _ = client.disconnect().await;
    while let Ok(Some(event)) = next(&mut events, &broker, Some(limit)).await {
        if matches!(event, Event::Outgoing(Outgoing::Disconnect)) {
            break;
        }
    }
    if out.is_json() {
        out.json(&json!({ "published": true }))?;
    }
    Ok(Exit::Ok)
}

pub(super) async fn subscribe(
    filters: Vec<String>,
    count: Option<u64>,
    broker: Broker,
    out: Out,
) -> Result<Exit> {
    if let Some(bad) = filters.iter().find(|f| !valid_filter(f)) {
        return Err(Error::usage(format!("`{bad}` is not a topic filter")));
    }
    let (client, mut events) = connect(&broker);
    let wanted = filters.iter().map(|f| SubscribeFilter::new(f.clone(), qos(broker.qos)));
    client.subscribe_many(wanted).await.map_err(|e| Error::new(Exit::Failed, e.to_string()))?;
    let limit = broker.timeout.map(|t| Instant::now() + t);
    let answer = Instant::now() + ANSWER;
    let mut subscribed = false;
    let mut left = count;
    loop {
        let limit = if subscribed { limit } else { Some(limit.map_or(answer, |l| l.min(answer))) };
        match next(&mut events, &broker, limit).await? {
            None => {
                let what = if subscribed { "messages" } else { "the broker's answer" };
                return Err(Error::new(Exit::Timeout, format!("time ran out while waiting for {what}")));
            }
            Some(Event::Incoming(Incoming::SubAck(ack))) => {
                for (filter, code) in filters.iter().zip(&ack.return_codes) {
                    if *code == SubscribeReasonCode::Failure {
                        return Err(Error::new(
                            Exit::NotAuthorised,
                            format!("the broker refuses `{filter}`"),
                        ));
                    }
                }
                subscribed = true;
            }
            Some(Event::Incoming(Incoming::Publish(message))) => {
                print(&message, out)?;
                left = left.map(|n| n.saturating_sub(1));
                if left == Some(0) {
                    let _ = client.disconnect().await;
                    // The acknowledgement of the last message and the goodbye; that they arrive does not matter.
                    let end = Instant::now() + Duration::from_secs(1);
                    while let Ok(Some(event)) = next(&mut events, &broker, Some(end)).await {
                        if matches!(event, Event::Outgoing(Outgoing::Disconnect)) {
                            break;
                        }
                    }
                    return Ok(Exit::Ok);
                }
            }
            Some(_) => {}
        }
    }
}

fn print(message: &Publish, out: Out) -> Result<()> {
    let text = std::str::from_utf8(&message.payload).ok();
    if out.is_json() {
        let mut line = json!({ "topic": message.topic, "qos": message.qos as u8, "retain": message.retain });
        match text {
            Some(text) => line["payload"] = text.into(),
            None => line["payload_base64"] = BASE64.encode(&message.payload).into(),
        }
        return out.json_line(&line);
    }
    let payload = text
        .map(|t| clean(t).into_owned())
        .unwrap_or_else(|| format!("base64:{}", BASE64.encode(&message.payload)));
    out.line(&format!("{} {payload}", clean(&message.topic)))
}

fn qos(n: u8) -> QoS {
    match n {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

fn stdin() -> Result<Vec<u8>> {
    let mut payload = Vec::new();
    std::io::stdin()
        .lock()
        .take(LARGEST as u64 + 1)
        .read_to_end(&mut payload)
        .map_err(|e| Error::usage(format!("standard input cannot be read: {e}")))?;
    Ok(payload)
}

fn connect(broker: &Broker) -> (AsyncClient, EventLoop) {
    let id = format!("twinway-cli-{}", uuid::Uuid::new_v4().simple());
    let mut options = MqttOptions::new(id, &broker.host, broker.port);
    options.set_keep_alive(Duration::from_secs(30));
    options.set_max_packet_size(LARGEST, LARGEST);
    if let (Some(user), Some(password)) = (&broker.username, &broker.password) {
        options.set_credentials(user, password);
    }
    AsyncClient::new(options, 16)
}

/// The next event; none if the limit passes first.
async fn next(events: &mut EventLoop, broker: &Broker, limit: Option<Instant>) -> Result<Option<Event>> {
    let polled = match limit {
        Some(limit) => tokio::time::timeout_at(limit, events.poll()).await,
        None => Ok(events.poll().await),
    };
    match polled {
        Err(_) => Ok(None),
        Ok(Ok(event)) => Ok(Some(event)),
        Ok(Err(ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ))) => Err(Error::new(Exit::NotAuthorised, "the broker refuses user and password")
            .remedy("--username with --password or TWINWAY_MQTT_PASSWORD")),
        Ok(Err(e)) => Err(Error::new(
            Exit::NotReachable,
            format!("the broker {}:{} is not reachable: {}", broker.host, broker.port, chain(&e)),
        )),
    }
}
