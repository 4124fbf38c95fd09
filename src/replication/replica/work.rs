//! Maintenance by this replica: when a job begins, and what became of it.
//!
//! Owns the turns, and what a view must show before the same is done again. What is due is chosen by
//! [`maintenance`], what a job does is in [`crate::replication::jobs`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::scripts::{Finished, Kind};
use super::{Action, Options, Replica};
use crate::replication::fresh_ids::FreshIds;
use crate::replication::heartbeat;
use crate::replication::jobs::collect::{self, Collected};
use crate::replication::jobs::{Job, checkpoint, cut, merge, retain};
use crate::replication::maintenance::{self, Facts, Work};
use crate::replication::names::Partition;
use crate::replication::reads::Turn;
use crate::replication::script::{Desk, JobError};
use crate::replication::timing::Moment;
use crate::replication::view::View;

/// See the module.
#[derive(Debug)]
pub struct Turns {
    pub due_ms: u64,
    next: u64,
    /// Work that has begun and will publish a record,
    begun: Option<(&'static str, Partition)>,
    /// and such as was done, and when: a view that began earlier does not show it.
    done: BTreeMap<(&'static str, Partition), Turn>,
}

impl Turns {
    /// Replicas that start together do not begin the same work together.
    pub fn new(options: &Options, ids: &mut FreshIds, now: Moment) -> Self {
        let first_ms = now.boot_ms + ids.below(options.timing.maintenance_ms);
        let due_ms = if options.observes { u64::MAX } else { first_ms };
        Self { due_ms, next: ids.below(64), begun: None, done: BTreeMap::new() }
    }

    /// A view that began at this turn shows what was done before.
    pub fn shown(&mut self, began: Turn) {
        self.done.retain(|_, at| *at >= began);
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
        let Some(work) = self.choose(turn, &view) else {
            return;
        };
        self.work.begun = work.publishes();
        let listed_ms = self.reader.listing().map_or(u64::MAX, |listing| listing.started_ms);
        let job = self.job(view, listed_ms);
        self.begin(Kind::Work, move |desk| async move {
            let (name, outcome) = perform(desk, job, work).await;
            Finished::Worked(name, outcome)
        });
    }

    fn choose(&self, turn: u64, view: &View) -> Option<Work> {
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
            clock_offset_ms: self.clock_offset_ms,
            done: &done,
        };
        facts.choose(turn, |partition| self.owns(partition))
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
