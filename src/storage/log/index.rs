//! The index that ends a sealed file: where each frame stands and what it holds.
//!
//! Owns the payload of the index frame and the file's last bytes. Built from what was written,
//! or from frames read back; both give the same bytes.

use crate::encoding::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::encoding::varint::{VARINT_BYTES_MAX, put_u64, take_u32, take_u64};

use super::layout::{FILE_HEADER_BYTES, FileHeader, KIND_INDEX, TRAILER_BYTES, Trailer};
use super::malformed::Malformed;
use super::summary::Summary;

/// One frame of a sealed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    pub partition: u16,
    pub offset: u64,
    /// Header and payload.
    pub bytes: u32,
    pub summary: Summary,
}

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

/// Decodes the payload of an index frame.
pub fn decode_index(mut rest: &[u8]) -> Result<Vec<IndexEntry>, Malformed> {
    let frames = take_u64(&mut rest)?;
    // An entry takes at least eight bytes.
    if frames > (rest.len() / 8) as u64 {
        return Err(Malformed::What("index has more entries than bytes"));
    }
    let mut entries = Vec::with_capacity(frames as usize);
    let mut offset = FILE_HEADER_BYTES as u64;
    for _ in 0..frames {
        let partition =
            u16::try_from(take_u64(&mut rest)?).map_err(|_| Malformed::What("a partition beyond 16 bits"))?;
        let bytes = take_u32(&mut rest)?;
        entries.push(IndexEntry { partition, offset, bytes, summary: Summary::take(&mut rest)? });
        offset += u64::from(bytes);
    }
    if rest.is_empty() { Ok(entries) } else { Err(Malformed::What("bytes after the index")) }
}
