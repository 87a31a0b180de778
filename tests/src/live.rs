//! A client of the live channel, as the page is one.

use std::collections::HashMap;

use common::TwinId;
use common::api::{ClientMessage, LiveFrame, ServerMessage};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::Api;

/// What came.
#[derive(Debug)]
pub enum Item {
    /// values
    Frame(LiveFrame),
    /// anything else
    Message(Box<ServerMessage>),
}

/// A connected client that knows what rows mean.
#[derive(Debug)]
pub struct Live {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    rows: HashMap<(u16, u32), Vec<(TwinId, String)>>,
}

impl Live {
    /// Connects with the token of `api` and subscribes.
    pub async fn connect(api: &Api, max_hz: f64) -> Self {
        let url = format!("{}/api/v1/live", api.base().replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("an address");
        let bearer = format!("Bearer {}", api.token().expect("signed in"));
        request.headers_mut().insert("Authorization", bearer.parse().expect("a header"));
        let (mut socket, _) = connect_async(request).await.expect("the live channel");
        let subscribe =
            serde_json::to_string(&ClientMessage::Subscribe { max_hz: Some(max_hz) }).expect("JSON");
        socket.send(Message::text(subscribe)).await.expect("a subscription");
        Self { socket, rows: HashMap::new() }
    }

    /// The next item; none when the server has closed.
    pub async fn next(&mut self) -> Option<Item> {
        loop {
            match self.socket.next().await?.ok()? {
                Message::Binary(bytes) => {
                    return Some(Item::Frame(LiveFrame::decode(&bytes).expect("a live frame")));
                }
                Message::Text(text) => {
                    let message: ServerMessage = serde_json::from_str(&text).expect("a message");
                    if let ServerMessage::Schema { area, epoch, rows, .. } = &message {
                        self.rows.insert((*area, *epoch), rows.clone());
                    }
                    return Some(Item::Message(Box::new(message)));
                }
                _ => {}
            }
        }
    }

    /// Twin and point of a row of a frame.
    pub fn point(&self, frame: &LiveFrame, row: u32) -> Option<&(TwinId, String)> {
        self.rows.get(&(frame.area, frame.epoch))?.get(row as usize)
    }
}
