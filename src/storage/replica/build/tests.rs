//! What is cut and merged is what was written, joined, and without what was deleted.

mod model;
mod pinned;
mod random;
mod sizes;

use std::collections::HashMap;

use model::{Model, Piece, bits, of_blocks, payload};

use super::*;
use crate::encoding::log_file::LogId;
use crate::model::time::{DAY_MS, HOUR_MS};
use crate::model::{Exemplar, FloatSample, Matcher, stale_nan};
use crate::storage::part::{MemoryContainer, Section, SectionSink, SectionSource};
use crate::storage::replica::selection;
use crate::storage::retention::RetentionRule;
use crate::storage::tests::{NOW_MS, float, labels};

const PARTITION: Partition = 5;
const GATHERED_BYTES_MAX: u64 = 64 << 20;

/// Payloads of segments, as a store would hold them.
#[derive(Default)]
struct Held(HashMap<SegmentId, Option<Bytes>>);

impl Held {
    /// Segments with these samples, numbered from 0.
    fn of(segments: &[Vec<Piece>]) -> Self {
        Self((0..).map(segment).zip(segments.iter().map(|pieces| payload(pieces))).collect())
    }
}

impl HeldFrames for Held {
    fn payload(&self, segment: SegmentId, partition: Partition) -> Result<Option<Bytes>, String> {
        assert_eq!(partition, PARTITION);
        self.0.get(&segment).cloned().ok_or_else(|| "it is not held any more".to_owned())
    }
}

/// A store that holds nothing, and keeps everything for a week but for what rules say.
struct Ruled(Vec<RetentionRule>);

impl HeldFrames for Ruled {
    fn payload(&self, _: SegmentId, _: Partition) -> Result<Option<Bytes>, String> {
        Ok(None)
    }

    fn retention_at(&self, now_ms: i64) -> Retention<'_> {
        Retention { now_ms, keep_ms: 7 * DAY_MS, rules: &self.0 }
    }
}

fn segment(sequence: u64) -> SegmentId {
    SegmentId { log: LogId([7; 16]), sequence }
}

fn whole<T>(from: T) -> Filtered<T> {
    Filtered { from, deletions: Vec::new() }
}

/// A cut of segments of which nothing is deleted.
fn cut_of(segments: &[Vec<Piece>]) -> Vec<NewBlock> {
    let held = Held::of(segments);
    let segments = (0..segments.len() as u64).map(|number| whole(segment(number))).collect();
    build(&Build::Cut { partition: PARTITION, segments }, &held, GATHERED_BYTES_MAX).expect("cut")
}

fn merge_of(blocks: &[NewBlock]) -> Result<Vec<NewBlock>, String> {
    let sources = blocks.iter().map(|block| whole(block.bytes.clone())).collect();
    build(&Build::Merge { sources, aged_at_ms: None }, &Held::default(), GATHERED_BYTES_MAX)
}

fn piece(name: &str, floats: &[FloatSample]) -> Piece {
    Piece { floats: floats.to_vec(), ..Piece::new("anonymous", labels(name, "a")) }
}

fn deletion(id: u128, name: &str, range: TimeRange) -> (TombstoneId, Selection) {
    let matchers = selection::encode(&TenantId::anonymous(), &[Matcher::equal("__name__", name)]);
    (TombstoneId(id), Selection { matchers, start_ms: range.start_ms, end_ms: range.end_ms })
}

#[test]
fn a_cut_has_a_block_per_day_with_the_times_of_what_is_in_it() {
    let day_ms = NOW_MS.div_euclid(DAY_MS) * DAY_MS;
    let trace = Exemplar { timestamp_ms: day_ms + 9, value: 1.0, labels: labels("trace", "x") };
    let with_exemplar = Piece { exemplars: vec![trace], ..piece("up", &[float(day_ms + 5, 1.0)]) };
    let segments =
        [vec![with_exemplar], vec![piece("down", &[float(day_ms - 1, stale_nan()), float(day_ms, 2.0)])]];

    let blocks = cut_of(&segments);

    let times: Vec<_> = blocks.iter().map(|block| (block.window_ms, block.min_ms, block.max_ms)).collect();
    assert_eq!(times, [(day_ms - DAY_MS, day_ms - 1, day_ms - 1), (day_ms, day_ms, day_ms + 9)]);
    assert_eq!(bits(&of_blocks(&blocks)), bits(&Model::of(&segments.concat())));
}

#[test]
fn samples_at_the_ends_of_time_have_blocks() {
    let ends = [float(i64::MIN, 1.0), float(0, 2.0), float(i64::MAX, 3.0)];
    let segments = [vec![piece("up", &ends)]];

    let cut = cut_of(&segments);
    let merged = merge_of(&cut).expect("merged");

    assert_eq!((cut.len(), merged.len()), (3, 3));
    assert_eq!(bits(&of_blocks(&merged)), bits(&Model::of(&segments.concat())));
}

