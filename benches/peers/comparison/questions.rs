//! What dashboards ask of the cluster: a table of questions, and how each becomes a request.

use crate::support::http::{Client, Response, escape, seconds};

/// One question; times are relative to the end of the data.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub name: &'static str,
    pub form: Form,
}

#[derive(Clone, Copy, Debug)]
pub enum Form {
    Instant(&'static str),
    Range { expression: &'static str, minutes: i64, step_s: i64 },
    LabelNames { matching: Option<&'static str>, minutes: i64 },
    LabelValues { label: &'static str, matching: Option<&'static str>, minutes: i64 },
    Series { matching: &'static str, minutes: i64 },
}

const fn instant(name: &'static str, expression: &'static str) -> Question {
    Question { name, form: Form::Instant(expression) }
}

const fn range(name: &'static str, minutes: i64, step_s: i64, expression: &'static str) -> Question {
    Question { name, form: Form::Range { expression, minutes, step_s } }
}

const fn names(name: &'static str, matching: Option<&'static str>) -> Question {
    Question { name, form: Form::LabelNames { matching, minutes: 60 } }
}

const fn values(name: &'static str, label: &'static str, matching: Option<&'static str>) -> Question {
    Question { name, form: Form::LabelValues { label, matching, minutes: 60 } }
}

/// Points of a line that fit a screen.
const SCREEN_POINTS: i64 = 500;
const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;

const CPU_BUSY: &str = r#"1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))"#;
const CPU_BY_NAMESPACE: &str = "sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))";
const P99_BY_JOB: &str =
    "histogram_quantile(0.99, sum by (le, job) (rate(http_request_duration_seconds_bucket[5m])))";

/// The suite, in the order in which it is asked.
pub const SUITE: &[Question] = &[
    instant("targets up", "count by (job) (up == 1)"),
    instant("cpu by namespace", CPU_BY_NAMESPACE),
    instant("p99 by job", P99_BY_JOB),
    instant("top memory", "topk(10, container_memory_working_set_bytes)"),
    instant("series by metric", r#"count by (__name__) ({__name__=~".+"})"#),
    instant("pods by namespace", "count by (namespace, pod) (http_requests_total)"),
    instant("absent", r#"absent(up{job="no-such-job"})"#),
    instant(
        "disk full in 4 h",
        r#"predict_linear(node_filesystem_avail_bytes{fstype!="tmpfs"}[1h], 4 * 3600)"#,
    ),
    instant("subquery of rates", "max_over_time(sum by (job) (rate(http_requests_total[5m]))[30m:1m])"),
    instant("raw samples", r#"container_memory_rss{namespace="checkout"}[10m]"#),
    range("1 h: cpu busy", HOUR, 15, CPU_BUSY),
    range("1 h: a gauge, raw", HOUR, 15, "go_goroutines"),
    range("1 h: a bucket, raw", HOUR, 60, r#"http_request_duration_seconds_bucket{le="0.5"}"#),
    range("1 h: cpu by namespace", HOUR, 15, CPU_BY_NAMESPACE),
    range(
        "1 h: error ratio",
        HOUR,
        15,
        r#"sum by (job) (rate(http_requests_total{code=~"5.."}[5m])) / sum by (job) (rate(http_requests_total[5m]))"#,
    ),
    range("1 h: p99 by job", HOUR, 60, P99_BY_JOB),
    range(
        "1 h: p50 by route",
        HOUR,
        15,
        r#"histogram_quantile(0.5, sum by (le, method, path) (rate(http_request_duration_seconds_bucket{namespace="payments"}[5m])))"#,
    ),
    range("1 h: top routes", HOUR, 15, "topk(5, sum by (job, path) (rate(http_requests_total[5m])))"),
    range(
        "1 h: quantile of pods",
        HOUR,
        60,
        "quantile by (namespace) (0.9, rate(container_cpu_usage_seconds_total[5m]))",
    ),
    range(
        "1 h: regular expression",
        HOUR,
        15,
        r#"sum by (pod) (container_memory_working_set_bytes{pod=~"(cart-api|gateway|ledger)-.*",namespace!~"monitoring|data"})"#,
    ),
    range(
        "1 h: join with pod info",
        HOUR,
        60,
        "sum by (node) (rate(container_cpu_usage_seconds_total[5m]) * on (namespace, pod) group_left (host_ip) \
         max by (namespace, pod, host_ip) (kube_pod_info))",
    ),
    range(
        "1 h: memory against limit",
        HOUR,
        60,
        "container_memory_working_set_bytes / container_spec_memory_limit_bytes > 0.4",
    ),
    range(
        "1 h: label replace",
        HOUR,
        60,
        r#"sum by (app) (label_replace(rate(http_requests_total[5m]), "app", "$1", "pod", "(.*)-[^-]+-[^-]+"))"#,
    ),
    range(
        "1 h: restarts",
        HOUR,
        60,
        "sum by (namespace) (increase(kube_pod_container_status_restarts_total[15m]))",
    ),
    range(
        "1 h: network by node",
        HOUR,
        15,
        r#"sum by (node) (irate(node_network_receive_bytes_total{device!="lo"}[2m]) * 8)"#,
    ),
    range("1 h: count of everything", HOUR, 60, r#"count({job=~".+"})"#),
    range("2 h: maximum of memory", 2 * HOUR, 300, "max_over_time(container_memory_working_set_bytes[5m])"),
    range(
        "2 h: average of memory",
        2 * HOUR,
        60,
        "avg by (namespace) (avg_over_time(process_resident_memory_bytes[10m]))",
    ),
    range(
        "2 h: subquery of rates",
        2 * HOUR,
        300,
        r#"max_over_time(rate(http_requests_total{path="/api/v1/checkout",code="200"}[5m])[10m:1m])"#,
    ),
    range("6 h: cpu busy", 6 * HOUR, 60, CPU_BUSY),
    range("6 h: p99 by job", 6 * HOUR, 60, P99_BY_JOB),
    range("6 h: maximum of memory", 6 * HOUR, 60, "max_over_time(container_memory_working_set_bytes[10m])"),
    range("24 h: cpu by namespace", DAY, 300, CPU_BY_NAMESPACE),
    range("24 h: p99 by job", DAY, 300, P99_BY_JOB),
    range("24 h: average of load", DAY, 300, "avg_over_time(node_load1[1h])"),
    range(
        "24 h: maximum of memory",
        DAY,
        300,
        "max by (namespace) (max_over_time(container_memory_working_set_bytes[5m]))",
    ),
    range("24 h: a gauge, raw", DAY, 300, "go_goroutines"),
    range("24 h: all requests", DAY, 60, "sum(rate(http_requests_total[5m]))"),
    names("label names", None),
    names("label names of a metric", Some("container_cpu_usage_seconds_total")),
    values("metric names", "__name__", None),
    values("pods of a namespace", "pod", Some(r#"kube_pod_info{namespace="checkout"}"#)),
    values("pods", "pod", None),
    Question {
        name: "series of a metric",
        form: Form::Series { matching: r#"http_requests_total{namespace="checkout"}"#, minutes: 60 },
    },
];

/// Whether a server may answer from a cache of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Results {
    Computed,
    MayBeCached,
}

impl Question {
    /// How much time it looks at. What an expression looks back further is not part of it.
    pub fn minutes(&self) -> i64 {
        match self.form {
            Form::Instant(_) => 0,
            Form::Range { minutes, .. }
            | Form::LabelNames { minutes, .. }
            | Form::LabelValues { minutes, .. }
            | Form::Series { minutes, .. } => minutes,
        }
    }

    /// The same over another time, for what asks about a time at all, with as many points as fit a screen.
    pub fn over(mut self, over: i64) -> Self {
        match &mut self.form {
            Form::Instant(_) => {}
            Form::Range { minutes, step_s, .. } => {
                *minutes = over;
                *step_s = (over * 60 / SCREEN_POINTS).max(60);
            }
            Form::LabelNames { minutes, .. }
            | Form::LabelValues { minutes, .. }
            | Form::Series { minutes, .. } => *minutes = over,
        }
        self
    }

    /// Asks, and waits for the whole answer.
    pub fn ask(&self, client: &Client, end_ms: i64, results: Results) -> Result<Response, String> {
        let (start, end) = (seconds(end_ms - self.minutes() * 60_000), seconds(end_ms));
        let time = [("start", &*start), ("end", &*end)];
        // Servers without a cache of results do not know the word.
        let uncached: &[(&str, &str)] = match results {
            Results::Computed => &[("nocache", "1")],
            Results::MayBeCached => &[],
        };
        match self.form {
            Form::Instant(expression) => {
                let own = [("query", expression), ("time", &*end)];
                client.form("/api/v1/query", &[&own[..], uncached].concat())
            }
            Form::Range { expression, step_s, .. } => {
                let step = step_s.to_string();
                let own = [("query", expression), ("step", &*step)];
                client.form("/api/v1/query_range", &[&own[..], &time, uncached].concat())
            }
            Form::LabelNames { matching, .. } => {
                let own: Vec<_> = matching.iter().map(|matching| ("match[]", *matching)).collect();
                client.form("/api/v1/labels", &[&own[..], &time, uncached].concat())
            }
            Form::LabelValues { label, matching, .. } => {
                let own: Vec<_> = matching.iter().map(|matching| ("match[]", *matching)).collect();
                let all = [&own[..], &time, uncached].concat();
                let texts: Vec<_> =
                    all.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
                client.get(&format!("/api/v1/label/{label}/values?{}", texts.join("&")))
            }
            Form::Series { matching, .. } => {
                client.form("/api/v1/series", &[&[("match[]", matching)][..], &time, uncached].concat())
            }
        }
    }
}
