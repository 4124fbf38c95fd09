//! The seam where remembering and computing meet.
//!
//! A [`Querier`] answers for one tenant: absolute time ranges in, raw samples out, staleness
//! markers kept. It knows no lookback, offset, `@` or function. [`SelectHints`] tell what the
//! caller is going to do with the samples; an answer must be right without them.
//!
//! Storage implements it; an in-memory one serves PromQL's own tests. All calls block: they run
//! on query threads, never on the async runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::chunk::histograms::cells;
use crate::error::ErrorKind;
use crate::memory::{MemoryBudget, MemoryExhausted, MemoryLease};
use crate::model::{Exemplar, Histogram, Labels, Matcher, Metadata, TimeRange};

/// What to select.
#[derive(Clone, Debug)]
pub struct SelectRequest {
    /// All must match. At least one of them does not accept the empty value, or the caller wants
    /// every series of the tenant.
    pub matchers: Vec<Matcher>,
    pub range: TimeRange,
    pub hints: SelectHints,
}

/// What the caller will do with the samples: storage may use it to do less work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectHints {
    /// Step of the query, 0 for instant queries.
    pub step_ms: i64,
    /// Length of the range selector, 0 for instant selectors.
    pub range_ms: i64,
    /// Name of the function or aggregation directly around the selector, empty if none.
    pub function: &'static str,
    /// Labels of the aggregation directly around the selector.
    pub grouping: Vec<String>,
    /// Whether `grouping` names the labels kept (`by`) or dropped (`without`).
    pub by: bool,
    /// Series may come in any order. It counts only where `labels` are all or none: whoever numbers groups
    /// as they come, of what is left of their labels, has them in their order otherwise.
    pub any_order: bool,
    pub floats: FloatsWanted,
    pub labels: LabelsWanted,
}

/// Of each series' labels, what the caller looks at. Storage may reduce them to that or give all: the
/// caller reduces again. Several series may come with equal labels then; what orders them is still their
/// full labels. Names are sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LabelsWanted {
    #[default]
    All,
    /// Those of these names.
    By(Vec<String>),
    /// All but those of these names.
    Without(Vec<String>),
}

impl LabelsWanted {
    /// Whether the caller looks at labels of this name.
    pub fn keeps(&self, name: &str) -> bool {
        let names = |names: &[String]| names.binary_search_by(|own| own.as_str().cmp(name)).is_ok();
        match self {
            Self::All => true,
            Self::By(kept) => names(kept),
            Self::Without(dropped) => !names(dropped),
        }
    }

    /// Whether the order in which series come tells nothing that labels do not: of all labels, whoever
    /// groups sees how groups are ordered; of none there is one group.
    pub fn leave_order_free(&self) -> bool {
        match self {
            Self::All => true,
            Self::By(kept) => kept.is_empty(),
            Self::Without(_) => false,
        }
    }

    /// What of a full set the caller looks at.
    pub fn of(&self, labels: &Labels) -> Labels {
        match self {
            Self::All => labels.clone(),
            _ => labels.filtered(|name| self.keeps(name)),
        }
    }
}

/// What of a series' floats the caller looks at: with [`LabelsWanted`] the only hint by
/// which answers may differ. Histograms come whole, whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloatsWanted {
    /// Only the latest float of the range: any of the others may be missing.
    pub latest_only: bool,
    /// Only when there are floats, and which of them are staleness markers: the value of one that is
    /// none may be any other that is none.
    pub presence_only: bool,
}

impl FloatsWanted {
    /// All of them as they are.
    pub const ALL: Self = Self { latest_only: false, presence_only: false };

    /// What satisfies both callers.
    pub fn and(self, other: Self) -> Self {
        Self {
            latest_only: self.latest_only && other.latest_only,
            presence_only: self.presence_only && other.presence_only,
        }
    }
}

/// One series with its samples of the requested range, in columns sorted by time.
#[derive(Clone, Debug, Default)]
pub struct Series {
    pub labels: Labels,
    /// Floats: no timestamp twice, and none that a histogram of this series has.
    pub timestamps_ms: Vec<i64>,
    pub values: Vec<f64>,
    /// Start timestamps beside `timestamps_ms`; empty where no sample has one.
    pub starts_ms: Vec<i64>,
    pub histograms: Vec<HistogramPoint>,
}

impl Series {
    /// Memory that it takes.
    pub fn bytes(&self) -> u64 {
        let floats = self.timestamps_ms.capacity() + self.values.capacity() + self.starts_ms.capacity();
        let histograms: usize = self
            .histograms
            .iter()
            .map(|point| size_of::<HistogramPoint>() + size_of::<Histogram>() + 8 * cells(&point.histogram))
            .sum();
        (size_of::<Self>() + self.labels.as_bytes().len() + 8 * floats + histograms) as u64
    }
}

/// A histogram at a time.
#[derive(Clone, Debug)]
pub struct HistogramPoint {
    pub timestamp_ms: i64,
    /// Start timestamp, 0 where the sender gave none.
    pub start_ms: i64,
    pub histogram: Arc<Histogram>,
}

