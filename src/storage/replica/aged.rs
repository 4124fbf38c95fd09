//! Old blocks that have something of what retention rules hide.
//!
//! Rules hide at once; what they hide goes from the bucket when its block is written again. Owns the thread that looks
//! which blocks that is worth: of each whose every sample is beyond a rule's limit it asks the index, once for each
//! rule, one block after the other and without hurry. That a block is written again, when and by whom is
//! [`crate::replication::maintenance`]'s; what is then left out is [`super::build`]'s, and is all of what is found here
//! and more: a block that is made does not come back.
//!
//! Memory: one block's index, and a flag per block.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};
use tracing::debug;

use crate::clock::Clock;
use crate::replication::catalogue::Fold;
use crate::replication::names::BlockId;
use crate::replication::record::BlockMeta;
use crate::storage::merge::is_about;
use crate::storage::part::PartError;
use crate::storage::retention::RetentionRule;

use super::blocks::{BlockReading, open_in_passing};

/// Between two blocks: a year of them takes a day and a third after a start, at a thousand requests an hour or two.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Where there is nothing to look at, blocks grow old meanwhile.
const IDLE: Duration = Duration::from_secs(60);
/// A block that could not be read is left alone for so long.
const FAILED_FOR: Duration = Duration::from_secs(600);

/// See the module. Its thread ends when it is dropped.
pub struct Aged(Arc<Shared>);

struct Shared {
    /// The shortest first: those that a block is beyond come before all others.
    rules: Vec<RetentionRule>,
    /// Beyond a rule's limit a block is let alone for so much longer.
    slack_ms: i64,
    clock: Arc<dyn Clock>,
    reading: BlockReading,
    bucket: Mutex<Bucket>,
    changed: Condvar,
    found: ArcSwap<BTreeSet<BlockId>>,
}

#[derive(Default)]
struct Bucket {
    fold: Arc<Fold>,
    is_over: bool,
}

/// What is known of a block.
#[derive(Clone, Copy, Default)]
struct Answer {
    /// So many rules were asked about, the shortest first,
    rules: usize,
    /// and one of them means some of its series.
    is_found: bool,
}

/// What is known of all live blocks.
#[derive(Default)]
struct Answers {
    known: BTreeMap<BlockId, Answer>,
    failed: BTreeMap<BlockId, Instant>,
}

