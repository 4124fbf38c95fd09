//! A frame that was taken from its encoder and waits to be placed in a file.
//!
//! Owns the order of the sections in a payload. Where it stands, and with it the checksums, is
//! decided by who writes it.

use crate::encoding::frame::{FRAME_HEADER_BYTES, FrameHeader, put_section};

use super::layout::{FLAG_FRESH, FileHeader, KIND_DATA};
use super::summary::Summary;

/// Tags of sections, in the order in which they stand in a payload.
pub mod tag {
    pub const SUMMARY: u8 = 1;
    pub const SYMBOLS: u8 = 2;
    pub const SERIES: u8 = 3;
    pub const FLOATS: u8 = 4;
    pub const STARTS: u8 = 5;
    pub const HISTOGRAMS: u8 = 6;
    pub const EXEMPLARS: u8 = 7;
    pub const METADATA: u8 = 8;
    pub const TOMBSTONES: u8 = 9;
    /// Readers that do not know a tag with this bit pass over the section.
    pub const OPTIONAL: u8 = 0x80;
}

/// A payload with room for its header, and what it holds.
#[derive(Debug, Default)]
pub struct Frame {
    bytes: Vec<u8>,
    fresh: bool,
    summary: Summary,
}

/// Buffers larger than this are given back instead of used again.
const RECYCLED_BYTES_MAX: usize = 4 << 20;

impl Frame {
    pub(super) fn fill(&mut self, fresh: bool, summary: &Summary, first: [&[u8]; 4], rest: [&[u8]; 4]) {
        self.bytes.clear();
        if self.bytes.capacity() > RECYCLED_BYTES_MAX {
            self.bytes = Vec::new();
        }
        let sections = first.iter().chain(&rest);
        let bytes: usize = sections.clone().map(|section| section.len() + 11).sum();
        self.bytes.reserve(FRAME_HEADER_BYTES + 128 + bytes);
        self.bytes.resize(FRAME_HEADER_BYTES, 0);
        let mut summary_section = Vec::with_capacity(80);
        summary.put(&mut summary_section);
        put_section(&mut self.bytes, tag::SUMMARY, &summary_section);
        for (tag, section) in (tag::SYMBOLS..).zip(sections) {
            put_section(&mut self.bytes, tag, section);
        }
        (self.fresh, self.summary) = (fresh, *summary);
    }

    /// Bytes that the frame takes in a file, its header included.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Its payload behind room for a header.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The frame's bytes for `offset` of the file.
    pub fn place(&mut self, file: &FileHeader, offset: u64, partition: u16) -> &[u8] {
        let (header, payload) = self.bytes.split_at_mut(FRAME_HEADER_BYTES);
        let flags = if self.fresh { FLAG_FRESH } else { 0 };
        header.copy_from_slice(&FrameHeader::seal(file.seed(offset), partition, KIND_DATA, flags, payload));
        &self.bytes
    }
}
