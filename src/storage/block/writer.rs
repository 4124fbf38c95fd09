//! Writes a block: takes the rows of a part, gives the bytes of an object.
//!
//! Pages are compressed as they fill, so that what is held is about what the object will have.

use bytes::Bytes;

use super::compression::Compressor;
use super::layout::{FOOTER_BYTES, Footer, INDEX_BYTES_MAX, NewEntry, put_section};
use super::page::PageBuilder;
use crate::chunk::Effort;
use crate::storage::part::{PartError, Section, SectionSink};

/// Bytes of a page before compression: a question for one row reads little more than that row, and there is
/// enough to compress.
const PAGE_BYTES: usize = 32 << 10;
/// A row takes so many bytes beside its key and value, at most.
const ROW_OVERHEAD_BYTES: usize = 30;

/// See the module.
pub struct BlockWriter {
    sections: [Pages; Section::ALL.len()],
    compressor: Compressor,
    page_bytes: usize,
    /// What the index takes at most with the pages begun so far.
    index_bytes: usize,
}

/// What came of one section.
#[derive(Default)]
struct Pages {
    stored: Vec<u8>,
    entries: Vec<NewEntry>,
    open: PageBuilder,
    /// `None` before the first row.
    last_key: Option<Vec<u8>>,
}

impl BlockWriter {
    /// With much effort pages become smaller, and take longer.
    pub fn new(effort: Effort) -> Self {
        Self::with_page_bytes(effort, PAGE_BYTES)
    }

    pub(super) fn with_page_bytes(effort: Effort, page_bytes: usize) -> Self {
        let sections = std::array::from_fn(|_| Pages::default());
        Self { sections, compressor: Compressor::new(effort), page_bytes, index_bytes: 0 }
    }

    /// The object.
    pub fn finish(mut self) -> Bytes {
        for pages in &mut self.sections {
            pages.close(&mut self.compressor);
        }
        let pages_bytes: usize = self.sections.iter().map(|pages| pages.stored.len()).sum();
        let mut object = Vec::with_capacity(pages_bytes + self.index_bytes + FOOTER_BYTES);
        let mut index = Vec::with_capacity(self.index_bytes);
        for section in Section::ALL.into_iter().rev() {
            let pages = std::mem::take(&mut self.sections[section as usize]);
            if !pages.entries.is_empty() {
                object.extend_from_slice(&pages.stored);
                put_section(&mut index, section, &pages.entries);
            }
        }
        let footer = Footer {
            pages_bytes: pages_bytes as u64,
            // Bounded row by row.
            index_bytes: index.len() as u32,
            index_crc: crc32c::crc32c(&index),
        };
        object.extend_from_slice(&index);
        object.extend_from_slice(&footer.to_bytes());
        object.into()
    }
}

impl SectionSink for BlockWriter {
    fn put(&mut self, section: Section, key: &[u8], value: &[u8]) -> Result<(), PartError> {
        let pages = &mut self.sections[section as usize];
        if let Some(last) = pages.last_key.as_ref().filter(|last| last.as_slice() >= key) {
            return Err(PartError::KeyOrder { section, last: last.clone(), key: key.to_vec() });
        }
        let row_bytes = key.len().saturating_add(value.len()).saturating_add(ROW_OVERHEAD_BYTES);
        if u32::try_from(row_bytes).is_err() {
            return Err(PartError::Full("a row has more than 4 GiB"));
        }
        if !pages.open.is_empty() && pages.open.bytes().len() + row_bytes > self.page_bytes {
            pages.close(&mut self.compressor);
        }
        if pages.open.is_empty() {
            self.index_bytes += NewEntry::bytes_max(key);
            // Of each section the index also says which it is.
            if self.index_bytes + 16 * Section::ALL.len() > INDEX_BYTES_MAX {
                return Err(PartError::Full("the index of a block has more than 16 MiB"));
            }
        }
        pages.open.push(key, value);
        let last_key = pages.last_key.get_or_insert_default();
        last_key.clear();
        last_key.extend_from_slice(key);
        Ok(())
    }
}

impl Pages {
    /// Ends the open page.
    fn close(&mut self, compressor: &mut Compressor) {
        if self.open.is_empty() {
            return;
        }
        let raw = self.open.bytes();
        let (stored, raw_bytes) = match compressor.compress(raw) {
            Some(compressed) => (compressed, raw.len() as u32),
            None => (raw, 0),
        };
        self.stored.extend_from_slice(stored);
        self.entries.push(NewEntry {
            first_key: self.open.first_key().to_vec(),
            stored_bytes: stored.len() as u32,
            raw_bytes,
            crc: crc32c::crc32c(stored),
        });
        self.open.clear();
    }
}
