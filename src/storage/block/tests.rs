//! A block answers as a container in memory does, and damage is an error or changes nothing.

mod damage;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::chunk::Effort;
use crate::model::{FloatSample, Labels, Matcher, TenantId, TimeRange};
use crate::querier::QueryGuard;
use crate::storage::part::{
    MemoryContainer, PartOptions, PartReader, PartSeries, PartWriter, Section, SectionSink, SectionSource,
};

type Rows = BTreeMap<(Section, Vec<u8>), Vec<u8>>;

/// Pages of so few bytes that a few rows make many.
fn written(rows: &Rows, page_bytes: usize) -> Bytes {
    let mut writer = BlockWriter::with_page_bytes(Effort::Fresh, page_bytes);
    for ((section, key), value) in rows {
        writer.put(*section, key, value).expect("keys ascend");
    }
    writer.finish()
}

fn opened(object: &Bytes, cache_bytes_max: u64) -> Result<BlockSource, PartError> {
    let ranges = Arc::new(object.clone());
    BlockSource::open(7, ranges, object.len() as u64, PageCache::new(cache_bytes_max))
}

type KeysAndValues = Vec<(Vec<u8>, Vec<u8>)>;

fn scanned(
    source: &impl SectionSource,
    section: Section,
    bounds: (&[u8], &[u8]),
    rows_max: usize,
) -> Result<KeysAndValues, PartError> {
    let mut found = Vec::new();
    source.scan(section, bounds.0, bounds.1, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        Ok(found.len() < rows_max)
    })?;
    Ok(found)
}

/// Above every key of these tests.
const END: &[u8] = &[0xff; 16];

/// Every row of every section.
fn all_rows(source: &impl SectionSource) -> Result<Rows, PartError> {
    let mut rows = Rows::new();
    for section in Section::ALL {
        for (key, value) in scanned(source, section, (&[], END), usize::MAX)? {
            rows.insert((section, key), value);
        }
    }
    Ok(rows)
}

/// Rows with keys that share, values that compress and values that do not.
fn any_rows() -> impl Strategy<Value = Rows> {
    let section = prop::sample::select(Section::ALL.to_vec());
    let key = prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 0xfe]), 0..6);
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (any::<u8>(), 0usize..400).prop_map(|(byte, len)| vec![byte; len]),
    ];
    prop::collection::btree_map((section, key), value, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_rows_answer_as_in_memory(
        rows in any_rows(),
        page_bytes in 1usize..600,
        cache_bytes_max in prop::sample::select(vec![0u64, 700, 1 << 20]),
        asked in prop::collection::vec(
            (
                prop::sample::select(Section::ALL.to_vec()),
                prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 0xfe, 0xff]), 0..6),
                prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 0xfe, 0xff]), 0..6),
                1usize..9,
            ),
            0..40,
        ),
    ) {
        let mut memory = MemoryContainer::default();
        for ((section, key), value) in &rows {
            memory.put(*section, key, value).expect("keys ascend");
        }
        let object = written(&rows, page_bytes);
        let block = opened(&object, cache_bytes_max).expect("own bytes");

        prop_assert_eq!(&all_rows(&block).expect("own bytes"), &rows);
        for (section, start, end, rows_max) in asked {
            let bounds = (start.as_slice(), end.as_slice());
            prop_assert_eq!(
                block.get(section, &start).expect("own bytes"),
                memory.get(section, &start).expect("in memory")
            );
            prop_assert_eq!(
                scanned(&block, section, bounds, rows_max).expect("own bytes"),
                scanned(&memory, section, bounds, rows_max).expect("in memory")
            );
        }
    }
}

/// Counts requests and their bytes.
struct Counted {
    object: Bytes,
    reads: Mutex<Vec<u64>>,
}

impl ReadRanges for Counted {
    fn read(&self, range: Range<u64>) -> Result<Bytes, PartError> {
        self.reads.lock().push(range.end - range.start);
        self.object.read(range)
    }
}

fn counted(object: Bytes, cache_bytes_max: u64) -> (Arc<Counted>, BlockSource) {
    let object_bytes = object.len() as u64;
    let counted = Arc::new(Counted { object, reads: Mutex::default() });
    let ranges: Arc<dyn ReadRanges> = Arc::<Counted>::clone(&counted);
    let source = BlockSource::open(1, ranges, object_bytes, PageCache::new(cache_bytes_max));
    (counted, source.expect("own bytes"))
}

/// Bytes that do not compress.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(next).collect()
}

fn noisy_block(rows: u32, value_bytes: usize) -> Bytes {
    let mut writer = BlockWriter::new(Effort::Fresh);
    for row in 0..rows {
        let value = noise(u64::from(row), value_bytes);
        writer.put(Section::Floats, &row.to_be_bytes(), &value).expect("keys ascend");
    }
    writer.put(Section::Header, b"h", b"header").expect("the only one");
    writer.finish()
}

