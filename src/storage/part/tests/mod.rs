//! The part as a whole: random series in, the same out, and every question answered as a plain
//! walk over the series would.

mod families;
mod index;
mod model;
mod rounds;
mod verify;

use model::{Random, labels, series};

use super::*;
use crate::chunk::Effort;
use crate::model::{Labels, MatchOp, Matcher, TenantId, TimeRange, time::DAY_MS};
use crate::querier::{LabelsWanted, QueryGuard};

fn written(series: &[PartSeries], options: PartOptions) -> (MemoryContainer, PartSummary) {
    let mut container = MemoryContainer::default();
    let mut writer = PartWriter::new(&mut container, options);
    for one in series {
        writer.add(one).expect("series in order");
    }
    let summary = writer.finish().expect("in memory");
    (container, summary)
}

fn gauge(name: &str, instance: &str, timestamps_ms: &[i64]) -> PartSeries {
    PartSeries {
        values: timestamps_ms.iter().map(|t| *t as f64).collect(),
        timestamps_ms: timestamps_ms.to_vec(),
        ..PartSeries::new(TenantId::anonymous(), labels(&[("__name__", name), ("instance", instance)]))
    }
}

#[test]
fn series_out_of_order_are_refused() {
    let mut container = MemoryContainer::default();
    let mut writer = PartWriter::new(&mut container, PartOptions::default());
    writer.add(&gauge("b", "1", &[1])).expect("the first");

    for (name, instance) in [("b", "1"), ("b", "0"), ("a", "2")] {
        let refused = writer.add(&gauge(name, instance, &[1]));
        assert!(matches!(refused, Err(PartError::SeriesOrder { .. })), "{name} {instance}");
    }
    let mut descending = gauge("c", "1", &[5, 5]);
    assert!(matches!(writer.add(&descending), Err(PartError::Series { .. })));
    descending.timestamps_ms.pop();
    assert!(matches!(writer.add(&descending), Err(PartError::Series { .. })));
}

#[test]
fn an_empty_part_is_a_part() {
    let (container, summary) = written(&[], PartOptions::default());
    let reader = PartReader::open(container).expect("own bytes");

    assert_eq!(**reader.summary(), summary);
    assert_eq!(reader.time_range(), None);
    let everything = reader.select(&TenantId::anonymous(), &[], TimeRange::ALL, &QueryGuard::unlimited());
    assert_eq!(everything.expect("own bytes"), Vec::<u32>::new());
}

#[test]
fn rows_of_a_target_share_their_timestamps() {
    let scrape = |target: i64| (0..240).map(|i| 15_000 * i + target + i % 7).collect::<Vec<_>>();
    let mut all = Vec::new();
    for metric in 0..20 {
        for target in 0..50 {
            let timestamps_ms = scrape(target);
            // Some series begin late, some end early.
            let stretch = match metric {
                7 => &timestamps_ms[100..],
                8 => &timestamps_ms[..90],
                _ => &timestamps_ms,
            };
            all.push(gauge(&format!("m{metric:02}"), &format!("{target:02}"), stretch));
        }
    }
    let (container, summary) = written(&all, PartOptions::default());

    assert_eq!(summary.timestamp_columns, 50);
    let reader = PartReader::open(container).expect("own bytes");
    let rows: Vec<u32> = (0..summary.rows).collect();
    let mut read = Vec::new();
    reader
        .read(&rows, TimeRange::ALL, &QueryGuard::unlimited(), &mut |_, samples| {
            read.push(samples.timestamps_ms);
            Ok(())
        })
        .expect("own bytes");
    assert!(read.iter().zip(&all).all(|(read, one)| *read == one.timestamps_ms));
}

#[test]
fn times_that_never_come_again_are_not_made_columns() {
    let all: Vec<_> =
        (0..100).map(|i| gauge("pushed", &format!("{i:03}"), &[i * 977, i * 977 + 60_000])).collect();
    let (_, summary) = written(&all, PartOptions::default());
    assert_eq!(summary.timestamp_columns, 0);
}

#[test]
fn a_reader_that_may_not_hold_anything_says_so() {
    let all: Vec<_> = (0..10).map(|i| gauge("m", &i.to_string(), &(0..1000).collect::<Vec<_>>())).collect();
    let (container, _) = written(&all, PartOptions::default());
    let reader = PartReader::open(container).expect("own bytes");
    let guard = QueryGuard::new(None, crate::memory::MemoryBudget::new("query", 50_000));

    let rows: Vec<u32> = (0..10).collect();
    let read = reader.read(&rows, TimeRange::ALL, &guard, &mut |_, _| Ok(()));
    assert!(matches!(read, Err(PartError::Query(crate::querier::QueryError::Memory(_)))), "{read:?}");
}

