//! The steps of an answer as they are kept: columns of floats, series by series.
//!
//! Owns which of them still hold, and how they are joined with those that were evaluated behind them. Immutable: what
//! goes on is kept anew.

use std::ops::Range;

use super::shape::Reach;
use crate::memory::MemoryLease;
use crate::model::Labels;
use crate::promql::operators::column::{ABSENT, is_absent};
use crate::promql::operators::step_grid::StepGrid;
use crate::promql::value::MatrixSeries;
use crate::querier::Moment;

/// Evaluations of which more is not told apart: neighbours are then counted as one.
const PIECES_MAX: usize = 64;

/// What one evaluation took.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Its last step.
    pub last_ms: i64,
    /// Most samples that it held.
    pub samples: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Kept {
    grid: StepGrid,
    /// Whatever has changed since is not in it.
    moment: Moment,
    /// Nothing that is older was hidden when it was evaluated.
    kept_from_ms: i64,
    /// In order of labels, each once.
    series: Vec<Column>,
    /// Oldest first. Together they held no less than an evaluation of all steps at once would.
    pieces: Vec<Piece>,
    lease: Option<MemoryLease>,
}

#[derive(Debug)]
struct Column {
    labels: Labels,
    /// One per step.
    floats: Box<[f64]>,
}

/// Whether series have floats alone and are in order of labels, each once: what can be kept and joined.
pub fn are_plain(series: &[MatrixSeries]) -> bool {
    series.iter().all(|series| series.histograms.is_empty())
        && series.is_sorted_by(|one, next| one.labels < next.labels)
}

impl Kept {
    /// `None` where the series cannot be kept.
    pub fn new(
        series: &[MatrixSeries],
        grid: StepGrid,
        moment: Moment,
        kept_from_ms: i64,
        mut pieces: Vec<Piece>,
    ) -> Option<Self> {
        if !are_plain(series) {
            return None;
        }
        if pieces.len() > PIECES_MAX {
            let of_pair = |pair: &[Piece]| Piece {
                last_ms: pair[pair.len() - 1].last_ms,
                samples: pair.iter().map(|piece| piece.samples).fold(0, u64::saturating_add),
            };
            pieces = pieces.chunks(2).map(of_pair).collect();
        }
        let column = |series: &MatrixSeries| {
            let mut floats = vec![ABSENT; grid.count].into_boxed_slice();
            for (time_ms, value) in &series.floats {
                floats[step_of(&grid, *time_ms)] = *value;
            }
            Column { labels: series.labels.clone(), floats }
        };
        let series = series.iter().map(column).collect();
        Some(Self { grid, moment, kept_from_ms, series, pieces, lease: None })
    }

    /// What series would take.
    pub fn bytes(series: &[MatrixSeries], grid: &StepGrid) -> u64 {
        let of_series = |series: &MatrixSeries| {
            size_of::<Column>() + series.labels.as_bytes().len() + grid.count * size_of::<f64>()
        };
        let of_pieces = PIECES_MAX * size_of::<Piece>();
        (size_of::<Self>() + of_pieces + series.iter().map(of_series).sum::<usize>()) as u64
    }

    /// Given back with it.
    pub fn leased(self, lease: MemoryLease) -> Self {
        Self { lease: Some(lease), ..self }
    }

    pub fn leased_bytes(&self) -> u64 {
        self.lease.as_ref().map_or(0, MemoryLease::bytes)
    }

    pub fn moment(&self) -> Moment {
        self.moment
    }

    pub fn kept_from_ms(&self) -> i64 {
        self.kept_from_ms
    }

    /// The steps that stand at the beginning of `grid` and still hold, where times from `changed_ms` on have changed and
    /// those before `kept_from_ms` may be hidden by now. `None` where there are none, or where steps before them are
    /// asked for.
    pub fn holding(
        &self,
        grid: &StepGrid,
        reach: Reach,
        changed_ms: i64,
        kept_from_ms: i64,
    ) -> Option<Range<usize>> {
        let kept_from_ms = kept_from_ms.max(self.kept_from_ms);
        let is_hidden = |step: usize| reach.oldest(self.grid.time(step)) < kept_from_ms;
        let is_unchanged = |step: usize| reach.newest(self.grid.time(step)) < changed_ms;
        let (first, end) = (first_not(self.grid.count, is_hidden), first_not(self.grid.count, is_unchanged));
        let ahead_ms = grid.start_ms.checked_sub(self.grid.start_ms).filter(|ahead_ms| *ahead_ms >= 0)?;
        let from = usize::try_from(ahead_ms / self.grid.step_ms).ok()?;
        let to = end.min(from.saturating_add(grid.count));
        (first <= from && from < to).then_some(from..to)
    }

    /// The evaluations that some of the steps come from.
    pub fn pieces(&self, steps: &Range<usize>) -> impl Iterator<Item = Piece> {
        let first_ms = self.grid.time(steps.start);
        self.pieces.iter().copied().filter(move |piece| piece.last_ms >= first_ms)
    }

    /// No fewer samples than an evaluation of the steps would hold at one time.
    pub fn samples_of(&self, steps: &Range<usize>) -> u64 {
        self.pieces(steps).map(|piece| piece.samples).fold(0, u64::saturating_add)
    }

    /// What the steps take in an answer, at most.
    pub fn bytes_of(&self, steps: &Range<usize>) -> u64 {
        let of_series = size_of::<MatrixSeries>() + steps.len() * size_of::<(i64, f64)>();
        (self.series.len() * of_series) as u64
    }

