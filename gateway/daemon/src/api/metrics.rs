//! `GET /metrics` in the OpenMetrics text format, made from what the parts tell at the moment of the request.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use common::api::Problem;
use common::names::{Code, metric};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::Api;
use crate::VERSION;

/// Names and values of labels.
type Labels = Vec<(&'static str, String)>;
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
        self.gauges(metric).get_or_create(&Labels::new()).set(i64::try_from(value).unwrap_or(i64::MAX));
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
    devices(api, &mut page);
    polls(api, &mut page);
    let dropped = page.counters(metric::GATEWAY_DROPPED);
    for (name, count) in &health.dropped {
        let (queue, cause) = name.split_once(':').unwrap_or((name, ""));
        dropped.get_or_create(&labels(&[("queue", queue), ("cause", cause)])).inc_by(*count);
    }
    page.gauge(metric::GATEWAY_BUFFER_FRAMES, health.buffer.unacked_frames);
    page.gauge(metric::GATEWAY_BUFFER_BYTES, health.buffer.disk_bytes);
    page.gauge(metric::GATEWAY_BUFFER_AGE, health.buffer.oldest_unacked_ms / 1000);
    page.gauge(metric::GATEWAY_UPLINK_UP, u64::from(health.uplink));
    if let Some(status) = api.vitals.uplink() {
        let frames = page.counters(metric::GATEWAY_UPLINK_FRAMES);
        for (kind, count) in [("live", status.sent_live), ("backlog", status.sent_backlog)] {
            frames.get_or_create(&labels(&[("kind", kind)])).inc_by(count);
        }
        let (bytes, left) =
            (page.gauges(metric::GATEWAY_UPLINK_BYTES), page.gauges(metric::GATEWAY_UPLINK_LEFT));
        let link = status.link;
        for (period, carried, of_budget) in
            [("day", link.day_bytes, link.day_left), ("month", link.month_bytes, link.month_left)]
        {
            let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            bytes.get_or_create(&labels(&[("period", period)])).set(whole(carried));
            if let Some(of_budget) = of_budget {
                left.get_or_create(&labels(&[("period", period)])).set(whole(of_budget));
            }
        }
        page.gauge(metric::GATEWAY_UPLINK_HELD, u64::from(link.held.is_some()));
        page.gauge(metric::GATEWAY_UPLINK_HELD_FRAMES, link.held_frames);
    }
    let commands = page.counters(metric::GATEWAY_COMMANDS);
    for (state, code, count) in api.vitals.control.counts() {
        commands.get_or_create(&labels(&[("state", state), ("code", code)])).inc_by(count);
    }
    let alarms = page.gauges(metric::GATEWAY_ALARMS);
    for alarm in api.vitals.alarms.list().iter().filter(|a| a.state != common::alarm::AlarmState::Normal) {
        let word = |v: serde_json::Result<serde_json::Value>| {
            v.ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
        };
        let priority = word(serde_json::to_value(alarm.priority));
        let state = word(serde_json::to_value(alarm.state));
        alarms.get_or_create(&labels(&[("priority", &priority), ("state", &state)])).inc();
    }
    let restarts = page.counters(metric::GATEWAY_PART_RESTARTS);
    for part in &health.parts {
        restarts.get_or_create(&labels(&[("part", &part.name)])).inc_by(part.restarts);
    }
    config(api, &mut page);
    #[cfg(feature = "mqtt")]
    if let Some(broker) = &api.broker {
        let status = broker.status();
        page.gauge(metric::GATEWAY_BROKER_CLIENTS, status.connected as u64);
        page.gauge(metric::GATEWAY_BROKER_SESSIONS, status.clients.len() as u64);
        page.gauge(metric::GATEWAY_BROKER_RETAINED, status.retained as u64);
        let queued: usize = status.clients.iter().map(|c| c.queued_bytes).sum();
        page.gauge(metric::GATEWAY_BROKER_QUEUED, queued as u64);
        let refused = page.counters(metric::GATEWAY_BROKER_REFUSED);
        refused.get_or_create(&Labels::new()).inc_by(status.refused);
    }
    page
}

fn devices(api: &Api, page: &mut Page) {
    let samples = page.counters(metric::GATEWAY_SAMPLES);
    let errors = page.counters(metric::GATEWAY_READ_ERRORS);
    let up = page.gauges(metric::GATEWAY_DEVICE_UP);
    let overruns = page.counters(metric::GATEWAY_OVERRUNS);
    for (index, device) in api.vitals.health.indexed() {
        let of = labels(&[("device", &device.name)]);
        for (quality, count) in ["good", "uncertain", "bad"].into_iter().zip(api.counts.of(index)) {
            samples.get_or_create(&labels(&[("device", &device.name), ("quality", quality)])).inc_by(count);
        }
        errors.get_or_create(&of).inc_by(device.bad);
        up.get_or_create(&of).set(i64::from(device.connected));
        if let Some(count) = device.poll.as_ref().map(|p| p.overruns) {
            overruns.get_or_create(&of).inc_by(count);
        }
    }
}

/// What lines tell of polled devices.
fn polls(api: &Api, page: &mut Page) {
    let requests = page.counters(metric::GATEWAY_POLL_REQUESTS);
    let failures = page.counters(metric::GATEWAY_POLL_FAILURES);
    let round_trip = page.gauges(metric::GATEWAY_POLL_ROUND_TRIP);
    let parked = page.gauges(metric::GATEWAY_POLL_PARKED);
    let planned = page.gauges(metric::GATEWAY_POLL_PLANNED);
    let spare = page.gauges(metric::GATEWAY_POLL_SPARE);
    let holes = page.gauges(metric::GATEWAY_POLL_HOLES);
    let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    for device in api.vitals.health.list() {
        let Some(poll) = device.poll else { continue };
        let of = labels(&[("device", &device.name), ("line", &poll.line)]);
        requests.get_or_create(&of).inc_by(poll.requests);
        let causes = [
            ("timeout", poll.timeouts),
            ("refused", poll.refused),
            ("wrong", poll.wrong),
            ("late", poll.late),
        ];
        for (cause, count) in causes {
            let of = labels(&[("device", &device.name), ("line", &poll.line), ("cause", cause)]);
            failures.get_or_create(&of).inc_by(count);
        }
        round_trip.get_or_create(&of).set(gauge(poll.round_trip_us));
        parked.get_or_create(&of).set(i64::from(poll.parked));
        planned.get_or_create(&of).set(gauge(poll.requests_per_hour));
        spare.get_or_create(&of).set(gauge(poll.spare));
        holes.get_or_create(&of).set(gauge(poll.holes as u64));
    }
}

fn config(api: &Api, page: &mut Page) {
    let view = api.reload.view();
    let taken = view.last_reload.as_ref().is_none_or(|r| r.taken);
    page.gauge(metric::GATEWAY_CONFIG_OK, u64::from(taken));
    page.gauge(metric::GATEWAY_CONFIG_TAKEN, u64::try_from(view.taken_us / 1_000_000).unwrap_or(0));
    let reloads = page.counters(metric::GATEWAY_CONFIG_RELOADS);
    let (taken, refused) = api.reload.counts();
    for (result, count) in [("taken", taken), ("refused", refused)] {
        reloads.get_or_create(&labels(&[("result", result)])).inc_by(count);
    }
}

fn labels(of: &[(&'static str, &str)]) -> Labels {
    of.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}
