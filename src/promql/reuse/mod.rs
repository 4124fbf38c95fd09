//! Reuse of steps that were evaluated before: a dashboard asks the same again, over a window that has moved on.
//!
//! No answer is ever another for it, to the bit:
//!
//! - [`shape`]: for which expressions a step's value depends on that step alone, in whatever company it is evaluated, and
//!   of which times the samples are that it sees. All others are evaluated anew, always.
//! - [`kept`]: which of the steps that were kept still hold. A store tells of which times something has changed since
//!   ([`Querier::changed_since`]); a step holds as long as it saw nothing of that. Nothing is guessed about how late
//!   samples may come.
//! - [`watched`]: what of the data the proof leaves out; where it is met the answer is not kept.
//! - [`results`]: what is kept, within a bound of memory.
//!
//! Only answers without warnings and infos are kept; where the rest of the steps brings one, or an error, or
//! might have made the whole exceed a limit, the whole is evaluated, so that it says and refuses what it would have.
//! Only memory and time are judged by what is really spent.

mod kept;
mod results;
mod shape;
#[cfg(test)]
mod tests;
mod watched;

pub use results::{Figures, Results};

use std::sync::Arc;

use super::engine::{Engine, QueryOptions};
use super::error::{PromqlError, Result};
use super::histogram::Edition;
use super::operators::step_grid::StepGrid;
use super::syntax::{ValueType, parse};
use super::value::{MatrixSeries, QueryOutput, QueryStats, Value};
use crate::model::TimeRange;
use crate::querier::{Moment, Querier, QueryError, QueryGuard};
use kept::{Kept, Piece};
use results::Key;
use shape::{Shape, Steps};
use watched::Watched;

/// A range query.
#[derive(Clone, Copy, Debug)]
pub struct RangeQuery<'a> {
    pub query: &'a str,
    pub start_ms: i64,
    pub end_ms: i64,
    pub step_ms: i64,
    pub options: &'a QueryOptions,
}

/// Evaluates range queries, and as little of them as need be.
pub struct Reuse<'a> {
    pub engine: &'a Engine,
    pub results: &'a Results,
    /// Whose data is asked: nothing is shared with another scope.
    pub scope: &'a str,
}

/// A query whose steps may be kept.
struct Question {
    key: Key,
    shape: Shape,
    grid: StepGrid,
}

