//! Reads a log file frame by frame, in memory bounded by one frame and the file's dictionary.
//!
//! Owns the check of the index against the frames. Repairs nothing: see [`super::recover`].

use std::path::Path;

use super::LogError;
use super::decoder::{DecodedFrame, PayloadError, decode_payload, decoded_bytes};
use super::index::IndexBuilder;
use super::layout::{FLAG_FRESH, FileHeader};
use super::scanner::{Scanner, Step, Tail};
use super::tables::Tables;
use crate::encoding::frame::FRAME_HEADER_BYTES;

/// Reads one file from its first frame to its last.
#[derive(Debug)]
pub struct LogFileReader {
    scanner: Scanner,
    payload: Vec<u8>,
    tables: Tables,
    index: IndexBuilder,
    tail: Option<Tail>,
}

impl LogFileReader {
    /// Opens a file. A torn tail is tolerated only in the one that `is_newest`, and then only
    /// while nobody writes it.
    pub fn open(path: &Path, is_newest: bool) -> Result<Self, LogError> {
        Ok(Self {
            scanner: Scanner::open(path, is_newest)?,
            payload: Vec::new(),
            tables: Tables::default(),
            index: IndexBuilder::default(),
            tail: None,
        })
    }

    /// What the file says about itself; `None` for one whose creation a power cut interrupted.
    pub fn header(&self) -> Option<&FileHeader> {
        self.scanner.header()
    }

    /// Bytes of the file, and how many of them have been read: for progress.
    pub fn file_bytes(&self) -> u64 {
        self.scanner.file_bytes()
    }

    pub fn read_bytes(&self) -> u64 {
        self.scanner.offset()
    }

    /// How the frames ended, once [`Self::next_frame`] has answered false.
    pub fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// Decodes the next frame into `frame`; false after the last one.
    pub fn next_frame(&mut self, frame: &mut DecodedFrame) -> Result<bool, LogError> {
        self.next_frame_within(frame, |_| ())
    }

    /// The same for a reader of many frames at a time: before one is decoded, `wait_for_room` is told
    /// about how many bytes of memory that takes.
    pub fn next_frame_within(
        &mut self,
        frame: &mut DecodedFrame,
        wait_for_room: impl FnOnce(u64),
    ) -> Result<bool, LogError> {
        frame.clear();
        if self.tail.is_some() {
            return Ok(false);
        }
        match self.scanner.step(&mut self.payload)? {
            Step::Frame { offset, header } => {
                frame.partition = header.partition;
                frame.offset = offset;
                frame.fresh = header.flags & FLAG_FRESH != 0;
                if frame.fresh {
                    self.tables.clear();
                }
                wait_for_room(decoded_bytes(&self.payload));
                decode_payload(&self.payload, &mut self.tables, frame).map_err(|error| {
                    frame.clear();
                    payload_error(self.scanner.path(), offset, error)
                })?;
                let bytes = (FRAME_HEADER_BYTES + self.payload.len()) as u64;
                self.index.push(header.partition, bytes, &frame.summary);
                Ok(true)
            }
            Step::Index { offset, tail } => {
                if self.payload != self.index.payload() {
                    let what = "index does not match the frames of the file";
                    return Err(LogError::corrupt(self.scanner.path(), offset, what));
                }
                self.tail = Some(tail);
                Ok(false)
            }
            Step::End { tail } => {
                self.tail = Some(tail);
                Ok(false)
            }
        }
    }
}

/// The error of a payload that cannot be read, with its file and place.
pub(super) fn payload_error(path: &Path, offset: u64, error: PayloadError) -> LogError {
    match error {
        PayloadError::Malformed { .. } => LogError::corrupt(path, offset, error),
        PayloadError::UnknownSection(tag) => LogError::UnknownFormat {
            path: path.to_owned(),
            what: format!("a section with tag {tag} in the frame at offset {offset}"),
        },
    }
}
