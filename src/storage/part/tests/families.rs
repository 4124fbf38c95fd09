//! Families of buckets: whole, one by one, in stretches of time.

use super::model::{Random, labels};
use super::*;
use crate::model::{Labels, STALE_NAN_BITS, stale_nan};
use crate::querier::FloatsWanted;

const SAMPLES: usize = 3_000;

fn bucket(le: &str, values: Vec<f64>) -> PartSeries {
    let pairs = [("__name__", "latency_bucket"), ("instance", "a"), ("le", le), ("path", "/")];
    PartSeries {
        timestamps_ms: (0..values.len() as i64).map(|i| i * 15_000 + i % 3).collect(),
        values,
        ..PartSeries::new(TenantId::anonymous(), labels(&pairs))
    }
}

/// Forty cumulative buckets in row order.
fn family() -> Vec<PartSeries> {
    let mut random = Random::new(5);
    let mut below = vec![0.0; SAMPLES];
    let mut buckets = Vec::new();
    for at in 0..40 {
        let le = if at == 39 { "+Inf".to_owned() } else { (at as f64 / 8.0).to_string() };
        let mut own = 0.0;
        for value in &mut below {
            own += random.below(3) as f64;
            *value += own;
        }
        let mut one = bucket(&le, below.clone());
        // One ends stale, one has a restart, one began late.
        match at {
            7 => one.values[SAMPLES - 1] = stale_nan(),
            9 => one.values[1_500..].iter_mut().for_each(|value| *value -= 1_000.0),
            20 => {
                one.timestamps_ms.drain(..10);
                one.values.drain(..10);
            }
            _ => {}
        }
        buckets.push(one);
    }
    buckets
}

fn merged() -> PartOptions {
    PartOptions { effort: Effort::Merged, ..PartOptions::default() }
}

fn read_bits(
    reader: &PartReader<MemoryContainer>,
    rows: &[u32],
    range: TimeRange,
) -> Vec<(u32, Vec<i64>, Vec<u64>)> {
    read_bits_of(reader, rows, range, FloatsWanted::ALL)
}

fn read_bits_of(
    reader: &PartReader<MemoryContainer>,
    rows: &[u32],
    range: TimeRange,
    wanted: FloatsWanted,
) -> Vec<(u32, Vec<i64>, Vec<u64>)> {
    let (mut read, guard) = (Vec::new(), QueryGuard::unlimited());
    reader
        .read_wanted(rows, range, wanted, &mut ColumnCache::new(&guard), &mut |row, samples| {
            let bits = samples.values.iter().map(|value| value.to_bits()).collect();
            read.push((row, samples.timestamps_ms, bits));
            Ok(())
        })
        .expect("own bytes");
    read
}

fn wanted_bits(all: &[PartSeries], rows: &[u32], range: TimeRange) -> Vec<(u32, Vec<i64>, Vec<u64>)> {
    let of_row = |row: &u32| {
        let one = &all[*row as usize];
        let slots = one.timestamps_ms.iter().zip(&one.values).filter(|(t, _)| range.contains(**t));
        let (times, bits): (Vec<i64>, Vec<u64>) = slots.map(|(t, value)| (*t, value.to_bits())).unzip();
        (*row, times, bits)
    };
    rows.iter().map(of_row).filter(|(_, times, _)| !times.is_empty()).collect()
}

#[test]
fn buckets_follow_each_other_by_their_number_behind_all_other_labels() {
    let set = |le: Option<&str>, path: &str| {
        let pairs = [("__name__", "b"), ("le", le.unwrap_or("")), ("path", path)];
        Labels::from_pairs(pairs)
    };
    let order = [
        set(None, "/"),
        set(Some("-Inf"), "/"),
        set(Some("-1"), "/"),
        set(Some("0.5"), "/"),
        set(Some("5e-1"), "/"),
        set(Some("2"), "/"),
        set(Some("10"), "/"),
        set(Some("1e3"), "/"),
        set(Some("+Inf"), "/"),
        set(Some("NaN"), "/"),
        set(Some("abc"), "/"),
        set(None, "/a"),
        set(Some("0.5"), "/a"),
    ];
    let tenant = TenantId::anonymous();
    for (a, first) in order.iter().enumerate() {
        for (b, second) in order.iter().enumerate() {
            assert_eq!(row_order((&tenant, first), (&tenant, second)), a.cmp(&b), "{first} {second}");
        }
    }
}

