//! Lines of a text, each no longer than what a histogram with the most buckets takes.

use std::io::{BufRead, Read as _};

use super::TextError;

pub const LINE_BYTES_MAX: u64 = 16 << 20;

/// Reads line by line.
pub struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The number of the last line read, from 1.
    line: u64,
    /// Bytes read: for progress.
    pub read_bytes: u64,
}

impl<R: BufRead> Lines<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), line: 0, read_bytes: 0 }
    }

    /// The next line's number, and the line without its end; `None` after the last.
    pub fn next_line(&mut self) -> Result<Option<(u64, &str)>, TextError> {
        self.buffer.clear();
        self.line += 1;
        let line = self.line;
        let read = self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.buffer);
        let bytes = read.map_err(|source| TextError::Io { line, source })? as u64;
        if bytes == 0 {
            return Ok(None);
        }
        self.read_bytes += bytes;
        match self.buffer.pop_if(|last| *last == b'\n') {
            Some(_) => drop(self.buffer.pop_if(|last| *last == b'\r')),
            None if bytes == LINE_BYTES_MAX => return Err(TextError::TooLong { line }),
            None => {}
        }
        match std::str::from_utf8(&self.buffer) {
            Ok(text) => Ok(Some((line, text))),
            Err(_) => Err(TextError::NotUtf8 { line }),
        }
    }
}
