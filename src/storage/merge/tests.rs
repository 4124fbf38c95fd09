//! Merges on a real store: answers stay what they were, whatever is merged, deleted, written again,
//! interrupted and opened anew.

mod faults;
mod random;

use std::slice::from_ref;
use std::sync::Arc;

use super::cursor::PartCursor;
use super::erasing::HiddenRows;
use super::execute::{MergeError, PartInput, Unnamed, execute, execute_leaving};
use super::pace::{Pace, Step, Stopped};
use super::plan::{Job, OF_DAY, PlanOptions, plan};
use crate::clock::ManualClock;
use crate::model::series_batch::HistogramSample;
use crate::model::time::{DAY_MS, HOUR_MS};
use crate::model::{Exemplar, FloatSample, Labels, Matcher, TenantId, TimeRange, stale_nan};
use crate::querier::QueryGuard;
use crate::storage::background;
use crate::storage::local::sst::SstSink;
use crate::storage::local::{CatalogueBatch, PartEntry};
use crate::storage::part::{PartOptions, PartSeries, PartWriter};
use crate::storage::tests::{
    NOW_MS, SeriesBits, Store, batch, batch_of, bits, float, histogram, labels, options,
};
use crate::storage::window::Window;
use crate::storage::{Deletion, RetentionRule, StorageOptions};

impl Store {
    /// Opened with the merge thread put to rest: the test merges.
    fn open_quiet(options: &StorageOptions) -> Self {
        let store = Self::open(options.clone());
        store.storage.alone().merger.stop();
        store
    }

    /// Seals and flushes; merges nothing.
    fn flush(&self) {
        let flush = self.storage.alone().background.ask(background::Request::Settle);
        self.runtime.block_on(flush).expect("flushed");
    }

    fn jobs(&self, thorough: bool) -> Vec<Job> {
        let engine = &self.storage.alone().engine;
        let view = engine.view.load_full();
        let facts = HiddenRows::default().facts(engine, &view);
        let grace_ms = engine.options.merge_grace_ms;
        plan(&facts, PlanOptions { now_ms: engine.clock.now_ms(), grace_ms, thorough })
    }

    /// Merges as settling does.
    fn merge_all(&self) {
        while let Some(job) = self.jobs(true).first() {
            assert!(
                execute(&self.storage.alone().engine, job, &mut Unpaced).expect("merged"),
                "inputs are there"
            );
        }
        self.forget_deletions();
    }

    fn forget_deletions(&self) {
        let engine = &self.storage.alone().engine;
        let done = HiddenRows::default().done(&engine.view.load_full());
        engine.forget_deletions(&done).expect("committed");
    }

    fn all(&self) -> Vec<SeriesBits> {
        bits(&self.select(&[], TimeRange::ALL))
    }

    fn delete(&self, name: &str, range: TimeRange) {
        let matchers = vec![Matcher::equal("__name__", name)];
        let deletion = Deletion { tenant: TenantId::anonymous(), matchers, range };
        self.storage.delete(&deletion).expect("deleted");
    }

    fn values_of(&self, name: &str) -> Vec<f64> {
        let found = self.select(&[Matcher::equal("__name__", name)], TimeRange::ALL);
        found.into_iter().flat_map(|series| series.values).collect()
    }

    /// Levels of the live parts, in order of time.
    fn levels(&self) -> Vec<u8> {
        self.storage.alone().engine.view.load().parts.iter().map(|part| part.entry.level).collect()
    }

    /// Parts in RocksDB that the catalogue does not name, and files that RocksDB does not know.
    fn garbage(&self) -> (u64, usize) {
        let engine = &self.storage.alone().engine;
        let catalogue = engine.database.catalogue().expect("own bytes");
        let staged = std::fs::read_dir(engine.directory.database().staging).expect("listed").count();
        (engine.database.drop_garbage(&catalogue).expect("every live part is there"), staged)
    }
}

/// Lets a merge run.
struct Unpaced;

impl Pace for Unpaced {
    fn at(&mut self, _step: Step) -> Result<(), Stopped> {
        Ok(())
    }
}

/// Does something once, at a step; where it returns `false`, the merge ends there.
struct Once<F: FnMut() -> bool> {
    step: Step,
    act: F,
    done: bool,
}

