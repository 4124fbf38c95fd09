//! Native histograms as senders give them and storage keeps them: integer or float.
//!
//! Owns the shape and what makes one valid. Arithmetic on histograms belongs to `promql`, bytes
//! to `chunk`.

/// Schema of histograms with custom bucket bounds.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;
/// Lowest and highest exponential schema.
pub const EXPONENTIAL_SCHEMA_MIN: i32 = -4;
pub const EXPONENTIAL_SCHEMA_MAX: i32 = 8;
/// Most buckets that one side of a stored histogram may have; a hostile span can claim 2^32.
pub const BUCKETS_MAX: usize = 65_536;

/// What the sender knows about a counter reset before this histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum ResetHint {
    #[default]
    Unknown = 0,
    Reset = 1,
    NotReset = 2,
    Gauge = 3,
}

impl ResetHint {
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Unknown),
            1 => Some(Self::Reset),
            2 => Some(Self::NotReset),
            3 => Some(Self::Gauge),
            _ => None,
        }
    }
}

/// A run of consecutive buckets: `offset` from the end of the one before, `length` buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Span {
    pub offset: i32,
    pub length: u32,
}

/// Bucket and total counts, in the sender's own arithmetic.
#[derive(Clone, Debug)]
pub enum Counts {
    /// Buckets as deltas: each is the difference to the bucket before.
    Integer { count: u64, zero_count: u64, positive_deltas: Vec<i64>, negative_deltas: Vec<i64> },
    /// Buckets as absolute counts.
    Float { count: f64, zero_count: f64, positive: Vec<f64>, negative: Vec<f64> },
}

/// A native histogram. A stale one has [`super::STALE_NAN_BITS`] as its sum.
#[derive(Clone, Debug)]
pub struct Histogram {
    pub reset_hint: ResetHint,
    pub schema: i32,
    pub zero_threshold: f64,
    pub sum: f64,
    pub positive_spans: Vec<Span>,
    pub negative_spans: Vec<Span>,
    /// Upper bounds of custom buckets, without +Inf; empty for exponential schemas.
    pub custom_values: Vec<f64>,
    pub counts: Counts,
}