#[test]
fn a_small_block_takes_one_request_and_its_header_none_of_its_own() {
    let (counted, source) = counted(noisy_block(10, 1_000), 1 << 20);
    assert_eq!(source.get(Section::Header, b"h").expect("own bytes").as_deref(), Some(b"header".as_slice()));
    assert_eq!(scanned(&source, Section::Floats, (&[], END), usize::MAX).expect("own bytes").len(), 10);
    assert_eq!(counted.reads.lock().len(), 1);
}

#[test]
fn a_long_scan_makes_few_requests_of_bounded_length_and_a_short_one_reads_little() {
    let object = noisy_block(8_000, 1_000);
    let (counted, source) = counted(object.clone(), 64 << 20);
    counted.reads.lock().clear();
    scanned(&source, Section::Floats, (&100u32.to_be_bytes(), &130u32.to_be_bytes()), usize::MAX)
        .expect("own bytes");
    let read: u64 = counted.reads.lock().drain(..).sum();
    assert!(read < 100_000, "{read}");

    let rows = scanned(&source, Section::Floats, (&[], END), usize::MAX).expect("own bytes");
    assert_eq!(rows.len(), 8_000);
    let reads: Vec<u64> = counted.reads.lock().drain(..).collect();
    assert!(reads.len() < 16 && reads.iter().all(|bytes| *bytes <= 1 << 20), "{reads:?}");
    assert!(reads.iter().sum::<u64>() <= object.len() as u64, "nothing is read twice");

    scanned(&source, Section::Floats, (&[], END), usize::MAX).expect("own bytes");
    assert_eq!(counted.reads.lock().len(), 0, "all of it is in the cache");
}

#[test]
fn small_scans_that_follow_each_other_read_ahead() {
    let object = noisy_block(8_000, 1_000);
    let (counted, source) = counted(object.clone(), 64 << 20);
    counted.reads.lock().clear();

    for first in (0..8_000u32).step_by(64) {
        let bounds = (first.to_be_bytes(), (first + 64).to_be_bytes());
        let rows = scanned(&source, Section::Floats, (&bounds.0, &bounds.1), usize::MAX);
        assert_eq!(rows.expect("own bytes").len(), 64);
    }

    let reads: Vec<u64> = counted.reads.lock().drain(..).collect();
    assert!(reads.len() < 16 && reads.iter().all(|bytes| *bytes <= 1 << 20), "{reads:?}");
    assert!(reads.iter().sum::<u64>() <= object.len() as u64, "nothing is read twice");
}

#[test]
fn a_scan_reads_nothing_twice_even_where_nothing_can_be_kept() {
    let object = noisy_block(3_000, 1_000);
    let (counted, source) = counted(object.clone(), 0);
    counted.reads.lock().clear();

    assert_eq!(scanned(&source, Section::Floats, (&[], END), usize::MAX).expect("own bytes").len(), 3_000);
    assert!(counted.reads.lock().iter().sum::<u64>() <= object.len() as u64);
}

#[test]
fn of_many_open_blocks_no_more_is_in_memory_than_the_cache_may_have_and_all_answer() {
    const CACHE_BYTES: u64 = 64 << 10;
    let object = noisy_block(200, 100);
    let cache = PageCache::new(CACHE_BYTES);
    let open = |id: u128| {
        let ranges = Arc::new(object.clone());
        BlockSource::open(id, ranges, object.len() as u64, Arc::clone(&cache)).expect("own bytes")
    };
    let blocks: Vec<BlockSource> = (0..300).map(open).collect();

    for block in blocks.iter().chain(&blocks) {
        let row = block.get(Section::Floats, &7u32.to_be_bytes()).expect("own bytes");
        assert_eq!(row.as_deref(), Some(&noise(7, 100)[..]));
        assert!(cache.figures().bytes <= CACHE_BYTES);
    }
    let kept = (0..300).filter(|id| cache.get_index(*id).is_some()).count();
    assert!((1..300).contains(&kept), "{kept}");
}

#[test]
fn an_index_longer_than_the_tail_takes_a_second_request() {
    let mut writer = BlockWriter::with_page_bytes(Effort::Fresh, 1);
    for row in 0..4_000u32 {
        writer.put(Section::Floats, &row.to_be_bytes(), b"v").expect("keys ascend");
    }
    let (counted, source) = counted(writer.finish(), 1 << 20);

    assert_eq!(counted.reads.lock().len(), 2);
    assert_eq!(
        source.get(Section::Floats, &1234u32.to_be_bytes()).expect("own bytes").as_deref(),
        Some(&b"v"[..])
    );
}

