//! The registry of the cloud's metrics and those of the HTTP server. Other parts register theirs here;
//! names come from `common::names::metric`.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::CommandState;
use common::names::metric;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Media type of the text format.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Upper ends of the buckets, seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

/// The metrics of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    requests: Family<RequestLabels, Counter<u64, AtomicU64>>,
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    commands: Family<StateLabels, Counter<u64, AtomicU64>>,
}

impl Metrics {
    /// A registry with the program's version and the metrics of this crate.
    pub fn new(version: &str) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let metrics = Self {
            registry: Arc::default(),
            requests: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            commands: Family::default(),
        };
        let build = Info::new(vec![("version".to_owned(), version.to_owned())]);
        let (requests, seconds, commands) =
            (metrics.requests.clone(), metrics.seconds.clone(), metrics.commands.clone());
        metrics.register(|r| {
            r.register(metric::BUILD_INFO.0, metric::BUILD_INFO.1, build);
            r.register(metric::CLOUD_REQUESTS.0, metric::CLOUD_REQUESTS.1, requests);
            r.register(metric::CLOUD_REQUEST_SECONDS.0, metric::CLOUD_REQUEST_SECONDS.1, seconds);
            r.register(metric::CLOUD_COMMANDS.0, metric::CLOUD_COMMANDS.1, commands);
        });
        metrics
    }

    /// Registers the metrics of another part.
    pub fn register<T>(&self, with: impl FnOnce(&mut Registry) -> T) -> T {
        with(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(out)
    }

    pub(crate) fn request(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        let route = route.to_owned();
        self.seconds.get_or_create(&RouteLabels { route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&RequestLabels { route, method, status }).inc();
    }

    pub(crate) fn command(&self, state: CommandState) {
        let state = match state {
            CommandState::Succeeded => "succeeded",
            CommandState::Rejected => "rejected",
            CommandState::Failed => "failed",
            CommandState::Expired => "expired",
            CommandState::Unknown => "unknown",
            CommandState::Accepted | CommandState::Sent | CommandState::Executing => return,
        };
        self.commands.get_or_create(&StateLabels { state }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let metrics = Metrics::new("1.2.3");
        metrics.request("/api/v1/twins", "GET", 200, Duration::from_millis(3));
        metrics.command(CommandState::Succeeded);
        metrics.command(CommandState::Sent);
        let text = metrics.text().unwrap();
        for line in [
            "twinway_build_info{version=\"1.2.3\"} 1",
            "twinway_cloud_http_requests_total{route=\"/api/v1/twins\",method=\"GET\",status=\"200\"} 1",
            "twinway_cloud_http_request_seconds_bucket{le=\"0.005\",route=\"/api/v1/twins\"} 1",
            "twinway_cloud_commands_total{state=\"succeeded\"} 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("sent"));
    }
}
