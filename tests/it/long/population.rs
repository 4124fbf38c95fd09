//! Who sends: targets with fifty series each, as a pod of a web service has, and their values.
//!
//! Owns what a series is and how its value goes on from minute to minute: counters that run, that
//! tick now and then and that never move, gauges that wander, stay or have decimals, and a latency
//! histogram with its buckets. Everything follows from the seed. How it travels is [`super::request`]'s.

use crate::support::random::mix;

/// Upper bounds of the histogram's buckets.
const BOUNDS: [&str; 12] =
    ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];
const CODES: [&str; 6] = ["200", "201", "301", "404", "429", "500"];
const HANDLERS: [&str; 3] = ["/", "/api/items", "/api/login"];
/// Counters that most processes have.
const COUNTERS: [(&str, Counter); 8] = [
    ("process_cpu_milliseconds_total", Counter::Busy(800)),
    ("network_receive_bytes_total", Counter::Busy(90_000)),
    ("network_transmit_bytes_total", Counter::Busy(40_000)),
    ("disk_read_bytes_total", Counter::Seldom(4096)),
    ("disk_written_bytes_total", Counter::Busy(12_288)),
    ("gc_runs_total", Counter::Seldom(1)),
    ("errors_total", Counter::Idle),
    ("restarts_total", Counter::Idle),
];
const GAUGES: [(&str, Gauge); 8] = [
    ("up", Gauge::Constant(1.0)),
    ("process_start_time_seconds", Gauge::Constant(1_767_225_661.25)),
    ("process_resident_memory_bytes", Gauge::Walk { unit: 4096.0, step: 64 }),
    ("process_open_fds", Gauge::Walk { unit: 1.0, step: 3 }),
    ("threads", Gauge::Constant(24.0)),
    ("cpu_usage_ratio", Gauge::Walk { unit: 0.001, step: 20 }),
    ("queue_length", Gauge::Walk { unit: 1.0, step: 2 }),
    ("temperature_celsius", Gauge::Walk { unit: 0.1, step: 2 }),
];
/// Sum and count of the histogram.
const SUMMARIES: usize = 2;

const QUEUES: [&str; 2] = ["in", "out"];
const FIRST_BUCKET: usize = CODES.len() * HANDLERS.len() + COUNTERS.len() + GAUGES.len();
/// The histogram among the series of a target.
const HISTOGRAM: std::ops::Range<usize> = FIRST_BUCKET..FIRST_BUCKET + BOUNDS.len() + SUMMARIES;

/// Series of one target.
pub const TARGET_SERIES: usize = HISTOGRAM.end + QUEUES.len();

/// Labels that tell targets apart; the series of a target share their values.
pub const TARGET_LABELS: [&str; 5] = ["instance", "job", "namespace", "node", "pod"];

#[derive(Clone, Copy)]
enum Counter {
    /// By about so much a minute.
    Busy(u64),
    /// By so much, one minute in ten.
    Seldom(u64),
    Idle,
}

#[derive(Clone, Copy)]
enum Gauge {
    Constant(f64),
    Walk { unit: f64, step: u64 },
}

#[derive(Clone, Copy)]
enum Kind {
    Counter(Counter),
    Gauge(Gauge),
    /// Of the histogram, the lowest first.
    Bucket,
    Sum,
    Count,
}

/// A series of whatever target: its own labels, and how its value goes on.
pub struct Shape {
    pub labels: Vec<(&'static str, &'static str)>,
    kind: Kind,
}

