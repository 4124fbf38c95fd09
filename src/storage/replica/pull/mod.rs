//! A pull: a data directory is made of a bucket, for a server that stands alone, or a copy.
//!
//! The bucket is only read, and may be in use. What was acknowledged before the pull began is in it, deletions
//! that were made before that are applied; of what happens meanwhile some may be in it.
//!
//! ```text
//! LIST wal/, then the catalogue ──► segments that are not in blocks ──► late parts, metadata
//!                              └──► live blocks, day by day ──────────► a part of each day
//! meta/ ───────────────────────────────────────────────────────────────► metadata
//! ```
//! Segments come first: one that is in blocks by now, and gone, is met again in a catalogue that is read later,
//! of which all days are still to be read. A block that is gone was replaced, and its day is read anew. The folder is
//! nobody's before the end: a pull that did not end is begun again.
//!
//! - [`look`] what there is in the bucket · [`fetch`] blocks into files, checked
//! - [`segments`] segments into parts · [`parts`] series into parts

mod fetch;
mod look;
mod parts;
mod segments;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;
use tracing::info;

use crate::model::TimeRange;
use crate::model::time::DAY_MS;
use crate::replication::bucket::BucketError;
use crate::replication::names::TombstoneId;
use crate::replication::record::BlockMeta;
use crate::replication::script::JobError;
use crate::replication::tombstone::Tombstone;
use crate::replication::view::View;
use crate::storage::block::PageCache;
use crate::storage::bucket::Scripts;
use crate::storage::directory;
use crate::storage::error::StorageError;
use crate::storage::head::MetadataTable;
use crate::storage::local::{CatalogueBatch, Database};
use crate::storage::merge::{MergedSeries, PartInput};
use crate::storage::retention::Retention;
use crate::storage::view::{Hidden, Part};
use crate::storage::window::Window;

use super::families::{self, Told};
use super::local::Deletion;
use look::Look;
use parts::Parts;

/// Times that the bucket is looked at anew because what was there is gone.
const LOOKS_MAX: usize = 10;
/// Rows of all blocks of a day that are in memory before they are joined, at most,
const INPUTS_BYTES_MAX: u64 = 32 << 20;
/// and decoded pages of them.
const PAGES_BYTES_MAX: u64 = 16 << 20;

/// What to pull, and where to.
pub struct Pull {
    pub path: PathBuf,
    pub scripts: Scripts,
    pub runtime: Handle,
    /// Memory for what is held of segments before it is written,
    pub head_bytes_max: u64,
    /// for what writers gather before a part ends,
    pub gathered_bytes_max: u64,
    /// and for what the database keeps of what it has read.
    pub cache_bytes: usize,
}

/// How far a pull is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullProgress {
    Segments { done: usize, total: usize },
    Blocks { done_bytes: u64, total_bytes: u64 },
}

/// What was pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulled {
    pub segments: u64,
    pub blocks: u64,
    pub days: u64,
    pub parts: u64,
    pub samples: u64,
    pub exemplars: u64,
    /// Bytes of the parts' files.
    pub bytes: u64,
    /// Metrics of which something is said.
    pub metadata: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Bucket(#[from] JobError),
    #[error("{name}: {what}")]
    Damaged { name: String, what: String },
    #[error("deletion {id}: {what}")]
    Deletion { id: String, what: String },
    /// It was there when the bucket was looked at.
    #[error("{0} is gone again and again while it is looked for")]
    Gone(String),
}

impl Pull {
    /// Makes the directory; `progress` is told now and then how far it is. Blocks a thread that is not the
    /// runtime's.
    pub fn run(&self, progress: &mut dyn FnMut(PullProgress)) -> Result<Pulled, PullError> {
        let directory = directory::begin_pull(&self.path, self.scripts.bucket.url())?;
        let database = Database::open(&directory.database(), self.cache_bytes).map_err(StorageError::from)?;
        let mut parts = Parts::new(&database, self.gathered_bytes_max, self.scripts.clock.now_ms());
        let metadata = MetadataTable::default();
        let mut pulled = Pulled::default();
        let look = self.look_and_pull_segments(&mut parts, &metadata, &mut pulled, progress)?;
        self.pull_blocks(look.view, directory.pulling().as_path(), &mut parts, &mut pulled, progress)?;

        for (tenant, described) in self.families()? {
            metadata.apply(&tenant, &[described.metadata], described.received_ms);
        }
        let metadata = metadata.take_dirty();
        pulled.metadata = metadata.len() as u64;
        let batch = CatalogueBatch { metadata, ..CatalogueBatch::default() };
        database.commit(&[&batch]).map_err(StorageError::from)?;
        parts.count(&mut pulled);
        drop(database);
        directory::end_pull(&directory)?;
        info!(?pulled, path = %self.path.display(), "pulled");
        Ok(pulled)
    }

