//! Garbage: segments, blocks, records and deletions that nobody needs any more.
//!
//! Owns the positive proof that stands before every delete: not "it is old" but "what it says is elsewhere, and
//! was seen there". What was observed for how long comes with the plan.

use std::collections::BTreeSet;

use crate::replication::bucket::BucketError;
use crate::replication::catalogue::{Fold, mentioned};
use crate::replication::names::{BLOCKS, BlockId, ObjectName, RecordId, SegmentId, TombstoneId};
use crate::replication::record::BlockMeta;
use crate::replication::rules::Rule;
use crate::replication::script::{Desk, JobError};
use crate::replication::view::{names_of, read_needed};

use super::Job;

/// Segments that every partition's cuts cover (G1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentsPlan {
    pub segments: Vec<SegmentId>,
    /// Live blocks that this process has not seen yet.
    pub unseen: Vec<BlockMeta>,
}

/// What a collection found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blocks that were seen whole.
    pub seen: BTreeSet<BlockId>,
    /// `None` where blocks were not looked at.
    pub nameless: Option<Nameless>,
}

/// Blocks that no record names, of a listing that began then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nameless {
    pub listed_ms: u64,
    pub blocks: BTreeSet<BlockId>,
}

/// Deletes segments once every live block was seen.
pub async fn collect_segments(desk: Desk, job: Job, plan: SegmentsPlan) -> Result<Collected, JobError> {
    let seen =
        if job.rules.keep(Rule::BlocksVerified) { see(&desk, &plan.unseen).await? } else { BTreeSet::new() };
    let names: Vec<ObjectName> = plan.segments.into_iter().map(ObjectName::Segment).collect();
    desk.delete_each(&names).await?;
    Ok(Collected { seen, nameless: None })
}

/// Blocks that may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlocksPlan {
    /// Seen dead for longer than `grace_ms` (G2).
    pub dead: BTreeSet<BlockId>,
    /// Seen nameless for longer than `orphan_ms` (G3).
    pub nameless: BTreeSet<BlockId>,
    pub unseen: Vec<BlockMeta>,
}

/// Deletes dead and nameless blocks; both are judged once more by a catalogue that is read after the listing.
pub async fn collect_blocks(desk: Desk, job: Job, plan: BlocksPlan) -> Result<Collected, JobError> {
    let seen = see(&desk, &plan.unseen).await?;
    let listed_ms = desk.now().boot_ms;
    let entries = desk.list(BLOCKS).await.map_err(|(_, error)| error)?;
    let needed = read_needed(&desk, &job.view.records, job.rules).await?;
    if let Some((_, error)) = needed.unread.into_iter().next() {
        return Err(error);
    }
    let fold = Fold::of(&needed.records, job.view.fold.cover.len() as u16);
    // What only a record names that a checkpoint stands for was dead for long, and forgotten: it is nameless.
    let mentioned = mentioned(&needed.records);
    let (mut nameless, mut going) = (BTreeSet::new(), Vec::new());
    for name in names_of(&entries) {
        let ObjectName::Block(block) = name else {
            continue;
        };
        let may_go = if fold.dead.contains(&block) {
            plan.dead.contains(&block) || !job.rules.keep(Rule::DeadGrace)
        } else if mentioned.contains(&block) {
            false
        } else {
            nameless.insert(block);
            plan.nameless.contains(&block) || !job.rules.keep(Rule::OrphanAge)
        };
        if may_go {
            going.push(name);
        }
    }
    desk.delete_each(&going).await?;
    Ok(Collected { seen, nameless: Some(Nameless { listed_ms, blocks: nameless }) })
}

/// Deletes records that a checkpoint stands for (C2).
pub async fn collect_records(desk: Desk, records: Vec<RecordId>) -> Result<Collected, JobError> {
    let names: Vec<ObjectName> = records.into_iter().map(ObjectName::Record).collect();
    desk.delete_each(&names).await?;
    Ok(Collected::default())
}

/// Deletes deletions that are done, or never began (D5). The intent goes first: alone, a bound says all.
pub async fn collect_deletions(desk: Desk, deletions: Vec<TombstoneId>) -> Result<Collected, JobError> {
    for id in deletions {
        desk.delete(&ObjectName::Intent(id)).await?;
        desk.delete(&ObjectName::Bound(id)).await?;
    }
    Ok(Collected::default())
}

/// Looks whether the blocks are there, in their length. One that is not stops all collecting: the samples
/// are then perhaps only in what was about to be deleted.
async fn see(desk: &Desk, blocks: &[BlockMeta]) -> Result<BTreeSet<BlockId>, JobError> {
    let mut seen = BTreeSet::new();
    let names: Vec<ObjectName> = blocks.iter().map(|block| ObjectName::Block(block.id)).collect();
    let sizes = desk.size_each(&names, u64::MAX).await;
    for ((block, name), size) in blocks.iter().zip(&names).zip(sizes) {
        match size {
            Ok(bytes) if bytes == block.bytes => {
                seen.insert(block.id);
            }
            Ok(_) => return Err(JobError::OtherBytes { name: name.to_string() }),
            Err(source @ (BucketError::NotFound | BucketError::Unknown(_) | BucketError::Refused(_))) => {
                return Err(JobError::Bucket { name: name.to_string(), source });
            }
        }
    }
    Ok(seen)
}
