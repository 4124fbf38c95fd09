//! What a replica has seen for how long, on its own clock.
//!
//! Owns the ages that deleting depends on. They begin when the first complete look of this process is over, end when
//! the last one began, and never come from anybody else's clock or from a name; a restart begins them anew, which
//! costs time and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::stood_for;
use super::heartbeat::Stamp;
use super::jobs::collect::{Collected, Nameless};
use super::names::{BlockId, Partition, RecordId, SegmentId, TombstoneId};
use super::reader::Listing;
use super::record::BlockMeta;
use super::rules::{Rule, Rules};
use super::segment_set::SegmentSet;
use super::view::View;

/// A look at the bucket took from here to there: what it showed was so at some moment in between, which may have been
/// the first as well as the last where a listing had to be asked for again.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub began_ms: u64,
    pub over_ms: u64,
}

/// Since when something has been so, at every look.
#[derive(Clone, Debug)]
struct Since<T> {
    /// When the first look was over that showed it so.
    since_ms: BTreeMap<T, u64>,
    /// When the last look began: what has become of it after that is not known, however late it is now.
    looked_ms: u64,
}

impl<T: Ord> Default for Since<T> {
    fn default() -> Self {
        Self { since_ms: BTreeMap::new(), looked_ms: 0 }
    }
}

impl<T: Ord + Clone> Since<T> {
    /// These are all for which it is so now.
    fn note(&mut self, look: Look, of: impl IntoIterator<Item = T>) {
        let before = std::mem::take(&mut self.since_ms);
        let since = |thing: &T| before.get(thing).copied().unwrap_or(look.over_ms);
        let aged = |thing: T| {
            let since_ms = since(&thing);
            (thing, since_ms)
        };
        self.since_ms = of.into_iter().map(aged).collect();
        self.looked_ms = look.began_ms;
    }

    /// For which it was so at every look over more than `age_ms`. A sleeper's last look is long ago: an age
    /// ends with it and not with the present (O1).
    fn for_ms(&self, now_ms: u64, age_ms: u64, rules: Rules) -> impl Iterator<Item = T> {
        let end_ms = if rules.keep(Rule::AgeEndsWithLook) { self.looked_ms } else { now_ms };
        let is_old = move |(_, since_ms): &(&T, &u64)| end_ms > **since_ms + age_ms;
        self.since_ms.iter().filter(is_old).map(|(thing, _)| thing.clone())
    }
}

/// Ages, all on the replica's monotonic clock.
#[derive(Debug, Default)]
pub struct Observations {
    rules: Rules,
    records: Since<RecordId>,
    /// Of records that came while this process looked: when the last look began that did not show them.
    absent_ms: BTreeMap<RecordId, u64>,
    covered: Since<SegmentId>,
    dead: Since<BlockId>,
    nameless: Since<BlockId>,
    open: Since<TombstoneId>,
    done: Since<TombstoneId>,
    /// Heartbeats of others that stand there as they are.
    heartbeats: Since<Stamp>,
    /// Windows whose merge is due.
    due_merges: Since<(Partition, i64)>,
    /// Blocks in them.
    blocks_due: usize,
    /// Blocks that were seen whole in the bucket.
    seen: BTreeSet<BlockId>,
}

