//! The store as a whole: what was appended is what is read, across seals, flushes and restarts.

mod failed_flush;
mod label_questions;
mod memory;
mod replay;
mod wanted_labels;

use std::path::Path;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::memory::MemoryBudget;
use crate::model::series_batch::{HistogramSample, LabelLimits, LabelsSize};
use crate::model::time::{DAY_MS, HOUR_MS, MINUTE_MS, YEAR_MS};
use crate::model::{
    Counts, Exemplar, FloatSample, Histogram, Labels, Matcher, Metadata, MetricType, ResetHint, TimeRange,
    stale_nan,
};
use crate::querier::{FloatsWanted, QueryGuard, SelectHints, SelectRequest, Series};

pub(super) const NOW_MS: i64 = 1_700_000_000_000;

pub(super) fn options(path: &Path) -> StorageOptions {
    StorageOptions {
        retention_ms: 100 * YEAR_MS,
        merge_grace_ms: 10 * MINUTE_MS,
        ..StorageOptions::small(path, ManualClock::at_ms(NOW_MS))
    }
}

/// A store on the test's own runtime, waited for until it is ready.
pub(super) struct Store {
    pub runtime: tokio::runtime::Runtime,
    pub storage: Storage,
}

impl Store {
    pub fn open(options: StorageOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("runtime");
        let storage = Storage::open(options).expect("opens");
        wait_until_ready(&storage);
        Self { runtime, storage }
    }

    pub fn append(&self, batch: SeriesBatch) -> Appended {
        self.runtime.block_on(self.storage.append(batch)).expect("appended")
    }

    pub fn settle(&self) {
        self.runtime.block_on(self.storage.settle()).expect("settled");
    }

    pub fn close(self) {
        self.runtime.block_on(self.storage.close()).expect("closed");
    }

    pub fn querier(&self, tenant: &str) -> Arc<dyn Querier> {
        self.storage.querier(&TenantId::parse(tenant).expect("tenant")).expect("ready")
    }

    pub fn select(&self, matchers: &[Matcher], range: TimeRange) -> Vec<Series> {
        select(&*self.querier("anonymous"), matchers, range)
    }
}

