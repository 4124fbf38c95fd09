//! What an operation on histograms has to tell: notes beside a result, mismatches instead of one.
//!
//! Owns the wording that does not depend on the query. Prefix (`PromQL warning: `), metric name
//! and position are added by the engine.

/// Which operation a note speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    Addition,
    Subtraction,
    Aggregation,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// Something the user should know about a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Note {
    /// Warning: `rate`, `increase` or `irate` of a gauge histogram.
    NotCounter,
    /// Warning: `delta` or `idelta` of a counter histogram.
    NotGauge,
    /// Warning: exponential and custom buckets cannot be combined.
    MixedSchemas,
    /// Warning (3.5): custom buckets with different bounds cannot be combined.
    IncompatibleBounds,
    /// Warning (3.14): one histogram claims a counter reset, the other claims none.
    ConflictingResets(Operation),
    /// Info (3.14): custom buckets with different bounds were brought to their common bounds.
    BoundsReconciled(Operation),
    /// Info: classic bucket counts had to be made monotonic.
    ForcedMonotonicity,
    /// Info: observations of NaN make the quantile NaN.
    QuantileIsNan,
    /// Info: observations of NaN count as higher than all others.
    QuantileSkewed,
    /// Info: observations of NaN belong to no fraction.
    FractionExcludesNan,
}

impl Note {
    /// A warning; otherwise an info.
    pub fn is_warning(self) -> bool {
        matches!(
            self,
            Self::NotCounter
                | Self::NotGauge
                | Self::MixedSchemas
                | Self::IncompatibleBounds
                | Self::ConflictingResets(_)
        )
    }

    /// Whether a metric name belongs behind the text.
    pub fn names_metric(self) -> bool {
        !matches!(self, Self::ConflictingResets(_) | Self::BoundsReconciled(_))
    }

    /// The text between prefix and metric name, or position where there is no name. The engine
    /// appends ` "name"` or ` for metric name "name"` as [`Note::joins_with_colon`] says.
    pub fn text(self) -> String {
        match self {
            Self::NotCounter => "this native histogram metric is not a counter".into(),
            Self::NotGauge => "this native histogram metric is not a gauge".into(),
            Self::MixedSchemas => {
                "vector contains a mix of histograms with exponential and custom buckets schemas".into()
            }
            Self::IncompatibleBounds => "vector contains histograms with incompatible custom buckets".into(),
            Self::ConflictingResets(during) => {
                format!("conflicting counter resets during histogram {}", during.as_str())
            }
            Self::BoundsReconciled(during) => {
                format!("mismatched custom buckets were reconciled during {}", during.as_str())
            }
            Self::ForcedMonotonicity => {
                "input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
                    .into()
            }
            Self::QuantileIsNan => "input to histogram_quantile has NaN observations, result is NaN".into(),
            Self::QuantileSkewed => {
                "input to histogram_quantile has NaN observations, result is skewed higher".into()
            }
            Self::FractionExcludesNan => "input to histogram_fraction has NaN observations, which are \
                                          excluded from all fractions"
                .into(),
        }
    }

    /// `text: "name"` instead of `text for metric name "name"`.
    pub fn joins_with_colon(self) -> bool {
        matches!(self, Self::NotCounter | Self::NotGauge)
    }
}

/// Why two histograms have no sum or difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Mismatch {
    #[error("exponential and custom buckets cannot be combined")]
    Schemas,
    #[error("custom buckets have different bounds")]
    Bounds,
}

impl From<Mismatch> for Note {
    fn from(mismatch: Mismatch) -> Self {
        match mismatch {
            Mismatch::Schemas => Self::MixedSchemas,
            Mismatch::Bounds => Self::IncompatibleBounds,
        }
    }
}