impl Reuse<'_> {
    /// As [`Engine::range`].
    pub fn range(
        &self,
        querier: &dyn Querier,
        asked: RangeQuery<'_>,
        guard: &QueryGuard,
    ) -> Result<QueryOutput> {
        let Some(question) = self.question(&asked) else { return self.evaluate(querier, asked, guard) };
        // Before anything is selected: what changes from here on is a change since.
        let Some(moment) = querier.moment() else { return self.evaluate(querier, asked, guard) };
        if !question.is_admitted(querier) {
            return self.evaluate(querier, asked, guard);
        }
        if let Some(kept) = self.results.get(&question.key) {
            let before = guard.reserved_bytes();
            if let Some(answer) = self.go_on(querier, asked, &question, kept, moment, guard)? {
                return Ok(answer);
            }
            guard.reserve_exactly(before)?;
        }
        self.results.count_miss();
        self.begin(querier, asked, question, moment, guard)
    }

    fn evaluate(
        &self,
        querier: &dyn Querier,
        asked: RangeQuery<'_>,
        guard: &QueryGuard,
    ) -> Result<QueryOutput> {
        let RangeQuery { query, start_ms, end_ms, step_ms, options } = asked;
        self.engine.range(querier, query, start_ms, end_ms, step_ms, options, guard)
    }

    /// `None` where each step is not proven to stand alone.
    fn question(&self, asked: &RangeQuery<'_>) -> Option<Question> {
        let options = self.engine.options();
        let is_proven =
            options.edition == Edition::V3_5 && !options.delayed_name_removal && !options.start_timestamps;
        if !is_proven {
            return None;
        }
        let expr = parse(asked.query, &self.engine.parse_options()).ok()?;
        if expr.value_type() != ValueType::Vector {
            return None;
        }
        let own_lookback_ms = asked.options.lookback_delta_ms.filter(|lookback_ms| *lookback_ms > 0);
        let lookback_ms = own_lookback_ms.unwrap_or(options.lookback_delta_ms);
        // No time of the grid is cut off at the ends of time.
        asked.end_ms.checked_sub(asked.start_ms)?;
        let grid = StepGrid::range(asked.start_ms, asked.end_ms, asked.step_ms).ok()?;
        let default_subquery_step_ms = options.default_subquery_step_ms;
        let steps = Steps { step_ms: grid.step_ms, lookback_ms, default_subquery_step_ms };
        let shape = Shape::of(&expr, steps)?;
        let key = Key {
            scope: self.scope.to_owned(),
            expression: expr.to_string(),
            lookback_ms,
            step_ms: grid.step_ms,
            phase_ms: grid.start_ms.rem_euclid(grid.step_ms),
            // A window that moves keeps its length; one of another length has another.
            magnitude: grid.count.checked_ilog2()?,
        };
        Some(Question { key, shape, grid })
    }

    /// Takes the steps that still hold and evaluates those behind them. `None` where there are none, or where the whole
    /// has to be evaluated to say the same.
    fn go_on(
        &self,
        querier: &dyn Querier,
        asked: RangeQuery<'_>,
        question: &Question,
        kept: Arc<Kept>,
        moment: Moment,
        guard: &QueryGuard,
    ) -> Result<Option<QueryOutput>> {
        let grid = &question.grid;
        let changed_ms = querier.changed_since(kept.moment());
        let Some(steps) = kept.holding(grid, question.shape.reach(), changed_ms, querier.kept_from_ms())
        else {
            return Ok(None);
        };
        let reused = steps.len();
        let mut stats = QueryStats { samples_peak: kept.samples_of(&steps), ..QueryStats::default() };
        let (mut fresh, mut last_piece) = (Vec::new(), None);
        if reused < grid.count {
            let rest = RangeQuery { start_ms: grid.time(reused), ..asked };
            let Some((series, of_rest)) = self.evaluate_rest(querier, rest, stats.samples_peak, guard)?
            else {
                // It would be found out again every time.
                self.results.forget(&question.key);
                return Ok(None);
            };
            last_piece = Some(Piece { last_ms: grid.end_ms(), samples: of_rest.samples_peak });
            stats = QueryStats { samples_peak: stats.samples_peak + of_rest.samples_peak, ..of_rest };
            fresh = series;
        }
        guard.reserve(kept.bytes_of(&steps))?;
        let pieces = kept.pieces(&steps).chain(last_piece).collect();
        let series = kept.joined(steps, fresh);
        let kept_from_ms = querier.kept_from_ms().max(kept.kept_from_ms());
        // What is kept now may have its room.
        drop(kept);
        self.results.count_hit(reused);
        if last_piece.is_some() {
            self.keep(question.key.clone(), &series, *grid, (moment, kept_from_ms), pieces);
        }
        let (warnings, infos) = (Vec::new(), Vec::new());
        Ok(Some(QueryOutput { value: Value::Matrix(series), warnings, infos, stats }))
    }

    /// Evaluates the steps behind those that are kept, which hold so many samples. `None` where the whole might not be
    /// just both together.
    fn evaluate_rest(
        &self,
        querier: &dyn Querier,
        rest: RangeQuery<'_>,
        samples_kept: u64,
        guard: &QueryGuard,
    ) -> Result<Option<(Vec<MatrixSeries>, QueryStats)>> {
        let watched = Watched::new(querier);
        let output = match self.evaluate(&watched, rest, guard) {
            Ok(output) => output,
            Err(error) if ends_the_query(&error) => return Err(error),
            Err(_) => return Ok(None),
        };
        let stats = output.stats;
        let samples = samples_kept.saturating_add(stats.samples_peak);
        if !watched.is_proven() || samples > self.engine.options().max_samples {
            return Ok(None);
        }
        Ok(plain_series(output).map(|series| (series, stats)))
    }

    /// Evaluates the whole, and keeps it where that is possible.
    fn begin(
        &self,
        querier: &dyn Querier,
        asked: RangeQuery<'_>,
        question: Question,
        moment: Moment,
        guard: &QueryGuard,
    ) -> Result<QueryOutput> {
        let watched = Watched::new(querier);
        let output = self.evaluate(&watched, asked, guard)?;
        if let Value::Matrix(series) = &output.value
            && watched.is_proven()
            && output.warnings.is_empty()
            && output.infos.is_empty()
        {
            let piece = Piece { last_ms: question.grid.end_ms(), samples: output.stats.samples_peak };
            let since = (moment, querier.kept_from_ms());
            self.keep(question.key, series, question.grid, since, vec![piece]);
        }
        Ok(output)
    }

    fn keep(
        &self,
        key: Key,
        series: &[MatrixSeries],
        grid: StepGrid,
        (moment, kept_from_ms): (Moment, i64),
        pieces: Vec<Piece>,
    ) {
        let bytes = key.bytes() + Kept::bytes(series, &grid);
        let Some(lease) = self.results.make_room(&key, bytes) else { return };
        if let Some(kept) = Kept::new(series, grid, moment, kept_from_ms, pieces) {
            self.results.put(key, Arc::new(kept.leased(lease)));
        }
    }
}

impl Question {
    /// Whether the whole would be let through: what is kept must not answer what is refused.
    fn is_admitted(&self, querier: &dyn Querier) -> bool {
        let (start_ms, end_ms) = (self.grid.start_ms, self.grid.end_ms());
        self.shape.selectors().iter().all(|reach| {
            let range = TimeRange::new(reach.oldest(start_ms), reach.newest(end_ms));
            querier.admits(range).is_ok()
        })
    }
}

/// Whether there is nothing to be gained by evaluating the whole instead: nobody waits for it, or it would need more.
fn ends_the_query(error: &PromqlError) -> bool {
    matches!(
        error,
        PromqlError::Canceled | PromqlError::Timeout | PromqlError::Storage(QueryError::Memory(_))
    )
}

/// The series of an answer about which nothing is said.
fn plain_series(output: QueryOutput) -> Option<Vec<MatrixSeries>> {
    match output.value {
        Value::Matrix(series)
            if output.warnings.is_empty() && output.infos.is_empty() && kept::are_plain(&series) =>
        {
            Some(series)
        }
        _ => None,
    }
}