/// Exemplars of one series, sorted by time.
#[derive(Clone, Debug)]
pub struct ExemplarSeries {
    pub labels: Labels,
    pub exemplars: Vec<Exemplar>,
}

/// A moment in the life of a store, see [`Querier::moment`]. Means something only to whoever gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// Series in order of their full labels, unless [`SelectHints::any_order`] says that nobody minds. What a
/// series takes ([`Series::bytes`]) is reserved with the guard when it is handed out: whoever lets go of
/// it before the query's end may release that.
pub type SeriesIter<'a> = Box<dyn Iterator<Item = Result<Series, QueryError>> + Send + 'a>;

/// What storage can be asked, by one tenant. Matcher sets are alternatives; none at all means
/// every series. Of a list only the first `limit` are wanted: memory is bounded by them.
pub trait Querier: Send + Sync {
    fn select<'a>(
        &'a self,
        request: &SelectRequest,
        guard: &'a QueryGuard,
    ) -> Result<SeriesIter<'a>, QueryError>;

    /// Label sets that have a sample in the range, sorted, each once.
    fn series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        guard: &QueryGuard,
    ) -> Result<Vec<Labels>, QueryError>;

    /// Sorted, each once.
    fn label_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        guard: &QueryGuard,
    ) -> Result<Vec<String>, QueryError>;

    /// Sorted, each once.
    fn label_values(
        &self,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        guard: &QueryGuard,
    ) -> Result<Vec<String>, QueryError>;

    fn exemplars(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        guard: &QueryGuard,
    ) -> Result<Vec<ExemplarSeries>, QueryError>;

    /// Sorted by metric; of one metric where `metric` is given.
    fn metadata(&self, metric: Option<&str>) -> Result<Vec<Metadata>, QueryError>;

    /// The present moment, for whoever wants to keep what is selected after it. `None` where nobody follows
    /// changes, or where answers are known to lack something just now.
    fn moment(&self) -> Option<Moment> {
        None
    }

    /// The earliest time of which a selection may be another one than it was at a moment, but for what retention
    /// hides by age; the end of time where nothing has changed.
    fn changed_since(&self, _moment: Moment) -> i64 {
        i64::MIN
    }

    /// Whatever is older may be hidden by retention now, be it all series or some.
    fn kept_from_ms(&self) -> i64 {
        i64::MAX
    }

    /// An error where a selection of this range would be refused, whatever it selects.
    fn admits(&self, _range: TimeRange) -> Result<(), QueryError> {
        Ok(())
    }
}

/// Why a question was not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueryError {
    #[error("query was canceled")]
    Canceled,
    #[error("query timed out")]
    Timeout,
    #[error("query would use too much memory: {0}")]
    Memory(#[from] MemoryExhausted),
    /// A limit of the tenant's; the text names it.
    #[error("{0}")]
    Limit(String),
    /// Storage cannot answer yet or for now: starting, shutting down.
    #[error("{0}")]
    Unavailable(String),
    /// Corruption or a broken disk; names what was being read.
    #[error("{0}")]
    Storage(String),
}

impl QueryError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Canceled => ErrorKind::Canceled,
            Self::Timeout => ErrorKind::Timeout,
            Self::Memory(_) | Self::Limit(_) => ErrorKind::Execution,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Storage(_) => ErrorKind::Internal,
        }
    }
}

/// The least and the most of [`QueryGuard::batch_bytes`]. Below, reading series by series costs more
/// than it saves; above, nothing becomes faster.
const BATCH_BYTES: (u64, u64) = (256 << 10, 32 << 20);

/// Deadline, cancellation and memory of one query. Shared by everything that works for it.
#[derive(Debug)]
pub struct QueryGuard {
    deadline: Option<Instant>,
    canceled: AtomicBool,
    memory: Arc<MemoryBudget>,
    /// What this query has leased; given back as a whole when it ends.
    lease: Mutex<Option<MemoryLease>>,
    peak_bytes: AtomicU64,
    /// Whether it waits for memory that other queries hold, instead of giving up.
    patient: AtomicBool,
    /// Whether it was refused memory that other queries hold.
    collided: AtomicBool,
}

/// How often memory that others hold is asked for again.
const MEMORY_LOOK: Duration = Duration::from_millis(5);

impl QueryGuard {
    /// `memory` is this query's own budget: a share of that of all queries.
    pub fn new(deadline: Option<Instant>, memory: Arc<MemoryBudget>) -> Self {
        Self {
            deadline,
            canceled: AtomicBool::new(false),
            memory,
            lease: Mutex::new(None),
            peak_bytes: AtomicU64::new(0),
            patient: AtomicBool::new(false),
            collided: AtomicBool::new(false),
        }
    }

    /// No deadline, no limit: for tests.
    pub fn unlimited() -> Self {
        Self::new(None, MemoryBudget::new("unlimited", u64::MAX))
    }

