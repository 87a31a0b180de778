//! The live channel: a WebSocket over an upgraded HTTP connection, so that TLS, tokens and sockets are
//! the client's. Turns column frames into named values.

use std::collections::HashMap;

use common::api::{ClientMessage, LiveFrame, ServerMessage, TextValue, TwinView};
use common::{Quality, TwinId, Value, ValueType};
use futures_util::{SinkExt, StreamExt};
use reqwest::StatusCode;
use reqwest::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::exit::Exit;

/// What the channel says.
#[derive(Debug)]
pub enum Heard {
    /// Values by column.
    Frame(LiveFrame),
    /// Anything else.
    Message(Box<ServerMessage>),
}

/// An open live channel.
pub struct Live(WebSocketStream<reqwest::Upgraded>);

impl Live {
    /// Opens it and subscribes; none if the server has no live channel.
    pub async fn open(client: &Client, max_hz: f64) -> Result<Option<Self>> {
        let key = generate_key();
        let text = |s: &str| HeaderValue::from_str(s).map_err(|e| Error::new(Exit::Failed, e.to_string()));
        let headers = HeaderMap::from_iter([
            (CONNECTION, HeaderValue::from_static("Upgrade")),
            (UPGRADE, HeaderValue::from_static("websocket")),
            (SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
            (SEC_WEBSOCKET_KEY, text(&key)?),
        ]);
        let response = client.upgrade(&["live"], headers).await?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => {}
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                return Ok(None);
            }
            _ => {
                client.success(response).await?;
                return Err(broken("the server did not open the live channel"));
            }
        }
        if response.headers().get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes)
            != Some(derive_accept_key(key.as_bytes()).as_bytes())
        {
            return Err(broken("the answer to the live channel's handshake is wrong"));
        }
        let stream = response.upgrade().await.map_err(|e| client.unreachable(&e))?;
        let mut live = Self(WebSocketStream::from_raw_socket(stream, Role::Client, None).await);
        let subscribe = serde_json::to_string(&ClientMessage::Subscribe { max_hz: Some(max_hz) })
            .map_err(|e| broken(&e.to_string()))?;
        live.0.send(Message::text(subscribe)).await.map_err(|e| ended(&e))?;
        Ok(Some(live))
    }

    /// The next thing said; an error when the channel ends.
    pub async fn next(&mut self) -> Result<Heard> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    let frame =
                        LiveFrame::decode(&bytes).ok_or_else(|| broken("a live frame cannot be read"))?;
                    return Ok(Heard::Frame(frame));
                }
                Some(Ok(Message::Text(text))) => {
                    let message = serde_json::from_str(&text)
                        .map_err(|e| broken(&format!("a message of the live channel cannot be read: {e}")))?;
                    return Ok(Heard::Message(Box::new(message)));
                }
                Some(Ok(Message::Close(Some(frame)))) if !frame.reason.is_empty() => {
                    return Err(Error::new(
                        Exit::NotReachable,
                        format!("the server closed the live channel: {}", frame.reason),
                    ));
                }
                Some(Ok(Message::Close(_))) | None => return Err(ended(&WsError::ConnectionClosed)),
                Some(Ok(_)) => {}
                Some(Err(e)) => return Err(ended(&e)),
            }
        }
    }

    /// Says goodbye; that the other side hears it does not matter.
    pub async fn close(mut self) {
        let _ = self.0.close(None).await;
    }
}

fn broken(text: &str) -> Error {
    Error::new(Exit::Failed, text)
}

fn ended(e: &WsError) -> Error {
    Error::new(Exit::NotReachable, format!("the live channel ended: {e}")).remedy("start it again")
}

/// A value of a point, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Twin.
    pub twin: TwinId,
    /// Point.
    pub point: String,
    /// Value; none if bad or absent.
    pub value: Option<Value>,
    /// Quality.
    pub quality: Quality,
    /// Source time, UTC us.
    pub source_us: i64,
}

/// Names of the rows, from the channel's schemas and the twins' types.
#[derive(Debug, Default)]
pub struct Rows {
    areas: HashMap<u16, (u32, Vec<(TwinId, String)>)>,
    types: HashMap<(TwinId, String), ValueType>,
}