/// The series of a target, in the order in which all of them are sent.
pub fn shapes() -> Vec<Shape> {
    let shape = |name, labels: &[(&'static str, &'static str)], kind| Shape {
        labels: [&[("__name__", name)], labels].concat(),
        kind,
    };
    let mut shapes = Vec::with_capacity(TARGET_SERIES);
    for handler in HANDLERS {
        for (at, code) in CODES.into_iter().enumerate() {
            let counter = match at {
                0 => Counter::Busy(300),
                1 | 3 => Counter::Seldom(2),
                _ => Counter::Idle,
            };
            let labels = [("code", code), ("handler", handler)];
            shapes.push(shape("http_requests_total", &labels, Kind::Counter(counter)));
        }
    }
    shapes.extend(COUNTERS.map(|(name, counter)| shape(name, &[], Kind::Counter(counter))));
    shapes.extend(GAUGES.map(|(name, gauge)| shape(name, &[], Kind::Gauge(gauge))));
    for bound in BOUNDS {
        shapes.push(shape("http_request_duration_seconds_bucket", &[("le", bound)], Kind::Bucket));
    }
    shapes.push(shape("http_request_duration_seconds_sum", &[], Kind::Sum));
    shapes.push(shape("http_request_duration_seconds_count", &[], Kind::Count));
    for queue in QUEUES {
        let gauge = Kind::Gauge(Gauge::Walk { unit: 1.0, step: 5 });
        shapes.push(shape("queue_capacity", &[("queue", queue)], gauge));
    }
    assert_eq!(shapes.len(), TARGET_SERIES);
    shapes
}

/// The metrics that a target has.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = shapes().iter().map(|shape| shape.labels[0].1).collect();
    names.dedup();
    names
}

/// One target: its labels, and where each of its series is.
pub struct Target {
    /// Values of [`TARGET_LABELS`].
    pub labels: [String; 5],
    /// When in the minute it is scraped.
    pub offset_ms: i64,
    random: u64,
    values: Vec<f64>,
}

impl Target {
    /// The target of this number; no two numbers have the same labels.
    pub fn new(seed: u64, number: u64) -> Self {
        let id = mix(seed ^ mix(number));
        let service = id % 40;
        let labels = [
            format!("10.{}.{}.{}:9090", number >> 16 & 255, number >> 8 & 255, number & 255),
            format!("service-{service}"),
            format!("team-{}", service % 8),
            format!("node-{:03}", id >> 8 & 127),
            format!("service-{service}-{:08x}-{number:05}", id >> 32),
        ];
        // The histogram begins empty, the others somewhere.
        let somewhere = |at: usize| (mix(id ^ at as u64) % 1000) as f64;
        let values = (0..TARGET_SERIES).map(|at| if HISTOGRAM.contains(&at) { 0.0 } else { somewhere(at) });
        let values = values.collect();
        Self { labels, offset_ms: (id % 60_000) as i64, random: id, values }
    }

    /// Goes on by a minute; the values are those of the shapes.
    pub fn next_minute(&mut self, shapes: &[Shape]) -> &[f64] {
        let mut in_bucket = 0.0;
        let mut seconds = 0.0;
        for (at, shape) in shapes.iter().enumerate() {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let random = mix(self.random);
            let value = &mut self.values[at];
            match shape.kind {
                Kind::Counter(Counter::Busy(rate)) => *value += (rate / 2 + random % rate) as f64,
                Kind::Counter(Counter::Seldom(by)) if random.is_multiple_of(10) => *value += by as f64,
                Kind::Counter(_) => {}
                Kind::Gauge(Gauge::Constant(constant)) => *value = constant,
                Kind::Gauge(Gauge::Walk { unit, step }) => {
                    let units = (*value / unit).round() + (random % (2 * step + 1)) as f64 - step as f64;
                    *value = units.max(0.0) * unit;
                }
                // Cumulative over buckets and over time; most requests are quick.
                Kind::Bucket => {
                    let place = at - HISTOGRAM.start;
                    let here = random % (40 >> (place.abs_diff(3)).min(5)).max(1);
                    in_bucket += here as f64;
                    seconds += here as f64 * 0.004 * f64::from(1 << place.min(11) as u32);
                    *value += in_bucket;
                }
                Kind::Sum => *value += (seconds * 1e6).round() / 1e6,
                Kind::Count => *value += in_bucket,
            }
        }
        &self.values
    }
}
