//! Which blocks are in the directory already: a line of JSON for each, in the directory itself, so
//! that it goes wherever the directory goes.
//!
//! A line is written after the block's last sample is durable. A line that a crash cut short says
//! nothing; the block is imported again then, and its samples merge.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// More than any ledger is: a block takes some two hundred bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A block and what it was imported as.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImportedBlock {
    pub ulid: String,
    /// Prometheus rewrites the file of deletions and leaves the name.
    pub tombstones: u64,
    pub tenant: String,
    /// The labels that were added.
    pub labels: Vec<(String, String)>,
    /// What `--storage.retention` let in, in days since 1970: more is let in by a longer one.
    pub oldest_day: i64,
}

/// The open ledger.
pub struct Ledger {
    path: PathBuf,
    file: File,
    done: HashSet<ImportedBlock>,
}

impl Ledger {
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let opened = OpenOptions::new().create(true).read(true).append(true).open(path);
        let mut file = opened.with_context(|| format!("open {}", path.display()))?;
        let mut text = Vec::new();
        let read = (&mut file).take(FILE_BYTES_MAX).read_to_end(&mut text);
        read.with_context(|| format!("read {}", path.display()))?;
        let lines = text.split(|byte| *byte == b'\n');
        let done = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let mut ledger = Self { path: path.to_owned(), file, done };
        if text.last().is_some_and(|last| *last != b'\n') {
            // The rest of a line that was cut short must not spoil the next one.
            ledger.write(b"\n")?;
        }
        Ok(ledger)
    }

    /// Whether the block is in, with at least as much of it as would be let in now.
    pub fn has(&self, block: &ImportedBlock) -> bool {
        self.done.iter().any(|done| {
            done.oldest_day <= block.oldest_day
                && ImportedBlock { oldest_day: block.oldest_day, ..done.clone() } == *block
        })
    }

    /// Remembers that the block is in.
    pub fn add(&mut self, block: ImportedBlock) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(&block).context("write a block as JSON")?;
        line.push(b'\n');
        self.write(&line)?;
        self.done.insert(block);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_all());
        written.with_context(|| format!("write {}", self.path.display()))
    }
}