pub(super) fn wait_until_ready(storage: &Storage) {
    loop {
        match storage.readiness() {
            Readiness::Ready => return,
            Readiness::Replaying { .. } => std::thread::yield_now(),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn select(querier: &dyn Querier, matchers: &[Matcher], range: TimeRange) -> Vec<Series> {
    let request = SelectRequest { matchers: matchers.to_vec(), range, hints: SelectHints::default() };
    let guard = QueryGuard::unlimited();
    querier.select(&request, &guard).expect("selected").map(|series| series.expect("read")).collect()
}

pub(super) fn labels(name: &str, instance: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("instance", instance)])
}

pub(super) fn float(timestamp_ms: i64, value: f64) -> FloatSample {
    FloatSample { timestamp_ms, start_ms: 0, value }
}

pub(super) fn batch() -> SeriesBatch {
    SeriesBatch::new(TenantId::anonymous(), Bytes::new())
}

pub(super) fn batch_of(name: &str, samples: &[FloatSample]) -> SeriesBatch {
    let mut batch = batch();
    batch.push_owned(&labels(name, "a"), samples, &[], &[]);
    batch
}

pub(super) fn histogram(sum: f64) -> Histogram {
    Histogram {
        reset_hint: ResetHint::Unknown,
        schema: 1,
        zero_threshold: 0.001,
        sum,
        positive_spans: vec![crate::model::Span { offset: 0, length: 2 }],
        negative_spans: vec![],
        custom_values: vec![],
        counts: Counts::Integer {
            count: 4,
            zero_count: 1,
            positive_deltas: vec![1, 1],
            negative_deltas: vec![],
        },
    }
}

pub(super) type SeriesBits = (String, Vec<(i64, u64, i64)>);

/// Bits of all floats of all series, for comparisons that NaN does not spoil.
pub(super) fn bits(all: &[Series]) -> Vec<SeriesBits> {
    let rows = |series: &Series| {
        (0..series.timestamps_ms.len())
            .map(|at| {
                let start_ms = series.starts_ms.get(at).copied().unwrap_or(0);
                (series.timestamps_ms[at], series.values[at].to_bits(), start_ms)
            })
            .collect()
    };
    all.iter().map(|series| (series.labels.to_string(), rows(series))).collect()
}

#[test]
fn a_series_that_was_recognised_is_stored_under_its_labels_though_its_batch_has_none() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    let limits = LabelLimits::default();
    let sent = |number: i64| {
        let mut batch = batch_of("up", &[float(NOW_MS + number, number as f64)]);
        batch.judged_by = Some(limits);
        batch
    };
    let Kind::Alone(Alone { engine, .. }) = store.storage.0.clone() else { panic!("it stands alone") };
    store.append(sent(0));
    for number in 1..6 {
        // The next log file defines its series anew.
        if number % 2 == 0 {
            engine.seal().expect("sealed");
        }
        let mut batch = sent(number);
        store.storage.recognise(&mut batch, &limits, |_, _| true);
        assert!(batch.series[0].known.is_some());
        assert_eq!(batch.known_labels(&batch.series[0]), Some(labels("up", "a")));
        let size = LabelsSize { labels: 2, text_bytes: "__name__up".len() + "instancea".len() };
        assert_eq!(batch.known_size(&batch.series[0]), Some(size));
        batch.series[0].labels = 0..0;
        if number % 3 == 0 {
            engine.seal().expect("sealed");
        }
        assert_eq!(store.append(batch).written.floats, 1);
    }
    let want = [(
        labels("up", "a").to_string(),
        (0..6).map(|number| (NOW_MS + number, (number as f64).to_bits(), 0)).collect::<Vec<_>>(),
    )];
    assert_eq!(bits(&store.select(&[], TimeRange::ALL)), want);
    drop((store, engine));

    let store = Store::open(options(folder.path()));
    assert_eq!(bits(&store.select(&[], TimeRange::ALL)), want);
    store.close();
}

#[test]
fn a_flush_waits_for_batches_whose_series_were_recognised() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    let limits = LabelLimits::default();
    let mut batch = batch_of("up", &[float(NOW_MS, 1.0)]);
    batch.judged_by = Some(limits);
    store.append(batch.clone());
    store.storage.recognise(&mut batch, &limits, |_, _| true);

    let (storage, (done, settled)) = (store.storage.clone(), std::sync::mpsc::channel());
    store.runtime.spawn(async move { done.send(storage.settle().await) });
    assert!(settled.recv_timeout(Duration::from_millis(300)).is_err(), "the epoch is held");
    drop(batch);

    settled.recv().expect("it ends").expect("settled");
    store.close();
}

#[test]
fn samples_are_the_same_in_the_head_after_a_flush_and_after_a_restart() {
    let folder = tempfile::tempdir().expect("folder");
    let samples = [
        float(NOW_MS - 3, 1.5),
        float(NOW_MS - 2, stale_nan()),
        float(NOW_MS - 5 * DAY_MS, f64::from_bits(0x7ff8_dead_beef_0001)),
        FloatSample { timestamp_ms: NOW_MS, start_ms: NOW_MS - 77, value: -0.0 },
    ];
    let store = Store::open(options(folder.path()));
    let written = store.append(batch_of("up", &samples)).written;
    assert_eq!(written.floats, 4);

    let in_head = bits(&store.select(&[Matcher::equal("__name__", "up")], TimeRange::ALL));
    assert_eq!(in_head[0].1.len(), 4);
    store.settle();
    assert!(store.storage.stats().parts >= 2, "a fresh window and a late part");
    assert_eq!(bits(&store.select(&[], TimeRange::ALL)), in_head);
    store.close();

    let store = Store::open(options(folder.path()));
    assert_eq!(store.storage.stats().replayed_samples, 0, "what is flushed is not replayed");
    assert_eq!(bits(&store.select(&[], TimeRange::ALL)), in_head);
}

