//! The log's container in the bucket: one object per segment, one fresh frame per partition.
//!
//! Owns how a file of the log becomes an object and how it is checked; the format is that of a sealed file
//! (`storage/log/format.md`), byte for byte, so that one reader reads both. Payloads come from the log's
//! encoder and go to its decoder; of them only the first section is looked at, the summary, which the index
//! repeats.

use bytes::Bytes;

use crate::encoding::frame::{FRAME_HEADER_BYTES, FrameHeader, take_section};
use crate::encoding::log_file::{
    FILE_HEADER_BYTES, FLAG_FRESH, FRAME_BYTES_MAX, FileHeader, HeaderError, KIND_DATA, KIND_INDEX,
    TRAILER_BYTES, Trailer,
};
use crate::encoding::varint::put_u64;

use super::names::{Partition, SegmentId};

/// The tag of a payload's first section.
const SUMMARY: u8 = 1;

/// What a partition has in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFrame {
    pub partition: Partition,
    /// Sections, the summary first.
    pub payload: Bytes,
}

/// Why an object is not the segment that its name says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    #[error("damaged at offset {offset}: {what}")]
    Damaged { offset: u64, what: &'static str },
    #[error("{0}, which this version does not know")]
    Unknown(String),
}

/// Encodes a segment.
///
/// # Panics
///
/// When partitions do not rise, or a payload is empty, too large, or does not begin with a summary: what
/// the log's encoder gives does.
pub fn encode(header: &FileHeader, frames: &[PartitionFrame]) -> Bytes {
    assert!(frames.windows(2).all(|pair| pair[0].partition < pair[1].partition), "partitions rise");
    let room: usize = frames.iter().map(|frame| FRAME_HEADER_BYTES + frame.payload.len() + 128).sum();
    let mut object = Vec::with_capacity(FILE_HEADER_BYTES + room + TRAILER_BYTES);
    object.extend_from_slice(&header.to_bytes());
    for PartitionFrame { partition, payload } in frames {
        assert!(payload.len() as u64 <= FRAME_BYTES_MAX, "the encoder bounds its frames");
        let seed = header.seed(object.len() as u64);
        object.extend_from_slice(&FrameHeader::seal(seed, *partition, KIND_DATA, FLAG_FRESH, payload));
        object.extend_from_slice(payload);
    }
    let index = index_payload(frames).expect("the encoder begins a payload with its summary");
    let offset = object.len() as u64;
    object.extend_from_slice(&FrameHeader::seal(header.seed(offset), 0, KIND_INDEX, 0, &index));
    object.extend_from_slice(&index);
    let index_frame_bytes = (FRAME_HEADER_BYTES + index.len()) as u32;
    let trailer = Trailer { log: header.log, sequence: header.sequence, index_frame_bytes };
    object.extend_from_slice(&trailer.to_bytes());
    object.into()
}

/// Reads a segment: every byte is under a checksum that is checked, and the index fits the frames.
pub fn read(id: SegmentId, object: &Bytes) -> Result<Vec<PartitionFrame>, SegmentError> {
    let header = read_header(id, object)?;
    let mut frames: Vec<PartitionFrame> = Vec::new();
    let mut offset = FILE_HEADER_BYTES;
    loop {
        let (frame, payload) = read_frame(&header, object, offset)?;
        let at = offset;
        offset += FRAME_HEADER_BYTES + payload.len();
        match (frame.kind, frame.flags) {
            (KIND_DATA, FLAG_FRESH) => {
                if frames.last().is_some_and(|last| last.partition >= frame.partition) {
                    return Err(damaged(at, "partitions do not rise"));
                }
                frames.push(PartitionFrame { partition: frame.partition, payload });
            }
            (KIND_INDEX, 0) => {
                let want = Trailer {
                    log: header.log,
                    sequence: header.sequence,
                    index_frame_bytes: (offset - at) as u32,
                };
                let trailer = object[offset..].first_chunk::<TRAILER_BYTES>().and_then(Trailer::parse);
                if trailer != Some(want) || object.len() != offset + TRAILER_BYTES {
                    return Err(damaged(offset, "the trailer does not fit"));
                }
                if index_payload(&frames).as_deref() != Some(&payload[..]) {
                    return Err(damaged(at, "the index does not fit the frames"));
                }
                return Ok(frames);
            }
            (kind, flags) => {
                return Err(SegmentError::Unknown(format!("a frame of kind {kind} with flags {flags:#x}")));
            }
        }
    }
}

