//! Which Prometheus to agree with where 3.5 and 3.14 answer differently.

/// The release whose answers are reproduced.
///
/// Since 3.5, mismatched custom bounds are reconciled instead of refused, sums and means are
/// compensated for rounding, contradicting reset hints are reported, and `histogram_fraction`
/// has an answer within buckets that have no finite end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Edition {
    #[default]
    V3_5,
    V3_14,
}