#[test]
fn a_process_that_just_ends_finds_everything_in_its_log() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    store.append(batch_of("up", &[float(NOW_MS, 1.0)]));
    store.settle();
    let mut news = batch_of("up", &[float(NOW_MS + 1, 2.0)]);
    news.metadata.push(Metadata {
        metric: "up".into(),
        metric_type: MetricType::Gauge,
        help: "Is it up?".into(),
        unit: String::new(),
    });
    let sample = HistogramSample { timestamp_ms: NOW_MS + 2, start_ms: 5, histogram: histogram(3.25) };
    let exemplar =
        Exemplar { timestamp_ms: NOW_MS, value: 7.0, labels: Labels::from_pairs([("trace_id", "x")]) };
    news.push_owned(&labels("latency", "a"), &[], from_ref(&sample), from_ref(&exemplar));
    store.append(news);
    // No close: as after a kill, except that the lock has to be let go.
    drop(store);

    let store = Store::open(options(folder.path()));
    assert_eq!(store.storage.stats().replayed_samples, 2);
    let check = |store: &Store| {
        let up = store.select(&[Matcher::equal("__name__", "up")], TimeRange::ALL);
        assert_eq!(up[0].timestamps_ms, [NOW_MS, NOW_MS + 1]);
        let latency = store.select(&[Matcher::equal("__name__", "latency")], TimeRange::ALL);
        assert_eq!(
            (latency[0].histograms[0].timestamp_ms, latency[0].histograms[0].start_ms),
            (NOW_MS + 2, 5)
        );
        assert!(latency[0].histograms[0].histogram.same_bits(&sample.histogram));
        let sets = [vec![Matcher::equal("__name__", "latency")]];
        let guard = QueryGuard::unlimited();
        let exemplars = store.querier("anonymous").exemplars(&sets, TimeRange::ALL, &guard).expect("read");
        assert_eq!(exemplars[0].exemplars, from_ref(&exemplar));
        assert_eq!(store.querier("anonymous").metadata(Some("up")).expect("read")[0].help, "Is it up?");
    };
    check(&store);
    store.settle();
    check(&store);
    store.close();
    check(&Store::open(options(folder.path())));
}

/// Twenty series of incompressible values, one sample a request.
fn append_load(store: &Store, requests: i32) {
    for at in 0..requests {
        let mut batch = batch();
        for instance in 0..20 {
            let value = f64::from(at * instance) * 0.123_456_789;
            batch.push_owned(
                &labels("load", &instance.to_string()),
                &[float(NOW_MS + i64::from(at), value)],
                &[],
                &[],
            );
        }
        store.append(batch);
    }
}

#[test]
fn a_replay_stays_within_the_heads_memory_and_takes_writes_meanwhile() {
    let folder = tempfile::tempdir().expect("folder");
    let mut plenty = options(folder.path());
    plenty.log_file_bytes = 4 << 10;
    let store = Store::open(plenty.clone());
    append_load(&store, 800);
    let want = bits(&store.select(&[], TimeRange::ALL));
    drop(store);

    let mut little = plenty;
    little.head_bytes_max = 128 << 10;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("runtime");
    let storage = Storage::open(little).expect("opens");
    let early = batch_of("early", &[float(NOW_MS, 1.0)]);
    runtime.block_on(storage.append(early)).expect("taken before the replay is over");
    wait_until_ready(&storage);
    let stats = storage.stats();
    assert!(stats.parts >= 2, "the replay flushed on its way: {stats:?}");
    assert_eq!(stats.replayed_samples, 16_000);
    let store = Store { runtime, storage };
    let mut all = bits(&store.select(&[], TimeRange::ALL));
    all.retain(|(labels, _)| !labels.starts_with("early"));
    assert_eq!(all, want);
    assert_eq!(store.select(&[Matcher::equal("__name__", "early")], TimeRange::ALL)[0].values, [1.0]);
}