/// What of a damaged segment still verifies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvage {
    /// By partition, which rises.
    pub frames: Vec<PartitionFrame>,
    /// The payload of the index, which says what there was.
    pub index: Option<Bytes>,
}

/// Looks at every place for a frame that was written there. A frame's checksums start from log, sequence and
/// offset, all of which are known without the header: neither a damaged header nor damaged frames hide the
/// others, and no bytes of a sender look like one.
pub fn salvage(id: SegmentId, object: &Bytes) -> Salvage {
    let header = FileHeader { log: id.log, sequence: id.sequence, created_ms: 0 };
    let mut salvage = Salvage::default();
    let mut offset = FILE_HEADER_BYTES;
    while offset < object.len() {
        let Ok((frame, payload)) = read_frame(&header, object, offset) else {
            offset += 1;
            continue;
        };
        offset += FRAME_HEADER_BYTES + payload.len();
        match (frame.kind, frame.flags) {
            (KIND_DATA, FLAG_FRESH) => {
                let rises = salvage.frames.last().is_none_or(|last| last.partition < frame.partition);
                if rises {
                    salvage.frames.push(PartitionFrame { partition: frame.partition, payload });
                }
            }
            (KIND_INDEX, 0) => salvage.index = Some(payload),
            _ => {}
        }
    }
    salvage
}

/// The payload of the index, which says what there was, where it still verifies. Where the object ends as it was
/// written that costs as much as the index is long.
pub fn index_of(id: SegmentId, object: &Bytes) -> Option<Bytes> {
    let header = FileHeader { log: id.log, sequence: id.sequence, created_ms: 0 };
    let at_the_end = || {
        let trailer = Trailer::parse(object.last_chunk::<TRAILER_BYTES>()?)?;
        let end = object.len() - TRAILER_BYTES;
        let offset = end.checked_sub(trailer.index_frame_bytes as usize)?;
        let (frame, payload) = read_frame(&header, object, offset).ok()?;
        (frame.kind == KIND_INDEX).then_some(payload)
    };
    at_the_end().or_else(|| salvage(id, object).index)
}

fn read_header(id: SegmentId, object: &Bytes) -> Result<FileHeader, SegmentError> {
    let bytes = object.first_chunk().ok_or(damaged(0, "it is too short"))?;
    let header = FileHeader::parse(bytes).map_err(|error| match error {
        HeaderError::Damaged(what) => damaged(0, what),
        HeaderError::Unknown(what) => SegmentError::Unknown(what),
    })?;
    if (header.log, header.sequence) != (id.log, id.sequence) {
        return Err(damaged(0, "its header names another segment"));
    }
    Ok(header)
}

fn read_frame(
    file: &FileHeader,
    object: &Bytes,
    offset: usize,
) -> Result<(FrameHeader, Bytes), SegmentError> {
    let seed = file.seed(offset as u64);
    let frame = object[offset..]
        .first_chunk()
        .and_then(|bytes| FrameHeader::parse(seed, bytes))
        .ok_or(damaged(offset, "no frame and no index"))?;
    let start = offset + FRAME_HEADER_BYTES;
    if u64::from(frame.length) > FRAME_BYTES_MAX || frame.length as usize > object.len() - start {
        return Err(damaged(offset, "the frame is longer than the object"));
    }
    let payload = object.slice(start..start + frame.length as usize);
    if !frame.fits(seed, &payload) {
        return Err(damaged(offset, "the frame's checksum does not match"));
    }
    Ok((frame, payload))
}

/// The index of these frames; `None` where one does not begin with a summary.
fn index_payload(frames: &[PartitionFrame]) -> Option<Vec<u8>> {
    let mut index = Vec::with_capacity(10 + frames.len() * 40);
    put_u64(&mut index, frames.len() as u64);
    for PartitionFrame { partition, payload } in frames {
        let (tag, summary) = take_section(&mut &payload[..]).ok()?;
        if tag != SUMMARY {
            return None;
        }
        put_u64(&mut index, u64::from(*partition));
        put_u64(&mut index, (FRAME_HEADER_BYTES + payload.len()) as u64);
        index.extend_from_slice(summary);
    }
    Some(index)
}

