//! The line's own MQTT sensors: a thickness gauge, a pump monitor and the hall's climate, as clients that
//! publish JSON with their own time stamp to the gateway's broker.

use std::net::SocketAddr;
use std::time::Duration;

use common::{Clock, Drain};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::json;

use crate::plc::Line;

const PERIOD: Duration = Duration::from_millis(200);

/// Publishes until drained; reconnects when the broker goes.
pub async fn run(line: Line, broker: SocketAddr, clock: Clock, drain: Drain) {
    let mut options = MqttOptions::new("line1-sensors", broker.ip().to_string(), broker.port());
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = AsyncClient::new(options, 32);
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut connected = false;
    loop {
        tokio::select! {
            () = drain.started() => break,
            event = events.poll() => match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => connected = true,
                Ok(_) => {}
                Err(error) => {
                    connected = false;
                    tracing::debug!(%error, "sensors lost the broker");
                    tokio::select! {
                        () = drain.started() => break,
                        () = tokio::time::sleep(Duration::from_millis(500)) => {}
                    }
                }
            },
            _ = tick.tick(), if connected => {
                for (topic, payload) in readings(&line, clock.now_us()) {
                    // A full queue drops this reading; the next one is 200 ms away.
                    if client.try_publish(topic, QoS::AtLeastOnce, false, payload.to_string()).is_err() {
                        tracing::debug!(topic, "reading dropped");
                    }
                }
            }
        }
    }
    let _ = client.disconnect().await;
    // The event loop sends it; what follows is the connection's end.
    while let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(200), events.poll()).await {}
}

fn readings(line: &Line, now_us: i64) -> [(&'static str, serde_json::Value); 3] {
    let ts = now_us / 1000;
    let round = |x: f64| (x * 1000.0).round() / 1000.0;
    line.with(|p, _| {
        [
            (
                "sensors/line1/gauge",
                json!({ "ts": ts, "thickness_um": round(p.thickness_um), "moisture_percent": round(p.oven.moisture * 100.0) }),
            ),
            (
                "sensors/line1/pump",
                json!({ "ts": ts, "vibration_mm_s": round(p.vibration_mm_s), "web_degc": round(p.oven.zones[2].web_degc) }),
            ),
            (
                "sensors/hall/climate",
                json!({ "ts": ts, "degc": round(p.hall_degc), "humidity_percent": round(p.hall_humidity_percent) }),
            ),
        ]
    })
}
