//! For which expressions a step's value depends on that step alone, and on which samples.
//!
//! A list of what is proven, by the operators' code; whatever is not on it has no shape. What has to hold of an
//! expression, whichever steps it is evaluated at:
//!
//! - A step's value follows from the samples that this step sees. So nothing that knows the query's range: no `@`, no
//!   `start()` or `end()`, no computed durations; no parameter that is judged by all its steps together.
//! - It is refused where one of its steps alone would be. Where names are dropped and two series must not become the
//!   same **at any step**, all of them have one name ([`Series::name`]): then they never do.
//! - The steps of a subquery are those that some step around it sees: where it is shorter than they are apart, those in
//!   between are evaluated too as long as both neighbours are, and may be what is refused or remarked on.
//! - Where what is added up is rounded, or one of equals is chosen, series come in one order, that of the labels as they
//!   are stored, however many of them have no value at these steps ([`Series::in_order`]). Groups, matches and
//!   unions come in the order of their first members, which depends on the steps: nothing may be summed over them.
//!
//! Native histograms, start timestamps and the labels `__type__` and `__unit__` are left out of the proof; the first
//! and the last are seen by [`super::watched`], and start timestamps are read by engines that reuse nothing.

use crate::promql::functions::Function;
use crate::promql::functions::range::RangeFunction;
use crate::promql::operators::binary::changes_schema;
use crate::promql::syntax::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Expr, ExprKind, Extension, TimeShift, ValueType,
    VectorSelector,
};

/// Taller expressions have no shape: they are read by recursion.
const HEIGHT_MAX: u32 = 64;

/// What of a query and its engine decides what a step sees, beside the expression.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// How far they are apart.
    pub step_ms: i64,
    pub lookback_ms: i64,
    /// Step of subqueries that name none.
    pub default_subquery_step_ms: i64,
}

/// Which times a step sees: how long before it, from the oldest to the newest. Less than 0 is after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    oldest_ms: i64,
    newest_ms: i64,
}

impl Reach {
    /// The oldest time that a step sees, or a little before it.
    pub fn oldest(self, time_ms: i64) -> i64 {
        time_ms.saturating_sub(self.oldest_ms)
    }

    pub fn newest(self, time_ms: i64) -> i64 {
        time_ms.saturating_sub(self.newest_ms)
    }

    /// Seen from steps that are seen so long before a step.
    fn seen_from(self, offset_ms: i64, length_ms: i64) -> Option<Self> {
        let newest_ms = self.newest_ms.checked_add(offset_ms)?;
        let oldest_ms = self.oldest_ms.checked_add(offset_ms)?.checked_add(length_ms)?;
        Some(Self { oldest_ms, newest_ms })
    }
}

/// See the module.
#[derive(Debug)]
pub struct Shape {
    /// There is one at least.
    selectors: Vec<Reach>,
}

impl Shape {
    /// `None` where the steps of a vector expression are not proven to stand alone.
    pub fn of(expr: &Expr, steps: Steps) -> Option<Self> {
        if expr.height() > HEIGHT_MAX {
            return None;
        }
        let mut reading = Reading { steps, selectors: Vec::new() };
        reading.vector(expr, Reach::default())?;
        let Reading { selectors, .. } = reading;
        (!selectors.is_empty()).then_some(Self { selectors })
    }

    pub fn selectors(&self) -> &[Reach] {
        &self.selectors
    }

    /// Of all selectors together.
    pub fn reach(&self) -> Reach {
        let oldest_ms = self.selectors.iter().map(|reach| reach.oldest_ms).max();
        let newest_ms = self.selectors.iter().map(|reach| reach.newest_ms).min();
        Reach { oldest_ms: oldest_ms.unwrap_or(0), newest_ms: newest_ms.unwrap_or(0) }
    }
}

/// What is known of a vector's series, at whichever steps.
struct Series {
    /// They come in the order of the labels that they are stored under.
    in_order: bool,
    /// The name of all of them, empty where they have none; `None` where there may be several.
    name: Option<String>,
}

impl Series {
    fn nameless(in_order: bool) -> Self {
        Self { in_order, name: Some(String::new()) }
    }

    /// Names are dropped, and those that become the same are joined, or refused at a step at which they meet.
    fn joined_without_name(self) -> Self {
        Self::nameless(self.in_order && self.name.is_some())
    }

    /// Names are dropped, and those that become the same are refused.
    fn each_without_name(self) -> Option<Self> {
        self.name.is_some().then(|| Self::nameless(self.in_order))
    }
}

struct Reading {
    /// Those that the expression at hand is evaluated at.
    steps: Steps,
    selectors: Vec<Reach>,
}

