//! A client that may say anything.

use super::*;

/// A client that sends what it is told to.
pub struct Client {
    tcp: TcpStream,
    buffer: BytesMut,
    pkid: u16,
    up: String,
}

impl Client {
    pub async fn open(addr: SocketAddr) -> Self {
        let tcp = TcpStream::connect(addr).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Self { tcp, buffer: BytesMut::new(), pkid: 0, up: String::new() }
    }

    pub async fn bytes(&mut self, bytes: &[u8]) {
        // The other side may have closed already: that is seen when reading.
        let _ = self.tcp.write_all(bytes).await;
    }

    pub async fn send(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        packet.write(&mut out, 1 << 20).unwrap();
        self.bytes(&out).await;
    }

    /// The next packet; none when the connection is closed.
    pub async fn recv(&mut self) -> Option<Packet> {
        let read = async {
            loop {
                match Packet::read(&mut self.buffer, 1 << 20) {
                    Ok(packet) => return Some(packet),
                    Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
                    Err(e) => panic!("the ingress sent {e}"),
                }
                if self.tcp.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        };
        tokio::time::timeout(LIMIT, read).await.expect("an answer or an end in time")
    }

    pub async fn connect(
        &mut self,
        gateway: &str,
        secret: &str,
        change: impl FnOnce(&mut Connect),
    ) -> ConnectReturnCode {
        let mut connect = Connect::new("client");
        connect.set_login(format!("default/{gateway}"), secret);
        change(&mut connect);
        self.up = format!("twinway/v1/default/{gateway}/up");
        self.send(Packet::Connect(connect)).await;
        match self.recv().await {
            Some(Packet::ConnAck(ack)) => ack.code,
            other => panic!("{other:?}"),
        }
    }

    pub async fn subscribe(&mut self, filter: &str) -> SubscribeReasonCode {
        let mut subscribe = Subscribe::new(filter, QoS::AtLeastOnce);
        subscribe.pkid = 9;
        self.send(Packet::Subscribe(subscribe)).await;
        match self.recv().await {
            Some(Packet::SubAck(ack)) => ack.return_codes[0],
            other => panic!("{other:?}"),
        }
    }

    /// Publishes at least once, without waiting. The packet's number.
    pub async fn publish(&mut self, topic: &str, payload: Vec<u8>) -> u16 {
        self.pkid += 1;
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        publish.pkid = self.pkid;
        self.send(Packet::Publish(publish)).await;
        self.pkid
    }

    pub async fn say(&mut self, message: &Up) -> u16 {
        let up = self.up.clone();
        self.publish(&up, message.encode()).await
    }

    pub async fn down(&mut self) -> Down {
        loop {
            match self.recv().await {
                Some(Packet::Publish(publish)) => return Down::decode(&publish.payload).unwrap(),
                Some(Packet::PubAck(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads until the end; the refusal on the way, if there was one.
    pub async fn end(&mut self) -> Option<common::names::Code> {
        let mut code = None;
        while let Some(packet) = self.recv().await {
            if let Packet::Publish(publish) = packet
                && let Ok(Down::Refusal(refusal)) = Down::decode(&publish.payload)
            {
                code = Some(refusal.code);
            }
        }
        code
    }

    pub async fn agree(&mut self, gateway: &str, incarnation: u128) -> HelloAck {
        self.agree_on(hello(gateway, incarnation)).await
    }

    pub async fn agree_on(&mut self, hello: Hello) -> HelloAck {
        let gateway = hello.gateway.to_string();
        self.say(&Up::Hello(Box::new(hello))).await;
        let Down::HelloAck(ack) = self.down().await else { panic!("no hello ack") };
        for hash in &ack.want_schemas {
            let schema = schema(&gateway);
            assert_eq!(*hash, schema.hash());
            for part in split_schema(*hash, &schema.to_json()) {
                let pkid = self.say(&Up::Schema(part)).await;
                assert_eq!(self.puback().await, pkid);
            }
        }
        ack
    }

    pub async fn puback(&mut self) -> u16 {
        loop {
            match self.recv().await {
                Some(Packet::PubAck(ack)) if ack.pkid == self.pkid => return ack.pkid,
                Some(_) => {}
                None => panic!("closed"),
            }
        }
    }
}
