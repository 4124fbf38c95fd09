//! Words and values of the field: labels, matchers, samples, histograms, tenants, times.
//!
//! Everything above imports from here; nothing here imports from anything above. All of it is
//! synchronous and pure.
//!
//! - identity: [`labels`], [`matcher`], [`regex`], [`tenant`]
//! - data: [`sample`], [`histogram`], [`exemplar`], [`metadata`], [`time`]
//! - the neck of the hourglass: [`series_batch`], what every protocol turns into

pub mod exemplar;
pub mod histogram;
pub mod labels;
pub mod matcher;
pub mod metadata;
pub mod regex;
pub mod sample;
pub mod series_batch;
pub mod tenant;
pub mod time;

pub use exemplar::Exemplar;
pub use histogram::{CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, ResetHint, Span};
pub use labels::{
    Labels, LabelsBuffer, LabelsBuilder, LabelsHash, LabelsMap, LabelsRow, LabelsSet, METRIC_NAME,
};
pub use matcher::{MatchOp, Matcher};
pub use metadata::{Metadata, MetricType};
pub use sample::{FloatSample, STALE_NAN_BITS, is_stale_nan, stale_nan};
pub use series_batch::SeriesBatch;
pub use tenant::TenantId;
pub use time::TimeRange;