#[test]
fn a_row_longer_than_a_page_and_than_what_is_compressed_comes_back() {
    let mut rows = Rows::new();
    for (number, bytes) in [(0u8, 10), (1, 100_000), (2, 3 << 20), (3, 5)] {
        rows.insert((Section::Histograms, vec![number]), vec![number; bytes]);
    }
    let object = written(&rows, 32 << 10);
    assert_eq!(all_rows(&opened(&object, 1 << 20).expect("own bytes")).expect("own bytes"), rows);
}

#[test]
fn keys_that_do_not_ascend_are_refused() {
    let mut writer = BlockWriter::new(Effort::Fresh);
    writer.put(Section::Floats, b"b", b"").expect("the first");
    for key in [b"b", b"a"] {
        assert!(matches!(writer.put(Section::Floats, key, b""), Err(PartError::KeyOrder { .. })));
    }
    writer.put(Section::Index, b"a", b"").expect("another section");
}

#[test]
fn an_object_that_cannot_be_reached_says_so_as_unavailable() {
    struct Gone(Bytes);
    impl ReadRanges for Gone {
        fn read(&self, range: Range<u64>) -> Result<Bytes, PartError> {
            match range.end == self.0.len() as u64 {
                true => self.0.read(range),
                false => Err(PartError::Unreachable("blk/000/0/1.blk: timed out".into())),
            }
        }
    }
    let object = noisy_block(200, 1_000);
    let object_bytes = object.len() as u64;
    let source = BlockSource::open(1, Arc::new(Gone(object)), object_bytes, PageCache::new(0))
        .expect("the tail comes");

    let error = source.get(Section::Floats, &0u32.to_be_bytes()).expect_err("out of reach");

    assert_eq!(error.to_string(), "blk/000/0/1.blk: timed out");
    assert_eq!(error.kind(), crate::error::ErrorKind::Unavailable);
}

fn series(name: &str, instance: u32) -> PartSeries {
    let labels = Labels::from_pairs([("__name__", name), ("instance", &format!("10.0.0.{instance}:9100"))]);
    let samples = (0..40).map(|at| FloatSample {
        timestamp_ms: 1_700_000_000_000 + at * 15_000 + i64::from(instance),
        start_ms: 0,
        value: (at * i64::from(instance)) as f64 / 8.0,
    });
    let mut series = PartSeries::new(TenantId::anonymous(), labels);
    for sample in samples {
        series.timestamps_ms.push(sample.timestamp_ms);
        series.values.push(sample.value);
    }
    series
}

#[test]
fn a_part_in_a_block_is_read_as_one_in_memory() {
    let (mut block, mut memory) = (BlockWriter::new(Effort::Merged), MemoryContainer::default());
    let sinks: [&mut dyn SectionSink; 2] = [&mut block, &mut memory];
    for sink in sinks {
        let mut writer = PartWriter::new(sink, PartOptions::default());
        for name in ["cpu_seconds_total", "load1", "memory_bytes"] {
            for instance in 100..400 {
                writer.add(&series(name, instance)).expect("in row order");
            }
        }
        writer.finish().expect("in memory");
    }
    let object = block.finish();
    let memory = PartReader::open(memory).expect("own bytes");
    let block = PartReader::open(opened(&object, 1 << 20).expect("own bytes")).expect("own bytes");

    assert_eq!(block.summary(), memory.summary());
    let guard = QueryGuard::unlimited();
    let matchers = [Matcher::equal("__name__", "load1")];
    let select = |of: &dyn Fn() -> Result<Vec<u32>, PartError>| of().expect("own bytes");
    let rows = select(&|| block.select(&TenantId::anonymous(), &matchers, TimeRange::ALL, &guard));
    assert_eq!(rows, select(&|| memory.select(&TenantId::anonymous(), &matchers, TimeRange::ALL, &guard)));
    assert_eq!(rows.len(), 300);
    assert_eq!(block.labels(&rows, &guard).expect("read"), memory.labels(&rows, &guard).expect("read"));
    let mut of_block = Vec::new();
    let mut of_memory = Vec::new();
    let read = block.read(&rows, TimeRange::ALL, &guard, &mut |row, samples| {
        of_block.push((row, samples.timestamps_ms, samples.values));
        Ok(())
    });
    read.expect("own bytes");
    let read = memory.read(&rows, TimeRange::ALL, &guard, &mut |row, samples| {
        of_memory.push((row, samples.timestamps_ms, samples.values));
        Ok(())
    });
    read.expect("own bytes");
    assert_eq!(of_block, of_memory);
    block.verify(&mut |fault| panic!("{fault}"));
}
