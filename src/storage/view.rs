//! The read view: which epochs and parts make up the store at one moment.
//!
//! Swapped as a whole, so that a question sees a sealed epoch or the parts it became, never both
//! and never neither. Whoever holds a view pins its parts: a dead part's files are dropped when
//! the last view that names it goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::error;

use super::head::Epoch;
use super::local::database::SharedDatabase;
use super::local::sst::SstSource;
use super::local::{PartEntry, Tombstone};
use super::part::{PartError, PartReader};
use crate::model::{Labels, MatchOp, Matcher, TenantId, TimeRange};

/// One live part, open for reading.
pub struct Part {
    pub entry: PartEntry,
    pub reader: PartReader<SstSource>,
    database: SharedDatabase,
    dead: AtomicBool,
}

impl Part {
    pub fn open(database: &SharedDatabase, entry: PartEntry) -> Result<Arc<Self>, PartError> {
        let reader = PartReader::open(SstSource::new(Arc::clone(database), entry.number))?;
        Ok(Arc::new(Self { entry, reader, database: Arc::clone(database), dead: AtomicBool::new(false) }))
    }

    /// The catalogue no longer names it: its files go with the last pin.
    pub fn bury(&self) {
        self.dead.store(true, Ordering::Release);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.dead.load(Ordering::Acquire)
            && let Err(source) = self.database.drop_part(self.entry.number)
        {
            // Harmless until the next start, which drops what the catalogue does not name.
            error!(part = self.entry.number, error = %source, "dead part not dropped");
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

    /// The times hidden of a series in data of log files up to `last_file`; `None` where the
    /// series, the tenant or the files are not meant.
    pub fn range_for(&self, tenant: &TenantId, labels: &Labels, last_file: Option<u64>) -> Option<TimeRange> {
        let meant = last_file.is_some_and(|file| file <= self.tombstone.through_file)
            && self.tenant == *tenant
            && self.matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or("")));
        meant.then(|| TimeRange::new(self.tombstone.start_ms, self.tombstone.end_ms))
    }
}