#[test]
fn merged_families_are_smaller_and_come_back_in_any_selection() {
    let all = family();
    let (fresh, _) = written(&all, PartOptions::default());
    let (container, _) = written(&all, merged());
    let (fresh_bytes, merged_bytes) =
        (fresh.section_bytes(Section::Floats), container.section_bytes(Section::Floats));
    assert!(merged_bytes * 10 < fresh_bytes * 7, "{merged_bytes} bytes, {fresh_bytes} fresh");

    let reader = PartReader::open(container).expect("own bytes");
    let mut random = Random::new(6);
    let selections = (0..40u32).map(|row| vec![row]).chain([
        (0..40).collect(),
        (0..40).step_by(2).collect(),
        vec![0, 1, 15, 16, 17, 38, 39],
        vec![6, 7, 8, 9, 10, 19, 20, 21, 22],
    ]);
    for rows in selections {
        for range in [
            TimeRange::ALL,
            TimeRange::new(0, 0),
            TimeRange::new(20_000_000, 20_400_000),
            TimeRange::new(random.below(45_000_000) as i64, i64::MAX),
        ] {
            let mut want = wanted_bits(&all, &rows, range);
            assert_eq!(read_bits(&reader, &rows, range), want, "{rows:?} {range:?}");

            let presence = FloatsWanted { presence_only: true, ..FloatsWanted::ALL };
            let stale = |found: &[(u32, Vec<i64>, Vec<u64>)]| -> Vec<(u32, Vec<i64>, Vec<bool>)> {
                let is_stale = |bits: &u64| *bits == STALE_NAN_BITS;
                let of_row = |(row, times, bits): &(u32, Vec<i64>, Vec<u64>)| {
                    (*row, times.clone(), bits.iter().map(is_stale).collect())
                };
                found.iter().map(of_row).collect()
            };
            assert_eq!(stale(&read_bits_of(&reader, &rows, range, presence)), stale(&want));

            for (_, times, bits) in &mut want {
                times.drain(..times.len() - 1);
                bits.drain(..bits.len() - 1);
            }
            let latest = FloatsWanted { latest_only: true, ..FloatsWanted::ALL };
            assert_eq!(read_bits_of(&reader, &rows, range, latest), want, "{rows:?} {range:?}");
        }
    }
}

#[test]
fn buckets_that_are_no_whole_numbers_stand_for_themselves() {
    let own = |factor: f64| (0..500).map(|i| f64::from(i) * factor).collect::<Vec<f64>>();
    let all = [
        bucket("1", own(1.0)),
        bucket("2", own(0.1)),
        bucket("3", own(std::f64::consts::PI)),
        bucket("4", vec![f64::INFINITY; 500]),
        bucket("5", own(3.0)),
        bucket("6", own(9.0)),
    ];
    let (container, _) = written(&all, merged());
    let reader = PartReader::open(container).expect("own bytes");
    let rows: Vec<u32> = (0..6).collect();
    assert_eq!(read_bits(&reader, &rows, TimeRange::ALL), wanted_bits(&all, &rows, TimeRange::ALL));
}

#[test]
fn a_missing_bucket_is_an_error_where_another_builds_on_it() {
    let all = family();
    let (container, _) = written(&all, merged());
    let mut without = MemoryContainer::default();
    let mut whole = container;
    for ((section, key), value) in whole.rows_mut() {
        if !(*section == Section::Floats && key[..] == 3u32.to_be_bytes()) {
            without.put(*section, key, value).expect("in order");
        }
    }
    let reader = PartReader::open(without).expect("own bytes");
    let read = |row: u32| reader.read(&[row], TimeRange::ALL, &QueryGuard::unlimited(), &mut |_, _| Ok(()));
    assert!(matches!(read(4), Err(PartError::Corrupt { .. })));
    assert!(read(2).is_ok());
}

#[test]
fn what_a_family_holds_is_reserved_and_given_back() {
    let all = family();
    let read = |effort: Effort, budget_bytes: u64| {
        let options = PartOptions { sub_chunk_samples: 1_000, effort, ..PartOptions::default() };
        let (container, _) = written(&all, options);
        let reader = PartReader::open(container).expect("own bytes");
        let guard = QueryGuard::new(None, crate::memory::MemoryBudget::new("query", budget_bytes));
        // Ten samples of one of three sub-chunks, whose thousand times are held meanwhile.
        let range = TimeRange::new(15_000, 15_000 * 11 - 1);
        reader.read(&[7], range, &guard, &mut |_, _| Ok(())).map(|()| guard.reserved_bytes())
    };

    assert_eq!(read(Effort::Fresh, 14_000).expect("no family"), 160);
    assert!(matches!(read(Effort::Merged, 14_000), Err(PartError::Query(_))));
    assert_eq!(read(Effort::Merged, 24_000).expect("room for a column of a family"), 160);
}