#[test]
fn a_store_that_is_closed_while_it_replays_loses_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let mut tiny = options(folder.path());
    tiny.log_file_bytes = 4 << 10;
    let store = Store::open(tiny.clone());
    append_load(&store, 100);
    let mut want = bits(&store.select(&[], TimeRange::ALL));
    drop(store);

    for round in 0..3 {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("runtime");
        let storage = Storage::open(tiny.clone()).expect("opens");
        let name = format!("round{round}");
        let early = batch_of(&name, &[float(NOW_MS, 1.0)]);
        let taken = runtime.block_on(storage.append(early));
        taken.expect("writes are taken at once");
        want.push((labels(&name, "a").to_string(), vec![(NOW_MS, 1.0f64.to_bits(), 0)]));
        runtime.block_on(storage.close()).expect("closed");
    }

    assert_eq!(bits(&Store::open(tiny).select(&[], TimeRange::ALL)), want);
}

#[test]
fn tenants_do_not_see_each_other() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    let mut other = SeriesBatch::new(TenantId::parse("other").expect("tenant"), Bytes::new());
    other.push_owned(&labels("up", "a"), &[float(NOW_MS, 9.0)], &[], &[]);
    store.append(other);
    store.append(batch_of("up", &[float(NOW_MS, 1.0)]));

    let check = |store: &Store| {
        assert_eq!(store.select(&[], TimeRange::ALL)[0].values, [1.0]);
        assert_eq!(select(&*store.querier("other"), &[], TimeRange::ALL)[0].values, [9.0]);
        assert!(select(&*store.querier("third"), &[], TimeRange::ALL).is_empty());
    };
    check(&store);
    store.settle();
    check(&store);
}

#[test]
fn a_deletion_hides_at_once_and_what_is_written_again_stays() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    store.append(batch_of("up", &[float(NOW_MS, 5.0), float(NOW_MS + 1, 6.0)]));
    store.append(batch_of("down", &[float(NOW_MS, 1.0)]));
    let deletion = Deletion {
        tenant: TenantId::anonymous(),
        matchers: vec![Matcher::equal("__name__", "up")],
        range: TimeRange::new(NOW_MS, NOW_MS),
    };
    store.storage.delete(&deletion).expect("deleted");

    let up = [Matcher::equal("__name__", "up")];
    assert_eq!(store.select(&up, TimeRange::ALL)[0].timestamps_ms, [NOW_MS + 1]);
    assert_eq!(store.select(&[], TimeRange::ALL).len(), 2);
    store.append(batch_of("up", &[float(NOW_MS, 4.0)]));
    let check = |store: &Store| assert_eq!(store.select(&up, TimeRange::ALL)[0].values, [4.0, 6.0]);
    check(&store);
    drop(store);
    let store = Store::open(options(folder.path()));
    check(&store);
    store.settle();
    check(&store);
    store.close();
    check(&Store::open(options(folder.path())));
}