    /// The steps and, behind them, what was evaluated of later ones; both in order of labels.
    pub fn joined(&self, steps: Range<usize>, fresh: Vec<MatrixSeries>) -> Vec<MatrixSeries> {
        let mut joined = Vec::with_capacity(self.series.len().max(fresh.len()));
        let mut fresh = fresh.into_iter().peekable();
        for Column { labels, floats } in &self.series {
            while let Some(before) = fresh.next_if(|series| series.labels < *labels) {
                joined.push(before);
            }
            let behind = fresh.next_if(|series| series.labels == *labels);
            let behind = behind.map(|series| series.floats).unwrap_or_default();
            let mut points = Vec::with_capacity(steps.len() + behind.len());
            let of_steps = steps.clone().map(|step| (self.grid.time(step), floats[step]));
            points.extend(of_steps.filter(|(_, value)| !is_absent(*value)));
            points.extend(behind);
            if !points.is_empty() {
                joined.push(MatrixSeries {
                    labels: labels.clone(),
                    floats: points,
                    ..MatrixSeries::default()
                });
            }
        }
        joined.extend(fresh);
        joined
    }
}

/// Number of a time that is one of the grid's.
fn step_of(grid: &StepGrid, time_ms: i64) -> usize {
    ((time_ms - grid.start_ms) / grid.step_ms) as usize
}

/// The first of `count` numbers of which something does not hold that holds of all before it, and of none behind.
fn first_not(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, floats: &[(i64, f64)]) -> MatrixSeries {
        let labels = Labels::from_pairs([("s", name)]);
        MatrixSeries { labels, floats: floats.to_vec(), ..MatrixSeries::default() }
    }

    fn grid(start_ms: i64, count: usize) -> StepGrid {
        StepGrid { start_ms, step_ms: 10, count }
    }

    fn kept(all: &[MatrixSeries], count: usize) -> Kept {
        let piece = Piece { last_ms: 100 + 10 * (count as i64 - 1), samples: 7 };
        Kept::new(all, grid(100, count), Moment(1), 50, vec![piece]).expect("plain")
    }

    fn points(joined: &[MatrixSeries]) -> Vec<(String, Vec<(i64, f64)>)> {
        joined.iter().map(|s| (s.labels.get("s").unwrap_or("").to_owned(), s.floats.clone())).collect()
    }

    #[test]
    fn steps_hold_before_what_changed_and_behind_what_is_hidden() {
        let kept = kept(&[], 10);
        let reach = Reach::default();
        let check =
            |start_ms: i64, count: usize, changed_ms: i64, from_ms: i64, want: Option<Range<usize>>| {
                let got = kept.holding(&grid(start_ms, count), reach, changed_ms, from_ms);
                assert_eq!(got, want, "{start_ms} {count} {changed_ms} {from_ms}");
            };
        check(100, 10, i64::MAX, 0, Some(0..10));
        check(130, 20, i64::MAX, 0, Some(3..10));
        check(130, 2, i64::MAX, 0, Some(3..5));
        check(130, 20, 160, 0, Some(3..6));
        check(130, 20, 161, 0, Some(3..7));
        check(130, 20, 130, 0, None);
        check(90, 20, i64::MAX, 0, None);
        check(200, 20, i64::MAX, 0, None);
        check(130, 20, i64::MAX, 130, Some(3..10));
        check(130, 20, i64::MAX, 131, None);
        check(i64::MIN, 20, i64::MAX, 0, None);
    }

    #[test]
    fn what_was_hidden_then_is_not_taken_for_whole_when_the_clock_goes_back() {
        let kept = Kept::new(&[], grid(100, 10), Moment(1), 120, Vec::new()).expect("plain");
        assert_eq!(kept.holding(&grid(100, 10), Reach::default(), i64::MAX, 0), None);
        assert_eq!(kept.holding(&grid(120, 10), Reach::default(), i64::MAX, 0), Some(2..10));
    }

    #[test]
    fn series_are_joined_by_their_labels_and_those_without_points_left_out() {
        let all = [
            series("b", &[(100, 1.0), (110, 2.0), (130, 4.0)]),
            series("c", &[(100, 5.0)]),
            series("e", &[(120, 6.0)]),
        ];
        let kept = kept(&all, 4);
        let fresh = vec![
            series("a", &[(140, 9.0)]),
            series("c", &[(140, 8.0)]),
            series("d", &[(140, 7.0)]),
            series("f", &[(140, 6.0)]),
        ];

        let joined = kept.joined(1..4, fresh);

        let want: [(&str, &[(i64, f64)]); 6] = [
            ("a", &[(140, 9.0)]),
            ("b", &[(110, 2.0), (130, 4.0)]),
            ("c", &[(140, 8.0)]),
            ("d", &[(140, 7.0)]),
            ("e", &[(120, 6.0)]),
            ("f", &[(140, 6.0)]),
        ];
        let want: Vec<_> = want.iter().map(|(name, floats)| ((*name).to_owned(), floats.to_vec())).collect();
        assert_eq!(points(&joined), want);
    }

    #[test]
    fn pieces_behind_are_forgotten_and_many_are_counted_together() {
        let piece = |last_ms: i64| Piece { last_ms, samples: 1 };
        let pieces: Vec<Piece> = (0..100).map(|step| piece(100 + 10 * step)).collect();
        let kept = Kept::new(&[], grid(100, 100), Moment(1), 0, pieces).expect("plain");
        assert_eq!(kept.pieces(&(0..100)).count(), 50);
        assert_eq!(kept.samples_of(&(0..100)), 100);
        assert_eq!(kept.samples_of(&(98..100)), 2);
    }

    #[test]
    fn what_is_out_of_order_is_not_kept() {
        for unfit in [[series("b", &[]), series("a", &[])], [series("a", &[]), series("a", &[])]] {
            assert!(Kept::new(&unfit, grid(0, 1), Moment(0), 0, Vec::new()).is_none());
        }
    }
}