    /// What is known of metric families beside the segments.
    fn families(&self) -> Result<Vec<Told>, PullError> {
        let read = async || families::told(&self.scripts).await;
        Ok(self.runtime.block_on(look::again_and_again(read))?)
    }

    /// Looks at the bucket, and brings in the segments that are not in blocks then.
    fn look_and_pull_segments(
        &self,
        parts: &mut Parts<'_>,
        metadata: &MetadataTable,
        pulled: &mut Pulled,
        progress: &mut dyn FnMut(PullProgress),
    ) -> Result<Look, PullError> {
        let mut gone = None;
        for _ in 0..LOOKS_MAX {
            let look = self.runtime.block_on(look::look(&self.scripts))?;
            let deletions = deletions(&look.view)?;
            match segments::pull(self, &look, &deletions, parts, metadata, progress) {
                Ok(()) => {
                    pulled.segments = look.segments.len() as u64;
                    return Ok(look);
                }
                // In blocks by now, which a catalogue that is read later names.
                Err(PullError::Gone(name)) => gone = Some(name),
                Err(error) => return Err(error),
            }
        }
        Err(PullError::Gone(gone.unwrap_or_default()))
    }

    /// Brings in all live blocks, day by day.
    fn pull_blocks(
        &self,
        view: View,
        folder: &Path,
        parts: &mut Parts<'_>,
        pulled: &mut Pulled,
        progress: &mut dyn FnMut(PullProgress),
    ) -> Result<(), PullError> {
        let mut view = Arc::new(view);
        // Who knows what a record says: the sum must not overflow.
        let add = |sum: u64, bytes: u64| sum.saturating_add(bytes);
        let mut days: BTreeMap<i64, u64> = BTreeMap::new();
        for block in view.fold.live.values() {
            let bytes = days.entry(block.id.window_ms).or_default();
            *bytes = add(*bytes, block.bytes);
        }
        let total_bytes = days.values().copied().fold(0, add);
        let mut done_bytes = 0;
        for (window_ms, bytes) in days {
            progress(PullProgress::Blocks { done_bytes, total_bytes });
            done_bytes = add(done_bytes, bytes);
            let mut looks = 0;
            loop {
                // Of a view that was read anew: other blocks, which have the same and perhaps more.
                let of_day = view.fold.live.values().filter(|block| block.id.window_ms == window_ms);
                let blocks: Vec<BlockMeta> = of_day.cloned().collect();
                match self.pull_day(window_ms, &blocks, &view, folder, parts) {
                    Ok(()) => {
                        pulled.blocks += blocks.len() as u64;
                        pulled.days += 1;
                        break;
                    }
                    Err(PullError::Gone(_)) if looks < LOOKS_MAX => {
                        looks += 1;
                        view = Arc::new(self.runtime.block_on(look::look_again(&self.scripts, &view))?);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        progress(PullProgress::Blocks { done_bytes, total_bytes });
        Ok(())
    }

    fn pull_day(
        &self,
        window_ms: i64,
        blocks: &[BlockMeta],
        view: &View,
        folder: &Path,
        parts: &mut Parts<'_>,
    ) -> Result<(), PullError> {
        let cache = PageCache::new(PAGES_BYTES_MAX.min(self.gathered_bytes_max));
        let fetched = fetch::fetch_all(self, blocks, folder, &cache)?;
        let hidden: Vec<Arc<Hidden>> =
            deletions(view)?.into_values().map(|deletion| deletion.hidden).collect();
        let input = |part: &Arc<Part>| PartInput::new(part, &hidden);
        let inputs = fetched.iter().map(input).collect();
        let bytes_max = self.gathered_bytes_max.min(INPUTS_BYTES_MAX);
        let mut series = MergedSeries::open(inputs, TimeRange::ALL, Retention::NONE, bytes_max)?;
        parts.write_day(Window { start_ms: window_ms, length_ms: DAY_MS }, || Ok(series.next()?))
    }
}

type Deletions = BTreeMap<TombstoneId, Deletion>;

/// All deletions in force.
fn deletions(view: &View) -> Result<Deletions, PullError> {
    let compile = |(id, tombstone): (&TombstoneId, &Arc<Tombstone>)| {
        let compiled = Deletion::compile(*id, &tombstone.selection);
        let compiled = compiled.map_err(|what| PullError::Deletion { id: format!("{:032x}", id.0), what })?;
        Ok((*id, compiled))
    };
    view.deletions.bound.iter().map(compile).collect()
}

/// An error of the bucket about an object.
fn of_bucket(name: String, source: BucketError) -> PullError {
    match source {
        BucketError::NotFound => PullError::Gone(name),
        source => PullError::Bucket(JobError::Bucket { name, source }),
    }
}