impl Reading {
    /// `around`: from where the expression is seen.
    fn vector(&mut self, expr: &Expr, around: Reach) -> Option<Series> {
        match &expr.kind {
            ExprKind::Paren(inner) => self.vector(inner, around),
            ExprKind::Unary(unary) if !unary.negative => self.vector(&unary.expr, around),
            ExprKind::Unary(unary) => self.vector(&unary.expr, around)?.each_without_name(),
            ExprKind::Vector(selector) => self.selector(selector, self.steps.lookback_ms, around),
            ExprKind::Call(call) => self.call(call, around),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, around),
            ExprKind::Binary(binary) => self.binary(binary, around),
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Matrix(_) | ExprKind::Subquery(_) => None,
        }
    }

    fn range(&mut self, expr: &Expr, around: Reach) -> Option<Series> {
        match &expr.kind {
            ExprKind::Paren(inner) => self.range(inner, around),
            ExprKind::Matrix(matrix) if matrix.range_expr.is_none() => {
                self.selector(&matrix.selector, matrix.range_ms, around)
            }
            ExprKind::Subquery(subquery) if subquery.range_expr.is_none() && subquery.step_expr.is_none() => {
                if subquery.range_ms < self.steps.step_ms {
                    return None;
                }
                let inside = around.seen_from(plain_offset_ms(&subquery.shift)?, subquery.range_ms)?;
                let step_ms = subquery.step_ms.unwrap_or(self.steps.default_subquery_step_ms);
                let outer_ms = std::mem::replace(&mut self.steps.step_ms, step_ms);
                let series = self.vector(&subquery.expr, inside)?;
                self.steps.step_ms = outer_ms;
                Some(series)
            }
            _ => None,
        }
    }

    fn scalar(&mut self, expr: &Expr, around: Reach) -> Option<()> {
        match &expr.kind {
            ExprKind::Number(_) => Some(()),
            ExprKind::Paren(inner) => self.scalar(inner, around),
            ExprKind::Unary(unary) => self.scalar(&unary.expr, around),
            ExprKind::Binary(binary) => {
                self.scalar(&binary.lhs, around)?;
                self.scalar(&binary.rhs, around)
            }
            ExprKind::Call(call) => match Function::named(call.func.name)? {
                Function::Time | Function::Pi => Some(()),
                Function::MaxOf | Function::MinOf => self.scalars(&call.args, around),
                Function::Scalar => self.vector(call.args.first()?, around).map(drop),
                _ => None,
            },
            _ => None,
        }
    }

    fn scalars(&mut self, args: &[Expr], around: Reach) -> Option<()> {
        args.iter().try_for_each(|arg| self.scalar(arg, around))
    }

    fn selector(&mut self, selector: &VectorSelector, length_ms: i64, around: Reach) -> Option<Series> {
        if selector.extension != Extension::None {
            return None;
        }
        self.selectors.push(around.seen_from(plain_offset_ms(&selector.shift)?, length_ms)?);
        Some(Series { in_order: true, name: selector.metric_name().map(str::to_owned) })
    }

    fn call(&mut self, call: &Call, around: Reach) -> Option<Series> {
        let args = call.args.as_slice();
        match Function::named(call.func.name)? {
            Function::Range(RangeFunction::DoubleExponentialSmoothing) => None,
            Function::Range(function) => {
                let mut series = None;
                for arg in args {
                    match arg.value_type() {
                        ValueType::Matrix => series = Some(self.range(arg, around)?),
                        _ => self.scalar(arg, around)?,
                    }
                }
                let series = series?;
                if function.keeps_name() { Some(series) } else { series.each_without_name() }
            }
            Function::Calendar(_) if args.is_empty() => Some(Series::nameless(true)),
            Function::Math(_)
            | Function::Calendar(_)
            | Function::Clamp
            | Function::ClampMax
            | Function::ClampMin
            | Function::Round
            | Function::Timestamp => {
                let (vector, scalars) = args.split_first()?;
                let series = self.vector(vector, around)?;
                self.scalars(scalars, around)?;
                Some(series.joined_without_name())
            }
            Function::Absent => {
                self.vector(args.first()?, around)?;
                Some(Series::nameless(true))
            }
            Function::AbsentOverTime => {
                self.range(args.first()?, around)?;
                Some(Series::nameless(true))
            }
            Function::HistogramQuantile => {
                let [quantile, vector] = args else { return None };
                self.scalar(quantile, around)?;
                // Buckets are put in an order of their own.
                self.vector(vector, around)?;
                Some(Series::nameless(false))
            }
            Function::Vector => {
                self.scalars(args, around)?;
                Some(Series::nameless(true))
            }
            // Of a single step, series come in the order of their values.
            Function::Sort { .. } => Some(Series { in_order: false, ..self.vector(args.first()?, around)? }),
            // Scalars, what knows the query's range, what judges labels of all steps together, and histograms.
            Function::End
            | Function::HistogramFraction
            | Function::HistogramQuantiles
            | Function::HistogramStat(_)
            | Function::Info
            | Function::LabelJoin
            | Function::LabelReplace
            | Function::MaxOf
            | Function::MinOf
            | Function::Pi
            | Function::QueryRange
            | Function::Scalar
            | Function::SortByLabel { .. }
            | Function::Start
            | Function::Step
            | Function::Time => None,
        }
    }

    fn aggregate(&mut self, aggregate: &Aggregate, around: Reach) -> Option<Series> {
        let series = self.vector(&aggregate.expr, around)?;
        let param = aggregate.param.as_deref();
        let needs_order = match aggregate.op {
            AggregateOp::Count | AggregateOp::Group => false,
            AggregateOp::CountValues => {
                let ExprKind::String(label) = &param?.without_parens().kind else { return None };
                if label.starts_with("__") {
                    return None;
                }
                false
            }
            AggregateOp::Quantile => {
                self.scalar(param?, around)?;
                true
            }
            AggregateOp::TopK | AggregateOp::BottomK if is_plain_count(param?) => true,
            AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::LimitK | AggregateOp::LimitRatio => {
                return None;
            }
            AggregateOp::Avg
            | AggregateOp::Max
            | AggregateOp::Min
            | AggregateOp::StdDev
            | AggregateOp::StdVar
            | AggregateOp::Sum => true,
        };
        if needs_order && !series.in_order {
            return None;
        }
        let keeps_series = matches!(aggregate.op, AggregateOp::TopK | AggregateOp::BottomK);
        let is_one_group = aggregate.grouping.is_empty() && !aggregate.without;
        let keeps_name = !aggregate.without && aggregate.grouping.iter().any(|label| label == "__name__");
        let name = if keeps_series || keeps_name { series.name } else { Some(String::new()) };
        let in_order = is_one_group && !keeps_series && aggregate.op != AggregateOp::CountValues;
        Some(Series { in_order, name })
    }

    fn binary(&mut self, binary: &Binary, around: Reach) -> Option<Series> {
        if matches!(binary.op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
            return None;
        }
        let drops_name = changes_schema(binary.op) || binary.return_bool;
        let vector = match (binary.lhs.value_type(), binary.rhs.value_type()) {
            (ValueType::Vector, ValueType::Vector) => return self.vectors(binary, drops_name, around),
            (ValueType::Vector, ValueType::Scalar) => {
                self.scalar(&binary.rhs, around)?;
                &binary.lhs
            }
            (ValueType::Scalar, ValueType::Vector) => {
                self.scalar(&binary.lhs, around)?;
                &binary.rhs
            }
            _ => return None,
        };
        let series = self.vector(vector, around)?;
        Some(if drops_name { series.joined_without_name() } else { series })
    }

    fn vectors(&mut self, binary: &Binary, drops_name: bool, around: Reach) -> Option<Series> {
        let matching = binary.matching.as_ref()?;
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            return None;
        }
        let left = self.vector(&binary.lhs, around)?;
        let right = self.vector(&binary.rhs, around)?;
        Some(match binary.op {
            BinaryOp::And | BinaryOp::Unless => left,
            BinaryOp::Or => {
                let is_one_name = left.name == right.name;
                Series { in_order: false, name: left.name.filter(|_| is_one_name) }
            }
            _ if drops_name && !matching.include.iter().any(|label| label == "__name__") => {
                Series::nameless(false)
            }
            _ => Series { in_order: false, name: None },
        })
    }
}