impl<F: FnMut() -> bool> Once<F> {
    fn at(step: Step, act: F) -> Self {
        Self { step, act, done: false }
    }
}

impl<F: FnMut() -> bool> Pace for Once<F> {
    fn at(&mut self, step: Step) -> Result<(), Stopped> {
        if step != self.step || std::mem::replace(&mut self.done, true) {
            return Ok(());
        }
        if (self.act)() { Ok(()) } else { Err(Stopped) }
    }
}

/// Flushes of four days, of which the oldest come late, with everything that a series can have.
fn append_days(store: &Store) {
    for hours in 0..48 {
        let time_ms = NOW_MS - 2 * hours * HOUR_MS;
        let mut news = batch();
        for instance in 0..20 {
            let start_ms = if instance == 3 { time_ms - 5 } else { 0 };
            let sample = FloatSample { timestamp_ms: time_ms + instance, start_ms, value: hours as f64 };
            news.push_owned(&labels("load", &instance.to_string()), &[sample], &[], &[]);
        }
        let sample =
            HistogramSample { timestamp_ms: time_ms, start_ms: 7, histogram: histogram(hours as f64) };
        let trace = Labels::from_pairs([("trace_id", hours.to_string())]);
        let exemplar = Exemplar { timestamp_ms: time_ms, value: 0.5, labels: trace };
        let stale = [float(time_ms, stale_nan())];
        news.push_owned(&labels("latency", "a"), &[], from_ref(&sample), from_ref(&exemplar));
        news.push_owned(&labels("ended", "a"), &stale, &[], &[]);
        store.append(news);
        if hours % 7 == 0 {
            store.flush();
        }
    }
    store.flush();
}

/// All histograms and exemplars, as texts.
fn rest(store: &Store) -> (String, String) {
    let matchers = [Matcher::equal("__name__", "latency")];
    let series = store.select(&matchers, TimeRange::ALL);
    let points: Vec<_> = series.iter().flat_map(|s| &s.histograms).collect();
    let querier = store.querier("anonymous");
    let guard = QueryGuard::unlimited();
    let exemplars = querier.exemplars(&[matchers.to_vec()], TimeRange::ALL, &guard).expect("read");
    (format!("{points:?}"), format!("{exemplars:?}"))
}

#[test]
fn everything_of_a_day_ends_in_one_part_and_reads_the_same() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open_quiet(&options(folder.path()));
    append_days(&store);
    let want = (store.all(), rest(&store));
    assert!(want.1.0.len() > 1000 && want.1.1.len() > 1000, "{want:?}");
    assert!(store.levels().len() > 5);

    store.merge_all();

    let days = NOW_MS.div_euclid(DAY_MS) - (NOW_MS - 94 * HOUR_MS).div_euclid(DAY_MS) + 1;
    assert_eq!(store.levels(), vec![OF_DAY; days as usize]);
    assert_eq!((store.all(), rest(&store)), want);
    assert_eq!(store.garbage(), (0, 0));
    drop(store);
    assert_eq!(
        {
            let s = Store::open_quiet(&options(folder.path()));
            (s.all(), rest(&s))
        },
        want
    );
}

#[test]
fn the_merge_thread_settles_and_its_figures_tell() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    append_days(&store);
    let want = store.all();

    store.settle();

    let stats = store.storage.stats();
    assert_eq!(stats.parts_by_level, [0, 0, stats.parts]);
    assert!(stats.merges > 0 && stats.merge_read_bytes > 0 && stats.merge_written_bytes > 0, "{stats:?}");
    assert_eq!((stats.merge_failures, store.all()), (0, want));
    store.settle();
    assert_eq!(store.storage.stats().merges, stats.merges, "nothing was left to merge");
}

#[test]
fn a_process_that_ends_at_any_step_of_a_merge_finds_everything_and_no_garbage() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open_quiet(&options(folder.path()));
    append_days(&store);
    store.delete("ended", TimeRange::new(NOW_MS - 10 * HOUR_MS, NOW_MS));
    let want = store.all();
    drop(store);
    for step in [Step::Series, Step::Written, Step::Ingested, Step::Committed, Step::Swapped] {
        let store = Store::open_quiet(&options(folder.path()));
        let job = store.jobs(true).remove(0);
        let result = {
            let mut pace = Once::at(step, || false);
            execute_leaving(&store.storage.alone().engine, &job, &mut pace, &mut Unnamed::default())
        };
        assert!(matches!(result, Err(MergeError::Stopped)), "{step:?}: {result:?}");
        drop(store);

        let store = Store::open_quiet(&options(folder.path()));
        assert_eq!(store.all(), want, "{step:?}");
        assert_eq!(store.garbage(), (0, 0), "{step:?}");
    }
    let store = Store::open_quiet(&options(folder.path()));
    store.merge_all();
    assert_eq!(store.all(), want);
    assert_eq!(store.storage.stats().deletions, 0);
}