#[test]
fn more_days_than_are_written_at_once_have_blocks() {
    let days: Vec<FloatSample> =
        (0..40).map(|day| float(NOW_MS - 3 * day * DAY_MS, day as f64)).rev().collect();
    let segments = [vec![piece("up", &days), piece("other", &days[7..9])]];

    let cut = cut_of(&segments);
    let merged = merge_of(&cut).expect("merged");

    assert_eq!((cut.len(), merged.len()), (40, 40));
    assert_eq!(bits(&of_blocks(&merged)), bits(&Model::of(&segments.concat())));
}

#[test]
fn segments_without_anything_of_the_partition_make_no_block() {
    assert!(cut_of(&[]).is_empty());
    assert!(cut_of(&[vec![], vec![]]).is_empty());
    assert!(merge_of(&[]).expect("merged").is_empty());
}

#[test]
fn what_is_deleted_of_one_segment_stays_in_the_others() {
    let segments = [
        vec![
            piece("up", &[float(NOW_MS, 5.0), float(NOW_MS + 1, 6.0)]),
            piece("down", &[float(NOW_MS, 1.0)]),
        ],
        vec![piece("up", &[float(NOW_MS, 4.0)])],
    ];
    let deletions = vec![deletion(1, "up", TimeRange::new(NOW_MS, NOW_MS))];
    let filtered = vec![Filtered { from: segment(0), deletions }, whole(segment(1))];
    let cut = Build::Cut { partition: PARTITION, segments: filtered };

    let blocks = build(&cut, &Held::of(&segments), GATHERED_BYTES_MAX).expect("cut");

    let want =
        [piece("up", &[float(NOW_MS, 4.0), float(NOW_MS + 1, 6.0)]), piece("down", &[float(NOW_MS, 1.0)])];
    assert_eq!(bits(&of_blocks(&blocks)), bits(&Model::of(&want)));
}

#[test]
fn a_block_of_which_nothing_is_left_is_not_made() {
    let blocks = cut_of(&[vec![piece("up", &[float(NOW_MS, 5.0)]), piece("down", &[float(NOW_MS, 5.0)])]]);
    let merge = |deletions| {
        let sources = vec![Filtered { from: blocks[0].bytes.clone(), deletions }];
        build(&Build::Merge { sources, aged_at_ms: None }, &Held::default(), GATHERED_BYTES_MAX)
            .expect("merged")
    };
    let (up, down) = (deletion(1, "up", TimeRange::ALL), deletion(2, "down", TimeRange::ALL));

    let left = merge(vec![up.clone()]);

    assert_eq!(bits(&of_blocks(&left)), bits(&Model::of(&[piece("down", &[float(NOW_MS, 5.0)])])));
    assert!(merge(vec![up, down]).is_empty());
}

#[test]
fn a_merge_leaves_out_what_is_too_old_at_its_time_and_a_second_one_finds_nothing_more() {
    let old = [float(NOW_MS, 1.0), float(NOW_MS + 1, 2.0)];
    let blocks = cut_of(&[vec![piece("debug", &old), piece("up", &old)]]);
    let matchers = vec![Matcher::equal("__name__", "debug")];
    let held = Ruled(vec![RetentionRule { tenant: None, matchers, keep_ms: DAY_MS }]);
    let merge = |blocks: &[NewBlock], aged_at_ms: Option<i64>| {
        let sources = blocks.iter().map(|block| whole(block.bytes.clone())).collect();
        build(&Build::Merge { sources, aged_at_ms }, &held, GATHERED_BYTES_MAX).expect("merged")
    };
    let check = |aged_at_ms: Option<i64>, want: &[Piece]| {
        let merged = merge(&blocks, aged_at_ms);
        assert_eq!(bits(&of_blocks(&merged)), bits(&Model::of(want)), "{aged_at_ms:?}");
        let again = merge(&merged, aged_at_ms);
        let contents =
            |blocks: &[NewBlock]| blocks.iter().map(|block| block.bytes.clone()).collect::<Vec<_>>();
        assert_eq!(contents(&again), contents(&merged), "{aged_at_ms:?}");
    };

    let (up, debug) = (piece("up", &old), piece("debug", &old));
    check(None, &[debug.clone(), up.clone()]);
    check(Some(NOW_MS + DAY_MS), &[debug, up.clone()]);
    check(Some(NOW_MS + 1 + DAY_MS), &[piece("debug", &old[1..]), up.clone()]);
    check(Some(NOW_MS + 2 + DAY_MS), &[up]);
    check(Some(NOW_MS + 8 * DAY_MS), &[]);
}

