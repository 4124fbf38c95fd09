//! Builds metric families out of figures that are kept elsewhere.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

pub fn gauge(name: &str, help: &str, value: f64) -> MetricFamily {
    gauges(name, help, [(&[] as &[(&str, &str)], value)])
}

pub fn counter(name: &str, help: &str, value: u64) -> MetricFamily {
    counter_float(name, help, value as f64)
}

pub fn counter_float(name: &str, help: &str, value: f64) -> MetricFamily {
    counters(name, help, [(&[] as &[(&str, &str)], value)])
}

/// One counter per label set.
pub fn counters<'a>(
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (&'a [(&'a str, &'a str)], f64)>,
) -> MetricFamily {
    let metrics = values.into_iter().map(|(labels, value)| {
        let mut counter = Counter::default();
        counter.set_value(value);
        let mut metric = Metric::from_label(labels.iter().map(|(n, v)| pair(n, v)).collect());
        metric.set_counter(counter);
        metric
    });
    family(name, help, MetricType::COUNTER, metrics.collect())
}

/// One gauge per label set.
pub fn gauges<'a>(
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (&'a [(&'a str, &'a str)], f64)>,
) -> MetricFamily {
    let metrics = values.into_iter().map(|(labels, value)| {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_label(labels.iter().map(|(n, v)| pair(n, v)).collect());
        metric.set_gauge(gauge);
        metric
    });
    family(name, help, MetricType::GAUGE, metrics.collect())
}

/// A histogram from plain counts: `(upper bound, count in this bucket alone)`, without +Inf.
pub fn histogram(name: &str, help: &str, buckets: &[(f64, u64)], count: u64, sum: f64) -> MetricFamily {
    let only = Distribution { buckets: buckets.to_vec(), count, sum };
    histograms(name, help, [(&[] as &[(&str, &str)], only)])
}

/// What a histogram counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// `(upper bound, count in this bucket alone)`, without +Inf.
    pub buckets: Vec<(f64, u64)>,
    pub count: u64,
    pub sum: f64,
}

/// One histogram per label set.
pub fn histograms<'a>(
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (&'a [(&'a str, &'a str)], Distribution)>,
) -> MetricFamily {
    let metrics = values.into_iter().map(|(labels, distribution)| {
        let mut metric = Metric::from_label(labels.iter().map(|(n, v)| pair(n, v)).collect());
        metric.set_histogram(histogram_of(&distribution));
        metric
    });
    family(name, help, MetricType::HISTOGRAM, metrics.collect())
}

fn histogram_of(distribution: &Distribution) -> Histogram {
    let mut cumulative = 0;
    let buckets = distribution.buckets.iter().map(|(upper_bound, in_bucket)| {
        cumulative += in_bucket;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*upper_bound);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(distribution.count);
    histogram.set_sample_sum(distribution.sum);
    histogram
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}
