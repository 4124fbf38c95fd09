//! Names and values of labels: what the indexes of head and parts tell is what the series have.

use std::collections::BTreeSet;

use super::*;
use crate::model::MatchOp;

/// Series of ten jobs: the even ones in parts of two windows, those divisible by three in the head.
fn store(folder: &Path) -> Store {
    let store = Store::open(options(folder));
    let append = |numbers: &mut dyn Iterator<Item = i64>, at_ms: i64| {
        let mut batch = batch();
        for number in numbers {
            let (job, instance) = (format!("job-{}", number % 10), format!("i{number:03}"));
            let named = [("__name__", "up"), ("instance", &*instance), ("job", &*job)];
            let labels = if number % 4 == 0 { Labels::from_pairs(named) } else { labels("down", &instance) };
            batch.push_owned(&labels, &[float(at_ms, 1.0)], &[], &[]);
        }
        store.append(batch);
    };
    append(&mut (0..100).filter(|number| number % 2 == 0), NOW_MS - 5 * HOUR_MS);
    append(&mut (0..50).filter(|number| number % 2 == 0), NOW_MS - HOUR_MS);
    store.settle();
    append(&mut (0..100).filter(|number| number % 3 == 0), NOW_MS - MINUTE_MS);
    store
}

/// Both questions against the labels of the series.
fn check(querier: &dyn Querier, sets: &[Vec<Matcher>], range: TimeRange) {
    let guard = QueryGuard::unlimited();
    let series = querier.series(sets, range, usize::MAX, &guard).expect("read");
    let names: BTreeSet<&str> =
        series.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
    let told = querier.label_names(sets, range, usize::MAX, &guard).expect("read");
    assert!(told.iter().eq(&names), "{sets:?} {range:?}: {told:?} for {names:?}");
    for name in ["__name__", "instance", "job", "nowhere"] {
        let values: BTreeSet<&str> = series.iter().filter_map(|labels| labels.get(name)).collect();
        for limit in [2, usize::MAX] {
            let told = querier.label_values(name, sets, range, limit, &guard).expect("read");
            assert!(told.iter().eq(values.iter().take(limit)), "{sets:?} {range:?}: {told:?} for {values:?}");
        }
    }
}

#[test]
fn names_and_values_are_those_of_the_series_with_matchers_and_without_in_any_range() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let store = store(folder.path());
    let querier = store.querier("anonymous");
    let up = vec![Matcher::equal("__name__", "up")];
    let regex = vec![Matcher::new("instance", MatchOp::Regex, "i0[1-3].*").expect("valid")];
    let nothing = vec![Matcher::equal("job", "nowhere")];
    let sets: [&[Vec<Matcher>]; 5] =
        [&[], from_ref(&up), from_ref(&regex), &[up.clone(), regex.clone()], from_ref(&nothing)];
    let ranges = [
        TimeRange::ALL,
        TimeRange::new(NOW_MS - 6 * HOUR_MS, NOW_MS - 2 * HOUR_MS),
        TimeRange::new(NOW_MS - 2 * HOUR_MS, NOW_MS),
        TimeRange::new(NOW_MS - MINUTE_MS / 2, NOW_MS),
    ];

    for sets in sets {
        for range in ranges {
            check(&*querier, sets, range);
        }
    }
    // What is deleted is told by nobody.
    let deletion = Deletion { tenant: TenantId::anonymous(), matchers: up.clone(), range: TimeRange::ALL };
    store.storage.delete(&deletion).expect("deleted");
    for sets in sets {
        check(&*querier, sets, TimeRange::ALL);
    }
    store.close();
}

/// Two hundred series in a part for each of 39 days.
fn days_of_parts(options: StorageOptions) -> Store {
    let store = Store::open(options);
    let mut days = batch();
    for number in 0..200 {
        let samples: Vec<FloatSample> =
            (1..40).map(|day| float(NOW_MS - (40 - day) * DAY_MS, day as f64)).collect();
        days.push_owned(&labels("up", &format!("instance-{number:03}")), &samples, &[], &[]);
    }
    store.append(days);
    store.settle();
    assert_eq!(store.storage.stats().parts, 39);
    store
}

#[test]
fn parts_let_go_of_texts_when_they_are_many() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let store = days_of_parts(StorageOptions { cache_bytes: 64 << 10, ..options(folder.path()) });
    let querier = store.querier("anonymous");

    for _ in 0..2 {
        let series = querier.series(&[], TimeRange::ALL, usize::MAX, &QueryGuard::unlimited()).expect("read");
        assert_eq!(series.len(), 200);
        let held = store.storage.alone().engine.view.load().text_bytes();
        assert!(held <= 32 << 10, "{held} bytes of texts");
    }
    store.close();
}

#[test]
fn series_of_many_parts_are_held_once() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let store = days_of_parts(options(folder.path()));

    let guard = QueryGuard::unlimited();
    let querier = store.querier("anonymous");
    let series = querier.series(&[], TimeRange::ALL, usize::MAX, &guard).expect("read");
    let values = querier.label_values("instance", &[], TimeRange::ALL, usize::MAX, &guard).expect("read");

    assert_eq!((series.len(), values.len()), (200, 200));
    // 39 rows of eight bytes each, labels and a place in a table.
    assert!(guard.reserved_bytes() < 200 * 1000, "{} bytes reserved", guard.reserved_bytes());
    store.close();
}