/// Why a histogram is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HistogramError {
    #[error("histogram schema {0} is neither -4..=8 nor -53")]
    Schema(i32),
    #[error("{side} side has {buckets} buckets but its spans hold {spanned}")]
    SpanMismatch { side: &'static str, buckets: usize, spanned: u64 },
    #[error("{side} side has a span with offset {offset} that goes backwards")]
    NegativeOffset { side: &'static str, offset: i32 },
    #[error("histogram has {0} buckets, more than {BUCKETS_MAX}")]
    TooManyBuckets(u64),
    #[error("{side} side: bucket {index} has the negative count {count}")]
    NegativeCount { side: &'static str, index: usize, count: f64 },
    #[error("{observed} observations in the buckets, but count is {count}")]
    CountMismatch { observed: u64, count: u64 },
    #[error("histogram count {0} is negative")]
    NegativeTotal(f64),
    #[error("custom buckets: {0}")]
    CustomBuckets(&'static str),
    #[error("exponential schema with custom bounds")]
    BoundsWithoutCustomSchema,
    #[error("bucket counts overflow")]
    Overflow,
    #[error("zero threshold {0} is negative or not a number")]
    ZeroThreshold(f64),
}

impl Histogram {
    /// Whether this is the staleness marker of a histogram series.
    pub fn is_stale(&self) -> bool {
        super::is_stale_nan(self.sum)
    }

    /// Bytes of what it has beside itself: buckets, spans and bounds.
    pub fn heap_bytes(&self) -> usize {
        let buckets = match &self.counts {
            Counts::Integer { positive_deltas, negative_deltas, .. } => {
                positive_deltas.len() + negative_deltas.len()
            }
            Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
        };
        8 * (buckets + self.positive_spans.len() + self.negative_spans.len() + self.custom_values.len())
    }

    /// Equal to the bit, NaN payloads included.
    pub fn same_bits(&self, other: &Self) -> bool {
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let counts = match (&self.counts, &other.counts) {
            (
                Counts::Integer { count: c1, zero_count: z1, positive_deltas: p1, negative_deltas: n1 },
                Counts::Integer { count: c2, zero_count: z2, positive_deltas: p2, negative_deltas: n2 },
            ) => (c1, z1, p1, n1) == (c2, z2, p2, n2),
            (
                Counts::Float { count: c1, zero_count: z1, positive: p1, negative: n1 },
                Counts::Float { count: c2, zero_count: z2, positive: p2, negative: n2 },
            ) => {
                c1.to_bits() == c2.to_bits()
                    && z1.to_bits() == z2.to_bits()
                    && bits(p1) == bits(p2)
                    && bits(n1) == bits(n2)
            }
            _ => false,
        };
        counts
            && self.reset_hint == other.reset_hint
            && self.schema == other.schema
            && self.zero_threshold.to_bits() == other.zero_threshold.to_bits()
            && self.sum.to_bits() == other.sum.to_bits()
            && self.positive_spans == other.positive_spans
            && self.negative_spans == other.negative_spans
            && bits(&self.custom_values) == bits(&other.custom_values)
    }

    /// Checks what Prometheus checks before it stores a histogram. Counts are compared with
    /// buckets for integer histograms only; with a NaN sum (observations of NaN fall into no
    /// bucket) the count may exceed them.
    pub fn validate(&self) -> Result<(), HistogramError> {
        self.validate_layout()?;
        match &self.counts {
            Counts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
                let positive = sum_deltas("positive", positive_deltas)?;
                let negative = sum_deltas("negative", negative_deltas)?;
                let observed = positive
                    .checked_add(negative)
                    .and_then(|sum| sum.checked_add(*zero_count))
                    .ok_or(HistogramError::Overflow)?;
                let fits = if self.sum.is_nan() { observed <= *count } else { observed == *count };
                if fits { Ok(()) } else { Err(HistogramError::CountMismatch { observed, count: *count }) }
            }
            Counts::Float { count, zero_count, positive, negative } => {
                for (side, buckets) in [("positive", positive), ("negative", negative)] {
                    if let Some(index) = buckets.iter().position(|c| *c < 0.0) {
                        return Err(HistogramError::NegativeCount { side, index, count: buckets[index] });
                    }
                }
                if *zero_count < 0.0 {
                    return Err(HistogramError::NegativeCount { side: "zero", index: 0, count: *zero_count });
                }
                if *count < 0.0 {
                    return Err(HistogramError::NegativeTotal(*count));
                }
                Ok(())
            }
        }
    }

    fn validate_layout(&self) -> Result<(), HistogramError> {
        let (positive, negative) = match &self.counts {
            Counts::Integer { positive_deltas, negative_deltas, .. } => {
                (positive_deltas.len(), negative_deltas.len())
            }
            Counts::Float { positive, negative, .. } => (positive.len(), negative.len()),
        };
        validate_spans("positive", &self.positive_spans, positive)?;
        validate_spans("negative", &self.negative_spans, negative)?;
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            return self.validate_custom(positive, negative);
        }
        if !(EXPONENTIAL_SCHEMA_MIN..=EXPONENTIAL_SCHEMA_MAX).contains(&self.schema) {
            return Err(HistogramError::Schema(self.schema));
        }
        if !self.custom_values.is_empty() {
            return Err(HistogramError::BoundsWithoutCustomSchema);
        }
        if self.zero_threshold < 0.0 || self.zero_threshold.is_nan() {
            return Err(HistogramError::ZeroThreshold(self.zero_threshold));
        }
        Ok(())
    }

    fn validate_custom(&self, positive: usize, negative: usize) -> Result<(), HistogramError> {
        let bad = HistogramError::CustomBuckets;
        let increasing = self.custom_values.windows(2).all(|pair| pair[0] < pair[1]);
        let zero_count = match &self.counts {
            Counts::Integer { zero_count, .. } => *zero_count != 0,
            Counts::Float { zero_count, .. } => *zero_count != 0.0,
        };
        if !increasing || self.custom_values.iter().any(|v| v.is_nan()) {
            return Err(bad("bounds are not strictly increasing"));
        }
        if self.custom_values.last().is_some_and(|v| v.is_infinite()) {
            return Err(bad("the last bound must not be +Inf: it is implied"));
        }
        if zero_count || self.zero_threshold != 0.0 {
            return Err(bad("must have no zero bucket"));
        }
        if negative > 0 || !self.negative_spans.is_empty() {
            return Err(bad("must have no negative buckets"));
        }
        let reach: i64 = self.positive_spans.iter().map(|s| i64::from(s.offset) + i64::from(s.length)).sum();
        if positive > 0 && reach > self.custom_values.len() as i64 + 1 {
            return Err(bad("more buckets than bounds"));
        }
        Ok(())
    }
}

fn validate_spans(side: &'static str, spans: &[Span], buckets: usize) -> Result<(), HistogramError> {
    if let Some(span) = spans.iter().skip(1).find(|s| s.offset < 0) {
        return Err(HistogramError::NegativeOffset { side, offset: span.offset });
    }
    let spanned: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
    if spanned > BUCKETS_MAX as u64 {
        return Err(HistogramError::TooManyBuckets(spanned));
    }
    if spanned != buckets as u64 {
        return Err(HistogramError::SpanMismatch { side, buckets, spanned });
    }
    Ok(())
}

/// Sum of the absolute counts behind a list of deltas.
fn sum_deltas(side: &'static str, deltas: &[i64]) -> Result<u64, HistogramError> {
    let mut bucket = 0i64;
    let mut sum = 0u64;
    for (index, delta) in deltas.iter().enumerate() {
        bucket = bucket.checked_add(*delta).ok_or(HistogramError::Overflow)?;
        let count = u64::try_from(bucket).map_err(|_| HistogramError::NegativeCount {
            side,
            index,
            count: bucket as f64,
        })?;
        sum = sum.checked_add(count).ok_or(HistogramError::Overflow)?;
    }
    Ok(sum)
}