impl Aged {
    /// Starts the thread. A block is beyond a rule when its last sample is older than the rule's limit and the slack.
    pub fn start(
        rules: &[RetentionRule],
        slack_ms: i64,
        clock: Arc<dyn Clock>,
        reading: BlockReading,
    ) -> std::io::Result<Self> {
        let mut rules = rules.to_vec();
        rules.sort_by_key(|rule| rule.keep_ms);
        let shared = Arc::new(Shared {
            rules,
            slack_ms,
            clock,
            reading,
            bucket: Mutex::default(),
            changed: Condvar::new(),
            found: ArcSwap::default(),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new().name("onggi-aged".to_owned()).spawn(move || of_thread.run())?;
        Ok(Self(shared))
    }

    /// This is the catalogue now.
    pub fn follow(&self, fold: &Arc<Fold>) {
        let mut bucket = self.0.bucket.lock();
        if !Arc::ptr_eq(&bucket.fold, fold) {
            bucket.fold = Arc::clone(fold);
            self.0.changed.notify_all();
        }
    }

    /// Blocks that are worth writing again, as far as is known.
    pub fn found(&self) -> Arc<BTreeSet<BlockId>> {
        self.0.found.load_full()
    }
}

impl Drop for Aged {
    fn drop(&mut self) {
        self.0.bucket.lock().is_over = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn run(&self) {
        let mut answers = Answers::default();
        let (mut seen, mut pause) = (Arc::default(), IDLE);
        while let Some(fold) = self.wait(&seen, pause) {
            answers.forget_all_but(&fold);
            pause = match answers.next(&fold, |block| self.beyond(block)) {
                Some((block, asked)) => {
                    self.look(&mut answers, block, asked);
                    LOOK_EVERY
                }
                None => IDLE,
            };
            let found = answers.found();
            if found != **self.found.load() {
                self.found.store(Arc::new(found));
            }
            seen = fold;
        }
    }

    /// The catalogue after a pause, or as soon as it is another than the one that was seen; `None` at the end.
    fn wait(&self, seen: &Arc<Fold>, pause: Duration) -> Option<Arc<Fold>> {
        let mut bucket = self.bucket.lock();
        if !bucket.is_over && Arc::ptr_eq(&bucket.fold, seen) {
            self.changed.wait_for(&mut bucket, pause);
        }
        (!bucket.is_over).then(|| Arc::clone(&bucket.fold))
    }

    /// Of how many rules, the shortest first, the whole block is beyond the limit.
    fn beyond(&self, block: &BlockMeta) -> usize {
        let now_ms = self.clock.now_ms().saturating_sub(self.slack_ms);
        self.rules.partition_point(|rule| block.max_ms < now_ms.saturating_sub(rule.keep_ms))
    }

    /// Asks about the rules that the block is beyond and that were not asked about.
    fn look(&self, answers: &mut Answers, block: &BlockMeta, asked: usize) {
        let rules = self.beyond(block).max(asked);
        match self.is_meant(block, &self.rules[asked..rules]) {
            Ok(is_found) => {
                answers.known.insert(block.id, Answer { rules, is_found });
            }
            Err(error) => {
                debug!(block = format!("{:032x}", block.id.id), %error, "old block is not looked into for now");
                answers.failed.insert(block.id, Instant::now());
            }
        }
    }

    fn is_meant(&self, block: &BlockMeta, rules: &[RetentionRule]) -> Result<bool, PartError> {
        let part = open_in_passing(&self.reading, block)?;
        for rule in rules {
            if is_about(rule, &part)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Answers {
    /// What is not live any more need not be known.
    fn forget_all_but(&mut self, fold: &Fold) {
        self.known.retain(|block, _| fold.live.contains_key(block));
        self.failed.retain(|block, at| fold.live.contains_key(block) && at.elapsed() < FAILED_FOR);
    }

    /// The first block that is beyond rules which were not asked about, and how many were.
    fn next<'a>(
        &self,
        fold: &'a Fold,
        beyond: impl Fn(&BlockMeta) -> usize,
    ) -> Option<(&'a BlockMeta, usize)> {
        fold.live.values().find_map(|block| {
            let Answer { rules, is_found } = self.known.get(&block.id).copied().unwrap_or_default();
            let is_open = !is_found && beyond(block) > rules && !self.failed.contains_key(&block.id);
            is_open.then_some((block, rules))
        })
    }

    fn found(&self) -> BTreeSet<BlockId> {
        self.known.iter().filter(|(_, answer)| answer.is_found).map(|(block, _)| *block).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(blocks: impl IntoIterator<Item = u128>) -> Fold {
        let block = |id: u128| {
            let id = BlockId { partition: 0, window_ms: 0, id };
            (id, BlockMeta { id, bytes: 1, xxh3: 0, min_ms: 0, max_ms: 9, settled: Vec::new() })
        };
        Fold { live: blocks.into_iter().map(block).collect(), ..Fold::default() }
    }

    #[test]
    fn a_block_is_asked_about_once_for_each_rule_that_it_is_beyond() {
        let fold = fold([1, 2]);
        let mut answers = Answers::default();
        let next = |answers: &Answers, beyond: usize| {
            answers.next(&fold, |_| beyond).map(|(block, rules)| (block.id.id, rules))
        };
        let id = |id: u128| BlockId { partition: 0, window_ms: 0, id };

        assert_eq!(next(&answers, 0), None, "both are young");
        assert_eq!(next(&answers, 1), Some((1, 0)));
        answers.known.insert(id(1), Answer { rules: 1, is_found: false });
        assert_eq!(next(&answers, 1), Some((2, 0)));
        answers.known.insert(id(2), Answer { rules: 1, is_found: true });
        assert_eq!(next(&answers, 1), None);
        assert_eq!(next(&answers, 2), Some((1, 1)), "the other one is found already");
        answers.failed.insert(id(1), Instant::now());
        assert_eq!(next(&answers, 2), None, "it is left alone for a while");
        assert_eq!(answers.found(), BTreeSet::from([id(2)]));
    }

    #[test]
    fn what_is_not_live_any_more_is_forgotten() {
        let mut answers = Answers::default();
        for block in fold([1, 2]).live.into_keys() {
            answers.known.insert(block, Answer { rules: 1, is_found: true });
            answers.failed.insert(block, Instant::now());
        }

        answers.forget_all_but(&fold([2]));

        let id = BlockId { partition: 0, window_ms: 0, id: 2 };
        assert_eq!((answers.found(), answers.failed.len()), (BTreeSet::from([id]), 1));
    }
}