#[test]
fn a_day_that_gathers_too_much_goes_on_in_another_block() {
    let pieces: Vec<Piece> =
        (0..1_000).map(|number| piece(&format!("metric_{number:04}"), &[float(NOW_MS, 1.0)])).collect();
    let cut = Build::Cut { partition: PARTITION, segments: vec![whole(segment(0))] };

    let blocks = build(&cut, &Held::of(std::slice::from_ref(&pieces)), 1).expect("cut");

    assert_eq!(blocks.len(), 1_000usize.div_ceil(LOOK_SERIES));
    assert!(blocks.iter().all(|block| block.window_ms == blocks[0].window_ms));
    assert_eq!(bits(&of_blocks(&blocks)), bits(&Model::of(&pieces)));
    let merged = merge_of(&blocks).expect("merged");
    assert_eq!((merged.len(), bits(&of_blocks(&merged))), (1, bits(&Model::of(&pieces))));
}

#[test]
fn a_payload_that_cannot_be_read_names_segment_partition_and_reason() {
    let good = payload(&[piece("up", &[float(NOW_MS, 1.0)])]).expect("not empty");
    let error = |held: &Held, deletions: Vec<(TombstoneId, Selection)>| {
        let segments = vec![Filtered { from: segment(3), deletions }];
        build(&Build::Cut { partition: PARTITION, segments }, held, GATHERED_BYTES_MAX).expect_err("broken")
    };
    let place = "segment wal/07070707070707070707070707070707/0000000003.log, partition 5: ";
    let is = |error: &str, reason: &str| assert_eq!(error, format!("{place}{reason}"));

    is(&error(&Held::default(), vec![]), "it is not held any more");
    for bytes in 0..good.len() {
        let held = Held(HashMap::from([(segment(3), Some(good.slice(..bytes)))]));
        let error = error(&held, vec![]);
        assert!(error.starts_with(place) && error.contains("section"), "{bytes} bytes: {error}");
    }
    let held = Held(HashMap::from([(segment(3), Some(good))]));
    let unreadable = Selection { matchers: Bytes::from_static(&[9]), start_ms: 0, end_ms: 0 };
    is(
        &error(&held, vec![(TombstoneId(0xab), unreadable)]),
        "deletion 000000000000000000000000000000ab: selection of version 9, this build reads version 1",
    );
}

#[test]
fn a_source_that_is_damaged_ends_the_merge_and_is_named() {
    let blocks = cut_of(&[vec![piece("up", &[float(NOW_MS, 1.0), float(NOW_MS + HOUR_MS, 2.0)])]]);
    let good = &blocks[0];
    for bit in 0..good.bytes.len() * 8 {
        let mut flipped = good.bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let flipped = NewBlock { bytes: flipped.into(), ..good.clone() };
        let error = merge_of(&[good.clone(), flipped]).expect_err("every byte is under a checksum");
        assert!(error.starts_with("source 1 of the merge: block "), "bit {bit}: {error}");
    }
}

#[test]
fn a_source_with_other_samples_than_its_header_says_ends_the_merge() {
    let part = |samples: &[FloatSample]| {
        let mut container = MemoryContainer::default();
        let mut writer = PartWriter::new(&mut container, PartOptions::default());
        let mut series = PartSeries::new(TenantId::anonymous(), labels("up", "a"));
        series.timestamps_ms = samples.iter().map(|sample| sample.timestamp_ms).collect();
        series.values = samples.iter().map(|sample| sample.value).collect();
        writer.add(&series).expect("the only one");
        writer.finish().expect("in memory");
        container
    };
    let mut of_two = part(&[float(NOW_MS, 1.0), float(NOW_MS + 1, 2.0)]);
    let of_one = part(&[float(NOW_MS, 1.0)]);
    let mut block = BlockWriter::new(Effort::Fresh);
    for ((section, key), value) in of_two.rows_mut() {
        let header = of_one.get(Section::Header, key).expect("in memory");
        let value = header.filter(|_| *section == Section::Header).unwrap_or(value.clone());
        block.put(*section, key, &value).expect("in order");
    }
    let block = NewBlock { window_ms: 0, min_ms: 0, max_ms: 0, bytes: block.finish() };

    let error = merge_of(&[block]).expect_err("a sample more");

    assert_eq!(error, "source 0 of the merge: it has other samples than its header says");
}

#[test]
fn a_source_of_several_days_ends_the_merge() {
    let mut block = BlockWriter::new(Effort::Fresh);
    let mut writer = PartWriter::new(&mut block, PartOptions::default());
    let mut series = PartSeries::new(TenantId::anonymous(), labels("up", "a"));
    series.timestamps_ms = vec![NOW_MS, NOW_MS + DAY_MS];
    series.values = vec![1.0, 2.0];
    writer.add(&series).expect("the only one");
    writer.finish().expect("in memory");
    let block = NewBlock { window_ms: 0, min_ms: 0, max_ms: 0, bytes: block.finish() };

    let error = merge_of(&[block]).expect_err("no cut and no merge makes such a block");

    assert_eq!(error, "source 0 of the merge: it has samples of several days, a block has those of one");
}