    pub fn cancel(&self) {
        self.canceled.store(true, Ordering::Relaxed);
    }

    /// To be called once per series or per thousand samples.
    pub fn check(&self) -> Result<(), QueryError> {
        if self.canceled.load(Ordering::Relaxed) {
            return Err(QueryError::Canceled);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(QueryError::Timeout),
            _ => Ok(()),
        }
    }

    /// As [`Self::reserve`], but never waits; says whether it could. For whoever holds what others may
    /// wait for.
    pub fn reserve_at_once(&self, bytes: u64) -> bool {
        bytes == 0 || self.try_reserve(bytes).is_ok()
    }

    /// Accounts for memory that is about to be allocated and lives as long as the query.
    pub fn reserve(&self, bytes: u64) -> Result<(), QueryError> {
        if bytes == 0 {
            return Ok(());
        }
        let Err(exhausted) = self.try_reserve(bytes) else { return Ok(()) };
        if exhausted.name == self.memory.name() {
            // More than one query may hold: nobody else can help.
            return Err(exhausted.into());
        }
        self.collided.store(true, Ordering::Relaxed);
        if self.patient.load(Ordering::Relaxed) { self.wait_for_memory(bytes) } else { Err(exhausted.into()) }
    }

    /// Waits while others hold what is missing. It must be the only one that does so: two that wait
    /// for each other would wait for ever.
    fn wait_for_memory(&self, bytes: u64) -> Result<(), QueryError> {
        let _claim = self.memory.claim();
        loop {
            let Err(exhausted) = self.try_reserve(bytes) else { return Ok(()) };
            match self.check() {
                Ok(()) if self.memory.used_beside_bytes() > 0 => std::thread::park_timeout(MEMORY_LOOK),
                // The memory is what it wants for: that says more than that time is over.
                Ok(()) | Err(QueryError::Timeout) => return Err(exhausted.into()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether it waits for memory that others hold from now on. One query may at a time: see
    /// [`Self::has_collided`] for the others.
    pub fn set_patient(&self, patient: bool) {
        self.patient.store(patient, Ordering::Relaxed);
    }

    /// Whether it was refused memory only because other queries hold it.
    pub fn has_collided(&self) -> bool {
        self.collided.load(Ordering::Relaxed)
    }

    /// Gives back everything, so that the query can begin anew.
    pub fn begin_anew(&self) {
        *self.lease.lock() = None;
        self.collided.store(false, Ordering::Relaxed);
    }

    fn try_reserve(&self, bytes: u64) -> Result<(), MemoryExhausted> {
        let mut lease = self.lease.lock();
        match lease.as_mut() {
            Some(lease) => lease.grow(bytes)?,
            None => *lease = Some(self.memory.lease(bytes)?),
        }
        let leased = lease.as_ref().map_or(0, MemoryLease::bytes);
        self.peak_bytes.fetch_max(leased, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back what was reserved and freed before the query's end.
    pub fn release(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        if let Some(lease) = self.lease.lock().as_mut() {
            lease.shrink_to(lease.bytes().saturating_sub(bytes));
        }
    }

    pub fn reserved_bytes(&self) -> u64 {
        self.lease.lock().as_ref().map_or(0, MemoryLease::bytes)
    }

    /// Reserves or releases what is missing to, or too much for, `bytes` in all: for whoever knows
    /// exactly what is left of work in which several others have reserved.
    pub fn reserve_exactly(&self, bytes: u64) -> Result<(), QueryError> {
        let reserved = self.reserved_bytes();
        if reserved > bytes {
            self.release(reserved - bytes);
        }
        self.reserve(bytes.saturating_sub(reserved))
    }

    /// Most that this query had reserved at one time.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed)
    }

    /// Whether so much is left that work may begin before other work is done: a query that has enough for one
    /// batch after the other shall not be refused for what is read ahead.
    pub fn has_room_ahead(&self) -> bool {
        // A batch, and what storage reads for it at a time.
        let ahead_bytes = 2 * self.batch_bytes();
        self.reserved_bytes().saturating_add(ahead_bytes) <= self.memory.limit_bytes() / 2
    }

    /// Bytes that a batch of series may take: a small part of what the query may hold, so that
    /// several batches on their way from storage to the answer fit beside each other.
    pub fn batch_bytes(&self) -> u64 {
        (self.memory.limit_bytes() / 32).clamp(BATCH_BYTES.0, BATCH_BYTES.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_ahead_where_a_batch_is_a_good_part_of_what_the_query_may_hold() {
        let guard = |bytes: u64| QueryGuard::new(None, MemoryBudget::new("query", bytes));
        assert!(!guard(300_000).has_room_ahead());
        assert!(QueryGuard::unlimited().has_room_ahead());

        let ample = guard(64 << 20);
        ample.reserve(28 << 20).expect("fits");
        assert!(ample.has_room_ahead());
        ample.reserve(1).expect("fits");
        assert!(!ample.has_room_ahead());
    }
}