#[test]
fn the_latest_float_is_the_latest_of_what_is_left_wherever_its_pieces_are() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    let up = [Matcher::equal("__name__", "up")];
    let latest = |store: &Store, end_ms: i64, want: Option<(i64, f64)>| {
        let range = TimeRange::new(NOW_MS - 100, end_ms);
        let floats = FloatsWanted { latest_only: true, presence_only: false };
        let hints = SelectHints { floats, ..SelectHints::default() };
        let request = SelectRequest { matchers: up.to_vec(), range, hints };
        let (querier, guard) = (store.querier("anonymous"), QueryGuard::unlimited());
        let found = querier.select(&request, &guard).expect("selected").next().map(|s| s.expect("read"));
        let last = found.map(|s| (s.timestamps_ms[s.values.len() - 1], s.values[s.values.len() - 1]));
        assert_eq!(last, want, "until {end_ms}");
    };
    store.append(batch_of("up", &[float(NOW_MS, 1.0), float(NOW_MS + 10, 2.0), float(NOW_MS + 20, 3.0)]));
    store.settle();
    // Older ones, out of order, and one for a time that has a lesser one.
    store.append(batch_of("up", &[float(NOW_MS + 15, 2.5), float(NOW_MS + 5, 1.5), float(NOW_MS + 20, 4.0)]));
    let check = |store: &Store| {
        latest(store, NOW_MS + 100, Some((NOW_MS + 20, 4.0)));
        latest(store, NOW_MS + 19, Some((NOW_MS + 15, 2.5)));
        latest(store, NOW_MS + 14, Some((NOW_MS + 10, 2.0)));
        latest(store, NOW_MS + 9, Some((NOW_MS + 5, 1.5)));
        latest(store, NOW_MS - 1, None);
    };
    check(&store);
    store.settle();
    check(&store);

    let range = TimeRange::new(NOW_MS + 10, NOW_MS + 20);
    let deletion = Deletion { tenant: TenantId::anonymous(), matchers: up.to_vec(), range };
    store.storage.delete(&deletion).expect("deleted");
    latest(&store, NOW_MS + 100, Some((NOW_MS + 5, 1.5)));
    store.append(batch_of("up", &[float(NOW_MS + 2, 7.0)]));
    latest(&store, NOW_MS + 100, Some((NOW_MS + 5, 1.5)));
    store.append(batch_of("up", &[float(NOW_MS + 12, 8.0)]));
    latest(&store, NOW_MS + 100, Some((NOW_MS + 12, 8.0)));
    store.close();
}

#[test]
fn parts_beyond_retention_go_and_what_is_older_is_not_shown() {
    let folder = tempfile::tempdir().expect("folder");
    let mut short = options(folder.path());
    short.retention_ms = DAY_MS;
    let clock = ManualClock::at_ms(NOW_MS);
    short.clock = clock.clone();
    let store = Store::open(short);
    store.append(batch_of("up", &[float(NOW_MS, 1.0)]));
    store.settle();
    clock.set_ms(NOW_MS + DAY_MS);
    assert_eq!(store.select(&[], TimeRange::ALL).len(), 1, "exactly as old as retention allows");

    clock.set_ms(NOW_MS + DAY_MS + 1);
    assert!(store.select(&[], TimeRange::ALL).is_empty());
    store.settle();
    let stats = store.storage.stats();
    assert_eq!((stats.parts, stats.parts_expired), (0, 1));
    store.close();
}

#[test]
fn new_series_are_refused_by_name_when_the_registry_is_full_and_known_ones_go_on() {
    let folder = tempfile::tempdir().expect("folder");
    let mut small = options(folder.path());
    small.head_bytes_max = 400_000;
    let store = Store::open(small);
    let mut explosion = batch();
    for number in 0..2000 {
        explosion.push_owned(&labels("explosion", &number.to_string()), &[float(NOW_MS, 1.0)], &[], &[]);
    }
    let appended = store.append(explosion);
    assert!(appended.written.floats > 100 && appended.refused.total() > 100, "{appended:?}");
    assert_eq!(appended.written.floats + appended.refused.total(), 2000);
    assert!(appended.refused.examples[0].contains("explosion{instance="), "{:?}", appended.refused.examples);

    let known = store.append({
        let mut known = batch();
        known.push_owned(&labels("explosion", "0"), &[float(NOW_MS + 1, 2.0)], &[], &[]);
        known
    });
    assert_eq!(known.written.floats, 1);
}

