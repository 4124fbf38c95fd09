//! The signatures of all functions.
//!
//! What a function computes is `promql::functions`'; here is only what a call to it may look like.

use super::ast::ValueType::{self, Matrix, Scalar, String, Vector};

/// What a call may look like.
#[derive(Debug, PartialEq)]
pub struct FunctionSignature {
    pub name: &'static str,
    pub arg_types: &'static [ValueType],
    /// 0: exactly `arg_types`. Above 0: the last type may be left out or given up to that many
    /// times. Below 0: any number of times.
    pub variadic: i32,
    pub return_type: ValueType,
    /// Needs `--enable-feature=promql-experimental-functions`.
    pub experimental: bool,
}

/// The function of that name.
pub fn function(name: &str) -> Option<&'static FunctionSignature> {
    FUNCTIONS.binary_search_by(|signature| signature.name.cmp(name)).ok().map(|at| &FUNCTIONS[at])
}

/// Always there, with exactly these arguments.
const fn plain(
    name: &'static str,
    arg_types: &'static [ValueType],
    return_type: ValueType,
) -> FunctionSignature {
    FunctionSignature { name, arg_types, variadic: 0, return_type, experimental: false }
}

const fn variadic(
    name: &'static str,
    arg_types: &'static [ValueType],
    variadic: i32,
    return_type: ValueType,
) -> FunctionSignature {
    FunctionSignature { name, arg_types, variadic, return_type, experimental: false }
}

const fn experimental(signature: FunctionSignature) -> FunctionSignature {
    FunctionSignature { experimental: true, ..signature }
}

/// Sorted by name.
pub const FUNCTIONS: &[FunctionSignature] = &[
    plain("abs", &[Vector], Vector),
    plain("absent", &[Vector], Vector),
    plain("absent_over_time", &[Matrix], Vector),
    plain("acos", &[Vector], Vector),
    plain("acosh", &[Vector], Vector),
    plain("asin", &[Vector], Vector),
    plain("asinh", &[Vector], Vector),
    plain("atan", &[Vector], Vector),
    plain("atanh", &[Vector], Vector),
    plain("avg_over_time", &[Matrix], Vector),
    plain("ceil", &[Vector], Vector),
    plain("changes", &[Matrix], Vector),
    plain("clamp", &[Vector, Scalar, Scalar], Vector),
    plain("clamp_max", &[Vector, Scalar], Vector),
    plain("clamp_min", &[Vector, Scalar], Vector),
    plain("cos", &[Vector], Vector),
    plain("cosh", &[Vector], Vector),
    plain("count_over_time", &[Matrix], Vector),
    variadic("day_of_month", &[Vector], 1, Vector),
    variadic("day_of_week", &[Vector], 1, Vector),
    variadic("day_of_year", &[Vector], 1, Vector),
    variadic("days_in_month", &[Vector], 1, Vector),
    plain("deg", &[Vector], Vector),
    plain("delta", &[Matrix], Vector),
    plain("deriv", &[Matrix], Vector),
    experimental(plain("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Vector)),
    experimental(plain("end", &[], Scalar)),
    plain("exp", &[Vector], Vector),
    experimental(plain("first_over_time", &[Matrix], Vector)),
    plain("floor", &[Vector], Vector),
    plain("histogram_avg", &[Vector], Vector),
    plain("histogram_count", &[Vector], Vector),
    plain("histogram_fraction", &[Scalar, Scalar, Vector], Vector),
    plain("histogram_quantile", &[Scalar, Vector], Vector),
    experimental(variadic("histogram_quantiles", &[Vector, String, Scalar, Scalar], 9, Vector)),
    plain("histogram_stddev", &[Vector], Vector),
    plain("histogram_stdvar", &[Vector], Vector),
    plain("histogram_sum", &[Vector], Vector),
    variadic("hour", &[Vector], 1, Vector),
    plain("idelta", &[Matrix], Vector),
    plain("increase", &[Matrix], Vector),
    experimental(variadic("info", &[Vector, Vector], 1, Vector)),
    plain("irate", &[Matrix], Vector),
    variadic("label_join", &[Vector, String, String, String], -1, Vector),
    plain("label_replace", &[Vector, String, String, String, String], Vector),
    plain("last_over_time", &[Matrix], Vector),
    plain("ln", &[Vector], Vector),
    plain("log10", &[Vector], Vector),
    plain("log2", &[Vector], Vector),
    experimental(plain("mad_over_time", &[Matrix], Vector)),
    experimental(plain("max_of", &[Scalar, Scalar], Scalar)),
    plain("max_over_time", &[Matrix], Vector),
    experimental(plain("min_of", &[Scalar, Scalar], Scalar)),
    plain("min_over_time", &[Matrix], Vector),
    variadic("minute", &[Vector], 1, Vector),
    variadic("month", &[Vector], 1, Vector),
    plain("pi", &[], Scalar),
    plain("predict_linear", &[Matrix, Scalar], Vector),
    plain("present_over_time", &[Matrix], Vector),
    plain("quantile_over_time", &[Scalar, Matrix], Vector),
    plain("rad", &[Vector], Vector),
    experimental(plain("range", &[], Scalar)),
    plain("rate", &[Matrix], Vector),
    plain("resets", &[Matrix], Vector),
    variadic("round", &[Vector, Scalar], 1, Vector),
    plain("scalar", &[Vector], Scalar),
    plain("sgn", &[Vector], Vector),
    plain("sin", &[Vector], Vector),
    plain("sinh", &[Vector], Vector),
    plain("sort", &[Vector], Vector),
    experimental(variadic("sort_by_label", &[Vector, String], -1, Vector)),
    experimental(variadic("sort_by_label_desc", &[Vector, String], -1, Vector)),
    plain("sort_desc", &[Vector], Vector),
    plain("sqrt", &[Vector], Vector),
    experimental(plain("start", &[], Scalar)),
    plain("stddev_over_time", &[Matrix], Vector),
    plain("stdvar_over_time", &[Matrix], Vector),
    experimental(plain("step", &[], Scalar)),
    plain("sum_over_time", &[Matrix], Vector),
    plain("tan", &[Vector], Vector),
    plain("tanh", &[Vector], Vector),
    plain("time", &[], Scalar),
    plain("timestamp", &[Vector], Vector),
    experimental(plain("ts_of_first_over_time", &[Matrix], Vector)),
    experimental(plain("ts_of_last_over_time", &[Matrix], Vector)),
    experimental(plain("ts_of_max_over_time", &[Matrix], Vector)),
    experimental(plain("ts_of_min_over_time", &[Matrix], Vector)),
    plain("vector", &[Scalar], Vector),
    variadic("year", &[Vector], 1, Vector),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_by_its_name() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        for signature in FUNCTIONS {
            assert_eq!(function(signature.name), Some(signature));
        }
        assert_eq!(function("Rate"), None);
        assert_eq!(function(""), None);
    }

    #[test]
    fn variadic_functions_have_a_last_type_to_repeat() {
        assert!(FUNCTIONS.iter().all(|f| f.variadic == 0 || !f.arg_types.is_empty()));
    }
}
