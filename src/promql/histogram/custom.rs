//! Custom bounds that differ: the bounds two histograms have in common.

use super::float::same_bits;
use super::{Edition, Mismatch};

/// The bounds that both histograms have, ascending; the bucket up to +Inf is always common.
#[derive(Clone, Debug)]
pub(super) struct CommonBounds(Vec<f64>);

impl CommonBounds {
    /// From the bounds of two histograms, `None` standing for exponential buckets. Answers `None`
    /// where nothing needs reconciling. Prometheus 3.5 refuses bounds that differ.
    pub fn between(
        left: Option<&Vec<f64>>,
        right: Option<&Vec<f64>>,
        edition: Edition,
    ) -> Result<Option<Self>, Mismatch> {
        match (left, right) {
            (None, None) => Ok(None),
            (Some(left), Some(right)) if same_bits(left, right) => Ok(None),
            (Some(_), Some(_)) if edition == Edition::V3_5 => Err(Mismatch::Bounds),
            (Some(left), Some(right)) => Ok(Some(Self(intersection(left, right)))),
            _ => Err(Mismatch::Schemas),
        }
    }

    /// The common bucket that holds bucket `index` of a histogram with the bounds `from`.
    pub fn target(&self, index: i64, from: &[f64]) -> i64 {
        let upper = usize::try_from(index.max(0)).ok().and_then(|index| from.get(index));
        let position = upper.map_or(self.0.len(), |upper| self.0.partition_point(|bound| bound < upper));
        position as i64
    }

    pub fn into_values(self) -> Vec<f64> {
        self.0
    }
}

fn intersection(left: &[f64], right: &[f64]) -> Vec<f64> {
    let mut rest = right.iter().peekable();
    let mut common = Vec::with_capacity(left.len().min(right.len()));
    for bound in left {
        while rest.next_if(|other| *other < bound).is_some() {}
        if rest.next_if(|other| *other == bound).is_some() {
            common.push(*bound);
        }
    }
    common
}
