//! Maintenance by this replica: when a job begins, and what became of it.
//!
//! Owns the turns, and what a view must show before the same is done again. What is due is chosen by
//! [`maintenance`], what a job does is in [`crate::replication::jobs`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::scripts::{Finished, Kind};
use super::{Action, Options, Replica};
use crate::replication::fresh_ids::FreshIds;
use crate::replication::heartbeat;
use crate::replication::jobs::collect::{self, Collected};
use crate::replication::jobs::{Job, checkpoint, cut, merge, retain};
use crate::replication::maintenance::{self, Facts, Work};
use crate::replication::names::{BlockId, Partition};
use crate::replication::reads::Turn;
use crate::replication::script::{Desk, JobError};
use crate::replication::timing::Moment;
use crate::replication::view::View;

/// A window is not written again within this for what is too old in it. Nobody sees that any more, so there is no
/// hurry; and whatever a store calls too old and leaves in a block all the same, this bounds what comes of it.
const AGED_EVERY_MS: u64 = 6 * 3_600_000;

/// See the module.
#[derive(Debug)]
pub struct Turns {
    pub due_ms: u64,
    next: u64,
    /// Work that has begun and will publish a record,
    begun: Option<(&'static str, Partition)>,
    /// and such as was done, and when: a view that began earlier does not show it.
    done: BTreeMap<(&'static str, Partition), Turn>,
    /// When windows were last to be written again for what is too old in them.
    aged: BTreeMap<(Partition, i64), u64>,
}

impl Turns {
    /// Replicas that start together do not begin the same work together.
    pub fn new(options: &Options, ids: &mut FreshIds, now: Moment) -> Self {
        let first_ms = now.boot_ms + ids.below(options.timing.maintenance_ms);
        let due_ms = if options.observes { u64::MAX } else { first_ms };
        Self { due_ms, next: ids.below(64), begun: None, done: BTreeMap::new(), aged: BTreeMap::new() }
    }

    /// A view that began at this turn shows what was done before.
    pub fn shown(&mut self, began: Turn) {
        self.done.retain(|_, at| *at >= began);
    }

    /// Those of the blocks whose window was not written again lately.
    fn due_of(&mut self, now_ms: u64, aged: &BTreeSet<BlockId>) -> BTreeSet<BlockId> {
        self.aged.retain(|_, begun_ms| now_ms < *begun_ms + AGED_EVERY_MS);
        let is_due = |block: &&BlockId| !self.aged.contains_key(&(block.partition, block.window_ms));
        aged.iter().filter(is_due).copied().collect()
    }

    fn begin(&mut self, now_ms: u64, work: &Work, aged: &BTreeSet<BlockId>) {
        self.begun = work.publishes();
        if let Work::Merge(plan) = work {
            let begun = plan.sources.iter().map(|block| block.id).filter(|block| aged.contains(block));
            self.aged.extend(begun.map(|block| ((block.partition, block.window_ms), now_ms)));
        }
    }
}

impl Replica {
    pub(super) fn begin_work(&mut self) {
        let between_ms = self.options.timing.maintenance_ms;
        self.work.due_ms = self.now.boot_ms + between_ms + self.ids.below(between_ms / 2);
        let Some(view) = self.view.clone() else {
            return;
        };
        let turn = self.work.next;
        self.work.next += 1;
        let aged = self.work.due_of(self.now.boot_ms, &self.aged);
        let Some(work) = self.choose(turn, &view, &aged) else {
            return;
        };
        self.work.begin(self.now.boot_ms, &work, &aged);
        let listed_ms = self.reader.listing().map_or(u64::MAX, |listing| listing.started_ms);
        let job = self.job(view, listed_ms);
        self.begin(Kind::Work, move |desk| async move {
            let (name, outcome) = perform(desk, job, work).await;
            Finished::Worked(name, outcome)
        });
    }

    fn choose(&self, turn: u64, view: &View, aged: &BTreeSet<BlockId>) -> Option<Work> {
        let done = self.work.done.keys().copied().collect();
        let facts = Facts {
            now: self.now,
            partitions: self.options.partitions,
            timing: &self.options.timing,
            rules: self.options.rules,
            limits: &self.options.limits,
            reader: &self.reader,
            view,
            observations: &self.observations,
            clock_offset_ms: self.clock_offset_ms(),
            done: &done,
            aged,
        };
        facts.choose(turn, |partition| self.owns(partition))
    }

    /// These blocks have something that is too old by the storage's rules. Advice: where it is wrong, a block is written
    /// again as it is.
    pub fn note_aged(&mut self, blocks: Arc<BTreeSet<BlockId>>) {
        self.aged = blocks;
    }

    pub(super) fn owns(&self, partition: Partition) -> bool {
        if !self.options.respect_owners {
            return true;
        }
        let own = self.options.name.as_str();
        let live = self.freshness.live(self.now.boot_ms, self.options.timing.heartbeat_ms);
        heartbeat::owner(partition, live.chain([own])) == Some(own)
    }

    /// What a job knows that is based on this view, and on a listing of the log that began then.
    pub(super) fn job(&mut self, view: Arc<View>, listed_ms: u64) -> Job {
        let Options { timing, rules, .. } = self.options;
        Job {
            timing,
            rules,
            ids: self.ids.fork(),
            started_ms: view.started_ms.min(listed_ms),
            void: self.observations.void(self.now.boot_ms, timing.settle_ms),
            view,
        }
    }

    pub(super) fn worked(&mut self, job: &'static str, outcome: Result<Collected, JobError>) {
        let begun = self.work.begun.take();
        match outcome {
            Ok(collected) => {
                self.observations.collected(self.now.boot_ms, collected);
                // Partitions become due together: the next one does not wait.
                if let Some(done) = begun {
                    self.disturbed();
                    self.work.done.insert(done, self.turn);
                    self.work.due_ms = self.now.boot_ms;
                }
            }
            Err(why) => self.actions.push(Action::GaveUp { job, why }),
        }
    }
}

/// Does a piece of work; answers with its name.
async fn perform(desk: Desk, job: Job, work: Work) -> (&'static str, Result<Collected, JobError>) {
    let nothing = |outcome: Result<(), JobError>| outcome.map(|()| Collected::default());
    match work {
        Work::Cut(plan) => (maintenance::CUT, nothing(cut::cut(desk, job, plan).await)),
        Work::Merge(plan) => (maintenance::MERGE, nothing(merge::merge(desk, job, plan).await)),
        Work::Retain(plan) => (maintenance::RETAIN, nothing(retain::retain(desk, job, plan).await)),
        Work::Checkpoint(plan) => {
            (maintenance::CHECKPOINT, nothing(checkpoint::checkpoint(desk, job, plan).await))
        }
        Work::CollectSegments(plan) => ("collect segments", collect::collect_segments(desk, job, plan).await),
        Work::CollectBlocks(plan) => ("collect blocks", collect::collect_blocks(desk, job, plan).await),
        Work::CollectRecords(records) => ("collect records", collect::collect_records(desk, records).await),
        Work::CollectDeletions(deletions) => {
            ("collect deletions", collect::collect_deletions(desk, deletions).await)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::jobs::merge::MergePlan;
    use crate::replication::record::BlockMeta;

    #[test]
    fn a_window_is_not_written_again_twice_in_a_while_for_what_is_too_old_in_it() {
        let id = |window_ms: i64, id: u128| BlockId { partition: 3, window_ms, id };
        let aged: BTreeSet<BlockId> = [id(0, 1), id(0, 2), id(10, 3)].into();
        let mut turns =
            Turns { due_ms: 0, next: 0, begun: None, done: BTreeMap::new(), aged: BTreeMap::new() };
        let source = |id| BlockMeta { id, bytes: 1, xxh3: 0, min_ms: 0, max_ms: 0, settled: Vec::new() };
        let merge = |ids: &[BlockId]| {
            let sources = ids.iter().map(|id| source(*id)).collect();
            Work::Merge(MergePlan { partition: 3, sources, aged_at_ms: Some(0) })
        };

        turns.begin(100, &merge(&[id(10, 4)]), &aged);
        assert_eq!(turns.due_of(100, &aged), aged, "nothing was too old in what was merged");
        turns.begin(200, &merge(&[id(0, 1)]), &aged);
        assert_eq!(turns.due_of(199 + AGED_EVERY_MS, &aged), BTreeSet::from([id(10, 3)]));
        assert_eq!(turns.due_of(200 + AGED_EVERY_MS, &aged), aged);
    }
}
