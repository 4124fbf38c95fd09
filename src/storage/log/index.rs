//! The index that ends a sealed file: where each frame stands and what it holds.
//!
//! Owns the payload of the index frame and the file's last bytes. Built from what was written,
//! or from frames read back; both give the same bytes, which is how a reader checks an index.

use crate::encoding::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::encoding::varint::{VARINT_BYTES_MAX, put_u64};

use super::layout::{FileHeader, KIND_INDEX, TRAILER_BYTES, Trailer};
use super::summary::Summary;

/// Most bytes of an entry: partition, length, eight figures of the summary.
const ENTRY_BYTES_MAX: usize = 10 * VARINT_BYTES_MAX;

/// The index of a file that is being written or read.
#[derive(Clone, Debug, Default)]
pub struct IndexBuilder {
    entries: Vec<u8>,
    frames: u64,
}

impl IndexBuilder {
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Adds the next frame; frames follow each other without a gap.
    pub fn push(&mut self, partition: u16, bytes: u64, summary: &Summary) {
        put_u64(&mut self.entries, u64::from(partition));
        put_u64(&mut self.entries, bytes);
        summary.put(&mut self.entries);
        self.frames += 1;
    }

    pub fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(VARINT_BYTES_MAX + self.entries.len());
        put_u64(&mut payload, self.frames);
        payload.extend_from_slice(&self.entries);
        payload
    }

    /// The index frame and the trailer, for the end of the file's frames.
    pub fn footer(&self, file: &FileHeader, end: u64) -> Vec<u8> {
        let payload = self.payload();
        let header = FrameHeader::seal(file.seed(end), 0, KIND_INDEX, 0, &payload);
        let index_frame_bytes = (FRAME_HEADER_BYTES + payload.len()) as u32;
        let trailer = Trailer { log: file.log, sequence: file.sequence, index_frame_bytes };
        [header.as_slice(), &payload, &trailer.to_bytes()].concat()
    }

    /// Most bytes of the footer after one more frame: kept free in the file, so that it can be
    /// sealed on a full disk.
    pub fn footer_bytes_max(&self) -> u64 {
        let payload = VARINT_BYTES_MAX + self.entries.len() + ENTRY_BYTES_MAX;
        (FRAME_HEADER_BYTES + payload + TRAILER_BYTES) as u64
    }
}
