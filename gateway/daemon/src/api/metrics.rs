//! `GET /metrics` in the OpenMetrics text format, made from what the parts tell at the moment of the request.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use common::api::Problem;
use common::names::{Code, metric};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::Api;
use crate::gateway::VERSION;

/// Labels of every metric here; those that do not apply are left out.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    device: Option<String>,
    quality: Option<&'static str>,
    queue: Option<String>,
    cause: Option<String>,
    state: Option<&'static str>,
    code: Option<&'static str>,
    part: Option<String>,
    kind: Option<&'static str>,
}

type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge>;

struct Page(Registry);

impl Page {
    fn counters(&mut self, (name, help): (&str, &str)) -> Counters {
        let family = Counters::default();
        self.0.register(name, help, family.clone());
        family
    }

    fn gauges(&mut self, (name, help): (&str, &str)) -> Gauges {
        let family = Gauges::default();
        self.0.register(name, help, family.clone());
        family
    }

    fn gauge(&mut self, metric: (&str, &str), value: u64) {
        self.gauges(metric).get_or_create(&Labels::default()).set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let mut text = String::new();
    let page = page(&api);
    encode(&mut text, &page.0).map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

fn page(api: &Api) -> Page {
    let mut page = Page(Registry::default());
    let (name, help) = metric::BUILD_INFO;
    page.0.register(name, help, Info::new(vec![("version", VERSION)]));
    let health = api.vitals.health();
    devices(api, &health, &mut page);
    let dropped = page.counters(metric::GATEWAY_DROPPED);
    for (name, count) in &health.dropped {
        let (queue, cause) = name.split_once(':').unwrap_or((name, ""));
        let (queue, cause) = (Some(queue.to_owned()), Some(cause.to_owned()));
        dropped.get_or_create(&Labels { queue, cause, ..Labels::default() }).inc_by(*count);
    }
    page.gauge(metric::GATEWAY_BUFFER_FRAMES, health.buffer.unacked_frames);
    page.gauge(metric::GATEWAY_BUFFER_BYTES, health.buffer.disk_bytes);
    page.gauge(metric::GATEWAY_BUFFER_AGE, health.buffer.oldest_unacked_ms / 1000);
    page.gauge(metric::GATEWAY_UPLINK_UP, u64::from(health.uplink));
    if let Some(status) = api.vitals.uplink.get().map(|u| u.borrow().clone()) {
        let frames = page.counters(metric::GATEWAY_UPLINK_FRAMES);
        for (kind, count) in [("live", status.sent_live), ("backlog", status.sent_backlog)] {
            frames.get_or_create(&Labels { kind: Some(kind), ..Labels::default() }).inc_by(count);
        }
    }
    let commands = page.counters(metric::GATEWAY_COMMANDS);
    for (state, code, count) in api.vitals.control.counts() {
        let code = (!code.is_empty()).then_some(code);
        commands.get_or_create(&Labels { state: Some(state), code, ..Labels::default() }).inc_by(count);
    }
    let restarts = page.counters(metric::GATEWAY_PART_RESTARTS);
    for part in &health.parts {
        let labels = Labels { part: Some(part.name.clone()), ..Labels::default() };
        restarts.get_or_create(&labels).inc_by(part.restarts);
    }
    if let Some(broker) = &api.broker {
        page.gauge(metric::GATEWAY_BROKER_CLIENTS, broker.clients() as u64);
    }
    page
}

fn devices(api: &Api, health: &common::api::GatewayHealth, page: &mut Page) {
    let samples = page.counters(metric::GATEWAY_SAMPLES);
    let errors = page.counters(metric::GATEWAY_READ_ERRORS);
    let up = page.gauges(metric::GATEWAY_DEVICE_UP);
    for (index, device) in health.devices.iter().enumerate() {
        let of = |quality| Labels { device: Some(device.name.clone()), quality, ..Labels::default() };
        for (quality, count) in ["good", "uncertain", "bad"].into_iter().zip(api.counts.of(index)) {
            samples.get_or_create(&of(Some(quality))).inc_by(count);
        }
        errors.get_or_create(&of(None)).inc_by(device.bad);
        up.get_or_create(&of(None)).set(i64::from(device.connected));
    }
}