#[test]
fn labels_of_many_rows_are_those_of_each_and_only_they_stay_reserved() {
    let all: Vec<_> = (0..700)
        .map(|i| gauge(["a", "b", "c"][i / 300], &format!("{:03}-{}", i % 300, "x".repeat(i % 50)), &[5]))
        .collect();
    let (container, summary) = written(&all, PartOptions::default());
    let reader = PartReader::open_with_cache(container, 0).expect("own bytes");
    let guard = QueryGuard::unlimited();
    let rows: Vec<u32> = (0..summary.rows).filter(|row| row % 7 != 3).collect();

    let read = reader.labels(&rows, &guard).expect("own bytes");

    assert_eq!(guard.reserved_bytes(), read.iter().map(|set| set.as_bytes().len() as u64 + 32).sum::<u64>());
    assert!(guard.peak_bytes() > guard.reserved_bytes(), "blocks were at hand");
    for (row, labels) in rows.iter().zip(&read) {
        let alone = reader.labels(&[*row], &QueryGuard::unlimited()).expect("own bytes");
        assert_eq!(alone, std::slice::from_ref(labels), "row {row}");
        assert_eq!(*labels, all[*row as usize].labels);
    }
}

#[test]
fn buckets_come_by_kind_in_the_order_of_their_labels_which_is_not_that_of_rows() {
    let mut all = Vec::new();
    for (name, instance, le, pod) in (0..360).map(|i| (i % 2, i / 2 % 15, i / 30 % 4, i / 120)) {
        let (instance, pod) = (instance.to_string(), pod.to_string());
        let le = ["+Inf", "0.5", "10", "2.5"][le];
        let (instance, pod) = (instance.as_str(), pod.as_str());
        let pairs = [("__name__", ["a", "b"][name]), ("instance", instance), ("le", le), ("pod", pod)];
        let bucket = PartSeries::new(TenantId::anonymous(), labels(&pairs));
        all.push(PartSeries { timestamps_ms: vec![5], values: vec![1.0], ..bucket });
    }
    all.sort_by(|a, b| row_order((&a.tenant, &a.labels), (&b.tenant, &b.labels)));
    let (container, _) = written(&all, PartOptions::default());
    let reader = PartReader::open(container).expect("own bytes");
    let rows: Vec<u32> = (0..all.len() as u32).collect();
    let labels = |row: &u32| &all[*row as usize].labels;
    let kinds = |names: &[&str], kinds_max: usize| {
        let wanted = LabelsWanted::By(names.iter().map(|name| (*name).to_owned()).collect());
        reader.kinds(&rows, &wanted, true, kinds_max, &QueryGuard::unlimited()).expect("own bytes")
    };

    let by_bucket = kinds(&["__name__", "le", "nowhere"], 8).expect("eight kinds");
    assert_eq!(by_bucket.labels.len(), 8);
    assert!(!by_bucket.rows.is_sorted(), "rows stand by the numbers of their buckets");
    assert!(by_bucket.rows.is_sorted_by(|(a, _), (b, _)| labels(a) < labels(b)));
    assert!(kinds(&["__name__", "le"], 7).is_none(), "one kind more");
    let one = kinds(&[], 1).expect("all are alike");
    assert_eq!(one.labels, [Labels::empty()]);
    assert_eq!(one.rows.len(), rows.len());
}

#[test]
fn a_long_row_is_read_in_parts() {
    let timestamps_ms: Vec<i64> = (0..100_000).map(|i| i * 15_000).collect();
    let (container, _) = written(&[gauge("long", "x", &timestamps_ms)], PartOptions::default());
    let reader = PartReader::open(container).expect("own bytes");

    let guard = QueryGuard::new(None, crate::memory::MemoryBudget::new("query", 40_000));
    let range = TimeRange::new(50_000 * 15_000, 50_100 * 15_000);
    let mut counts = Vec::new();
    let read = reader.read(&[0], range, &guard, &mut |row, samples| {
        counts.push((row, samples.timestamps_ms.len()));
        Ok(())
    });
    read.expect("a small stretch fits a small budget");
    assert_eq!(counts, [(0, 101)]);
}

#[test]
fn a_series_of_several_days_is_found_on_its_days_only() {
    let days = [-3 * DAY_MS + 5, 2 * DAY_MS, 9 * DAY_MS];
    let (container, summary) = written(&[gauge("late", "x", &days)], PartOptions::default());
    let reader = PartReader::open(container).expect("own bytes");
    let on = |start_ms: i64, end_ms: i64| {
        let range = TimeRange::new(start_ms, end_ms);
        let rows = reader.select(&TenantId::anonymous(), &[], range, &QueryGuard::unlimited());
        rows.expect("own bytes").len()
    };

    assert_eq!(summary.days, [-3, 2, 9]);
    assert_eq!(on(-3 * DAY_MS, -3 * DAY_MS + 4), 0, "before its first sample");
    assert_eq!(on(-3 * DAY_MS, -2 * DAY_MS - 1), 1);
    assert_eq!(on(3 * DAY_MS, 9 * DAY_MS - 1), 0, "between its days");
    assert_eq!(on(9 * DAY_MS, 9 * DAY_MS), 1);
    assert_eq!(on(9 * DAY_MS + 1, 10 * DAY_MS), 0, "after its last sample");
    assert_eq!(on(5, 4), 0, "an empty range");
}