impl Rows {
    /// Takes the types of the twins' points.
    pub fn learn_types<'a>(&mut self, twins: impl IntoIterator<Item = &'a TwinView>) {
        for twin in twins {
            let points =
                twin.points.iter().map(|p| ((twin.id, p.schema.name.to_string()), p.schema.value_type));
            self.types.extend(points);
        }
    }

    /// Takes a schema message.
    pub fn learn_rows(&mut self, area: u16, epoch: u32, rows: Vec<(TwinId, String)>) {
        self.areas.insert(area, (epoch, rows));
    }

    fn name(&self, area: u16, epoch: u32, row: u32) -> Option<&(TwinId, String)> {
        let (known, rows) = self.areas.get(&area)?;
        if *known == epoch { rows.get(row as usize) } else { None }
    }

    /// The changes of a frame. Rows of an unknown schema are left out; so are usable values that are no
    /// numbers: they come as texts.
    pub fn frame(&self, frame: &LiveFrame) -> Vec<Change> {
        let change = |r: &common::api::LiveRow| {
            let (twin, point) = self.name(frame.area, frame.epoch, r.row)?;
            let kind = self.types.get(&(*twin, point.clone())).copied().unwrap_or(ValueType::F64);
            if matches!(kind, ValueType::Text | ValueType::Bytes) && !r.quality.is_bad() {
                return None;
            }
            let number = Value::F64(r.value);
            let value = (!r.value.is_nan()).then(|| number.convert(kind).unwrap_or(number));
            Some(Change {
                twin: *twin,
                point: point.clone(),
                value,
                quality: r.quality,
                source_us: r.source_us,
            })
        };
        frame.rows.iter().filter_map(change).collect()
    }

    /// The changes of a `texts` message.
    pub fn texts(&self, area: u16, epoch: u32, values: Vec<TextValue>) -> Vec<Change> {
        let change = |t: TextValue| {
            let (twin, point) = self.name(area, epoch, t.row)?.clone();
            Some(Change { twin, point, value: t.value, quality: t.quality, source_us: t.source_us })
        };
        values.into_iter().filter_map(change).collect()
    }
}

#[cfg(test)]
mod tests {
    use common::api::LiveRow;

    use super::*;

    fn id(n: u128) -> TwinId {
        TwinId(uuid::Uuid::from_u128(n))
    }

    fn row(row: u32, value: f64, quality: Quality) -> LiveRow {
        LiveRow { row, value, quality, source_us: 5 }
    }

    fn frame(epoch: u32, rows: Vec<LiveRow>) -> LiveFrame {
        LiveFrame { area: 1, epoch, tick: 0, base_us: 0, rows }
    }

    #[test]
    fn numbers_take_the_type_of_their_point() {
        let mut rows = Rows::default();
        rows.learn_rows(1, 7, ["b", "n", "x", "t"].map(|p| (id(1), p.to_owned())).into());
        for (p, t) in
            [("b", ValueType::Bool), ("n", ValueType::I64), ("x", ValueType::F64), ("t", ValueType::Text)]
        {
            rows.types.insert((id(1), p.to_owned()), t);
        }
        let good = Quality::GOOD;
        let all = vec![
            row(0, 1.0, good),
            row(1, 3.0, good),
            row(2, 3.0, good),
            row(3, f64::NAN, good),
            row(3, f64::NAN, Quality::BAD),
        ];
        let values: Vec<_> = rows.frame(&frame(7, all)).into_iter().map(|c| c.value).collect();
        assert_eq!(values, [Some(true.into()), Some(3i64.into()), Some(3.0.into()), None]);
    }

    #[test]
    fn rows_of_another_schema_are_left_out() {
        let mut rows = Rows::default();
        rows.learn_rows(1, 7, vec![(id(1), "a".into())]);
        assert_eq!(rows.frame(&frame(8, vec![row(0, 1.0, Quality::GOOD)])), []);
        assert_eq!(rows.frame(&frame(7, vec![row(9, 1.0, Quality::GOOD)])), []);
        assert_eq!(rows.frame(&frame(7, vec![row(0, 1.0, Quality::GOOD)])).len(), 1);
    }
}
