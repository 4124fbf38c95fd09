//! What there is in the bucket: first the log's listing, then the catalogue, then the deletions, so that all that
//! was acknowledged before is in what was listed or in blocks that the catalogue names.

use std::sync::Arc;

use super::PullError;
use crate::replication::bucket::BucketError;
use crate::replication::names::{ObjectName, Partition, SEGMENTS, SegmentId};
use crate::replication::rules::Rules;
use crate::replication::script::{Desk, JobError};
use crate::replication::view::{View, refresh};
use crate::storage::bucket::Scripts;
use crate::storage::bucket::scripts::pause;
use crate::storage::replica::partition::PARTITIONS;

/// What was listed may be gone when it is read; then all is looked at anew, so often at most.
const ATTEMPTS_MAX: u32 = 10;

/// A segment of which something is in no block yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loose {
    pub id: SegmentId,
    pub bytes: u64,
    /// What of it is in no block.
    pub partitions: Vec<Partition>,
}

/// See the module.
pub struct Look {
    pub view: View,
    pub segments: Vec<Loose>,
}

pub async fn look(scripts: &Scripts) -> Result<Look, PullError> {
    let (listed, view) = again_and_again(async || scripts.run(listed_and_read).await).await?;
    let loose = |(id, bytes): (SegmentId, u64)| {
        let is_loose = |partition: &Partition| !view.fold.cover[usize::from(*partition)].contains(id);
        let partitions: Vec<Partition> = (0..PARTITIONS).filter(is_loose).collect();
        (!partitions.is_empty()).then_some(Loose { id, bytes, partitions })
    };
    let segments = listed.into_iter().filter_map(loose).collect();
    Ok(Look { view, segments })
}

/// The catalogue and the deletions as they are now.
pub async fn look_again(scripts: &Scripts, before: &Arc<View>) -> Result<View, PullError> {
    let read = async || {
        let before = Arc::clone(before);
        scripts.run(|desk| refresh(desk, before, PARTITIONS, Rules::default())).await
    };
    Ok(again_and_again(read).await?)
}

async fn listed_and_read(desk: Desk) -> Result<(Vec<(SegmentId, u64)>, View), JobError> {
    let entries = desk.list(SEGMENTS).await.map_err(|(_, error)| error)?;
    let listed = entries.iter().filter_map(|entry| match ObjectName::parse(&entry.key) {
        Some(ObjectName::Segment(id)) => Some((id, entry.bytes)),
        _ => None,
    });
    let listed = listed.collect();
    Ok((listed, refresh(desk, Arc::default(), PARTITIONS, Rules::default()).await?))
}

/// An object may be collected between its listing and its reading.
pub async fn again_and_again<T>(read: impl AsyncFn() -> Result<T, JobError>) -> Result<T, JobError> {
    for failures in 1.. {
        match read().await {
            Err(JobError::Bucket { source: BucketError::NotFound, .. }) if failures < ATTEMPTS_MAX => {
                pause(failures).await;
            }
            ended => return ended,
        }
    }
    Err(JobError::TooLate)
}
