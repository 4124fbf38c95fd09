//! What enters as it came is what the segment says.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::frames::Frames;
use super::super::partition::{self, of_series};
use super::super::pins::Pins;
use super::*;
use crate::chunk::histogram_canonical_bytes;
use crate::encoding::log_file::LogId;
use crate::model::series_batch::{HistogramSample, LabelLimits, Refusals};
use crate::model::{Exemplar, Labels, Metadata, MetricType, TenantId, TimeRange, stale_nan};
use crate::storage::join::SampleColumns;
use crate::storage::select::sort_exemplars;
use crate::storage::tests::histogram;

const ID: SegmentId = SegmentId { log: LogId([3; 16]), sequence: 1 };

/// A store as it stands: registry, metadata, one epoch.
struct Store {
    registry: Registry,
    metadata: MetadataTable,
    epoch: std::sync::Arc<Epoch>,
}

/// Of a series: floats, histograms, exemplars, as bits.
type Bits = (Vec<(i64, i64, u64)>, Vec<(i64, i64, Vec<u8>)>, Vec<(i64, u64, String)>);

impl Store {
    fn new(epoch: u64) -> Self {
        let epoch = Epoch::new(epoch, 0, 0, 0);
        Self { registry: Registry::placing(partition::place), metadata: MetadataTable::default(), epoch }
    }

    fn resolve(&self, batch: &SeriesBatch, epoch: u64) -> Vec<SeriesId> {
        self.registry.resolve(batch, epoch, &|_, _| Ok(()), &mut Refusals::default())
    }

    /// As a request of series that are marked with an epoch.
    fn prepare(&self, batch: &SeriesBatch, epoch: u64, pin: Pin, received_ms: i64) -> Prepared {
        Prepared::new(batch.clone(), self.resolve(batch, epoch), &self.registry, pin, received_ms)
    }

    /// As a segment of another replica.
    fn decode(&self, object: &Bytes) {
        let mut frames = Frames::new(&self.registry, &self.epoch);
        for frame in segment::read(ID, object).expect("own bytes") {
            frames.enter(&frame.payload, &[]).expect("own bytes");
            for logged in frames.metadata() {
                let metadata = std::slice::from_ref(&logged.metadata);
                self.metadata.apply(&logged.tenant, metadata, logged.received_ms);
            }
        }
    }

    /// All that is in the epoch, joined, by series.
    fn bits(&self) -> BTreeMap<String, Bits> {
        let mut all = BTreeMap::new();
        for series in self.epoch.all_series() {
            let mut columns = SampleColumns::default();
            self.epoch.read(series, TimeRange::ALL, &mut columns);
            columns.join();
            let mut exemplars = Vec::new();
            self.epoch.read_exemplars(series, TimeRange::ALL, &mut exemplars);
            sort_exemplars(&mut exemplars);
            let floats = columns.floats.iter().map(|s| (s.timestamp_ms, s.start_ms, s.value.to_bits()));
            let histograms = columns.histograms.iter().map(|point| {
                (point.timestamp_ms, point.start_ms, histogram_canonical_bytes(&point.histogram))
            });
            let exemplars =
                exemplars.iter().map(|e| (e.timestamp_ms, e.value.to_bits(), e.labels.to_string()));
            let whole = self.registry.series(series.id);
            let bits = (floats.collect(), histograms.collect(), exemplars.collect());
            all.insert(format!("{} {}", whole.tenant, whole.labels), bits);
        }
        all
    }

    fn families(&self) -> Vec<Metadata> {
        let tenants = ["anonymous", "b"].map(|name| TenantId::parse(name).expect("a good name"));
        tenants.iter().flat_map(|tenant| self.metadata.of_tenant(tenant, None)).collect()
    }
}

fn any_float() -> impl Strategy<Value = FloatSample> {
    let value = prop_oneof![
        prop::sample::select(vec![0.0, -0.0, 1.0, f64::NAN, f64::INFINITY, stale_nan()]),
        any::<u64>().prop_map(f64::from_bits),
    ];
    let timestamp_ms = prop_oneof![0i64..50, any::<i64>()];
    (timestamp_ms, prop::sample::select(vec![0i64, 0, 7]), value)
        .prop_map(|(timestamp_ms, start_ms, value)| FloatSample { timestamp_ms, start_ms, value })
}

/// Series of a request; some stand in it twice.
fn any_batch() -> impl Strategy<Value = SeriesBatch> {
    let histograms = prop::collection::vec((0i64..50, 0i64..3, 0u8..4), 0..3);
    let exemplars = prop::collection::vec((0i64..50, 0u8..3), 0..3);
    let floats = prop::collection::vec(any_float(), 0..6);
    let series = (0u8..4, 0u8..9, floats, histograms, exemplars);
    (any::<bool>(), prop::collection::vec(series, 0..14), 0u8..3).prop_map(|(other, series, families)| {
        let tenant = TenantId::parse(if other { "b" } else { "anonymous" }).expect("a good name");
        let mut batch = SeriesBatch::new(tenant, Bytes::new());
        for (metric, instance, floats, histograms, exemplars) in series {
            let (name, instance) = (format!("m{metric}"), format!("i{instance}"));
            let labels = Labels::from_pairs([("__name__", name.as_str()), ("instance", &instance)]);
            let histograms = histograms.into_iter().map(|(timestamp_ms, start_ms, sum)| HistogramSample {
                timestamp_ms,
                start_ms,
                histogram: histogram(f64::from(sum)),
            });
            let exemplars = exemplars.into_iter().map(|(timestamp_ms, trace)| Exemplar {
                timestamp_ms,
                value: f64::from(trace),
                labels: Labels::from_pairs([("trace_id", trace.to_string().as_str())]),
            });
            let histograms: Vec<HistogramSample> = histograms.collect();
            let exemplars: Vec<Exemplar> = exemplars.collect();
            batch.push_owned(&labels, &floats, &histograms, &exemplars);
        }
        batch.metadata =
            (0..families).map(|number| Metadata { metric: format!("m{number}"), ..family() }).collect();
        batch
    })
}

