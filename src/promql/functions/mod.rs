//! What functions compute: pure, on slices and columns.
//!
//! - over ranges: [`rate`], [`over_time`], [`counter`], [`regression`], [`extended`],
//!   [`extended_histogram`]; dispatched by
//!   [`range`], which calls [`columns`] for series of floats alone, and [`series_call`] where a
//!   series' name or histograms matter
//! - of one value: [`math`], [`calendar`]
//! - of labels: [`label`], [`natural`]
//!
//! Which series take part and what is said about them is the operators'.

pub mod calendar;
pub mod columns;
pub mod counter;
pub mod extended;
pub mod extended_histogram;
pub mod kahan;
pub mod label;
pub mod math;
pub mod natural;
pub mod over_time;
pub mod quantile;
pub mod range;
pub mod rate;
pub mod regression;
mod series_call;

use calendar::CalendarField;
use math::MathFunction;
use range::RangeFunction;

/// Every function of the language, by what has to be done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Range(RangeFunction),
    Math(MathFunction),
    Calendar(CalendarField),
    HistogramStat(HistogramStat),
    Absent,
    AbsentOverTime,
    Clamp,
    ClampMax,
    ClampMin,
    End,
    HistogramFraction,
    HistogramQuantile,
    HistogramQuantiles,
    Info,
    LabelJoin,
    LabelReplace,
    MaxOf,
    MinOf,
    Pi,
    QueryRange,
    Round,
    Scalar,
    Sort { descending: bool },
    SortByLabel { descending: bool },
    Start,
    Step,
    Time,
    Timestamp,
    Vector,
}

/// Numbers that a native histogram carries or implies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistogramStat {
    Average,
    Count,
    StandardDeviation,
    Sum,
    Variance,
}

impl Function {
    pub fn named(name: &str) -> Option<Self> {
        if let Some(range) = RangeFunction::named(name) {
            return Some(Self::Range(range));
        }
        if let Some(math) = MathFunction::named(name) {
            return Some(Self::Math(math));
        }
        if let Some(field) = CalendarField::named(name) {
            return Some(Self::Calendar(field));
        }
        Some(match name {
            "absent" => Self::Absent,
            "absent_over_time" => Self::AbsentOverTime,
            "clamp" => Self::Clamp,
            "clamp_max" => Self::ClampMax,
            "clamp_min" => Self::ClampMin,
            "end" => Self::End,
            "histogram_avg" => Self::HistogramStat(HistogramStat::Average),
            "histogram_count" => Self::HistogramStat(HistogramStat::Count),
            "histogram_fraction" => Self::HistogramFraction,
            "histogram_quantile" => Self::HistogramQuantile,
            "histogram_quantiles" => Self::HistogramQuantiles,
            "histogram_stddev" => Self::HistogramStat(HistogramStat::StandardDeviation),
            "histogram_stdvar" => Self::HistogramStat(HistogramStat::Variance),
            "histogram_sum" => Self::HistogramStat(HistogramStat::Sum),
            "info" => Self::Info,
            "label_join" => Self::LabelJoin,
            "label_replace" => Self::LabelReplace,
            "max_of" => Self::MaxOf,
            "min_of" => Self::MinOf,
            "pi" => Self::Pi,
            "range" => Self::QueryRange,
            "round" => Self::Round,
            "scalar" => Self::Scalar,
            "sort" => Self::Sort { descending: false },
            "sort_by_label" => Self::SortByLabel { descending: false },
            "sort_by_label_desc" => Self::SortByLabel { descending: true },
            "sort_desc" => Self::Sort { descending: true },
            "start" => Self::Start,
            "step" => Self::Step,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "vector" => Self::Vector,
            _ => return None,
        })
    }

    /// Whether count and sum are all it wants to know of a histogram.
    pub fn needs_counts_only(self) -> bool {
        use HistogramStat::{Average, Count, Sum};
        matches!(self, Self::HistogramStat(Average | Count | Sum))
    }

    /// Whether it looks into the buckets of a histogram.
    pub fn needs_buckets(self) -> bool {
        matches!(self, Self::HistogramQuantile | Self::HistogramFraction)
    }

    /// Whether it asks only when its argument has samples, whatever their values: all but staleness
    /// markers are the same to it.
    pub fn needs_presence_only(self) -> bool {
        use RangeFunction::{CountOverTime, PresentOverTime};
        matches!(
            self,
            Self::Absent
                | Self::AbsentOverTime
                | Self::Timestamp
                | Self::Range(CountOverTime | PresentOverTime)
        )
    }

    /// Whether the result changes from step to step even where the arguments do not.
    pub fn depends_on_step(self) -> bool {
        matches!(
            self,
            Self::Calendar(_) | Self::Time | Self::Timestamp | Self::Range(RangeFunction::PredictLinear)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::syntax::FUNCTIONS;

    #[test]
    fn every_function_that_parses_is_implemented() {
        for signature in FUNCTIONS {
            assert!(Function::named(signature.name).is_some(), "{}", signature.name);
        }
    }
}
