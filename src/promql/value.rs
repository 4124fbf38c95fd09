//! What a query answers.

use std::sync::Arc;
use std::time::Duration;

use super::histogram::FloatHistogram;
use crate::model::Labels;

/// The answer of one query with everything said about it.
#[derive(Clone, Debug)]
pub struct QueryOutput {
    pub value: Value,
    /// Rendered as the API sends them: `PromQL warning: … (1:5)`, sorted, at most ten and a line
    /// that counts the rest.
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
    pub stats: QueryStats,
}

#[derive(Clone, Debug)]
pub enum Value {
    Scalar {
        timestamp_ms: i64,
        value: f64,
    },
    String {
        timestamp_ms: i64,
        value: String,
    },
    /// In the order of evaluation: `sort` and `topk` decide it.
    Vector(Vec<VectorPoint>),
    /// Sorted by labels.
    Matrix(Vec<MatrixSeries>),
}

#[derive(Clone, Debug)]
pub struct VectorPoint {
    pub labels: Labels,
    pub timestamp_ms: i64,
    pub value: PointValue,
}

#[derive(Clone, Debug)]
pub enum PointValue {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

/// One series of a range; floats and histograms sorted by time, no time in both.
#[derive(Clone, Debug, Default)]
pub struct MatrixSeries {
    pub labels: Labels,
    pub floats: Vec<(i64, f64)>,
    pub histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

/// What a query cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueryStats {
    /// Samples that functions and selectors looked at, each as often as a step saw it.
    pub samples_total: u64,
    /// Most samples held at one time.
    pub samples_peak: u64,
    /// Parsing and planning.
    pub preparation: Duration,
    /// Fetching and evaluating.
    pub evaluation: Duration,
    /// Sorting the result.
    pub sorting: Duration,
}
