//! Random segments, deletions, cuts and merges beside maps of what they should say.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use super::super::day_range;
use super::*;
use crate::model::MatchOp;
use crate::model::series_batch::HistogramSample;
use crate::storage::tests::histogram;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Times that meet, mostly of today, some of other days.
    fn time_ms(&mut self) -> i64 {
        let day = self.pick(&[0, 0, 0, 0, 1, 1, 30]);
        NOW_MS - day * DAY_MS + self.below(12) as i64 * HOUR_MS
    }

    fn range(&mut self) -> TimeRange {
        let (a, b) = (self.time_ms(), self.time_ms());
        if self.one_in(4) { TimeRange::ALL } else { TimeRange::new(a.min(b), a.max(b)) }
    }

    fn piece(&mut self) -> Piece {
        let name = self.pick(&["a", "b", "c_bucket"]);
        let mut pairs = vec![("__name__", name), ("instance", self.pick(&["1", "2", "3"]))];
        if name == "c_bucket" {
            pairs.push(("le", self.pick(&["0.5", "1", "+Inf"])));
        }
        let tenant = self.pick(&["anonymous", "anonymous", "team-b"]);
        let mut piece = Piece::new(tenant, Labels::from_pairs(pairs));
        for _ in 0..self.below(20) {
            let value = self.pick(&[0.0, 1.0, -1.0, 2.5, f64::INFINITY, f64::NAN, stale_nan()]);
            let start_ms = self.pick(&[0, 0, 7]);
            piece.floats.push(FloatSample { timestamp_ms: self.time_ms(), start_ms, value });
        }
        if self.one_in(3) {
            for _ in 0..self.below(5) {
                let sum = self.pick(&[1.0, 2.0, stale_nan()]);
                let (timestamp_ms, start_ms) = (self.time_ms(), self.pick(&[0, 5]));
                piece.histograms.push(HistogramSample { timestamp_ms, start_ms, histogram: histogram(sum) });
            }
        }
        if self.one_in(3) {
            let labels = Labels::from_pairs([("trace_id", self.pick(&["x", "y"]))]);
            piece.exemplars.push(Exemplar { timestamp_ms: self.time_ms(), value: 0.5, labels });
        }
        piece
    }

    fn segment(&mut self) -> Vec<Piece> {
        (0..self.below(12)).map(|_| self.piece()).collect()
    }

    fn deletions(&mut self) -> Vec<(TombstoneId, Selection)> {
        let count = self.pick(&[0, 0, 0, 1, 2]);
        (0..count).map(|_| self.deletion()).collect()
    }

    fn deletion(&mut self) -> (TombstoneId, Selection) {
        let matcher = match self.below(4) {
            0 => Matcher::new("__name__", MatchOp::Regex, "a|b"),
            1 => Matcher::new("instance", MatchOp::NotEqual, "1"),
            2 => Matcher::new("le", MatchOp::Equal, ""),
            _ => Matcher::new("__name__", MatchOp::Equal, "a"),
        };
        let tenant = TenantId::parse(self.pick(&["anonymous", "team-b"])).expect("a good name");
        let matchers = selection::encode(&tenant, &[matcher.expect("a good expression")]);
        let range = self.range();
        let selection = Selection { matchers, start_ms: range.start_ms, end_ms: range.end_ms };
        (TombstoneId(self.below(1 << 30) as u128), selection)
    }
}

fn erased(mut model: Model, deletions: &[(TombstoneId, Selection)]) -> Model {
    for selected in selected(deletions).expect("own bytes") {
        model.erase(&selected);
    }
    model
}

/// Blocks that should say together what the model does: each what lies in its window, with its times.
fn check(blocks: &[NewBlock], want: &Model, what: &str) {
    let mut by_window: BTreeMap<i64, Vec<NewBlock>> = BTreeMap::new();
    for block in blocks {
        let inside = of_blocks(std::slice::from_ref(block));
        assert_eq!(bits(&inside), bits(&inside.within(TimeRange::new(block.min_ms, block.max_ms))), "{what}");
        by_window.entry(block.window_ms).or_default().push(block.clone());
    }
    for (window_ms, blocks) in by_window {
        let day = day_range(window_ms.div_euclid(DAY_MS));
        assert_eq!(bits(&of_blocks(&blocks)), bits(&want.within(day)), "{what}: window {window_ms}");
    }
    assert_eq!(bits(&of_blocks(blocks)), bits(want), "{what}");
}

