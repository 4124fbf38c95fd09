//! Native histograms as PromQL calculates with them, and quantiles of classic ones.
//!
//! Everything here is a pure function of histograms: which series and samples take part, metric
//! names, positions and the texts of annotations are the engine's. What an operation has to tell
//! its user comes back as a [`Note`]; why it has no result, as a [`Mismatch`].
//!
//! - the type: `float` (one histogram), `layout` (one side of it), `buckets` and `bounds` (what
//!   its buckets cover), `text` (script notation and Prometheus' notation)
//! - arithmetic: `arithmetic` (add, subtract, scale), `body` (what is behind it), `zero_bucket` and
//!   `custom` (zero buckets and bounds that differ), `accumulate` (sums and means of many),
//!   `reset` (counter resets)
//! - functions: `quantile` and `fraction` of native histograms (with `base_two`), `classic` ones,
//!   `stats`, `window` (`rate` and its kin), `trim` (`</` and `>/`)
//! - answers besides a value: `note`; what depends on the release: `edition`

mod accumulate;
mod arithmetic;
mod base_two;
mod body;
mod bounds;
mod buckets;
mod classic;
mod custom;
mod edition;
mod float;
mod fraction;
mod layout;
mod note;
mod quantile;
mod reset;
mod stats;
#[cfg(test)]
mod tests;
mod text;
mod trim;
mod window;
mod zero_bucket;

pub use accumulate::{HistogramMean, HistogramSum};
pub use bounds::exponential_bound;
pub use buckets::Bucket;
pub use classic::{ClassicBucket, ClassicQuantile, classic_fraction, classic_quantile};
pub use edition::Edition;
pub use float::FloatHistogram;
pub use fraction::histogram_fraction;
pub use note::{Mismatch, Note, Operation};
pub use quantile::histogram_quantile;
pub use stats::{histogram_average, histogram_standard_deviation, histogram_variance};
pub use text::{ScriptError, parse_script_histogram};
pub use trim::Keep;
pub use window::{histogram_change, histogram_rate};
