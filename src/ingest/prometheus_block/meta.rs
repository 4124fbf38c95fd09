//! `meta.json`: what a block says of itself.

use std::path::Path;

use serde::Deserialize;

use super::error::BlockError;
use crate::model::TimeRange;

/// The version that is read.
const VERSION: u64 = 1;
/// More than any that a Prometheus wrote: one of thousands of compacted sources takes some hundred KiB.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A block's name, times and figures.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockMeta {
    pub ulid: String,
    pub min_time: i64,
    /// Exclusive.
    pub max_time: i64,
    #[serde(default)]
    pub stats: BlockStats,
    version: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockStats {
    #[serde(default)]
    pub num_samples: u64,
    #[serde(default)]
    pub num_series: u64,
    #[serde(default)]
    pub num_chunks: u64,
}

impl BlockMeta {
    pub fn read(folder: &Path) -> Result<Self, BlockError> {
        let path = folder.join("meta.json");
        let bytes = std::fs::metadata(&path).map_err(BlockError::io("read", &path))?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(BlockError::damaged(&path, 0, format!("{bytes} bytes are too many for it")));
        }
        let text = std::fs::read(&path).map_err(BlockError::io("read", &path))?;
        let meta: Self = serde_json::from_slice(&text).map_err(|e| BlockError::damaged(&path, 0, e))?;
        if meta.version != VERSION {
            let what = format!("block format {} is unknown, only {VERSION} is read", meta.version);
            return Err(BlockError::Unknown { path, what });
        }
        if meta.min_time >= meta.max_time {
            return Err(BlockError::damaged(&path, 0, "the block ends before it begins"));
        }
        Ok(meta)
    }

    /// The times of its samples.
    pub fn range(&self) -> TimeRange {
        TimeRange::new(self.min_time, self.max_time - 1)
    }
}
