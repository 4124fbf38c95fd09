//! Reads a block: index and footer when it is opened, pages when they are asked for.
//!
//! The index is kept with the pages, and read again when it was pushed out: of a year of blocks, each of which was
//! asked once, no more is in memory than the cache may have.
//!
//! Owns which bytes of the object are read together. A scan reads runs of pages that follow each other. Where a
//! run goes on where the last one ended, be it by the same scan or by the next of many small ones, it is longer
//! and reads ahead: whoever wants one row pays for little more, whoever wants all makes few requests. Errors name
//! block and offset.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::ReadRanges;
use super::cache::{PageCache, PageKey};
use super::compression::decompress;
use super::layout::{FOOTER_BYTES, Footer, PageIndex};
use super::page::Page;
use crate::storage::part::container::Visit;
use crate::storage::part::{PartError, Section, SectionSource};

/// Read at once when a block is opened: footer, index and, of most blocks, the pages that are asked for first.
const TAIL_BYTES: u64 = 32 << 10;
/// Stored bytes of a run that begins anywhere; each that goes on there may have twice as many,
const RUN_BYTES_FIRST: u64 = 128 << 10;
/// and at most so many, or one page.
const RUN_BYTES_MAX: u64 = 1 << 20;
/// Decoded bytes of one run, or one page: what hostile bytes can make of a few is bounded.
const RUN_DECODED_BYTES_MAX: u64 = 4 << 20;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct BlockSource {
    id: u128,
    ranges: Arc<dyn ReadRanges>,
    object_bytes: u64,
    cache: Arc<PageCache>,
    /// Where it is too large for the cache.
    own_index: Arc<OnceLock<Arc<PageIndex>>>,
    last_runs: Arc<Mutex<[LastRun; Section::ALL.len()]>>,
}

/// The run of a section that was read last.
#[derive(Clone, Copy, Default)]
struct LastRun {
    end: usize,
    bytes_max: u64,
}

/// Decoded pages that a scan has not come to yet. They are in the cache, too, but may be pushed out.
type Ahead = VecDeque<(usize, Arc<Page>)>;

impl BlockSource {
    /// Reads footer and index of an object of `object_bytes`. No two blocks of a cache have the same id.
    pub fn open(
        id: u128,
        ranges: Arc<dyn ReadRanges>,
        object_bytes: u64,
        cache: Arc<PageCache>,
    ) -> Result<Self, PartError> {
        let (own_index, last_runs) = (Arc::default(), Arc::default());
        let source = Self { id, ranges, object_bytes, cache, own_index, last_runs };
        source.read_index()?;
        Ok(source)
    }

    fn index(&self) -> Result<Arc<PageIndex>, PartError> {
        match self.cache.get_index(self.id).or_else(|| self.own_index.get().cloned()) {
            Some(index) => Ok(index),
            None => self.read_index(),
        }
    }

    fn read_index(&self) -> Result<Arc<PageIndex>, PartError> {
        let Self { id, ranges, object_bytes, .. } = self;
        let (id, object_bytes) = (*id, *object_bytes);
        let damaged = |offset: u64, what: String| PartError::Block { block: id, offset, what };
        let tail_start = object_bytes.saturating_sub(TAIL_BYTES);
        let tail = read_exactly(id, &**ranges, tail_start..object_bytes)?;
        let (rest, footer) = tail
            .split_last_chunk::<FOOTER_BYTES>()
            .ok_or_else(|| damaged(0, format!("{object_bytes} bytes have no footer")))?;
        let footer_start = tail_start + rest.len() as u64;
        let footer = Footer::parse(footer, object_bytes).map_err(|what| damaged(footer_start, what))?;
        let index_start = footer.pages_bytes;
        let bytes = match index_start.checked_sub(tail_start) {
            // So many bytes are in the tail: they fit its length.
            Some(skipped) => tail.slice(skipped as usize..rest.len()),
            None => read_exactly(id, &**ranges, index_start..footer_start)?,
        };
        if crc32c::crc32c(&bytes) != footer.index_crc {
            return Err(damaged(index_start, "the index's checksum does not match".into()));
        }
        // Without the rest of the tail.
        let bytes = Bytes::copy_from_slice(&bytes);
        let index = PageIndex::parse(bytes, index_start)
            .map_err(|error| damaged(index_start, format!("index: {error}")))?;
        let index = Arc::new(index);
        self.keep_tail(&index, tail_start, &tail)?;
        if !self.cache.put_index(id, Arc::clone(&index)) {
            self.own_index.get_or_init(|| Arc::clone(&index));
        }
        Ok(index)
    }

    /// Puts the pages into the cache that came with the index.
    fn keep_tail(&self, index: &PageIndex, tail_start: u64, tail: &Bytes) -> Result<(), PartError> {
        let mut decoded_bytes = 0;
        for (number, entry) in index.pages().iter().enumerate().rev() {
            decoded_bytes += entry.decoded_bytes();
            if entry.offset < tail_start || decoded_bytes > RUN_DECODED_BYTES_MAX {
                break;
            }
            let start = (entry.offset - tail_start) as usize;
            self.decode(index, number, &tail[start..start + entry.stored_bytes as usize])?;
        }
        Ok(())
    }

