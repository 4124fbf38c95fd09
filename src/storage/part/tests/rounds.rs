//! One round of a random part: written, read, asked, damaged.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::super::*;
use super::model::{NAMES, Random, TENANTS, matchers, range, series};
use super::written;
use crate::chunk::Effort;
use crate::model::time::DAY_MS;
use crate::model::{Labels, Matcher, TenantId, TimeRange, is_stale_nan};
use crate::querier::{FloatsWanted, HistogramPoint, LabelsWanted, QueryGuard};

/// Writes random series and holds everything that is read against them.
pub fn fuzz_round(seed: u64) {
    let mut random = Random::new(seed);
    let all = series(&mut random);
    let options = PartOptions {
        sub_chunk_samples: random.pick(&[1, 3, 17, 120, 1440]),
        column_cache_bytes: random.pick(&[0, 1_000, 1 << 20]),
        effort: random.pick(&[Effort::Fresh, Effort::Merged]),
    };
    let (container, summary) = written(&all, options);
    let reader =
        PartReader::open_with_cache(container, random.pick(&[0, 2_000, 1 << 20])).expect("own bytes");
    assert_eq!(**reader.summary(), summary, "seed {seed}");
    check_summary(&summary, &all);
    check_labels(&reader, &all);
    check_kinds(&reader, &all, &mut random);
    for _ in 0..4 {
        let range = range(&mut random, &all);
        let rows: Vec<u32> = (0..all.len() as u32).filter(|_| !random.one_in(3)).collect();
        check_samples(&reader, &all, &rows, range);
        check_wanted(&reader, &rows, range);
        check_exemplars(&reader, &all, &rows, range);
    }
    for _ in 0..20 {
        let (matchers, range) = (matchers(&mut random), range(&mut random, &all));
        check_questions(&reader, &all, random.pick(&TENANTS), &matchers, range, seed);
    }
}

fn check_summary(summary: &PartSummary, all: &[PartSeries]) {
    assert_eq!(summary.rows as usize, all.len());
    let sum = |of: fn(&PartSeries) -> usize| all.iter().map(of).sum::<usize>() as u64;
    assert_eq!(summary.float_samples, sum(|one| one.timestamps_ms.len()));
    assert_eq!(summary.histogram_samples, sum(|one| one.histograms.len()));
    assert_eq!(summary.exemplars, sum(|one| one.exemplars.len()));
    assert_eq!(summary.min_ms, all.iter().flat_map(sample_times).min().unwrap_or(i64::MAX));
    assert_eq!(summary.max_ms, all.iter().flat_map(sample_times).max().unwrap_or(i64::MIN));
    let days: BTreeSet<i64> = all.iter().flat_map(sample_times).map(|t| t.div_euclid(DAY_MS)).collect();
    assert!(summary.days.iter().eq(&days));
}

fn sample_times(one: &PartSeries) -> impl Iterator<Item = i64> {
    one.timestamps_ms.iter().copied().chain(one.histograms.iter().map(|point| point.timestamp_ms))
}

fn check_labels(reader: &PartReader<MemoryContainer>, all: &[PartSeries]) {
    let rows: Vec<u32> = (0..all.len() as u32).collect();
    let labels = reader.labels(&rows, &QueryGuard::unlimited()).expect("own bytes");
    assert!(labels.iter().eq(all.iter().map(|one| &one.labels)));
    for (row, one) in all.iter().enumerate() {
        assert_eq!(reader.tenant_of(row as u32), Some(&one.tenant));
        let labels = reader.labels(&[row as u32], &QueryGuard::unlimited()).expect("own bytes");
        assert_eq!(labels[0], one.labels);
    }
    assert_eq!(reader.tenant_of(all.len() as u32), None);
    assert!(reader.labels(&[all.len() as u32], &QueryGuard::unlimited()).is_err());
}

