//! Walks over the frames of a file by their checksums, and judges where they end.
//!
//! Owns the difference between a torn tail and corruption. Does not look into payloads.
//!
//! One sync covers one frame, and the next frame is written after it only. So when the power
//! fails every frame but the last is intact, of the last any part may be missing, and behind it
//! there is nothing but what preallocation left: zeros. A damaged frame that is followed by a
//! valid frame header was synced once and is corruption.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::encoding::frame::{FRAME_HEADER_BYTES, FrameHeader};

use super::LogError;
use super::directory::sequence_of_path;
use super::layout::{
    FILE_HEADER_BYTES, FLAG_FRESH, FRAME_BYTES_MAX, FileHeader, HeaderError, KIND_DATA, KIND_INDEX,
    TRAILER_BYTES, Trailer,
};

/// How the frames of a file end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With index and trailer; all of the file is used.
    Sealed,
    /// With index and trailer, and preallocated bytes behind them: newest file only.
    Untrimmed,
    /// With the last frame, and at most zeros behind it: newest file only.
    Open,
    /// With a frame that was being written when the power failed: newest file only.
    Torn,
}

/// What stands at the scanner's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A data frame; its payload is in the buffer.
    Frame { offset: u64, header: FrameHeader },
    /// The index frame of a sealed file; its payload is in the buffer.
    Index { offset: u64, tail: Tail },
    /// No more frames in a file that is not sealed.
    End { tail: Tail },
}

/// A place in a file between two frames.
#[derive(Debug)]
pub struct Scanner {
    path: PathBuf,
    file: File,
    file_bytes: u64,
    /// `None` for a file that was being created when the power failed.
    header: Option<FileHeader>,
    is_newest: bool,
    offset: u64,
}

impl Scanner {
    /// Opens a file. A torn tail is tolerated only in the one that `is_newest`.
    pub fn open(path: &Path, is_newest: bool) -> Result<Self, LogError> {
        let failed = |source| LogError::io("open", path, source);
        let file = File::open(path).map_err(failed)?;
        let file_bytes = file.metadata().map_err(failed)?.len();
        let mut scanner =
            Self { path: path.to_owned(), file, file_bytes, header: None, is_newest, offset: 0 };
        scanner.read_header()?;
        Ok(scanner)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn header(&self) -> Option<&FileHeader> {
        self.header.as_ref()
    }

    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Where the next frame would begin: the end of the frames after the last step.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn read_header(&mut self) -> Result<(), LogError> {
        let mut bytes = [0; FILE_HEADER_BYTES];
        let there = self.file_bytes.min(FILE_HEADER_BYTES as u64) as usize;
        self.read_at(&mut bytes[..there], 0)?;
        match FileHeader::parse(&bytes) {
            Ok(header) if sequence_of_path(&self.path).is_some_and(|named| named != header.sequence) => {
                let what = format!("header says sequence {}: the file was renamed", header.sequence);
                Err(LogError::corrupt(&self.path, 0, what))
            }
            Ok(header) => {
                self.header = Some(header);
                self.offset = FILE_HEADER_BYTES as u64;
                Ok(())
            }
            Err(HeaderError::Unknown(what)) => Err(LogError::UnknownFormat { path: self.path.clone(), what }),
            // The header is synced before anything else is written.
            Err(HeaderError::Damaged(_))
                if self.is_newest && self.is_zero_from(FILE_HEADER_BYTES as u64)? =>
            {
                Ok(())
            }
            Err(HeaderError::Damaged(what)) => Err(LogError::corrupt(&self.path, 0, what)),
        }
    }

    /// Goes over the next frame, whose payload is read into `payload`.
    pub fn step(&mut self, payload: &mut Vec<u8>) -> Result<Step, LogError> {
        let Some(file) = self.header else {
            return Ok(Step::End { tail: Tail::Torn });
        };
        let offset = self.offset;
        let Some(header) = self.header_at(&file, offset)? else {
            return self.end("no frame and no index: only the newest file may end without one");
        };
        if u64::from(header.length) > FRAME_BYTES_MAX {
            let what = format!("frame of {} bytes, more than {FRAME_BYTES_MAX}", header.length);
            return Err(LogError::corrupt(&self.path, offset, what));
        }
        let payload_at = offset + FRAME_HEADER_BYTES as u64;
        let end = payload_at + u64::from(header.length);
        if end > self.file_bytes {
            return self.end("frame is cut off");
        }
        payload.resize(header.length as usize, 0);
        self.read_at(payload, payload_at)?;
        if !header.fits(file.seed(offset), payload) {
            return self.end("checksum of the frame does not match");
        }
        match (header.kind, header.flags) {
            (KIND_INDEX, 0) => self.index(&file, offset, end),
            (KIND_DATA, flags) if flags & !FLAG_FRESH == 0 => {
                self.offset = end;
                Ok(Step::Frame { offset, header })
            }
            (kind, flags) => {
                let what = format!("a frame of kind {kind} with flags {flags:#x} at offset {offset}");
                Err(LogError::UnknownFormat { path: self.path.clone(), what })
            }
        }
    }

    /// An index frame from `offset` to `end`: the trailer must follow.
    fn index(&mut self, file: &FileHeader, offset: u64, end: u64) -> Result<Step, LogError> {
        let sealed_end = end + TRAILER_BYTES as u64;
        let mut bytes = [0; TRAILER_BYTES];
        if sealed_end <= self.file_bytes {
            self.read_at(&mut bytes, end)?;
        }
        let want =
            Trailer { log: file.log, sequence: file.sequence, index_frame_bytes: (end - offset) as u32 };
        if Trailer::parse(&bytes) != Some(want) {
            return self.end("trailer after the index does not match");
        }
        if sealed_end == self.file_bytes {
            return Ok(Step::Index { offset, tail: Tail::Sealed });
        }
        self.refuse_unless_newest("bytes after the trailer")?;
        self.refuse_later_frame(file, sealed_end, "bytes after the trailer")?;
        Ok(Step::Index { offset, tail: Tail::Untrimmed })
    }

    /// There is no valid frame here: the end of the newest file, corruption in any other.
    fn end(&self, what: &'static str) -> Result<Step, LogError> {
        self.refuse_unless_newest(what)?;
        if self.is_zero_from(self.offset)? {
            return Ok(Step::End { tail: Tail::Open });
        }
        if let Some(file) = &self.header {
            self.refuse_later_frame(file, self.offset + 1, what)?;
        }
        Ok(Step::End { tail: Tail::Torn })
    }

    fn refuse_unless_newest(&self, what: &'static str) -> Result<(), LogError> {
        if self.is_newest { Ok(()) } else { Err(LogError::corrupt(&self.path, self.offset, what)) }
    }

    /// Whether a valid frame header stands at `offset`.
    fn header_at(&self, file: &FileHeader, offset: u64) -> Result<Option<FrameHeader>, LogError> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        if offset + FRAME_HEADER_BYTES as u64 > self.file_bytes {
            return Ok(None);
        }
        self.read_at(&mut bytes, offset)?;
        Ok(FrameHeader::parse(file.seed(offset), &bytes))
    }

