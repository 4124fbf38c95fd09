//! The read view: which epochs and parts make up the store at one moment.
//!
//! Swapped as a whole, so that a question sees a sealed epoch or the parts it became, never both
//! and never neither. Whoever holds a view pins its parts: a dead part's files are dropped when
//! the last view that names it goes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tracing::error;

use super::error::StorageError;
use super::head::Epoch;
use super::local::database::SharedDatabase;
use super::local::sst::SstSource;
use super::local::{PartEntry, Tombstone};
use super::part::{PartReader, SectionSource};
use crate::model::{Labels, MatchOp, Matcher, TenantId, TimeRange};

/// Where a part is kept, and what is known of it there.
pub trait Home: Send + Sync {
    fn open(&self) -> Result<Box<dyn SectionSource>, StorageError>;

    /// Whether something of the part may be hidden by it and is not erased yet.
    fn may_hold(&self, hidden: &Hidden) -> bool;

    /// Drops the part: nobody names it and nobody reads it any more.
    fn drop_part(&self);
}

/// One live part. What the catalogue says of it is enough to know whether a question concerns it:
/// a year of parts is at hand at once, and each is opened when it is first read.
pub struct Part {
    pub entry: PartEntry,
    home: Box<dyn Home>,
    reader: OnceLock<PartReader<Box<dyn SectionSource>>>,
    dead: AtomicBool,
}

/// In the database of this directory.
struct Local {
    entry: PartEntry,
    database: SharedDatabase,
}

impl Home for Local {
    fn open(&self) -> Result<Box<dyn SectionSource>, StorageError> {
        Ok(Box::new(SstSource::new(Arc::clone(&self.database), self.entry.number)))
    }

    fn may_hold(&self, hidden: &Hidden) -> bool {
        hidden.concerns(&self.entry)
    }

    fn drop_part(&self) {
        if let Err(source) = self.database.drop_part(self.entry.number) {
            // Harmless until the next start, which drops what the catalogue does not name.
            error!(part = self.entry.number, error = %source, "dead part not dropped");
        }
    }
}

impl Part {
    pub fn new(database: &SharedDatabase, entry: PartEntry) -> Arc<Self> {
        Self::at(Box::new(Local { entry: entry.clone(), database: Arc::clone(database) }), entry)
    }

    pub fn at(home: Box<dyn Home>, entry: PartEntry) -> Arc<Self> {
        Arc::new(Self { entry, home, reader: OnceLock::new(), dead: AtomicBool::new(false) })
    }

    /// Opens it the first time. The error says which part it is.
    pub fn reader(&self) -> Result<&PartReader<Box<dyn SectionSource>>, StorageError> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader);
        }
        let part = self.entry.number;
        let opened =
            PartReader::open(self.home.open()?).map_err(|source| StorageError::Part { part, source })?;
        Ok(self.reader.get_or_init(|| opened))
    }

    /// Whether something of the part may be hidden by it and is not erased yet.
    pub fn may_hold(&self, hidden: &Hidden) -> bool {
        self.home.may_hold(hidden)
    }

    /// Bytes of texts that it holds decoded.
    fn text_bytes(&self) -> usize {
        self.reader.get().map_or(0, PartReader::cached_bytes)
    }

    #[cfg(test)]
    pub fn is_open(&self) -> bool {
        self.reader.get().is_some()
    }

    /// The catalogue no longer names it: its files go with the last pin.
    pub fn bury(&self) {
        self.dead.store(true, Ordering::Release);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.dead.load(Ordering::Acquire) {
            self.home.drop_part();
        }
    }
}

/// An epoch in memory and, once it is sealed, the last log file that went into it.
#[derive(Clone)]
pub struct EpochInView {
    pub epoch: Arc<Epoch>,
    pub last_file: Option<u64>,
}

/// A deletion with its matchers compiled.
pub struct Hidden {
    pub tombstone: Tombstone,
    tenant: TenantId,
    matchers: Vec<Matcher>,
}

/// See the module.
#[derive(Clone, Default)]
pub struct View {
    /// Oldest first; the last one is open.
    pub epochs: Vec<EpochInView>,
    pub parts: Vec<Arc<Part>>,
    pub hidden: Vec<Arc<Hidden>>,
}

impl View {
    /// Parts that have something of a range, with their places.
    pub fn parts_in(&self, range: TimeRange) -> Vec<(usize, &Part)> {
        let all = self.parts.iter().map(|part| &**part).enumerate();
        all.filter(|(_, part)| part.entry.range().overlaps(&range)).collect()
    }

    /// Bytes of texts that all parts hold decoded.
    pub fn text_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.text_bytes()).sum()
    }

    /// Has all parts let go of texts where they hold more than `bytes_max`: each may hold some, and a
    /// year is thousands of them. To decode what is needed again takes less than to know what is.
    pub fn bound_texts(&self, bytes_max: usize) {
        if self.text_bytes() > bytes_max {
            self.parts.iter().filter_map(|part| part.reader.get()).for_each(PartReader::drop_cache);
        }
    }
}

impl Hidden {
    /// Compiles a tombstone that was stored; `None` names what makes it unreadable.
    pub fn new(tombstone: Tombstone) -> Result<Self, String> {
        let tenant = TenantId::parse(&tombstone.tenant).map_err(|e| e.to_string())?;
        let matcher = |(name, op, value): &(String, String, String)| {
            let op = match op.as_str() {
                "=" => MatchOp::Equal,
                "!=" => MatchOp::NotEqual,
                "=~" => MatchOp::Regex,
                "!~" => MatchOp::NotRegex,
                other => return Err(format!("unknown operator {other:?}")),
            };
            Matcher::new(name, op, value).map_err(|e| e.to_string())
        };
        let matchers = tombstone.matchers.iter().map(matcher).collect::<Result<_, _>>()?;
        Ok(Self { tombstone, tenant, matchers })
    }

    /// Whether it concerns the data of log files up to `last_file`; those of the open epoch, which
    /// has no last file, never.
    pub fn binds(&self, last_file: Option<u64>) -> bool {
        last_file.is_some_and(|file| file <= self.tombstone.through_file)
    }

    /// Whether something of the part may be hidden by it and is not erased yet.
    pub fn concerns(&self, part: &PartEntry) -> bool {
        let is_erased = self.tombstone.sequence <= part.erased;
        self.binds(Some(part.last_file)) && !is_erased && self.range().overlaps(&part.range())
    }

    pub fn range(&self) -> TimeRange {
        TimeRange::new(self.tombstone.start_ms, self.tombstone.end_ms)
    }

    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Whether it means a series.
    pub fn matches(&self, tenant: &TenantId, labels: &Labels) -> bool {
        self.tenant == *tenant && self.matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or("")))
    }
}
