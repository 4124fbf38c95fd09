//! What goes into a part and comes out of it.

use std::cmp::Ordering;

use crate::chunk::Effort;
use crate::model::{Exemplar, Labels, TenantId};
use crate::querier::HistogramPoint;

/// Most samples of one sub-chunk that a reader accepts.
pub const SUB_CHUNK_SAMPLES_MAX: usize = 8_192;

/// One series with everything that a part keeps of it.
#[derive(Clone, Debug)]
pub struct PartSeries {
    pub tenant: TenantId,
    pub labels: Labels,
    /// Floats: strictly ascending in time.
    pub timestamps_ms: Vec<i64>,
    pub values: Vec<f64>,
    /// Start timestamps beside `timestamps_ms`; empty where no sample has one.
    pub starts_ms: Vec<i64>,
    /// Strictly ascending in time.
    pub histograms: Vec<HistogramPoint>,
    /// Ascending in time; equal times keep the order given.
    pub exemplars: Vec<Exemplar>,
}

impl PartSeries {
    pub fn new(tenant: TenantId, labels: Labels) -> Self {
        Self {
            tenant,
            labels,
            timestamps_ms: Vec::new(),
            values: Vec::new(),
            starts_ms: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
        }
    }
}

/// Samples of one row, clipped to the range that was asked for.
#[derive(Clone, Debug, Default)]
pub struct RowSamples {
    pub timestamps_ms: Vec<i64>,
    pub values: Vec<f64>,
    /// Beside `timestamps_ms`; empty where no sample has a start timestamp.
    pub starts_ms: Vec<i64>,
    pub histograms: Vec<HistogramPoint>,
}

impl RowSamples {
    pub fn is_empty(&self) -> bool {
        self.timestamps_ms.is_empty() && self.histograms.is_empty()
    }
}

/// How a part is written.
#[derive(Clone, Debug)]
pub struct PartOptions {
    /// Samples of one sub-chunk, the unit that is decoded as a whole. More make its entry in the
    /// record's table and an entropy coder's tables weigh less; fewer make short ranges of long
    /// rows cheaper.
    pub sub_chunk_samples: usize,
    /// Bytes of timestamp columns the writer remembers to find equal ones. Beyond it timestamps
    /// are written inline.
    pub column_cache_bytes: usize,
    /// How hard samples are compressed; with [`Effort::Merged`] buckets are stored as families.
    pub effort: Effort,
}

impl Default for PartOptions {
    fn default() -> Self {
        Self { sub_chunk_samples: 2_880, column_cache_bytes: 32 << 20, effort: Effort::Fresh }
    }
}

/// What a part holds, in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartSummary {
    pub rows: u32,
    pub float_samples: u64,
    pub histogram_samples: u64,
    pub exemplars: u64,
    /// Earliest and latest sample, exemplars not counted; `min_ms > max_ms` where there is none.
    pub min_ms: i64,
    pub max_ms: i64,
    /// Distinct strings.
    pub symbols: u32,
    /// Timestamp columns shared by rows.
    pub timestamp_columns: u32,
    /// Keys and values handed to the container, before its compression, the header not counted.
    pub bytes: u64,
    /// In order of names.
    pub tenants: Vec<TenantRows>,
    /// Days (since 1970, negative before) on which the part has samples, ascending.
    pub days: Vec<i64>,
    /// Days on which it has exemplars, ascending.
    pub exemplar_days: Vec<i64>,
}

/// A tenant's stretch of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRows {
    pub tenant: TenantId,
    /// Its rows are `first_row..end_row`.
    pub first_row: u32,
    pub end_row: u32,
}

impl PartSummary {
    pub fn first_tenant(&self) -> Option<&TenantId> {
        self.tenants.first().map(|rows| &rows.tenant)
    }

    pub fn last_tenant(&self) -> Option<&TenantId> {
        self.tenants.last().map(|rows| &rows.tenant)
    }
}

/// The label that holds the upper bound of a classic histogram's bucket.
pub const LE: &str = "le";

/// The order of rows: tenant, metric name (none first), the labels but [`LE`], and that by its
/// number: buckets of one histogram follow each other, lowest first.
pub fn row_order(a: (&TenantId, &Labels), b: (&TenantId, &Labels)) -> Ordering {
    let names = || a.1.metric_name().cmp(&b.1.metric_name());
    let others = || not_le(a.1).cmp(not_le(b.1));
    a.0.cmp(b.0).then_with(names).then_with(others).then_with(|| le_order(a.1.get(LE), b.1.get(LE)))
}

/// The labels that all buckets of a family have.
pub fn not_le(labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().filter(|(name, _)| *name != LE)
}

/// None first, then numbers, then other texts; of equal numbers the texts decide.
pub fn le_order(a: Option<&str>, b: Option<&str>) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let key = |text: Option<&str>| text.map(|text| text.parse::<f64>().ok().filter(|le| !le.is_nan()));
    let numbers = match (key(a), key(b)) {
        (Some(Some(a)), Some(Some(b))) => a.total_cmp(&b),
        (a, b) => rank(a).cmp(&rank(b)),
    };
    numbers.then_with(|| a.cmp(&b))
}

fn rank(le: Option<Option<f64>>) -> u8 {
    match le {
        None => 0,
        Some(Some(_)) => 1,
        Some(None) => 2,
    }
}
