//! What targets expose: names, labels and the course of each series.
//!
//! - [`node`]: the node exporter, and what kube-state-metrics knows of a node
//! - [`pod`]: cAdvisor, kube-state-metrics and a web service that instruments itself
//!
//! Here are the series of a group, how they are written, and what every process in Go exposes. Who is whose node and
//! pod is [`super::names`]'.

mod node;
mod pod;

use super::value::{Course, Histogram, Value, unit_interval};
use crate::support::random::Random;
use crate::support::wire::put_bytes;

const CLUSTER: &str = "prod-eu-1";

type Label<'a> = (&'a str, &'a str);

/// One series: where its labels stand among those of its group, and its value.
pub struct Series {
    labels_from: usize,
    labels_to: usize,
    pub value: Value,
}

/// Series that are scraped, live and end together.
#[derive(Default)]
pub struct Exposition {
    /// Encoded label fields of all series.
    labels: Vec<u8>,
    pub series: Vec<Series>,
    /// Each with the place of its first series.
    pub histograms: Vec<(usize, Histogram)>,
}

impl Exposition {
    /// The label fields of a series, as a remote-write 1.0 message has them.
    pub fn labels_of(&self, series: &Series) -> &[u8] {
        &self.labels[series.labels_from..series.labels_to]
    }
}

/// Fills an exposition with series that share labels.
struct Writer<'a> {
    base: &'a [Label<'a>],
    random: &'a mut Random,
    /// Whether counters begin at nothing.
    is_fresh: bool,
    out: Exposition,
}

impl<'a> Writer<'a> {
    fn new(base: &'a [Label<'a>], random: &'a mut Random, is_fresh: bool) -> Self {
        Self { base, random, is_fresh, out: Exposition::default() }
    }

    fn put(&mut self, name: &str, more: &[Label<'_>], course: Course) {
        let mut labels = vec![("__name__", name), ("cluster", CLUSTER)];
        labels.extend_from_slice(self.base);
        labels.extend_from_slice(more);
        labels.sort_unstable();
        let labels_from = self.out.labels.len();
        let mut label = Vec::new();
        for (name, value) in labels {
            label.clear();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(&mut self.out.labels, 1, &label);
        }
        // Somewhere within the last five days its process began.
        let age_s = if self.is_fresh { 0.0 } else { unit_interval(self.random) * 432_000.0 };
        let labels_to = self.out.labels.len();
        self.out.series.push(Series { labels_from, labels_to, value: Value::new(course, age_s) });
    }

    /// A number between two powers of ten, small ones as likely as large ones.
    fn exponential(&mut self, from: f64, to: f64) -> f64 {
        10_f64.powf(from + unit_interval(self.random) * (to - from))
    }

    fn scrape(&mut self, samples: f64) {
        self.put("up", &[], Course::Constant(1.0));
        self.put("scrape_duration_seconds", &[], Course::Noise(0.02));
        self.put("scrape_samples_scraped", &[], Course::Constant(samples));
    }

    fn go_runtime(&mut self) {
        let heap = self.exponential(6.6, 8.7);
        self.put("go_goroutines", &[], Course::Level(60.0));
        self.put("go_threads", &[], Course::Constant(14.0));
        self.put("go_info", &[("version", "go1.24.2")], Course::Constant(1.0));
        for quantile in ["0", "0.25", "0.5", "0.75", "1"] {
            self.put("go_gc_duration_seconds", &[("quantile", quantile)], Course::Noise(0.0001));
        }
        self.put("go_gc_duration_seconds_sum", &[], Course::nanoseconds(0.0002));
        self.put("go_gc_duration_seconds_count", &[], Course::Events(0.03));
        for what in ["alloc", "heap_alloc", "heap_inuse", "heap_idle", "heap_released", "next_gc"] {
            self.put(&format!("go_memstats_{what}_bytes"), &[], Course::Pages(heap));
        }
        for what in ["sys", "heap_sys", "stack_inuse", "mspan_sys", "mcache_sys", "gc_sys", "other_sys"] {
            self.put(&format!("go_memstats_{what}_bytes"), &[], Course::Constant((heap / 8.0).round()));
        }
        self.put("go_memstats_alloc_bytes_total", &[], Course::Events(heap / 60.0));
        self.put("go_memstats_mallocs_total", &[], Course::Events(9000.0));
        self.put("go_memstats_frees_total", &[], Course::Events(8990.0));
        self.put("go_memstats_heap_objects", &[], Course::Level(120_000.0));
        self.put("go_memstats_last_gc_time_seconds", &[], Course::Noise(1.75e9));
        self.put("process_cpu_seconds_total", &[], Course::ticks(0.12));
        self.put("process_open_fds", &[], Course::Level(40.0));
        self.put("process_max_fds", &[], Course::Constant(1_048_576.0));
        self.put("process_resident_memory_bytes", &[], Course::Pages(heap * 1.4));
        self.put("process_virtual_memory_bytes", &[], Course::Constant(1_327_558_656.0));
        let began = 1_750_000_000.0 + self.random.below(40_000_000) as f64 / 100.0;
        self.put("process_start_time_seconds", &[], Course::Constant(began));
    }
}