impl Observations {
    pub fn new(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// The bucket was read: the catalogue since `view.started_ms`, the log in the listing before.
    pub fn note(&mut self, now_ms: u64, view: &View, listed: Option<&Listing>) {
        let look = Look { began_ms: view.started_ms, over_ms: now_ms };
        self.note_records(look, view);
        self.dead.note(look, view.fold.dead.iter().copied());
        self.open.note(look, view.deletions.open.iter().copied());
        self.seen.retain(|block| view.fold.live.contains_key(block));
        if let Some(Listing { started_ms, segments }) = listed {
            let look = Look { began_ms: look.began_ms.min(*started_ms), ..look };
            let covered = SegmentSet::intersection(&[view.fold.covered(), segments.clone()]);
            self.covered.note(look, covered.iter().collect::<Vec<_>>());
            self.done.note(look, done(view, segments));
        }
    }

    fn note_records(&mut self, look: Look, view: &View) {
        let before_ms = self.records.looked_ms;
        let there = |id: &RecordId| view.records.contains_key(id) || view.included.contains(id);
        self.absent_ms.retain(|id, _| there(id));
        let records = || view.records.keys().chain(view.included.iter()).copied();
        // What the first look shows may have been there for ever.
        let came = records().filter(|id| before_ms > 0 && !self.records.since_ms.contains_key(id));
        self.absent_ms.extend(came.map(|id| (id, before_ms)));
        self.records.note(look, records());
    }

    /// These are all windows whose merge is due, and so many blocks are in each.
    pub fn note_due_merges(
        &mut self,
        now_ms: u64,
        windows: impl IntoIterator<Item = ((Partition, i64), usize)>,
    ) {
        let mut blocks_due = 0;
        let counted = windows.into_iter().map(|(window, blocks)| {
            blocks_due += blocks;
            window
        });
        self.due_merges.note(Look { began_ms: now_ms, over_ms: now_ms }, counted);
        self.blocks_due = blocks_due;
    }

    /// These are all heartbeats of others that a round listed.
    pub fn heard(&mut self, look: Look, listed: &BTreeSet<Stamp>) {
        self.heartbeats.note(look, listed.iter().cloned());
    }

    /// Heartbeats that stood there as they are at every round.
    pub fn unchanged_for(&self, now_ms: u64, age_ms: u64) -> BTreeSet<Stamp> {
        self.heartbeats.for_ms(now_ms, age_ms, self.rules).collect()
    }

    /// Since when the merge has been due that has waited longest.
    pub fn oldest_due_merge_since_ms(&self) -> Option<u64> {
        self.due_merges.since_ms.values().min().copied()
    }

    /// Blocks that wait for a merge.
    pub fn blocks_due(&self) -> usize {
        self.blocks_due
    }

    /// Blocks that no record names, as they were seen last.
    pub fn nameless(&self) -> usize {
        self.nameless.since_ms.len()
    }

    /// When all blocks were looked at last.
    pub fn blocks_looked_ms(&self) -> Option<u64> {
        Some(self.nameless.looked_ms).filter(|looked_ms| *looked_ms > 0)
    }

    pub fn collected(&mut self, now_ms: u64, collected: Collected) {
        self.seen.extend(collected.seen);
        if let Some(Nameless { listed_ms, blocks }) = collected.nameless {
            self.nameless.note(Look { began_ms: listed_ms, over_ms: now_ms }, blocks);
        }
    }

    /// Live blocks that were not seen in the bucket yet.
    pub fn unseen(&self, view: &View) -> Vec<BlockMeta> {
        view.fold.live.values().filter(|block| !self.seen.contains(&block.id)).cloned().collect()
    }

    pub fn covered_for(&self, now_ms: u64, age_ms: u64) -> Vec<SegmentId> {
        self.covered.for_ms(now_ms, age_ms, self.rules).collect()
    }

    pub fn dead_for(&self, now_ms: u64, age_ms: u64) -> BTreeSet<BlockId> {
        self.dead.for_ms(now_ms, age_ms, self.rules).collect()
    }

    pub fn nameless_for(&self, now_ms: u64, age_ms: u64) -> BTreeSet<BlockId> {
        self.nameless.for_ms(now_ms, age_ms, self.rules).collect()
    }

    /// Deletions that were announced so long ago that they can no longer be bound.
    pub fn void(&self, now_ms: u64, settle_ms: u64) -> BTreeSet<TombstoneId> {
        self.open.for_ms(now_ms, settle_ms, self.rules).collect()
    }

    /// Deletions with nothing left to hide, and that for so long that it stays so.
    pub fn done(&self, now_ms: u64, settle_ms: u64) -> Vec<TombstoneId> {
        self.done.for_ms(now_ms, settle_ms, self.rules).collect()
    }

    /// Records that a look did not show which began no longer than `age_ms` before the last one.
    pub fn young_records(&self, age_ms: u64) -> BTreeSet<RecordId> {
        let oldest_ms = self.records.looked_ms.saturating_sub(age_ms);
        self.absent_ms.iter().filter(|(_, at_ms)| **at_ms >= oldest_ms).map(|(id, _)| *id).collect()
    }

    /// Records that a checkpoint stands for which has been visible for `grace_ms`, and that are older than
    /// `settle_ms` themselves.
    pub fn replaced_records(&self, view: &View, now_ms: u64, grace_ms: u64, settle_ms: u64) -> Vec<RecordId> {
        let visible: BTreeSet<RecordId> = self.records.for_ms(now_ms, grace_ms, self.rules).collect();
        let known = view.records.iter().filter(|(id, _)| visible.contains(id));
        let stood_for = stood_for(known);
        self.records.for_ms(now_ms, settle_ms, self.rules).filter(|id| stood_for.contains(id)).collect()
    }
}

/// Deletions with nothing left to hide: every live block has settled them, and none of their segments is in
/// the log.
fn done(view: &View, listed: &SegmentSet) -> Vec<TombstoneId> {
    let is_done = |(id, tombstone): &(&TombstoneId, &std::sync::Arc<super::tombstone::Tombstone>)| {
        !tombstone.bound.meets(listed)
            && !view.fold.live.values().any(|block| tombstone.hides_block(**id, block))
    };
    view.deletions.bound.iter().filter(is_done).map(|(id, _)| *id).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::record::Record;
    use super::*;

    #[test]
    fn an_age_begins_anew_when_it_was_not_so_in_between() {
        let mut since = Since::default();
        since.note(at(10), [1, 2]);
        since.note(at(20), [1]);
        since.note(at(30), [1, 2]);

        let so_for = |since: &Since<i32>, age_ms| -> Vec<i32> {
            since.for_ms(u64::MAX, age_ms, Rules::default()).collect()
        };
        assert_eq!(so_for(&since, 15), [1]);
        assert_eq!(so_for(&since, 20), [] as [i32; 0], "longer than, not as long as");
        since.note(at(46), [1, 2]);
        assert_eq!(so_for(&since, 15), [1, 2]);
    }

    #[test]
    fn an_age_is_what_lies_between_the_end_of_the_first_look_and_the_beginning_of_the_last() {
        let mut since = Since::default();
        since.note(Look { began_ms: 10, over_ms: 40 }, [1]);
        since.note(Look { began_ms: 60, over_ms: 90 }, [1]);

        let so_for = |age_ms| since.for_ms(1000, age_ms, Rules::default()).count();
        assert_eq!((so_for(19), so_for(20)), (1, 0));
    }

    #[test]
    fn a_record_is_young_that_a_look_within_the_time_did_not_show() {
        let mut observations = Observations::default();
        let cut = |id| RecordId::Cut { partition: 0, id };
        let record = || Arc::new(Record::Replace { partition: 0, sources: Vec::new(), outputs: Vec::new() });
        let mut look = |started_ms: u64, records: &[u128], included: &[u128]| {
            let view = View {
                started_ms,
                records: Arc::new(records.iter().map(|id| (cut(*id), record())).collect()),
                included: Arc::new(included.iter().map(|id| cut(*id)).collect()),
                ..View::default()
            };
            observations.note(started_ms + 1, &view, None);
            observations.young_records(100)
        };

        assert_eq!(look(10, &[1], &[2]), BTreeSet::new(), "they may have been there for ever");
        assert_eq!(look(20, &[1, 3], &[2]), [cut(3)].into());
        assert_eq!(look(110, &[1], &[2, 3]), [cut(3)].into());
        assert_eq!(look(111, &[1, 4], &[2, 3]), [cut(4)].into());
        // Nobody has looked for long: it came at any time since then.
        assert_eq!(look(500, &[1, 5], &[2, 3]), BTreeSet::new());
        assert_eq!(look(510, &[1, 5], &[2, 3, 4]), [cut(4)].into());
    }

    fn at(ms: u64) -> Look {
        Look { began_ms: ms, over_ms: ms }
    }
}