#[test]
fn a_merge_that_is_stopped_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open_quiet(&options(folder.path()));
    append_days(&store);
    let (want, levels) = (store.all(), store.levels());
    for step in [Step::Series, Step::Written, Step::Ingested] {
        let job = store.jobs(true).remove(0);
        let result = execute(&store.storage.alone().engine, &job, &mut Once::at(step, || false));
        assert!(matches!(result, Err(MergeError::Stopped)), "{step:?}: {result:?}");
        assert_eq!((store.all(), store.levels(), store.garbage()), (want.clone(), levels.clone(), (0, 0)));
    }
}

#[test]
fn what_is_written_again_after_a_deletion_stays_through_merges() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open_quiet(&options(folder.path()));
    store.append(batch_of("up", &[float(NOW_MS, 5.0), float(NOW_MS + 1, 6.0)]));
    store.append(batch_of("other", &[float(NOW_MS, 1.0)]));
    store.flush();
    store.merge_all();
    store.delete("up", TimeRange::new(NOW_MS, NOW_MS));
    assert_eq!(store.storage.stats().deletions, 1);
    store.append(batch_of("up", &[float(NOW_MS, 4.0)]));
    store.flush();
    assert_eq!(store.values_of("up"), [4.0, 6.0]);

    store.merge_all();

    assert_eq!(store.values_of("up"), [4.0, 6.0], "the lower value came after the deletion");
    let stats = store.storage.stats();
    assert_eq!((stats.parts, stats.part_samples, stats.deletions), (1, 3, 0));
    drop(store);
    let store = Store::open_quiet(&options(folder.path()));
    assert_eq!((store.values_of("up"), store.values_of("other")), (vec![4.0, 6.0], vec![1.0]));
    store.delete("up", TimeRange::ALL);
    assert!(store.values_of("up").is_empty(), "a deletion after a restart binds to what merges wrote");
}

#[test]
fn a_deletion_during_a_merge_hides_what_the_merge_writes() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open_quiet(&options(folder.path()));
    for at in 0..2 {
        store.append(batch_of("up", &[float(NOW_MS + at, 5.0)]));
        store.flush();
    }
    let job = store.jobs(true).remove(0);
    let mut pace = Once::at(Step::Written, || {
        store.delete("up", TimeRange::new(NOW_MS, NOW_MS));
        true
    });
    assert!(execute(&store.storage.alone().engine, &job, &mut pace).expect("merged"));
    store.forget_deletions();
    assert_eq!((store.values_of("up").len(), store.storage.stats().deletions), (1, 1));

    store.merge_all();

    let stats = store.storage.stats();
    assert_eq!((store.values_of("up").len(), stats.part_samples, stats.deletions), (1, 1, 0));
}

#[test]
fn a_deletion_that_meets_nothing_is_forgotten_and_one_of_unflushed_samples_is_not() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open_quiet(&options(folder.path()));
    store.append(batch_of("up", &[float(NOW_MS, 5.0)]));
    store.delete("nobody", TimeRange::ALL);
    store.delete("up", TimeRange::ALL);
    store.forget_deletions();
    assert_eq!(store.storage.stats().deletions, 2, "what is in memory may be meant");

    store.flush();
    store.forget_deletions();

    assert_eq!((store.storage.stats().deletions, store.all().len()), (0, 0));
}

#[test]
fn cleaning_erases_from_parts_of_every_kind_and_merges_nothing_else() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    let late_ms = NOW_MS - 3 * DAY_MS;
    store.append(batch_of("up", &[float(NOW_MS, 1.0), float(late_ms, 2.0)]));
    store.append(batch_of("other", &[float(NOW_MS - 3 * HOUR_MS, 1.0), float(late_ms, 2.0)]));
    store.flush();
    assert_eq!(store.levels(), [0, 0, 0]);
    store.delete("up", TimeRange::ALL);

    store.runtime.block_on(store.storage.clean_tombstones()).expect("cleaned");

    assert_eq!((store.values_of("up").len(), store.values_of("other")), (0, vec![2.0, 1.0]));
    let stats = store.storage.stats();
    assert_eq!((stats.part_samples, stats.deletions), (2, 0));
    assert_eq!(store.levels(), [OF_DAY, 0], "the late part was split, the untouched one was not");
}