    /// One page, from the cache or read alone.
    fn page(&self, index: &PageIndex, number: usize) -> Result<Arc<Page>, PartError> {
        if let Some(page) = self.cache.get(self.key(number)) {
            return Ok(page);
        }
        let entry = &index.pages()[number];
        let stored = read_exactly(self.id, &*self.ranges, entry.offset..entry.end())?;
        self.decode(index, number, &stored)
    }

    /// The next page of a scan that goes on before `end`.
    fn next_page(
        &self,
        index: &PageIndex,
        number: usize,
        end: usize,
        ahead: &mut Ahead,
    ) -> Result<Arc<Page>, PartError> {
        if let Some((_, page)) = ahead.pop_front_if(|(first, _)| *first == number) {
            return Ok(page);
        }
        if let Some(page) = self.cache.get(self.key(number)) {
            return Ok(page);
        }
        let run = self.next_run(index, number, end);
        let entries = &index.pages()[run.clone()];
        let (start, run_end) = (entries[0].offset, entries[entries.len() - 1].end());
        let stored = read_exactly(self.id, &*self.ranges, start..run_end)?;
        ahead.clear();
        for (number, entry) in run.zip(entries) {
            let at = (entry.offset - start) as usize;
            let page = self.decode(index, number, &stored[at..at + entry.stored_bytes as usize])?;
            ahead.push_back((number, page));
        }
        let (_, page) = ahead.pop_front().expect("a run has the page that it begins with");
        Ok(page)
    }

    /// The pages from `first` on that are read together by a scan that goes on before `end`.
    fn next_run(&self, index: &PageIndex, first: usize, end: usize) -> Range<usize> {
        let section = index.pages()[first].section;
        let mut last_runs = self.last_runs.lock();
        let last = &mut last_runs[section as usize];
        let goes_on = last.bytes_max > 0 && last.end == first;
        let (end, bytes_max) = match goes_on {
            true => (index.section_end(section), (last.bytes_max * 2).min(RUN_BYTES_MAX)),
            false => (end, RUN_BYTES_FIRST),
        };
        let (mut stored_bytes, mut decoded_bytes) = (0, 0);
        let fits = |number: &usize| {
            let entry = &index.pages()[*number];
            stored_bytes += u64::from(entry.stored_bytes);
            decoded_bytes += entry.decoded_bytes();
            let is_small = stored_bytes <= bytes_max && decoded_bytes <= RUN_DECODED_BYTES_MAX;
            *number == first || is_small && !self.cache.has(self.key(*number))
        };
        let run = first..first + (first..end).take_while(fits).count();
        *last = LastRun { end: run.end, bytes_max };
        run
    }

    /// Checks and decodes a page, and keeps it.
    fn decode(&self, index: &PageIndex, number: usize, stored: &[u8]) -> Result<Arc<Page>, PartError> {
        let entry = &index.pages()[number];
        if crc32c::crc32c(stored) != entry.crc {
            return Err(self.damaged(index, number, "the checksum does not match"));
        }
        let raw: Bytes = match entry.raw_bytes {
            Some(raw_bytes) => decompress(stored, raw_bytes as usize)
                .map_err(|what| self.damaged(index, number, what))?
                .into(),
            // A page of its own: one that is kept must not keep the bytes around it.
            None => Bytes::copy_from_slice(stored),
        };
        let page = Page::parse(raw, index.first_key(number), index.next_key(number))
            .map_err(|error| self.damaged(index, number, error.0))?;
        let page = Arc::new(page);
        self.cache.put(self.key(number), Arc::clone(&page));
        Ok(page)
    }

    fn key(&self, number: usize) -> PageKey {
        // An index of 16 MiB has fewer pages than fit 32 bits.
        PageKey { block: self.id, page: number as u32 }
    }

    fn damaged(&self, index: &PageIndex, number: usize, what: &str) -> PartError {
        let entry = &index.pages()[number];
        let what = format!("page {number} ({}): {what}", entry.section.as_str());
        PartError::Block { block: self.id, offset: entry.offset, what }
    }
}

/// Holds a reader to its word.
fn read_exactly(id: u128, ranges: &dyn ReadRanges, range: Range<u64>) -> Result<Bytes, PartError> {
    let (offset, want) = (range.start, range.end - range.start);
    let bytes = ranges.read(range)?;
    if bytes.len() as u64 == want {
        return Ok(bytes);
    }
    let what = format!("{} bytes came instead of {want}", bytes.len());
    Err(PartError::Block { block: id, offset, what })
}

impl SectionSource for BlockSource {
    fn get(&self, section: Section, key: &[u8]) -> Result<Option<Bytes>, PartError> {
        let index = self.index()?;
        let Some(number) = index.page_of(section, key) else { return Ok(None) };
        self.page(&index, number)?.get(key).map_err(|error| self.damaged(&index, number, error.0))
    }

    fn scan(&self, section: Section, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), PartError> {
        if start >= end {
            return Ok(());
        }
        let index = self.index()?;
        let pages = index.pages_between(section, start, end);
        let mut ahead = Ahead::new();
        for number in pages.clone() {
            let page = self.next_page(&index, number, pages.end, &mut ahead)?;
            let mut rows = page.rows_from(start);
            while let Some(value) = rows.next().map_err(|error| self.damaged(&index, number, error.0))? {
                if rows.key() >= end {
                    return Ok(());
                }
                if rows.key() >= start && !visit(rows.key(), value)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
