//! A block, series by series.

use std::path::{Path, PathBuf};

use super::chunk::Sample;
use super::error::BlockError;
use super::index::{ChunkPlace, Index};
use super::meta::BlockMeta;
use super::segments::Segments;
use super::tombstones::{self, Deleted};
use crate::model::{Labels, TimeRange};

/// An open block.
pub struct Block {
    pub meta: BlockMeta,
    index: Index,
    segments: Segments,
    deleted: Deleted,
}

/// A series of a block, its samples not read yet.
#[derive(Debug)]
pub struct BlockSeries {
    pub labels: Labels,
    chunks: Vec<ChunkPlace>,
    deleted: Vec<TimeRange>,
}

impl Block {
    /// The blocks of a data folder in order of time; of a block's own folder, that one.
    pub fn folders(path: &Path) -> Result<Vec<(BlockMeta, PathBuf)>, BlockError> {
        if path.join("meta.json").is_file() {
            return Ok(vec![(BlockMeta::read(path)?, path.to_owned())]);
        }
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(path).map_err(BlockError::io("list", path))? {
            let folder = entry.map_err(BlockError::io("list", path))?.path();
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // Blocks under construction have an ending, as do those about to be removed.
            let is_block_name = name.len() == 26 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if is_block_name && folder.join("meta.json").is_file() {
                folders.push((BlockMeta::read(&folder)?, folder));
            }
        }
        folders.sort_by(|(a, _), (b, _)| (a.min_time, &a.ulid).cmp(&(b.min_time, &b.ulid)));
        Ok(folders)
    }

    pub fn open(folder: &Path) -> Result<Self, BlockError> {
        Ok(Self {
            meta: BlockMeta::read(folder)?,
            index: Index::open(folder)?,
            segments: Segments::open(folder)?,
            deleted: tombstones::read(folder)?,
        })
    }

    /// The next series, in order of labels; `None` after the last.
    pub fn next_series(&mut self) -> Result<Option<BlockSeries>, BlockError> {
        let Some(series) = self.index.next_series()? else { return Ok(None) };
        let labels = self.index.labels(&series)?;
        let deleted = self.deleted.get(&series.number).cloned().unwrap_or_default();
        Ok(Some(BlockSeries { labels, chunks: series.chunks, deleted }))
    }

    /// Gives the samples of a series that are in the block's time and not deleted, in order of time.
    pub fn samples<E: From<BlockError>>(
        &mut self,
        series: &BlockSeries,
        mut each: impl FnMut(Sample) -> Result<(), E>,
    ) -> Result<(), E> {
        let range = self.meta.range();
        for chunk in series.chunks.iter().filter(|chunk| chunk.range.overlaps(&range)) {
            let mut outcome = Ok(());
            self.segments.read(chunk.reference, &mut |sample| {
                let at = sample.timestamp_ms();
                let is_there = range.contains(at) && !series.deleted.iter().any(|gone| gone.contains(at));
                if is_there && outcome.is_ok() {
                    outcome = each(sample);
                }
            })?;
            outcome?;
        }
        Ok(())
    }

    /// How much of the block has been read: for progress.
    pub fn read_share(&self) -> f64 {
        let total = self.index.series_end().max(1);
        (self.index.read_bytes() as f64 / total as f64).min(1.0)
    }
}
