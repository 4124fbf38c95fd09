//! Brings the newest file of a log that was cut off into the state of all others: sealed.
//!
//! Owns what is done about a torn tail. Runs before a new file is created, so that there is
//! never more than one file that may end without an index.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::LogError;
use super::decoder::take_summary;
use super::directory::{list_files, sync_directory};
use super::index::IndexBuilder;
use super::reader::payload_error;
use super::scanner::{Scanner, Step, Tail};
use crate::encoding::frame::FRAME_HEADER_BYTES;

/// What was found at the end of the newest file, and dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// There is no file, or the newest was sealed properly.
    Clean,
    /// The newest file got its index; so many bytes behind its last frame were cut off.
    Sealed { sequence: u64, torn_bytes: u64 },
    /// The newest file held no whole frame and was removed.
    Removed { sequence: u64, torn_bytes: u64 },
}

/// Seals the newest file of `dir`, or removes it where it holds nothing.
pub fn seal_newest(dir: &Path) -> Result<Recovered, LogError> {
    let Some(newest) = list_files(dir)?.pop() else {
        return Ok(Recovered::Clean);
    };
    let mut scanner = Scanner::open(&newest.path, true)?;
    let mut index = IndexBuilder::default();
    let mut payload = Vec::new();
    let (end, tail) = loop {
        match scanner.step(&mut payload)? {
            Step::Frame { offset, header } => {
                let summary = take_summary(&mut payload.as_slice())
                    .map_err(|error| payload_error(&newest.path, offset, error))?;
                index.push(header.partition, (FRAME_HEADER_BYTES + payload.len()) as u64, &summary);
            }
            Step::Index { offset, tail } => {
                if payload != index.payload() {
                    let what = "index does not match the frames of the file";
                    return Err(LogError::corrupt(&newest.path, offset, what));
                }
                break (offset, tail);
            }
            Step::End { tail } => break (scanner.offset(), tail),
        }
    };
    let sequence = newest.sequence;
    let torn_bytes = if tail == Tail::Torn { scanner.file_bytes() - end } else { 0 };
    let header = match scanner.header() {
        _ if tail == Tail::Sealed => return Ok(Recovered::Clean),
        Some(header) if index.frames() > 0 => *header,
        _ => {
            fs::remove_file(&newest.path).map_err(|source| LogError::io("remove", &newest.path, source))?;
            sync_directory(dir)?;
            return Ok(Recovered::Removed { sequence, torn_bytes });
        }
    };
    finish(&newest.path, end, &index.footer(&header, end))?;
    Ok(Recovered::Sealed { sequence, torn_bytes })
}

/// Puts the footer at the end of the frames. The tail is cut first and that made durable: of the
/// bytes between frames and footer none must come back. The footer's own bytes stay allocated
/// where they were, so that a full disk does not keep the log from starting.
fn finish(path: &Path, end: u64, footer: &[u8]) -> Result<(), LogError> {
    let failed = |source| LogError::io("seal", path, source);
    let file: File = OpenOptions::new().write(true).open(path).map_err(failed)?;
    let sync = |file: &File| file.sync_all().map_err(|source| LogError::sync("seal", path, source));
    file.set_len(end + footer.len() as u64).map_err(failed)?;
    sync(&file)?;
    file.write_all_at(footer, end).map_err(failed)?;
    sync(&file)
}