#[test]
fn a_catalogue_entry_that_is_gone_from_disk_is_an_error_that_names_the_part() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    store.append(batch_of("up", &[float(NOW_MS, 1.0)]));
    store.settle();
    let part = store.storage.alone().engine.view.load().parts[0].entry.number;
    store.storage.alone().engine.database.drop_part(part).expect("dropped behind the catalogue's back");
    store.close();

    let error = Storage::open(options(folder.path())).err().expect("refused").to_string();
    assert!(error.contains(&format!("part {part}")), "{error}");
}

#[test]
fn a_missing_log_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("folder");
    let mut tiny = options(folder.path());
    tiny.log_file_bytes = 1;
    let store = Store::open(tiny.clone());
    for at in 0..3 {
        store.append(batch_of("up", &[float(NOW_MS + at, 1.0)]));
    }
    drop(store);
    let mut files: Vec<_> = std::fs::read_dir(folder.path().join("log"))
        .expect("log")
        .map(|e| e.expect("entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    std::fs::remove_file(&files[1]).expect("removed");

    let error = Storage::open(tiny).err().expect("refused").to_string();
    assert!(error.contains("log file 2") && error.contains("missing"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Order, batching, repetition, seals, flushes and restarts change nothing of what is kept.
    #[test]
    fn any_order_and_batching_gives_the_same_store(
        samples in prop::collection::vec((0u8..5, 0i64..30, 0u8..4), 1..80),
        order in any::<u64>(),
        cuts in prop::collection::vec((1usize..20, 0u8..6), 1..12),
    ) {
        let value = |v: u8| [1.0, -2.5, stale_nan(), f64::INFINITY][usize::from(v)];
        let sample_of = |&(_, t, v): &(u8, i64, u8)| float(NOW_MS - t * HOUR_MS, value(v));
        let one = tempfile::tempdir().expect("folder");
        let store = Store::open(options(one.path()));
        for sample in &samples {
            store.append(batch_of(&format!("m{}", sample.0), &[sample_of(sample)]));
        }
        let want = bits(&store.select(&[], TimeRange::ALL));
        drop(store);

        let mut shuffled = samples.clone();
        let mut state = order;
        for at in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            shuffled.swap(at, (state >> 33) as usize % (at + 1));
        }
        let other = tempfile::tempdir().expect("folder");
        let mut store = Store::open(options(other.path()));
        let mut rest = shuffled.as_slice();
        for (len, then) in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*len).min(rest.len()));
            let mut batch = batch();
            for sample in now {
                batch.push_owned(&labels(&format!("m{}", sample.0), "a"), &[sample_of(sample)], &[], &[]);
            }
            store.append(batch.clone());
            match then {
                0 => store.settle(),
                1 => { store.append(batch); }
                2 => {
                    drop(store);
                    store = Store::open(options(other.path()));
                }
                3 => {
                    store.close();
                    store = Store::open(options(other.path()));
                }
                _ => {}
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(bits(&store.select(&[], TimeRange::ALL)), want);
    }
}

#[test]
fn what_senders_claim_about_resets_is_not_handed_on_but_that_a_gauge_is_one() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    let hints = [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge];
    let samples: Vec<HistogramSample> = hints
        .iter()
        .zip(NOW_MS..)
        .map(|(hint, timestamp_ms)| {
            let histogram = Histogram { reset_hint: *hint, ..histogram(1.0) };
            HistogramSample { timestamp_ms, start_ms: 0, histogram }
        })
        .collect();
    let mut news = batch();
    news.push_owned(&labels("latency", "a"), &[], &samples, &[]);
    store.append(news);
    let hints_read = || -> Vec<ResetHint> {
        let read = store.select(&[Matcher::equal("__name__", "latency")], TimeRange::ALL);
        read[0].histograms.iter().map(|point| point.histogram.reset_hint).collect()
    };

    let in_memory = hints_read();
    store.settle();

    let want = [ResetHint::Unknown, ResetHint::Unknown, ResetHint::Unknown, ResetHint::Gauge];
    assert_eq!((in_memory.as_slice(), hints_read().as_slice()), (&want[..], &want[..]));
    store.close();
}