#[test]
fn rules_hide_what_is_past_their_age_at_once_and_merges_erase_it() {
    let folder = tempfile::tempdir().expect("folder");
    let clock = ManualClock::at_ms(NOW_MS);
    let mut ruled = options(folder.path());
    ruled.clock = clock.clone();
    let of_debug = Matcher::equal("__name__", "debug");
    ruled.retention_rules =
        vec![RetentionRule { tenant: None, matchers: vec![of_debug], keep_ms: 3 * DAY_MS }];
    let store = Store::open_quiet(&ruled);
    store.append(batch_of("debug", &[float(NOW_MS - DAY_MS, 1.0), float(NOW_MS, 2.0)]));
    store.append(batch_of("kept", &[float(NOW_MS - DAY_MS, 1.0)]));
    store.flush();
    store.merge_all();
    assert_eq!(store.values_of("debug"), [1.0, 2.0]);

    clock.set_ms(NOW_MS + 2 * DAY_MS + 1);

    assert_eq!((store.values_of("debug"), store.values_of("kept")), (vec![2.0], vec![1.0]));
    let names = |range| {
        let querier = store.querier("anonymous");
        querier.label_values("__name__", &[], range, usize::MAX, &QueryGuard::unlimited()).expect("read")
    };
    let before_ms = TimeRange::new(NOW_MS - 2 * DAY_MS, NOW_MS - 1);
    assert_eq!(names(before_ms), ["kept"]);
    assert_eq!(names(TimeRange::ALL), ["debug", "kept"]);
    clock.set_ms(NOW_MS + 3 * DAY_MS + 1);
    assert!(store.values_of("debug").is_empty());
    assert_eq!(store.storage.stats().part_samples, 3);
    store.merge_all();
    assert_eq!((store.storage.stats().part_samples, store.values_of("kept")), (1, vec![1.0]));
}

#[test]
fn the_oldest_parts_go_where_all_are_larger_than_allowed() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    append_days(&store);
    store.settle();
    let stats = store.storage.stats();
    store.close();
    let mut small = options(folder.path());
    small.retention_bytes_max = Some(stats.part_bytes / 2 + stats.log_bytes);

    let store = Store::open(small);
    store.settle();

    let after = store.storage.stats();
    assert!(after.part_bytes <= stats.part_bytes / 2 && after.parts > 0, "{after:?}");
    assert!(after.min_ms > stats.min_ms && after.max_ms == stats.max_ms, "{after:?}");
    assert_eq!(after.parts_expired, stats.parts - after.parts);
}

#[test]
fn an_output_that_would_outgrow_memory_goes_on_in_another_part_of_its_run() {
    let folder = tempfile::tempdir().expect("folder");
    let mut tiny = options(folder.path());
    tiny.merge_gathered_bytes_max = 1;
    let store = Store::open_quiet(&tiny);
    append_days(&store);
    let want = store.all();

    store.merge_all();

    let view = store.storage.alone().engine.view.load_full();
    let runs: std::collections::BTreeSet<u64> = view.parts.iter().map(|part| part.entry.run).collect();
    assert!(view.parts.len() > runs.len(), "{} parts of {} runs", view.parts.len(), runs.len());
    assert_eq!(store.all(), want);
    assert!(store.jobs(true).is_empty());
}

#[test]
fn readers_keep_what_they_pinned_while_merges_replace_it() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open_quiet(&options(folder.path()));
    append_days(&store);
    let pinned = store.storage.alone().engine.view.load_full();
    store.merge_all();
    let dead = pinned.parts[0].entry.number;
    let rows = pinned.parts[0].reader().expect("still there").summary().rows;
    assert!(rows > 0);
    let is_present = || store.storage.alone().engine.database.has_part(dead).expect("asked");
    assert!(is_present());

    drop(pinned);

    assert!(!is_present(), "the last pin is gone, and the part with it");
}

