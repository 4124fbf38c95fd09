//! The index that ends a sealed file: where each frame stands and what it holds.
//!
//! Owns the payload of the index frame and the file's last bytes. Built from what was written,
//! or from frames read back; both give the same bytes, which is how a reader checks an index.

use crate::encoding::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::encoding::varint::{VARINT_BYTES_MAX, put_u64, take_u64};

use super::layout::{FileHeader, KIND_INDEX, TRAILER_BYTES, Trailer};
use super::malformed::Malformed;
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

/// A frame as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    pub partition: u16,
    /// With its header.
    pub bytes: u64,
    pub summary: Summary,
}

/// Fewest bytes of an entry: partition, length, the six counts of an empty summary.
const ENTRY_BYTES_MIN: usize = 8;

/// Reads the payload of an index.
pub fn read_entries(mut payload: &[u8]) -> Result<Vec<IndexEntry>, Malformed> {
    let rest = &mut payload;
    let count = take_u64(rest)?;
    if count > (rest.len() / ENTRY_BYTES_MIN) as u64 {
        return Err(Malformed::What("an index of more frames than it has bytes for"));
    }
    let mut entries = Vec::new();
    for _ in 0..count {
        let partition = u16::try_from(take_u64(rest)?);
        let partition = partition.map_err(|_| Malformed::What("a partition that there is not"))?;
        entries.push(IndexEntry { partition, bytes: take_u64(rest)?, summary: Summary::take(rest)? });
    }
    if rest.is_empty() { Ok(entries) } else { Err(Malformed::What("bytes are left behind the index")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read_back_and_no_cut_of_it_is() {
        let mut with_times = Summary { series: 3, ..Summary::default() };
        with_times.add_floats(7, -5, i64::MAX);
        let entries = [
            IndexEntry { partition: 0, bytes: 70, summary: Summary::default() },
            IndexEntry { partition: u16::MAX, bytes: u64::MAX, summary: with_times },
        ];
        let mut builder = IndexBuilder::default();
        entries.iter().for_each(|entry| builder.push(entry.partition, entry.bytes, &entry.summary));
        let payload = builder.payload();

        assert_eq!(read_entries(&payload).expect("own bytes"), entries);
        for cut in 0..payload.len() {
            assert!(read_entries(&payload[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read_entries(&[&payload[..], b"x"].concat()).is_err());
        let mut many = Vec::new();
        put_u64(&mut many, u64::MAX);
        assert!(read_entries(&many).is_err());
    }
}