/// Rows of a kind have what is wanted of their labels in common, and come in their order where that is
/// asked for.
fn check_kinds(reader: &PartReader<MemoryContainer>, all: &[PartSeries], random: &mut Random) {
    let guard = QueryGuard::unlimited();
    let mut names: Vec<String> = Vec::new();
    for name in NAMES {
        if random.one_in(2) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    let wanted = if random.one_in(2) { LabelsWanted::By(names) } else { LabelsWanted::Without(names) };
    for tenant in &reader.summary().tenants {
        let rows: Vec<u32> = (tenant.first_row..tenant.end_row).filter(|_| !random.one_in(3)).collect();
        let kinds =
            |in_order: bool| reader.kinds(&rows, &wanted, in_order, usize::MAX, &guard).expect("own bytes");
        let as_they_are = kinds(false).expect("as many kinds as there are");
        let in_order = kinds(true);

        assert!(as_they_are.rows.iter().map(|(row, _)| row).eq(&rows));
        for kinds in in_order.iter().chain([&as_they_are]) {
            assert_eq!(kinds.rows.len(), rows.len());
            for (row, kind) in &kinds.rows {
                assert_eq!(kinds.labels[*kind as usize], wanted.of(&all[*row as usize].labels));
            }
            assert_eq!(kinds.labels.iter().collect::<BTreeSet<_>>().len(), kinds.labels.len());
        }
        if let Some(in_order) = in_order {
            let labels = |row: u32| &all[row as usize].labels;
            assert!(in_order.rows.is_sorted_by(|(a, _), (b, _)| labels(*a) < labels(*b)));
        }
    }
}

fn check_samples(reader: &PartReader<MemoryContainer>, all: &[PartSeries], rows: &[u32], range: TimeRange) {
    let mut read = Vec::new();
    let guard = QueryGuard::unlimited();
    reader
        .read(rows, range, &guard, &mut |row, samples| {
            read.push((row, samples));
            Ok(())
        })
        .expect("own bytes");

    let mut read = read.into_iter().peekable();
    for row in rows {
        let one = &all[*row as usize];
        let slots: Vec<usize> =
            (0..one.timestamps_ms.len()).filter(|at| range.contains(one.timestamps_ms[*at])).collect();
        let points: Vec<&HistogramPoint> =
            one.histograms.iter().filter(|point| range.contains(point.timestamp_ms)).collect();
        if slots.is_empty() && points.is_empty() {
            continue;
        }
        let (read_row, samples) = read.next().expect("a row with samples is given");
        assert_eq!(read_row, *row);
        let start_at = |at: usize| samples.starts_ms.get(at).copied().unwrap_or(0);
        assert!(samples.starts_ms.is_empty() || samples.starts_ms.len() == slots.len());
        assert_eq!(samples.timestamps_ms.len(), slots.len());
        assert_eq!(samples.values.len(), slots.len());
        for (at, slot) in slots.iter().enumerate() {
            assert_eq!(samples.timestamps_ms[at], one.timestamps_ms[*slot]);
            assert_eq!(samples.values[at].to_bits(), one.values[*slot].to_bits());
            assert_eq!(start_at(at), one.starts_ms.get(*slot).copied().unwrap_or(0));
        }
        assert_eq!(samples.histograms.len(), points.len());
        for (read, point) in samples.histograms.iter().zip(points) {
            assert_eq!((read.timestamp_ms, read.start_ms), (point.timestamp_ms, point.start_ms));
            assert!(read.histogram.same_bits(&point.histogram));
        }
    }
    assert!(read.next().is_none(), "rows without samples are left out");
}

/// What is wanted is there, as it is among all samples.
fn check_wanted(reader: &PartReader<MemoryContainer>, rows: &[u32], range: TimeRange) {
    let read = |wanted: FloatsWanted| {
        let (mut found, guard): (Vec<(u32, RowSamples)>, _) = (Vec::new(), QueryGuard::unlimited());
        reader
            .read_wanted(rows, range, wanted, &mut ColumnCache::new(&guard), &mut |row, samples| {
                found.push((row, samples));
                Ok(())
            })
            .expect("own bytes");
        found
    };
    let all = read(FloatsWanted::ALL);
    for (latest_only, presence_only) in [(true, false), (false, true), (true, true)] {
        let found = read(FloatsWanted { latest_only, presence_only });
        assert_eq!(found.len(), all.len());
        for ((row, found), (all_row, all)) in found.iter().zip(&all) {
            assert_eq!((row, found.histograms.len()), (all_row, all.histograms.len()));
            let kept = if latest_only { all.values.len().min(1) } else { all.values.len() };
            let from = all.values.len() - kept;
            assert_eq!(found.timestamps_ms, all.timestamps_ms[from..]);
            assert_eq!(found.values.len(), kept);
            let starts_of = |samples: &RowSamples, at: usize| samples.starts_ms.get(at).copied().unwrap_or(0);
            for (at, value) in found.values.iter().enumerate() {
                let of_all = all.values[from + at];
                assert_eq!(starts_of(found, at), starts_of(all, from + at));
                assert_eq!(is_stale_nan(*value), is_stale_nan(of_all));
                assert!(presence_only || value.to_bits() == of_all.to_bits());
            }
        }
    }
}

fn check_exemplars(reader: &PartReader<MemoryContainer>, all: &[PartSeries], rows: &[u32], range: TimeRange) {
    let read = reader.exemplars(rows, range, &QueryGuard::unlimited()).expect("own bytes");
    let of_row = |row: &u32| {
        let of_range = all[*row as usize].exemplars.iter().filter(|e| range.contains(e.timestamp_ms));
        (*row, of_range.cloned().collect::<Vec<_>>())
    };
    let want: Vec<_> = rows.iter().map(of_row).filter(|(_, exemplars)| !exemplars.is_empty()).collect();
    assert_eq!(read, want);
}

/// Selection and label questions against a walk over all series.
fn check_questions(
    reader: &PartReader<MemoryContainer>,
    all: &[PartSeries],
    tenant: &str,
    matchers: &[Matcher],
    range: TimeRange,
    seed: u64,
) {
    let guard = QueryGuard::unlimited();
    let tenant = TenantId::parse(tenant).expect("a good name");
    let matching = |one: &PartSeries| {
        one.tenant == tenant && matchers.iter().all(|m| m.matches(one.labels.get(&m.name).unwrap_or("")))
    };
    let on_days = |times: Vec<i64>| {
        let days = range.start_ms.div_euclid(DAY_MS)..=range.end_ms.div_euclid(DAY_MS);
        times.iter().any(|t| days.contains(&t.div_euclid(DAY_MS)))
    };
    let live = |one: &PartSeries| {
        let bounds = TimeRange::new(
            sample_times(one).min().unwrap_or(i64::MAX),
            sample_times(one).max().unwrap_or(i64::MIN),
        );
        matching(one) && on_days(sample_times(one).collect()) && bounds.overlaps(&range)
    };
    let rows_where = |wanted: &dyn Fn(&PartSeries) -> bool| {
        (0..all.len() as u32).filter(|row| wanted(&all[*row as usize])).collect::<Vec<u32>>()
    };
    let context = format!("seed {seed}: {tenant} {matchers:?} {range:?}");

    let rows = reader.select(&tenant, matchers, range, &guard).expect("own bytes");
    assert_eq!(rows, rows_where(&live), "{context}");

    let with_exemplars = reader.select_exemplars(&tenant, matchers, range, &guard).expect("own bytes");
    let has =
        |one: &PartSeries| matching(one) && on_days(one.exemplars.iter().map(|e| e.timestamp_ms).collect());
    assert_eq!(with_exemplars, rows_where(&has), "{context}");

    let found: Vec<&Labels> = rows.iter().map(|row| &all[*row as usize].labels).collect();
    let names: BTreeSet<&str> = found.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
    let read_names = reader.label_names(&tenant, matchers, range, &guard).expect("own bytes");
    assert!(read_names.iter().eq(&names), "{context}: {read_names:?} for {names:?}");
    for name in NAMES.into_iter().chain(["missing"]) {
        let values: BTreeSet<&str> = found.iter().filter_map(|labels| labels.get(name)).collect();
        let read =
            reader.label_values(&tenant, name, matchers, range, usize::MAX, &guard).expect("own bytes");
        assert!(read.iter().eq(&values), "{context}: {name}: {read:?} for {values:?}");
        let first = reader.label_values(&tenant, name, matchers, range, 2, &guard).expect("own bytes");
        assert!(first.iter().eq(values.iter().take(2)), "{context}: {name}: {first:?} of {values:?}");
    }
    let series: BTreeSet<&Labels> = found.into_iter().collect();
    let read_series = reader.series(&tenant, matchers, range, &guard).expect("own bytes");
    assert!(read_series.iter().eq(series), "{context}");
}

/// Damages a few rows of a random part and asks it everything: an error or some answer, but no
/// panic and no memory without bound.
pub fn damage_round(seed: u64) {
    let mut random = Random::new(seed ^ 0xdead);
    let effort = random.pick(&[Effort::Fresh, Effort::Merged]);
    let all = series(&mut random);
    let (whole, _) = written(&all, PartOptions { sub_chunk_samples: 50, effort, ..PartOptions::default() });
    for _ in 0..6 {
        let mut damaged = whole.clone();
        let rows = damaged.rows_mut().count();
        for _ in 0..1 + random.below(5) {
            let at = random.below(rows);
            let (_, value) = damaged.rows_mut().nth(at).expect("one of them");
            let mut bytes = value.to_vec();
            match random.below(4) {
                0 => bytes.truncate(random.below(bytes.len() + 1)),
                1 => bytes.extend(random.bits().to_le_bytes()),
                _ if bytes.is_empty() => {}
                _ => {
                    let at = random.below(bytes.len());
                    bytes[at] ^= 1 << random.below(8);
                }
            }
            *value = Bytes::from(bytes);
        }
        ask_everything(damaged, &mut random, &all);
    }
}

fn ask_everything(container: MemoryContainer, random: &mut Random, all: &[PartSeries]) {
    let Ok(reader) = PartReader::open(container) else { return };
    let guard = QueryGuard::new(None, crate::memory::MemoryBudget::new("query", 256 << 20));
    let rows: Vec<u32> = (0..reader.summary().rows.min(1_000)).collect();
    let _ = reader.labels(&rows, &guard);
    let wanted = LabelsWanted::Without(vec!["job".to_owned()]);
    let _ = reader.kinds(&rows, &wanted, true, 1_000, &guard);
    let _ = reader.read(&rows, TimeRange::ALL, &guard, &mut |_, _| Ok(()));
    let _ = reader.exemplars(&rows, TimeRange::ALL, &guard);
    for _ in 0..5 {
        let (matchers, range) = (matchers(random), range(random, all));
        let tenant = TenantId::parse(random.pick(&TENANTS)).expect("a good name");
        let _ = reader.series(&tenant, &matchers, range, &guard);
        let _ = reader.select_exemplars(&tenant, &matchers, range, &guard);
        let _ = reader.label_names(&tenant, &matchers, range, &guard);
        let _ = reader.label_values(&tenant, random.pick(&NAMES), &matchers, range, 3, &guard);
    }
}
