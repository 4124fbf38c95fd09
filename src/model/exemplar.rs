//! Exemplars: a sample's pointer to a trace.

use super::Labels;

/// One exemplar of a series.
#[derive(Clone, Debug)]
pub struct Exemplar {
    pub timestamp_ms: i64,
    pub value: f64,
    /// The exemplar's own labels (`trace_id` …), not those of its series.
    pub labels: Labels,
}

impl PartialEq for Exemplar {
    /// Equal to the bit.
    fn eq(&self, other: &Self) -> bool {
        self.timestamp_ms == other.timestamp_ms
            && self.value.to_bits() == other.value.to_bits()
            && self.labels == other.labels
    }
}

impl Eq for Exemplar {}