#[test]
fn a_histogram_of_more_cells_than_a_column_may_have_is_kept() {
    use crate::model::{Counts, Histogram, ResetHint};
    let histogram = Histogram {
        reset_hint: ResetHint::Unknown,
        schema: -53,
        zero_threshold: 0.0,
        sum: 1.0,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        custom_values: (0..crate::chunk::histograms::CELLS_MAX + 1).map(|i| i as f64).collect(),
        counts: Counts::Integer { count: 0, zero_count: 0, positive_deltas: vec![], negative_deltas: vec![] },
    };
    let histogram = std::sync::Arc::new(histogram);
    let point = |timestamp_ms| crate::querier::HistogramPoint {
        timestamp_ms,
        start_ms: 0,
        histogram: std::sync::Arc::clone(&histogram),
    };
    let mut wide = gauge("wide", "x", &[]);
    wide.histograms = vec![point(1), point(2)];
    let (container, _) = written(&[wide], PartOptions::default());
    let reader = PartReader::open(container).expect("own bytes");

    let mut found = 0;
    reader
        .read(&[0], TimeRange::ALL, &QueryGuard::unlimited(), &mut |_, samples| {
            found += samples.histograms.iter().filter(|p| p.histogram.same_bits(&histogram)).count();
            Ok(())
        })
        .expect("own bytes");
    assert_eq!(found, 2);
}

#[test]
fn matchers_take_a_missing_label_for_an_empty_one() {
    let with = |name: &str, pairs: &[(&str, &str)]| {
        let mut all = vec![("__name__", name)];
        all.extend(pairs);
        PartSeries {
            timestamps_ms: vec![1],
            values: vec![1.0],
            ..PartSeries::new(TenantId::anonymous(), labels(&all))
        }
    };
    let all = [with("a", &[]), with("b", &[("x", "1")]), with("c", &[("x", "2")]), with("d", &[("x", "10")])];
    let (container, _) = written(&all, PartOptions::default());
    let reader = PartReader::open(container).expect("own bytes");
    let check = |op: MatchOp, value: &str, want: &[u32]| {
        let matcher = Matcher::new("x", op, value).expect("a good expression");
        let rows =
            reader.select(&TenantId::anonymous(), &[matcher], TimeRange::ALL, &QueryGuard::unlimited());
        assert_eq!(rows.expect("own bytes"), want, "x{}{value:?}", op.as_str());
    };

    check(MatchOp::Equal, "1", &[1]);
    check(MatchOp::Equal, "", &[0]);
    check(MatchOp::Equal, "nowhere", &[]);
    check(MatchOp::NotEqual, "1", &[0, 2, 3]);
    check(MatchOp::NotEqual, "", &[1, 2, 3]);
    check(MatchOp::NotEqual, "nowhere", &[0, 1, 2, 3]);
    check(MatchOp::Regex, "1.*", &[1, 3]);
    check(MatchOp::Regex, "1|2", &[1, 2]);
    check(MatchOp::Regex, "1|", &[0, 1]);
    check(MatchOp::Regex, "", &[0]);
    check(MatchOp::Regex, ".*", &[0, 1, 2, 3]);
    check(MatchOp::Regex, ".+", &[1, 2, 3]);
    check(MatchOp::NotRegex, "1.*", &[0, 2]);
    check(MatchOp::NotRegex, "1|", &[2, 3]);
    check(MatchOp::NotRegex, "", &[1, 2, 3]);
    check(MatchOp::NotRegex, ".*", &[]);
    check(MatchOp::NotRegex, ".+", &[0]);
}

#[test]
fn random_parts_answer_as_their_series_do() {
    for seed in 0..25 {
        rounds::fuzz_round(seed);
    }
}

#[test]
fn damaged_parts_are_errors_or_answers() {
    for seed in 0..15 {
        rounds::damage_round(seed);
    }
}

#[test]
fn equal_series_make_equal_bytes() {
    let all = series(&mut Random::new(7));
    let (mut first, _) = written(&all, PartOptions::default());
    let (mut second, _) = written(&all, PartOptions::default());
    assert!(first.rows_mut().eq(second.rows_mut()));
}

/// `ONGGI_FUZZ_SECONDS=600 cargo test --release part_fuzz_run -- --ignored --nocapture`
#[test]
#[ignore = "a fuzz run takes as long as it is told to"]
fn part_fuzz_run() {
    let seconds = std::env::var("ONGGI_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let (begun, mut seed) = (std::time::Instant::now(), 1_000_000);
    while begun.elapsed().as_secs() < seconds {
        rounds::fuzz_round(seed);
        rounds::damage_round(seed);
        seed += 1;
    }
    println!("{} rounds in {seconds} s", seed - 1_000_000);
}