fn family() -> Metadata {
    Metadata {
        metric: String::new(),
        metric_type: MetricType::Counter,
        help: "what it counts".to_owned(),
        unit: String::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn own_writes_entered_as_they_came_are_what_their_segment_says(
        batches in prop::collection::vec(any_batch(), 1..8),
    ) {
        // Series were resolved in an earlier epoch than the one that is open when the segment is durable.
        let (here, there) = (Store::new(2), Store::new(9));
        let pins = Pins::new(1);
        let mut open = OpenBatch::default();
        for (received_ms, batch) in (5..).zip(&batches) {
            open.put(here.prepare(batch, 1, pins.pin(), received_ms), &here.registry).expect("small");
        }
        let Frozen { object, resolved, .. } = open.freeze(ID, 1);
        prop_assert_eq!(open.bytes(), 0);
        prop_assert_eq!(pins.oldest_needed(2), 1);

        for write in resolved.expect("nothing was refused") {
            write.enter(&here.registry, &here.metadata, &here.epoch);
        }
        there.decode(&object);

        prop_assert_eq!(here.bits(), there.bits());
        prop_assert_eq!(here.families(), there.families());
        prop_assert_eq!((here.epoch.samples(), here.epoch.time_range()), (there.epoch.samples(), there.epoch.time_range()));
        prop_assert_eq!(pins.oldest_needed(2), 2, "nothing is pinned any more");
        let active = here.registry.active();
        here.registry.forget_unused(1);
        prop_assert_eq!(here.registry.active(), active, "what was entered is used by its epoch");
    }
}

/// Series of one sample each.
fn ups(count: u64) -> SeriesBatch {
    let mut batch = SeriesBatch::new(TenantId::anonymous(), Bytes::new());
    for number in 0..count {
        batch.push_owned(&up(number), &[FloatSample { timestamp_ms: 1, start_ms: 0, value: 1.0 }], &[], &[]);
    }
    batch
}

fn up(instance: u64) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("instance", &instance.to_string())])
}

/// What [`ups`] has and a series of the last partitions that stands in it so often that no frame takes it.
fn too_heavy() -> SeriesBatch {
    let is_late = |instance: &u64| {
        let labels = up(*instance);
        let bytes = labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        of_series("anonymous", bytes) > PARTITIONS / 2
    };
    let late = (200..).find(is_late).expect("half of all are");
    let mut batch = ups(200);
    let samples: Vec<FloatSample> =
        (0..6000).map(|at| FloatSample { timestamp_ms: at, start_ms: 0, value: 0.5 }).collect();
    batch.push_owned(&up(late), &samples, &[], &[]);
    let heavy = batch.series[200].clone();
    batch.series.extend(std::iter::repeat_n(heavy, 1000));
    batch
}

#[test]
fn a_batch_with_a_request_that_was_refused_half_way_is_decoded() {
    let store = Store::new(1);
    let pins = Pins::new(1);
    let prepared = |batch: &SeriesBatch| store.prepare(batch, 1, pins.pin(), 0);

    let mut open = OpenBatch::default();
    open.put(prepared(&ups(200)), &store.registry).expect("small");
    // It is refused when other partitions have what is theirs.
    open.put(prepared(&too_heavy()), &store.registry).expect_err("too heavy for a frame");
    let Frozen { object, resolved, .. } = open.freeze(ID, 1);
    assert!(resolved.is_none());
    assert_eq!(pins.oldest_needed(2), 2, "nothing is pinned any more");
    let other = Store::new(1);
    other.decode(&object);
    assert_eq!(other.epoch.all_series().len(), 200);

    open.put(prepared(&ups(200)), &store.registry).expect("small");
    assert_eq!(open.freeze(ID, 1).resolved.map(|all| all.len()), Some(1), "the next batch is whole again");
}

#[test]
fn what_a_refused_request_told_of_labels_is_not_taken_for_others() {
    let store = Store::new(1);
    let pins = Pins::new(1);
    let mut open = OpenBatch::default();
    let refused = store.prepare(&too_heavy(), 1, pins.pin(), 0);
    open.put(refused, &store.registry).expect_err("too heavy for a frame");

    assert_eq!(pins.oldest_needed(2), 1, "its labels are in the encoders, under numbers that are kept");
    store.registry.forget_unused(pins.oldest_needed(2) - 1);
    let active = store.registry.active();
    assert_eq!(active, 201);
}

#[test]
fn a_segment_is_the_same_whether_its_series_were_recognised_or_judged() {
    let limits = LabelLimits::default();
    let judged = || SeriesBatch { judged_by: Some(limits), ..ups(300) };
    let store = Store::new(1);
    let pins = Pins::new(1);
    let mut open = OpenBatch::default();
    let mut segment = |batch: SeriesBatch| {
        open.put(store.prepare(&batch, 1, pins.pin(), 0), &store.registry).expect("small");
        open.freeze(ID, 1).object
    };
    let of_judged = segment(judged());
    assert_eq!(segment(judged()), of_judged, "nothing is left of the segment before");

    let mut batch = judged();
    assert_eq!(store.registry.recognise(&mut batch, &limits, 1, |_, _| true), 300);
    // As a request is whose labels nobody has read.
    (batch.text, batch.labels) = (Bytes::new(), Vec::new());
    batch.series.iter_mut().for_each(|series| series.labels = 0..0);

    assert_eq!(segment(batch), of_judged);
}
