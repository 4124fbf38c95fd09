//! A segment and a block as version 1 wrote them, which every later version reads.
//!
//! Owns `segment.log` and `block.blk` of `tests/fixtures/v1`, and what is to be found in them: two tenants, floats with
//! start times and staleness markers, a family of buckets, native histograms, exemplars, metadata. The segment
//! also pins which partition a series falls into. An encoder that writes otherwise changes neither file.

use std::path::{Path, PathBuf};

use super::*;
use crate::model::series_batch::{HistogramSample, Refusals};
use crate::model::{Counts, Histogram, Metadata, MetricType, ResetHint, SeriesBatch, Span};
use crate::replication::segment::{self, PartitionFrame};
use crate::storage::replica::open_batch::{OpenBatch, Prepared};
use crate::storage::replica::partition;
use crate::storage::replica::pins::Pins;

const SEGMENT: SegmentId = SegmentId { log: LogId(*b"pinned version 1"), sequence: 7 };
const TENANTS: [&str; 2] = ["anonymous", "other"];
/// Samples a quarter of an hour apart, all on one day.
const TIMES: i64 = 60;

fn fixture(version: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version).join(name)
}

fn pinned(name: &str) -> Bytes {
    let path = fixture("v1", name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

fn time_ms(number: i64) -> i64 {
    NOW_MS.div_euclid(DAY_MS) * DAY_MS + number * HOUR_MS / 4
}

fn native(count: u64) -> Histogram {
    Histogram {
        reset_hint: ResetHint::Unknown,
        schema: 2,
        zero_threshold: 0.001,
        sum: count as f64 * 0.75,
        positive_spans: vec![Span { offset: -1, length: 2 }, Span { offset: 3, length: 1 }],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        custom_values: Vec::new(),
        counts: Counts::Integer {
            count: count * 8,
            zero_count: count,
            positive_deltas: vec![count as i64, count as i64, 0],
            negative_deltas: vec![2 * count as i64],
        },
    }
}

/// What both files have.
fn pieces() -> Vec<Piece> {
    let mut pieces = Vec::new();
    for tenant in TENANTS {
        let mut floats = |pairs: &[(&str, &str)], start_ms: i64, value: &dyn Fn(i64) -> f64| {
            let mut piece = Piece::new(tenant, Labels::from_pairs(pairs.iter().copied()));
            let sample = |at| FloatSample { timestamp_ms: time_ms(at), start_ms, value: value(at) };
            piece.floats = (0..TIMES).map(sample).collect();
            pieces.push(piece);
        };
        for instance in ["a:9100", "b:9100", "c:9100"] {
            let labels = [("__name__", "temperature"), ("instance", instance), ("unit.of", "a \"quoted\" λ")];
            floats(&labels, 0, &|at| 20.0 + (at * 7 % 13) as f64 / 10.0);
            floats(&[("__name__", "up"), ("instance", instance)], 0, &|at| {
                if at % 20 == 19 { stale_nan() } else { 1.0 }
            });
        }
        for (share, le) in [(1, "0.1"), (4, "0.5"), (10, "+Inf")] {
            let labels = [("__name__", "request_seconds_bucket"), ("job", "a"), ("le", le)];
            floats(&labels, time_ms(0) - 1, &|at| (at * share) as f64);
        }
        let odd = [f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, 1e15 + 0.3];
        floats(&[("__name__", "odd")], 0, &|at| odd[at as usize % odd.len()]);
        let mut latency = Piece::new(tenant, Labels::from_pairs([("__name__", "latency")]));
        latency.histograms = (0..TIMES)
            .map(|at| {
                let histogram = native(at as u64 + 1);
                HistogramSample { timestamp_ms: time_ms(at), start_ms: 0, histogram }
            })
            .collect();
        latency.exemplars = vec![Exemplar {
            timestamp_ms: time_ms(3) + 1,
            value: 0.25,
            labels: Labels::from_pairs([("trace_id", "4bf92f3577b34da6")]),
        }];
        pieces.push(latency);
    }
    pieces
}

fn metadata() -> Metadata {
    Metadata {
        metric: "temperature".into(),
        metric_type: MetricType::Gauge,
        help: "How warm it is".into(),
        unit: "celsius".into(),
    }
}

fn batch_of(tenant: &str) -> SeriesBatch {
    let tenant = TenantId::parse(tenant).expect("a good name");
    let mut batch = SeriesBatch::new(tenant.clone(), Bytes::new());
    for piece in pieces().iter().filter(|piece| piece.tenant == tenant) {
        batch.push_owned(&piece.labels, &piece.floats, &piece.histograms, &piece.exemplars);
    }
    batch.metadata.push(metadata());
    batch
}

fn segment_now() -> Bytes {
    let mut open = OpenBatch::default();
    let registry = Registry::placing(partition::place);
    let pins = Pins::new(1);
    for tenant in TENANTS {
        let batch = batch_of(tenant);
        let ids = registry.resolve(&batch, 1, &|_, _| Ok(()), &mut Refusals::default());
        let prepared = Prepared::new(batch, ids, &registry, pins.pin(), NOW_MS);
        open.put(prepared, &registry).expect("it is small");
    }
    open.freeze(SEGMENT, NOW_MS).object
}

fn block_now() -> Bytes {
    let [block] = &cut_of(&[pieces()])[..] else { panic!("all of it lies on one day") };
    block.bytes.clone()
}

/// Everything that stands in the frames of a segment.
struct InFrames(HashMap<Partition, Bytes>);

impl HeldFrames for InFrames {
    fn payload(&self, _: SegmentId, partition: Partition) -> Result<Option<Bytes>, String> {
        Ok(self.0.get(&partition).cloned())
    }
}

/// Reads a segment as a replica does that cuts it.
fn holds_all(object: &Bytes) {
    let frames = segment::read(SEGMENT, object).expect("every byte of it");
    let registry = Registry::new();
    let epoch = Epoch::new(1, 0, 0, 0);
    let mut entering = Frames::new(&registry, &epoch);
    let mut metadata_of = Vec::new();
    for PartitionFrame { payload, .. } in &frames {
        entering.enter(payload, &[]).expect("it makes sense");
        let told = entering.metadata().iter();
        metadata_of
            .extend(told.map(|told| (told.tenant.to_string(), told.metadata.clone(), told.received_ms)));
    }
    metadata_of.sort();
    assert_eq!(metadata_of, TENANTS.map(|tenant| (tenant.to_owned(), metadata(), NOW_MS)));

    let partitions: Vec<Partition> = frames.iter().map(|frame| frame.partition).collect();
    let held = InFrames(frames.into_iter().map(|frame| (frame.partition, frame.payload)).collect());
    let mut all = Model::default();
    for partition in partitions {
        let cut = Build::Cut { partition, segments: vec![whole(SEGMENT)] };
        let found = of_blocks(&build(&cut, &held, GATHERED_BYTES_MAX).expect("cut"));
        for (tenant, labels) in found.0.keys() {
            let pairs = labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            assert_eq!(partition::of_series(tenant.as_str(), pairs), partition, "{tenant} {labels}");
        }
        all.add(found);
    }
    assert_eq!(bits(&all), bits(&Model::of(&pieces())));
}

fn has_all(bytes: Bytes) {
    let block = NewBlock { window_ms: time_ms(0), min_ms: time_ms(0), max_ms: time_ms(TIMES), bytes };
    assert_eq!(bits(&of_blocks(&[block])), bits(&Model::of(&pieces())));
}

#[test]
fn a_segment_of_version_1_is_read() {
    holds_all(&pinned("segment.log"));
    holds_all(&segment_now());
}

#[test]
fn a_block_of_version_1_is_read() {
    has_all(pinned("block.blk"));
    has_all(block_now());
}

/// `ONGGI_FIXTURE=v2 cargo test --lib build::tests::pinned::write -- --ignored`
#[test]
#[ignore = "writes fixtures, once for each version"]
fn write() {
    let version = std::env::var("ONGGI_FIXTURE").expect("ONGGI_FIXTURE names the version, like v2");
    for (name, bytes) in [("segment.log", segment_now()), ("block.blk", block_now())] {
        let path = fixture(&version, name);
        assert!(!path.exists(), "{} is pinned and stays as it is", path.display());
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        std::fs::write(&path, bytes).expect("written");
    }
}
