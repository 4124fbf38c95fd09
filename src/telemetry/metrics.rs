//! Every metric that code counts into, declared once.
//!
//! Figures that somebody keeps anyway (storage, memory budgets, the allocator) are not copied
//! here: whoever answers a scrape builds their families with [`super::family`].

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    core::Collector,
};

/// From a quick write to a query at its deadline.
const REQUEST_SECONDS_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

/// Handles to count with; cloned handles count into the same metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// By handler (route pattern) and status code.
    pub http_requests: IntCounterVec,
    /// By handler.
    pub http_request_seconds: HistogramVec,
    pub http_connections: IntGauge,
    /// By protocol version and status code.
    pub remote_write_requests: IntCounterVec,
    /// By kind: float, histogram, exemplar.
    pub samples_accepted: IntCounterVec,
    /// By reason.
    pub samples_refused: IntCounterVec,
    pub queries_running: IntGauge,
    pub queries_queued: IntGauge,
    /// Queries that were refused memory that others held, and had their turn later.
    pub queries_collided: IntCounter,
    /// Queries turned away because the queue was full.
    pub queries_turned_away: IntCounter,
}

impl Metrics {
    pub fn new() -> Self {
        let registry = Registry::new();
        let metrics = Self {
            http_requests: declare(&registry, || {
                let opts = Opts::new("onggi_http_requests_total", "HTTP requests answered.");
                IntCounterVec::new(opts, &["handler", "code"])
            }),
            http_request_seconds: declare(&registry, || {
                let opts = HistogramOpts::new(
                    "onggi_http_request_duration_seconds",
                    "Time from the end of the request's header to the beginning of the answer.",
                );
                HistogramVec::new(opts.buckets(REQUEST_SECONDS_BUCKETS.to_vec()), &["handler"])
            }),
            http_connections: declare(&registry, || {
                IntGauge::new("onggi_http_connections", "Open HTTP connections.")
            }),
            remote_write_requests: declare(&registry, || {
                let opts = Opts::new("onggi_remote_write_requests_total", "Remote-write requests answered.");
                IntCounterVec::new(opts, &["protocol", "code"])
            }),
            samples_accepted: declare(&registry, || {
                let opts = Opts::new("onggi_samples_accepted_total", "Samples stored and acknowledged.");
                IntCounterVec::new(opts, &["kind"])
            }),
            samples_refused: declare(&registry, || {
                let opts = Opts::new("onggi_samples_refused_total", "Samples refused for good.");
                IntCounterVec::new(opts, &["reason"])
            }),
            queries_running: declare(&registry, || {
                IntGauge::new("onggi_queries_running", "Queries being evaluated.")
            }),
            queries_queued: declare(&registry, || {
                IntGauge::new("onggi_queries_queued", "Queries waiting for a thread.")
            }),
            queries_collided: declare(&registry, || {
                IntCounter::new(
                    "onggi_queries_collided_total",
                    "Queries that began anew because others held the memory that they wanted.",
                )
            }),
            queries_turned_away: declare(&registry, || {
                IntCounter::new(
                    "onggi_queries_turned_away_total",
                    "Queries refused because the queue was full.",
                )
            }),
            registry,
        };
        metrics.declare_process();
        for kind in ["float", "histogram", "exemplar"] {
            metrics.samples_accepted.with_label_values(&[kind]);
        }
        metrics
    }

    /// `process_*`: CPU, resident memory, file descriptors, start time.
    fn declare_process(&self) {
        let process = prometheus::process_collector::ProcessCollector::for_self();
        self.registry.register(Box::new(process)).expect("process metrics are registered once");
    }

    /// The text exposition of these metrics and of `families` beside them.
    pub fn render(
        &self,
        mut families: Vec<prometheus::proto::MetricFamily>,
    ) -> Result<Vec<u8>, prometheus::Error> {
        // Of what there is none just now; the encoder takes it for a mistake.
        families.retain(|family| !family.get_metric().is_empty());
        let mut text = Vec::with_capacity(16 << 10);
        let encoder = TextEncoder::new();
        encoder.encode(&self.registry.gather(), &mut text)?;
        encoder.encode(&families, &mut text)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The content type of [`Metrics::render`].
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

fn declare<C: Collector + Clone + 'static>(
    registry: &Registry,
    build: impl FnOnce() -> Result<C, prometheus::Error>,
) -> C {
    let metric = build().expect("names and labels of metrics are valid");
    registry.register(Box::new(metric.clone())).expect("metrics are declared once");
    metric
}

#[cfg(test)]
mod tests {
    use super::super::family;
    use super::*;

    #[test]
    fn what_is_counted_is_rendered_beside_what_is_read() {
        let metrics = Metrics::new();
        metrics.samples_accepted.with_label_values(&["float"]).inc_by(3);
        let families = vec![family::gauge("onggi_active_series", "Series in the head.", 7.0)];

        let text = String::from_utf8(metrics.render(families).expect("encode")).expect("UTF-8");

        assert!(text.contains("onggi_samples_accepted_total{kind=\"float\"} 3\n"), "{text}");
        assert!(text.contains("# TYPE onggi_active_series gauge\nonggi_active_series 7\n"), "{text}");
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}
