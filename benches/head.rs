//! The head: what it takes to know the series of a request, by protocol and order, to append their samples to an
//! epoch, and to select among them.
//!
//! Figures are per series, of 100,000 that are registered. A request of 1.0 is known by the bytes of
//! its labels; the successor of each series is guessed right in scrape order and never in random
//! order. Restarted: the registry knows the series from the log and has seen no bytes of theirs.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use onggi::ingest::testing::{Request, Series};
use onggi::ingest::{DecodeLimits, Protocol, ValidationRules, decode, validate};
use onggi::model::series_batch::Refusals;
use onggi::model::time::YEAR_MS;
use onggi::model::{Matcher, SeriesBatch, TenantId};
use onggi::storage::internals::{Epoch, Registry};

const TARGETS: usize = 200;
const SERIES_PER_TARGET: usize = 500;
const SERIES_PER_REQUEST: usize = 2_000;
const NOW_MS: i64 = 1_760_000_000_000;

/// SplitMix64, so that every run sees the same order.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % end as u64) as usize
    }
}

/// Every series of every target, target by target.
fn scrapes() -> Vec<Series> {
    let series = |target: usize, n: usize| {
        let labels = [
            ("__name__", format!("http_server_request_duration_seconds_{}_bucket", n / 20)),
            ("cluster", "production-eu-1".to_owned()),
            ("container", "api".to_owned()),
            ("handler", format!("/api/v1/resource/{}", n % 7)),
            ("instance", format!("10.20.{}.{}:9090", target / 100, target % 100)),
            ("job", "kubernetes-pods".to_owned()),
            ("le", format!("{}", n % 20)),
            ("method", "GET".to_owned()),
            ("namespace", "shop".to_owned()),
            ("pod", format!("api-6c5d8b7f9-{target:05}")),
        ];
        let labels: Vec<_> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Series::new(&labels).sample(NOW_MS - 15_000, n as f64)
    };
    (0..TARGETS).flat_map(|target| (0..SERIES_PER_TARGET).map(move |n| series(target, n))).collect()
}

fn batches(series: &[Series], protocol: Protocol) -> Vec<SeriesBatch> {
    let batch = |series: &[Series]| {
        let body = Request::of(series.iter().cloned()).body(protocol);
        let limits = DecodeLimits::default();
        let decoded = decode(protocol, Bytes::from(body), TenantId::anonymous(), &limits);
        let mut batch = decoded.expect("a good request");
        assert!(validate(&mut batch, &ValidationRules::at(NOW_MS, YEAR_MS)).is_empty());
        batch
    };
    series.chunks(SERIES_PER_REQUEST).map(batch).collect()
}

fn resolve_all(registry: &Registry, batches: &[SeriesBatch], epoch: u64) {
    for batch in batches {
        let ids = registry.resolve(black_box(batch), epoch, &|_, _| Ok(()), &mut Refusals::default());
        black_box(ids);
    }
}

fn resolve(c: &mut Criterion) {
    let in_order = scrapes();
    let mut shuffled = in_order.clone();
    let mut random = Random(7);
    for at in (1..shuffled.len()).rev() {
        shuffled.swap(at, random.below(at + 1));
    }
    let mut group = c.benchmark_group("resolve");
    group.throughput(Throughput::Elements(in_order.len() as u64));
    group.sample_size(10);
    for protocol in [Protocol::V1, Protocol::V2] {
        for (order, series) in [("scrape", &in_order), ("random", &shuffled)] {
            let batches = batches(series, protocol);
            let registry = Registry::new();
            resolve_all(&registry, &batches, 1);
            assert_eq!(registry.active(), in_order.len() as u64);
            group.bench_function(format!("{protocol}/{order}"), |b| {
                b.iter(|| resolve_all(&registry, &batches, 1));
            });
            group.bench_function(format!("{protocol}/{order}/new"), |b| {
                let known = |registry: &mut Registry| resolve_all(registry, &batches, 1);
                b.iter_batched_ref(Registry::new, known, BatchSize::PerIteration);
            });
        }
    }
    let batches = batches(&in_order, Protocol::V1);
    // Without spans, as the log brings them.
    let spanless = self::batches(&in_order, Protocol::V2);
    let restarted = || {
        let registry = Registry::new();
        resolve_all(&registry, &spanless, 1);
        registry
    };
    group.bench_function("restarted", |b| {
        let first = |registry: &mut Registry| resolve_all(registry, &batches, 1);
        b.iter_batched_ref(restarted, first, BatchSize::PerIteration);
    });
}

/// From numbers of series to samples that can be read.
fn append(c: &mut Criterion) {
    let series = scrapes();
    let registry = Registry::new();
    let resolved = |batch: SeriesBatch| {
        let ids = registry.resolve(&batch, 1, &|_, _| Ok(()), &mut Refusals::default());
        (batch, ids)
    };
    let mut requests: Vec<(SeriesBatch, Vec<u32>)> =
        batches(&series, Protocol::V1).into_iter().map(resolved).collect();
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(series.len() as u64));
    group.sample_size(10);
    group.bench_function("first", |b| {
        b.iter_batched_ref(
            || Epoch::new(1, NOW_MS, 1, 0),
            |epoch| requests.iter().for_each(|(batch, ids)| epoch.apply(&registry, batch, ids)),
            BatchSize::PerIteration,
        );
    });
    // Chunks grow with every scrape, as they do in life.
    let epoch = Epoch::new(1, NOW_MS, 1, 0);
    group.bench_function("next", |b| {
        b.iter(|| {
            for (batch, ids) in &mut requests {
                for sample in &mut batch.floats {
                    sample.timestamp_ms += 15_000;
                    sample.value += 1.0;
                }
                epoch.apply(&registry, batch, ids);
            }
        });
    });
    println!("append: {:.2} bytes/sample", epoch.bytes() as f64 / epoch.samples() as f64);
}

fn select(c: &mut Criterion) {
    let registry = Registry::new();
    resolve_all(&registry, &batches(&scrapes(), Protocol::V2), 1);
    let tenant = TenantId::anonymous();
    let mut group = c.benchmark_group("select");
    let regex = |name: &str, value: &str| {
        Matcher::new(name, onggi::model::MatchOp::Regex, value).expect("an expression")
    };
    let metric = Matcher::equal("__name__", "http_server_request_duration_seconds_3_bucket");
    let questions = [
        ("one_metric", vec![metric.clone()]),
        ("metric_of_a_pod", vec![metric.clone(), Matcher::equal("pod", "api-6c5d8b7f9-00042")]),
        ("metric_and_prefix", vec![metric.clone(), regex("pod", "api-6c5d8b7f9-001.*")]),
        ("metric_and_any_pod", vec![metric, regex("pod", ".+")]),
        ("pod_by_end", vec![regex("pod", ".*042")]),
    ];
    for (name, matchers) in questions {
        let found = registry.view().select(&tenant, &matchers).len();
        group.bench_function(format!("{name}/{found}"), |b| {
            b.iter(|| black_box(registry.view().select(&tenant, &matchers)));
        });
    }
    group.bench_function("cardinality", |b| b.iter(|| black_box(registry.cardinality(&tenant, 10))));
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300)).without_plots();
    targets = resolve, append, select
}
criterion_main!(benches);