#[test]
fn in_any_order_the_series_of_head_and_parts_are_the_same() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    for (round, instances) in [10..40, 0..20, 15..50].into_iter().enumerate() {
        let mut news = batch();
        for instance in instances {
            let name = ["a", "b"][instance % 2];
            let sample = float(NOW_MS + round as i64, instance as f64);
            news.push_owned(&labels(name, &instance.to_string()), &[sample], &[], &[]);
        }
        store.append(news);
        if round < 2 {
            store.settle();
        }
    }
    let want = store.select(&[], TimeRange::ALL);
    assert_eq!(want.len(), 50);
    assert!(want.is_sorted_by(|a, b| a.labels < b.labels));

    let request = SelectRequest {
        matchers: Vec::new(),
        range: TimeRange::ALL,
        hints: SelectHints { any_order: true, ..SelectHints::default() },
    };
    let (querier, guard) = (store.querier("anonymous"), QueryGuard::unlimited());
    let found = querier.select(&request, &guard).expect("selected");
    let mut found: Vec<Series> = found.map(|series| series.expect("read")).collect();

    found.sort_by(|a, b| a.labels.cmp(&b.labels));
    assert_eq!(bits(&found), bits(&want));
    store.close();
}

#[test]
fn a_reader_that_lets_go_holds_a_batch_and_not_the_whole_answer() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    let samples: Vec<FloatSample> = (0..2_000).map(|i| float(NOW_MS - i, i as f64)).collect();
    for instance in 0..100 {
        let mut news = batch();
        news.push_owned(&labels("long", &format!("{instance:03}")), &samples, &[], &[]);
        store.append(news);
        if instance % 40 == 0 {
            store.settle();
        }
    }
    let querier = store.querier("anonymous");
    let request = SelectRequest {
        matchers: vec![Matcher::equal("__name__", "long")],
        range: TimeRange::ALL,
        hints: SelectHints::default(),
    };
    let guard = QueryGuard::new(None, MemoryBudget::new("query", 2 << 20));

    let mut read = 0;
    for series in querier.select(&request, &guard).expect("selected") {
        let series = series.expect("a batch fits");
        assert!(guard.reserved_bytes() >= series.bytes());
        read += series.values.len();
        guard.release(series.bytes());
    }

    assert_eq!(read, 200_000, "3.2 MB went through");
    assert!(guard.reserved_bytes() < 100_000, "{} bytes stay", guard.reserved_bytes());
    store.close();
}

#[test]
fn series_that_are_far_longer_than_those_before_are_read_in_smaller_batches() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    let samples: Vec<FloatSample> = (0..2_000).map(|i| float(NOW_MS - i, i as f64)).collect();
    let mut news = batch();
    for instance in 0..300 {
        news.push_owned(&labels("brief", &format!("{instance:03}")), &samples[..1], &[], &[]);
    }
    for instance in 0..100 {
        news.push_owned(&labels("long", &format!("{instance:03}")), &samples, &[], &[]);
    }
    store.append(news);
    store.settle();
    let querier = store.querier("anonymous");
    let request =
        SelectRequest { matchers: Vec::new(), range: TimeRange::ALL, hints: SelectHints::default() };
    let guard = QueryGuard::new(None, MemoryBudget::new("query", 2 << 20));

    let mut read = Vec::new();
    for series in querier.select(&request, &guard).expect("selected") {
        let series = series.expect("some fit");
        guard.release(series.bytes());
        read.push(series.values.len());
    }

    assert_eq!(read, [vec![1; 300], vec![2_000; 100]].concat());
    assert!(guard.reserved_bytes() < 200_000, "{} bytes stay", guard.reserved_bytes());
    store.close();
}