/// Cuts segments in random groups; gives the blocks, and what they should say together.
fn random_cuts(
    random: &mut Random,
    segments: &[Vec<Piece>],
    gathered_bytes_max: u64,
) -> (Vec<NewBlock>, Model) {
    let held = Held::of(segments);
    let groups = 1 + random.below(3);
    let mut cuts: Vec<Vec<Filtered<SegmentId>>> = vec![Vec::new(); groups];
    let mut wants = vec![Model::default(); groups];
    for (number, pieces) in segments.iter().enumerate() {
        let (group, deletions) = (random.below(groups), random.deletions());
        wants[group].add(erased(Model::of(pieces), &deletions));
        cuts[group].push(Filtered { from: segment(number as u64), deletions });
    }
    let (mut blocks, mut all) = (Vec::new(), Model::default());
    for (segments, want) in cuts.into_iter().zip(wants) {
        let cut = Build::Cut { partition: PARTITION, segments };
        let made = build(&cut, &held, gathered_bytes_max).expect("cut");
        check(&made, &want, "a cut");
        blocks.extend(made);
        all.add(want);
    }
    (blocks, all)
}

/// Cuts, then merges of any blocks with any deletions: each says what its sources say without them.
fn live(seed: u64) {
    let mut random = Random(seed);
    let segments: Vec<_> = (0..1 + random.below(8)).map(|_| random.segment()).collect();
    let gathered_bytes_max = random.pick(&[1, GATHERED_BYTES_MAX]);
    let (mut blocks, _) = random_cuts(&mut random, &segments, gathered_bytes_max);
    for _ in 0..6 {
        let mut want = Model::default();
        let mut sources = Vec::new();
        for _ in 0..1 + random.below(4) {
            if blocks.is_empty() {
                break;
            }
            // Of any windows, though the protocol merges those of one.
            let block = blocks.swap_remove(random.below(blocks.len()));
            let deletions = random.deletions();
            want.add(erased(of_blocks(std::slice::from_ref(&block)), &deletions));
            sources.push(Filtered { from: block.bytes, deletions });
        }
        let made = build(&Build::Merge { sources, aged_at_ms: None }, &Held::default(), gathered_bytes_max)
            .expect("merged");
        check(&made, &want, "a merge");
        blocks.extend(made);
    }
}

/// Merges random blocks of a window until there is one per window.
fn merged_at_random(random: &mut Random, blocks: &[NewBlock]) -> Vec<NewBlock> {
    let mut by_window: BTreeMap<i64, Vec<NewBlock>> = BTreeMap::new();
    for block in blocks {
        by_window.entry(block.window_ms).or_default().push(block.clone());
    }
    let mut merged = Vec::new();
    for mut left in by_window.into_values() {
        while left.len() > 1 {
            let count = 2 + random.below(left.len() - 1);
            let sources: Vec<NewBlock> =
                (0..count).map(|_| left.swap_remove(random.below(left.len()))).collect();
            left.extend(merge_of(&sources).expect("merged"));
        }
        // What was never merged is, once: then all were written with the same effort.
        merged.extend(merge_of(&left).expect("merged"));
    }
    merged
}

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let given = std::env::var("ONGGI_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    let (first, count) = given.map_or((RandomState::new().hash_one(0u8) >> 8, count), |seed| (seed, 1));
    (first..first + count).inspect(|seed| eprintln!("ONGGI_SEED={seed}"))
}

#[test]
fn what_is_cut_and_merged_is_the_join_of_what_was_written_without_what_was_deleted() {
    seeds(30).for_each(live);
}

#[test]
fn merging_in_any_grouping_and_order_gives_the_same_bytes() {
    for seed in seeds(15) {
        let mut random = Random(seed);
        let segments: Vec<_> = (0..2 + random.below(8)).map(|_| random.segment()).collect();
        let (blocks, want) = random_cuts(&mut random, &segments, GATHERED_BYTES_MAX);

        let first = merged_at_random(&mut random, &blocks);
        let second = merged_at_random(&mut random, &blocks);

        check(&first, &want, "all merges");
        assert_eq!(first, second);
    }
}