fn damaged(offset: usize, what: &'static str) -> SegmentError {
    SegmentError::Damaged { offset: offset as u64, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::frame::put_section;
    use crate::encoding::log_file::LogId;

    const ID: SegmentId = SegmentId { log: LogId([7; 16]), sequence: 3 };
    const HEADER: FileHeader = FileHeader { log: ID.log, sequence: 3, created_ms: 5 };

    fn frame(partition: Partition, text: &[u8]) -> PartitionFrame {
        let mut payload = Vec::new();
        put_section(&mut payload, SUMMARY, b"summary");
        put_section(&mut payload, 4, text);
        PartitionFrame { partition, payload: payload.into() }
    }

    #[test]
    fn frames_come_back_and_no_flipped_bit_or_cut_passes() {
        let frames = vec![frame(0, b"zero"), frame(2, b"two"), frame(63, &[9; 300])];
        let object = encode(&HEADER, &frames);

        assert_eq!(read(ID, &object), Ok(frames));
        for bit in 0..object.len() * 8 {
            let mut flipped = object.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(ID, &flipped.into()).is_err(), "bit {bit}");
        }
        for bytes in 0..object.len() {
            assert!(read(ID, &object.slice(..bytes)).is_err(), "{bytes} bytes");
        }
        let longer = [&object[..], b"x"].concat();
        assert!(read(ID, &longer.into()).is_err());
    }

    #[test]
    fn another_segments_bytes_are_refused() {
        let object = encode(&HEADER, &[frame(0, b"zero")]);
        let other = SegmentId { sequence: 4, ..ID };
        assert_eq!(
            read(other, &object),
            Err(SegmentError::Damaged { offset: 0, what: "its header names another segment" })
        );
    }

    #[test]
    fn of_a_damaged_segment_every_frame_is_found_that_no_damage_touches() {
        let frames = vec![frame(0, b"zero"), frame(2, b"two"), frame(63, &[9; 300])];
        let object = encode(&HEADER, &frames);
        let index = index_payload(&frames).map(Bytes::from);
        assert_eq!(salvage(ID, &object), Salvage { frames: frames.clone(), index: index.clone() });

        let ends: Vec<usize> = frames
            .iter()
            .scan(FILE_HEADER_BYTES, |end, frame| {
                *end += FRAME_HEADER_BYTES + frame.payload.len();
                Some(*end)
            })
            .collect();
        let index_end = object.len() - TRAILER_BYTES;
        for at in 0..object.len() {
            let mut damaged = object.to_vec();
            damaged[at] ^= 0x10;
            let hit = (FILE_HEADER_BYTES <= at).then(|| ends.partition_point(|end| *end <= at));
            let is_left = |(number, _): &(usize, &PartitionFrame)| Some(*number) != hit;
            let left = frames.iter().enumerate().filter(is_left).map(|(_, frame)| frame.clone()).collect();
            let index_is_hit = (ends[2]..index_end).contains(&at);
            let want = Salvage { frames: left, index: index.clone().filter(|_| !index_is_hit) };
            let damaged = Bytes::from(damaged);
            assert_eq!(salvage(ID, &damaged), want, "byte {at}");
            assert_eq!(index_of(ID, &damaged), want.index, "byte {at}");
        }
        for bytes in 0..object.len() {
            let left = ends.iter().filter(|end| **end <= bytes).count();
            assert_eq!(salvage(ID, &object.slice(..bytes)).frames, frames[..left], "{bytes} bytes");
        }
        let other = SegmentId { sequence: 4, ..ID };
        assert_eq!(salvage(other, &object), Salvage::default());
        assert_eq!(index_of(other, &object), None);
        assert_eq!(index_of(ID, &Bytes::from_static(b"short")), None);
    }

    #[test]
    fn partitions_that_do_not_rise_and_frames_that_are_not_fresh_are_refused() {
        let one = encode(&HEADER, &[frame(1, b"one")]);
        let end_of_one = FILE_HEADER_BYTES + FRAME_HEADER_BYTES + frame(1, b"one").payload.len();
        let again = |partition, flags| {
            let payload = frame(1, b"one").payload;
            let seal =
                FrameHeader::seal(HEADER.seed(end_of_one as u64), partition, KIND_DATA, flags, &payload);
            read(ID, &[&one[..end_of_one], &seal, &payload].concat().into())
        };

        let rises = |got| matches!(got, Err(SegmentError::Damaged { what: "no frame and no index", .. }));
        assert!(rises(again(2, FLAG_FRESH)), "goes on to the index, which is missing");
        let falls = |got| matches!(got, Err(SegmentError::Damaged { what: "partitions do not rise", .. }));
        assert!(falls(again(1, FLAG_FRESH)));
        assert!(matches!(again(2, 0), Err(SegmentError::Unknown(_))));
    }
}