    /// Looks for a frame header anywhere from `start` on: after a torn tail there is none. Seeds
    /// are unknown to senders, so none can be smuggled in as data.
    fn refuse_later_frame(&self, file: &FileHeader, start: u64, what: &'static str) -> Result<(), LogError> {
        const OVERLAP: usize = FRAME_HEADER_BYTES - 1;
        self.for_chunks(start, OVERLAP, |chunk_at, chunk| {
            for (at, bytes) in chunk.windows(FRAME_HEADER_BYTES).enumerate() {
                let bytes: &[u8; FRAME_HEADER_BYTES] = bytes.try_into().expect("windows have this length");
                let place = chunk_at + at as u64;
                if is_plausible(bytes) && FrameHeader::parse(file.seed(place), bytes).is_some() {
                    let what = format!("{what}, yet a valid frame follows at offset {place}");
                    return Err(LogError::corrupt(&self.path, self.offset, what));
                }
            }
            Ok(true)
        })
    }

    fn is_zero_from(&self, start: u64) -> Result<bool, LogError> {
        let mut zero = true;
        self.for_chunks(start, 0, |_, chunk| {
            zero = chunk.iter().all(|byte| *byte == 0);
            Ok(zero)
        })?;
        Ok(zero)
    }

    /// Reads the file from `start` on in chunks that overlap, until `each` answers false.
    fn for_chunks(
        &self,
        start: u64,
        overlap: usize,
        mut each: impl FnMut(u64, &[u8]) -> Result<bool, LogError>,
    ) -> Result<(), LogError> {
        const CHUNK_BYTES: u64 = 256 << 10;
        let mut buffer = vec![0; self.file_bytes.saturating_sub(start).min(CHUNK_BYTES) as usize];
        let mut at = start;
        while at < self.file_bytes {
            let bytes = (self.file_bytes - at).min(CHUNK_BYTES) as usize;
            self.read_at(&mut buffer[..bytes], at)?;
            if !each(at, &buffer[..bytes])? || at + bytes as u64 == self.file_bytes {
                break;
            }
            at += (bytes - overlap) as u64;
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), LogError> {
        self.file.read_exact_at(buffer, offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => LogError::corrupt(&self.path, offset, "file became shorter"),
            _ => LogError::io("read", &self.path, source),
        })
    }
}

/// Whether these bytes could be a frame header as far as its checksum is not asked.
fn is_plausible(bytes: &[u8; FRAME_HEADER_BYTES]) -> bool {
    let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    length != 0
        && u64::from(length) <= FRAME_BYTES_MAX
        && matches!(bytes[10], KIND_DATA | KIND_INDEX)
        && bytes[11] & !FLAG_FRESH == 0
}