/// The offset of what is neither pinned to a time nor moved by something computed.
fn plain_offset_ms(shift: &TimeShift) -> Option<i64> {
    match shift {
        TimeShift { offset_ms, offset_expr: None, at: None } => Some(*offset_ms),
        _ => None,
    }
}

/// A number that counts at every step, and is refused at none.
fn is_plain_count(param: &Expr) -> bool {
    matches!(&param.without_parens().kind, ExprKind::Number(number) if (1.0..=1e6).contains(&number.value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::syntax::{ParseOptions, parse};

    fn shape(query: &str) -> Option<Shape> {
        shape_at(query, 15_000)
    }

    fn shape_at(query: &str, step_ms: i64) -> Option<Shape> {
        let options = ParseOptions { experimental_functions: true, ..ParseOptions::default() };
        let steps = Steps { step_ms, lookback_ms: 300_000, default_subquery_step_ms: 60_000 };
        Shape::of(&parse(query, &options).expect(query), steps)
    }

    #[test]
    fn a_step_sees_what_its_selectors_and_subqueries_look_back_to() {
        let check = |query: &str, oldest_s: i64, newest_s: i64| {
            let reach = shape(query).expect(query).reach();
            assert_eq!((reach.oldest_ms / 1000, reach.newest_ms / 1000), (oldest_s, newest_s), "{query}");
        };
        check("up", 300, 0);
        check("up offset 1m", 360, 60);
        check("rate(x_total[5m])", 300, 0);
        check("rate(x_total[1h] offset -1m)", 3540, -60);
        check("max_over_time(rate(x_total[5m])[1h:1m] offset 10m)", 3600 + 600 + 300, 600);
        check("a / b offset 1h", 3900, 0);
        check("a + time() - scalar(b offset 1d)", 86_700, 0);
        check("sum_over_time((a offset 30s)[1m:10s])", 390, 30);
    }

    #[test]
    fn dashboards_usual_expressions_have_a_shape() {
        for query in [
            "up",
            "-up",
            "{job=\"x\"}",
            "up == 0",
            "sum(rate(http_requests_total[5m])) by (code)",
            "sum by (code) (rate(a_total[5m])) / on (code) group_left sum by (code) (rate(b_total[5m]))",
            "100 * (1 - avg by (instance) (rate(cpu_total{mode=\"idle\"}[5m])))",
            "histogram_quantile(0.99, sum by (le) (rate(b_bucket[5m])))",
            "topk(5, rate(a_total[1m]))",
            "count(count by (instance) (up))",
            "count by (job) ({__name__=~\"a|b\"})",
            "sum by (job) ({__name__=~\"a|b\"})",
            "sort_desc(sum by (x) (a))",
            "max_over_time(sum(rate(a_total[5m]))[1h:1m])",
            "absent(up{job=\"x\"})",
            "clamp_min(a, 0) * 2 > bool 3",
            "abs({__name__=~\"a|b\"})",
            "a and on (x) b or c unless d",
            "quantile(0.9, a)",
            "count_values(\"v\", a)",
            "time() - timestamp(a)",
            "predict_linear(a[1h], 3600)",
            "sum(sum(a) + 1)",
        ] {
            assert!(shape(query).is_some(), "{query}");
        }
    }

    #[test]
    fn subqueries_between_whose_ranges_nothing_is_evaluated_have_a_shape() {
        let check = |query: &str, step_s: i64, want: bool| {
            assert_eq!(shape_at(query, step_s * 1000).is_some(), want, "{query} every {step_s} s");
        };
        check("max_over_time(a[1m:10s])", 60, true);
        check("max_over_time(a[1m:10s])", 61, false);
        check("max_over_time(a[1m])", 61, true);
        check("max_over_time(max_over_time(a[1m:10s])[1h:1m])", 3600, true);
        check("max_over_time(max_over_time(a[1m:10s])[1h:2m])", 60, false);
        check("max_over_time(max_over_time(a[1m:10s])[1h:])", 60, true);
        check("max_over_time(max_over_time(a[50s:10s])[1h:])", 30, false);
        check("max_over_time(a[1h:2m]) + max_over_time(a[1m:10s])", 60, true);
    }

    #[test]
    fn what_is_not_proven_has_none() {
        for query in [
            "1 + vector(time())",
            "a @ 5",
            "a @ start()",
            "rate(a[5m] @ end())",
            "a offset max_of(step(), 5m)",
            "rate(a[1m + 2 * step()])",
            "rate(a[5m] anchored)",
            "rate({__name__=~\"a|b\"}[5m])",
            "-{job=\"x\"}",
            "sum(max by (x) (a))",
            "sum(a / b)",
            "sum(abs({__name__=~\"a|b\"}))",
            "sum(a or b)",
            "max(sum by (x) (a))",
            "rate((a or b)[5m:1m])",
            "label_replace(a, \"x\", \"$1\", \"y\", \"(.*)\")",
            "topk(scalar(a), b)",
            "topk(0, b)",
            "limitk(1, a)",
            "info(a)",
            "-(a * on (x) group_left (__name__) b)",
            "a + fill(0) b",
            "histogram_sum(a)",
            "count_values(\"__name__\", a)",
            "sort_by_label(a, \"x\")",
        ] {
            assert!(shape(query).is_none(), "{query}");
        }
    }
}
