//! Evaluation: plain, synchronous, over columns of steps.
//!
//! Every expression is a stream of series in a fixed order, handed on in batches: selectors read
//! storage, functions and scalar arithmetic map each series, aggregations fold them as they come;
//! only what must see all series at once ([`binary`] matching, [`ranking`], sorting) holds them.
//! Batches are shared among threads, and worked at while the next ones are read; the order of the results never depends on them.
//!
//! - values: [`step_grid`] (when), [`mod@column`] (a series over the grid), [`samples`] (from storage)
//! - sources: [`fetch`] and [`selection`], [`instant`] and [`smoothed`], [`window`] and [`bounds`],
//!   [`selector`]
//! - operators: [`call`] with [`vector_call`], [`label_call`], [`histogram_call`] and [`info`]; [`binary`] with
//!   [`arithmetic`], [`vector_matching`] and [`set`]; [`aggregation`] with [`grouping`],
//!   [`accumulator`] and [`means`]; [`ranking`]; [`range_vector`]
//! - [`evaluator`] ties them together

pub mod accumulator;
pub mod aggregation;
pub mod arithmetic;
pub mod binary;
pub mod bounds;
pub mod call;
pub mod column;
pub mod count_values;
pub mod evaluator;
pub mod fetch;
pub mod grouping;
pub mod histogram_call;
pub mod info;
pub mod instant;
pub mod label_call;
pub mod means;
pub mod merge;
pub mod range_vector;
pub mod ranking;
pub mod samples;
pub mod selection;
pub mod selector;
pub mod set;
pub mod smoothed;
pub mod step_grid;
pub mod vector_call;
pub mod vector_matching;
pub mod window;
