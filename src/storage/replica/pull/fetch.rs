//! Blocks of a day as files of the folder, each the bytes that its record says.
//!
//! Read in pieces: a block takes no more memory than one of them. The files go when the next day's come, or the
//! pull ends.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::{Pull, PullError, of_bucket};
use crate::replication::names::ObjectName;
use crate::replication::record::BlockMeta;
use crate::replication::script::JobError;
use crate::storage::block::{BlockSource, PageCache, ReadRanges};
use crate::storage::error::StorageError;
use crate::storage::part::{PartError, SectionSource};
use crate::storage::replica::blocks::{may_hold, part_at};
use crate::storage::view::{Hidden, Home, Part};

/// Blocks that are fetched at the same time, in pieces of so many bytes.
const FETCHES_MAX: usize = 8;
const PIECE_BYTES: u64 = 4 << 20;

/// The parts of these blocks, which are in files of the folder from here on.
pub fn fetch_all(
    pull: &Pull,
    blocks: &[BlockMeta],
    folder: &Path,
    cache: &Arc<PageCache>,
) -> Result<Vec<Arc<Part>>, PullError> {
    let next = AtomicUsize::new(0);
    let fetch_some = || -> Result<Vec<Arc<Part>>, PullError> {
        let mut parts = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(meta) = blocks.get(number) else { return Ok(parts) };
            // Of the day before there may be more; each is written over, or goes with the folder.
            let path = folder.join(format!("{number}.blk"));
            let file = fetch(pull, meta, &path)?;
            let home = InFile { meta: meta.clone(), file: Arc::new(file), path, cache: Arc::clone(cache) };
            parts.push(part_at(number as u64 + 1, meta, Box::new(home)));
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..FETCHES_MAX.min(blocks.len())).map(|_| scope.spawn(fetch_some)).collect();
        let mut parts = Vec::with_capacity(blocks.len());
        for thread in threads {
            let fetched = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            parts.extend(fetched?);
        }
        Ok(parts)
    })
}

fn fetch(pull: &Pull, meta: &BlockMeta, path: &Path) -> Result<File, PullError> {
    let name = ObjectName::Block(meta.id);
    let other_bytes = || PullError::Bucket(JobError::OtherBytes { name: name.to_string() });
    let io = |action| move |source| StorageError::Io { action, path: path.to_owned(), source };
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true);
    let mut file = options.open(path).map_err(io("create"))?;
    let mut hash = Xxh3::new();
    let mut at = 0;
    while at < meta.bytes {
        let range = at..meta.bytes.min(at + PIECE_BYTES);
        let got = pull.runtime.block_on(pull.scripts.get_range(&name, range.clone()));
        let got = got.map_err(|error| of_bucket(name.to_string(), error))?;
        if got.object_bytes != meta.bytes || got.bytes.len() as u64 != range.end - range.start {
            return Err(other_bytes());
        }
        hash.update(&got.bytes);
        file.write_all(&got.bytes).map_err(io("write"))?;
        at = range.end;
    }
    if hash.digest128() != meta.xxh3 {
        return Err(other_bytes());
    }
    Ok(file)
}

/// A block in a file.
struct InFile {
    meta: BlockMeta,
    file: Arc<File>,
    path: PathBuf,
    cache: Arc<PageCache>,
}

impl Home for InFile {
    fn open(&self) -> Result<Box<dyn SectionSource>, StorageError> {
        let ranges = Arc::new(Ranges { file: Arc::clone(&self.file), path: self.path.clone() });
        let opened = BlockSource::open(self.meta.id.id, ranges, self.meta.bytes, Arc::clone(&self.cache));
        let name = || ObjectName::Block(self.meta.id).to_string();
        Ok(Box::new(opened.map_err(|source| StorageError::Block { name: name(), source })?))
    }

    fn may_hold(&self, hidden: &Hidden) -> bool {
        may_hold(&self.meta, hidden)
    }

    fn drop_part(&self) {}
}

impl Drop for InFile {
    fn drop(&mut self) {
        // It goes with the folder at the latest.
        let _ = fs::remove_file(&self.path);
    }
}

struct Ranges {
    file: Arc<File>,
    path: PathBuf,
}

impl ReadRanges for Ranges {
    fn read(&self, range: Range<u64>) -> Result<Bytes, PartError> {
        let wanted = range.end.saturating_sub(range.start);
        let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(usize::MAX)];
        let read = self.file.read_exact_at(&mut bytes, range.start);
        let unreachable = |error| PartError::Unreachable(format!("read {}: {error}", self.path.display()));
        read.map_err(unreachable)?;
        Ok(bytes.into())
    }
}
