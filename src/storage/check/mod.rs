//! Checks a data directory at rest: every checksum and everything that is said twice.
//!
//! Changes nothing: not the log's torn tail, not parts that nobody names, not a byte of RocksDB's. A
//! directory that a process has open is refused. What is wrong is a [`Finding`], each with what to do
//! about it; what merely looks odd (a power cut leaves such things, the next start tidies them) is a
//! note.
//!
//! - [`log`]: files that no part covers yet, frame by frame
//! - [`database`]: catalogue, tombstones, and which parts there are
//! - [`part`]: one part against its entry in the catalogue and against itself

mod database;
mod log;
mod part;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use super::directory;
use super::error::StorageError;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file or part.
    pub place: String,
    pub what: String,
    pub remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        // Errors of the log and of the directory bring their own advice.
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// What one part holds and what it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartFigures {
    pub number: u64,
    pub level: u8,
    pub min_ms: i64,
    pub max_ms: i64,
    pub rows: u64,
    pub samples: u64,
    /// Bytes of its files.
    pub file_bytes: u64,
    /// Bytes of keys and values before the files' compression, by [`SECTIONS`].
    pub section_bytes: [u64; SECTIONS.len()],
}

/// What a part consists of.
pub const SECTIONS: [&str; 8] =
    ["header", "symbols", "series", "index", "timestamp_columns", "floats", "histograms", "exemplars"];

/// Whoever wants to know how it goes on.
pub trait Watch {
    /// One that was read to its end.
    fn part(&mut self, _figures: &PartFigures) {}

    fn finding(&mut self, finding: Finding);

    /// Something odd that costs nothing.
    fn note(&mut self, note: String);

    /// So much of `total` is done of what is being checked; both in bytes.
    fn progress(&mut self, what: &str, done: u64, total: u64);
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub findings: u64,
    pub log_files: u64,
    pub log_frames: u64,
    pub table_files: u64,
    pub parts: u64,
    pub rows: u64,
    pub samples: u64,
}

/// Checks the directory. An error means that it could not be checked; damage is no error.
pub fn check(path: &Path, watch: &mut dyn Watch) -> Result<Checked, StorageError> {
    let mut run = Run { watch, checked: Checked::default() };
    let _lock = match directory::inspect(path) {
        Ok(lock) => lock,
        Err(damage @ StorageError::CorruptFormat { .. }) => {
            run.finding("FORMAT", damage.to_string(), "");
            return Ok(run.checked);
        }
        Err(error) => return Err(error),
    };
    let covered = database::check(path, &mut run);
    log::check(&path.join("log"), covered, &mut run);
    if path.join("staging").read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        run.watch
            .note("staging: holds files of a flush that did not end; the next start removes them".into());
    }
    Ok(run.checked)
}

/// A check on its way.
struct Run<'w> {
    watch: &'w mut dyn Watch,
    checked: Checked,
}

impl Run<'_> {
    fn finding(&mut self, place: impl Into<String>, what: impl Into<String>, remedy: &'static str) {
        self.checked.findings += 1;
        self.watch.finding(Finding { place: place.into(), what: what.into(), remedy });
    }
}
