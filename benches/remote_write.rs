//! Remote write: what a request of 2000 series costs until it is a validated batch, and until its series
//! have numbers.
//!
//! Figures are per series. `generated` is the same body read by the generated types, to compare. `known` and
//! `judged` go from the body to the numbers of series that are all registered: recognised by what their
//! labels came in, or read, judged and found by their labels' bytes. `decompress_by_snap` is what the library
//! takes for what `decompress` does.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use onggi::ingest::proto::{prometheus, write_v2};
use onggi::ingest::remote_write::{columns_bytes_max, declared_len, decompress};
use onggi::ingest::testing::{Request, Series};
use onggi::ingest::{DecodeLimits, Protocol, ValidationRules, decode, decode_unread, validate};
use onggi::model::series_batch::Refusals;
use onggi::model::time::YEAR_MS;
use onggi::model::{MetricType, TenantId};
use onggi::storage::internals::Registry;
use prost::Message;

const SERIES: usize = 2_000;
const NOW_MS: i64 = 1_760_000_000_000;

/// A scrape of a Kubernetes target: ten labels, one sample, metadata of its family.
fn request() -> Request {
    Request::of((0..SERIES).map(|n| {
        let family = n / 20;
        let le = format!("{}", n % 20);
        let labels = [
            ("__name__", format!("http_server_request_duration_seconds_{family}_bucket")),
            ("cluster", "production-eu-1".to_owned()),
            ("container", "api".to_owned()),
            ("handler", format!("/api/v1/resource/{}", n % 7)),
            ("instance", "10.20.30.40:9090".to_owned()),
            ("job", "kubernetes-pods".to_owned()),
            ("le", le),
            ("method", "GET".to_owned()),
            ("namespace", "shop".to_owned()),
            ("pod", "api-6c5d8b7f9-x2x4z".to_owned()),
        ];
        let labels: Vec<_> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Series::new(&labels).sample(NOW_MS - 15_000, n as f64 * 1.25).metadata(
            MetricType::Histogram,
            &format!("Duration of requests, family {family}."),
            "seconds",
        )
    }))
}

/// From a body to the numbers of its series, as the server and the store go.
fn resolved(
    registry: &Registry,
    protocol: Protocol,
    body: &Bytes,
    rules: &ValidationRules,
    is_asked: bool,
) -> Vec<u32> {
    let columns_bytes = columns_bytes_max(declared_len(body).expect("a snappy block"));
    let (tenant, limits) = (TenantId::anonymous(), DecodeLimits::default());
    let unread = decode_unread(protocol, body.clone(), tenant, &limits, columns_bytes);
    let mut unread = unread.expect("a good request");
    registry.recognise(unread.batch(), &rules.limits, 1, |batch, series| {
        is_asked && rules.is_up_to_labels(batch, series)
    });
    let mut batch = unread.read().expect("a good request");
    assert!(validate(&mut batch, rules).is_empty());
    batch.judged_by = Some(rules.limits);
    registry.resolve(&batch, 1, &|_, _| Ok(()), &mut Refusals::default())
}

fn bench(c: &mut Criterion) {
    let request = request();
    let limits = DecodeLimits::default();
    let rules = ValidationRules::at(NOW_MS, YEAR_MS);
    let tenant = TenantId::anonymous();

    let mut group = c.benchmark_group("remote_write");
    group.throughput(Throughput::Elements(SERIES as u64));
    group.sample_size(50).measurement_time(Duration::from_secs(4));
    for protocol in [Protocol::V1, Protocol::V2] {
        let body = Bytes::from(request.body(protocol));
        let decoded = || decode(protocol, body.clone(), tenant.clone(), &limits).expect("a good request");
        assert_eq!(decoded().series.len(), SERIES);

        group.bench_function(format!("{protocol}/decompress"), |b| {
            b.iter(|| decompress(black_box(&body), limits.decompressed_bytes_max));
        });
        group.bench_function(format!("{protocol}/decompress_by_snap"), |b| {
            let mut text = vec![0; declared_len(&body).expect("a snappy block")];
            b.iter(|| snap::raw::Decoder::new().decompress(black_box(&body), &mut text));
        });
        group.bench_function(format!("{protocol}/decode"), |b| b.iter(|| black_box(decoded())));
        group.bench_function(format!("{protocol}/validate"), |b| {
            b.iter_batched_ref(
                decoded,
                |batch| assert!(validate(batch, &rules).is_empty()),
                BatchSize::LargeInput,
            );
        });
        let registry = Registry::new();
        let ids = resolved(&registry, protocol, &body, &rules, false);
        for (name, is_asked) in [("known", true), ("judged", false)] {
            assert_eq!(resolved(&registry, protocol, &body, &rules, is_asked), ids);
            group.bench_function(format!("{protocol}/{name}"), |b| {
                b.iter(|| black_box(resolved(&registry, protocol, &body, &rules, is_asked)));
            });
        }
        group.bench_function(format!("{protocol}/generated"), |b| {
            b.iter(|| {
                let text = snap::raw::Decoder::new().decompress_vec(&body).expect("a snappy block");
                match protocol {
                    Protocol::V1 => {
                        prometheus::WriteRequest::decode(text.as_slice()).map(|r| r.timeseries.len())
                    }
                    Protocol::V2 => write_v2::Request::decode(text.as_slice()).map(|r| r.timeseries.len()),
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
