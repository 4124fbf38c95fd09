//! What a question pays for each series that it selects, before it looks at a sample: the labels of a
//! part's rows, their order and their hash; and what the samples themselves cost.
//!
//! Figures are per series, of 100,000 in one part: gauges of pods, and histograms whose buckets stand
//! in a part in another order than in an answer. Those of samples are per sample, of two hours of every tenth series.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use onggi::model::{Labels, LabelsHash, TenantId, TimeRange};
use onggi::querier::QueryGuard;
use onggi::storage::internals::{MemoryContainer, PartOptions, PartReader, PartSeries, PartWriter};

const START_MS: i64 = 1_760_000_000_000;
const SCRAPE_MS: i64 = 15_000;
/// Samples of a series over two hours.
const SAMPLES: usize = 480;
const PODS: usize = 500;
const GAUGES: usize = 140;
const HISTOGRAMS: usize = 5;
const BOUNDS: [&str; 12] =
    ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];

fn labels(metric: &str, pod: usize, le: &str) -> Labels {
    let instance = format!("10.20.{:03}.{:03}:9090", pod / 100, pod % 100);
    let pod = format!("api-6c5d8b7f9-{pod:05}");
    Labels::from_pairs([
        ("__name__", metric),
        ("cluster", "production-eu-1"),
        ("container", "api"),
        ("instance", instance.as_str()),
        ("job", "kubernetes-pods"),
        ("le", le),
        ("namespace", "shop"),
        ("pod", pod.as_str()),
    ])
}

/// In the order of rows.
fn series() -> Vec<Labels> {
    let gauges = (0..GAUGES).flat_map(|metric| {
        (0..PODS).map(move |pod| labels(&format!("container_gauge_{metric:03}"), pod, ""))
    });
    let buckets = (0..HISTOGRAMS).flat_map(|metric| {
        let name = format!("http_request_duration_seconds_{metric}_bucket");
        let of_pod = move |pod| BOUNDS.map(|le| labels(&name, pod, le));
        (0..PODS).flat_map(of_pod)
    });
    gauges.chain(buckets).collect()
}

/// A part of these series, each with so many samples.
fn part(series: &[Labels], samples: usize) -> PartReader<MemoryContainer> {
    let mut container = MemoryContainer::default();
    let mut writer = PartWriter::new(&mut container, PartOptions::default());
    for (number, labels) in series.iter().enumerate() {
        let one = PartSeries {
            timestamps_ms: (0..samples).map(|at| START_MS + at as i64 * SCRAPE_MS).collect(),
            values: (0..samples).map(|at| (number + at * (1 + number % 7)) as f64).collect(),
            ..PartSeries::new(TenantId::anonymous(), labels.clone())
        };
        writer.add(&one).expect("in order");
    }
    writer.finish().expect("in memory");
    PartReader::open(container).expect("just written")
}

fn select(c: &mut Criterion) {
    let series = series();
    let reader = part(&series, 1);
    let guard = QueryGuard::unlimited();
    let mut group = c.benchmark_group("select");
    group.throughput(Throughput::Elements(series.len() as u64));
    group.sample_size(10);
    group.bench_function("rows", |b| {
        let tenant = TenantId::anonymous();
        b.iter(|| black_box(reader.select(&tenant, &[], TimeRange::ALL, &guard).expect("own bytes").len()));
    });
    let rows: Vec<u32> = (0..series.len() as u32).collect();
    group.bench_function("labels", |b| {
        b.iter_with_large_drop(|| reader.labels(&rows, &guard).expect("own bytes"));
    });
    group.bench_function("compare/neighbours", |b| {
        b.iter(|| series.windows(2).filter(|pair| pair[0] < pair[1]).count());
    });
    group.bench_function("compare/sort", |b| {
        b.iter_batched_ref(|| series.clone(), |series| series.sort_unstable(), BatchSize::LargeInput);
    });
    group.bench_function("hash", |b| {
        b.iter(|| series.iter().fold(0, |sum: u64, s| sum.wrapping_add(LabelsHash.of(s.as_bytes()))));
    });
    group.finish();
}

/// From the rows of a question to the columns of their samples: all of them, or the last five minutes.
fn samples(c: &mut Criterion) {
    let series: Vec<Labels> = series().into_iter().step_by(10).collect();
    let reader = part(&series, SAMPLES);
    let guard = QueryGuard::unlimited();
    let rows: Vec<u32> = (0..series.len() as u32).collect();
    let end_ms = START_MS + SAMPLES as i64 * SCRAPE_MS;
    let mut group = c.benchmark_group("samples");
    group.sample_size(10);
    for (name, range) in [("all", TimeRange::ALL), ("five minutes", TimeRange::new(end_ms - 300_000, end_ms))]
    {
        let read = || {
            let mut found = 0;
            let read = reader.read(&rows, range, &guard, &mut |_, samples| {
                found += black_box(&samples).timestamps_ms.len();
                Ok(())
            });
            read.expect("own bytes");
            found
        };
        group.throughput(Throughput::Elements(read() as u64));
        group.bench_function(name, |b| b.iter(&read));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500)).without_plots();
    targets = select, samples
}
criterion_main!(benches);