#[test]
fn rows_that_are_too_large_for_a_batch_are_read_in_smaller_ones() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open_quiet(&options(folder.path()));
    append_days(&store);
    let view = store.storage.alone().engine.view.load_full();
    let part = view.parts.iter().max_by_key(|part| part.entry.samples()).expect("parts");
    let read = |bytes_max| {
        let mut cursor = PartCursor::new(PartInput::new(part, &[]), TimeRange::ALL, bytes_max);
        let mut rows = Vec::new();
        while let Some(row) = cursor.next().expect("own bytes") {
            rows.push(format!("{} {:?} {:?}", row.labels, row.samples, row.exemplars));
        }
        (rows, cursor.read)
    };

    let (rows, tally) = read(1);

    assert_eq!((&rows, tally), (&read(1 << 30).0, read(1 << 30).1));
    assert_eq!((rows.len() as u64, tally.samples), (part.entry.rows, part.entry.samples()));
    assert_eq!(tally.exemplars, part.entry.exemplars);
}

/// Parts of one sample each, one an hour back from now.
fn write_parts(store: &Store, count: u64) {
    let engine = &store.storage.alone().engine;
    let (mut files, mut live) = (Vec::new(), Vec::new());
    let first = engine.take_part_numbers(count);
    for at in 0..count {
        let time_ms = NOW_MS - at as i64 * HOUR_MS;
        let mut sink = SstSink::fresh(&engine.database, first + at);
        let mut writer = PartWriter::new(&mut sink, PartOptions::default());
        let mut series = PartSeries::new(TenantId::anonymous(), labels("up", "a"));
        (series.timestamps_ms, series.values) = (vec![time_ms], vec![at as f64]);
        writer.add(&series).expect("written");
        let summary = writer.finish().expect("written");
        let (paths, bytes) = sink.finish().expect("written");
        files.extend(paths);
        live.push(PartEntry::of(first + at, Window::of(time_ms).kind(), &summary, bytes, TimeRange::ALL));
    }
    engine.database.ingest(files).expect("ingested");
    engine.commit(&CatalogueBatch { live, ..CatalogueBatch::default() }).expect("committed");
}

#[test]
fn parts_are_opened_when_a_question_concerns_them_and_not_at_the_start() {
    let count = std::env::var("ONGGI_PARTS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open_quiet(&options(folder.path()));
    write_parts(&store, count);
    drop(store);

    let began = std::time::Instant::now();
    let store = Store::open_quiet(&options(folder.path()));
    let opened = began.elapsed();

    let open =
        || store.storage.alone().engine.view.load().parts.iter().filter(|part| part.is_open()).count() as u64;
    assert_eq!((store.storage.stats().parts, open()), (count, 0));
    let recent = TimeRange::new(NOW_MS - 2 * HOUR_MS, NOW_MS);
    assert_eq!(bits(&store.select(&[], recent))[0].1.len(), 3);
    assert_eq!(open(), 3);
    let began = std::time::Instant::now();
    assert_eq!(bits(&store.select(&[], TimeRange::ALL))[0].1.len() as u64, count);
    assert_eq!(open(), count);
    eprintln!("{count} parts: opened in {opened:?}, all asked in {:?}", began.elapsed());
}

#[test]
fn a_part_that_cannot_be_read_is_left_alone_and_the_others_are_merged() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(options(folder.path()));
    store.append(batch_of("late", &[float(NOW_MS - 9 * DAY_MS, 1.0)]));
    store.flush();
    let broken = store.storage.alone().engine.view.load().parts[0].entry.number;
    store.storage.alone().engine.database.drop_part(broken).expect("dropped behind the catalogue's back");
    store.delete("late", TimeRange::ALL);
    for at in 0..3 {
        store.append(batch_of("up", &[float(NOW_MS + at, at as f64)]));
        store.flush();
    }

    store.settle();

    let recent = store.select(&[], TimeRange::new(NOW_MS - HOUR_MS, NOW_MS + HOUR_MS));
    assert_eq!(recent[0].values, [0.0, 1.0, 2.0]);
    let stats = store.storage.stats();
    assert_eq!(
        (stats.parts_by_level, stats.deletions),
        ([1, 0, 1], 1),
        "what it hides is not known to be gone"
    );
    assert!(stats.merge_failures > 0);
}
