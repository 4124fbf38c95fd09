//! Pages by zstd, where that pays.

use zstd_safe::{CCtx, compress_bound};

use super::layout::COMPRESSED_RAW_BYTES_MAX;
use crate::chunk::Effort;

/// Fresh blocks are merged within the hour.
const LEVEL_FRESH: i32 = 3;
/// What is left to find between entropy-coded columns is little, and stays for years: as RocksDB does it for
/// merged parts.
const LEVEL_MERGED: i32 = 12;
/// Of 1024 bytes at most so many may be left: keys and tables between the columns still save one or two
/// parts in a hundred.
const LEFT_OF_1024: usize = 1014;

/// Compresses page after page.
pub struct Compressor {
    context: CCtx<'static>,
    level: i32,
    out: Vec<u8>,
}

impl Compressor {
    pub fn new(effort: Effort) -> Self {
        let level = match effort {
            Effort::Fresh => LEVEL_FRESH,
            Effort::Merged => LEVEL_MERGED,
        };
        Self { context: CCtx::create(), level, out: Vec::new() }
    }

    /// The page compressed; `None` where it is to be stored as it is.
    pub fn compress(&mut self, raw: &[u8]) -> Option<&[u8]> {
        if raw.len() > COMPRESSED_RAW_BYTES_MAX {
            return None;
        }
        self.out.resize(compress_bound(raw.len()), 0);
        // It cannot fail with so much room; if it did, the page would be stored as it is.
        let bytes = self.context.compress(self.out.as_mut_slice(), raw, self.level).ok()?;
        (bytes * 1024 <= raw.len() * LEFT_OF_1024).then(|| &self.out[..bytes])
    }
}

/// The page of exactly `raw_bytes`, which the caller has bounded.
pub fn decompress(stored: &[u8], raw_bytes: usize) -> Result<Vec<u8>, &'static str> {
    let mut raw = vec![0; raw_bytes];
    match zstd_safe::decompress(raw.as_mut_slice(), stored) {
        Ok(bytes) if bytes == raw_bytes => Ok(raw),
        Ok(_) => Err("a page has fewer bytes than the index says"),
        Err(code) => Err(zstd_safe::get_error_name(code)),
    }
}
