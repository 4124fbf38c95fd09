//! UTC-aligned stretches of time that parts are made for: two hours, then days.
//!
//! Owns the arithmetic, which saturates: times are signed and may be as far away as they like.

use super::local::catalogue::PartKind;
use crate::model::TimeRange;
use crate::model::time::{DAY_MS, HOUR_MS};

/// The window of fresh parts. A day has a whole number of them.
pub const WINDOW_MS: i64 = 2 * HOUR_MS;

/// `[start, start + length)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    pub start_ms: i64,
    pub length_ms: i64,
}

impl Window {
    /// The window of two hours that a time is in.
    pub fn of(timestamp_ms: i64) -> Self {
        Self::aligned(timestamp_ms, WINDOW_MS)
    }

    /// The day that a time is in.
    pub fn day_of(timestamp_ms: i64) -> Self {
        Self::aligned(timestamp_ms, DAY_MS)
    }

    /// The day of this number, counted from 1970.
    pub fn day(number: i64) -> Self {
        Self { start_ms: number.saturating_mul(DAY_MS), length_ms: DAY_MS }
    }

    fn aligned(timestamp_ms: i64, length_ms: i64) -> Self {
        let start_ms = timestamp_ms.div_euclid(length_ms).saturating_mul(length_ms);
        Self { start_ms, length_ms }
    }

    pub fn end_exclusive_ms(&self) -> i64 {
        self.start_ms.saturating_add(self.length_ms)
    }

    /// Both ends included.
    pub fn range(&self) -> TimeRange {
        TimeRange::new(self.start_ms, self.end_exclusive_ms() - 1)
    }

    /// The windows of two hours of which it consists.
    pub fn two_hours(&self) -> impl Iterator<Item = Self> {
        let start_ms = self.start_ms;
        (0..self.length_ms / WINDOW_MS)
            .map(move |at| Self { start_ms: start_ms.saturating_add(at * WINDOW_MS), length_ms: WINDOW_MS })
    }

    pub fn kind(&self) -> PartKind {
        PartKind::Window { start_ms: self.start_ms, length_ms: self.length_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_aligned_before_1970_too_and_a_day_is_twelve_of_them() {
        assert_eq!(Window::of(-1).range(), TimeRange::new(-WINDOW_MS, -1));
        assert_eq!(Window::of(0).range(), TimeRange::new(0, WINDOW_MS - 1));
        assert_eq!(Window::day_of(DAY_MS), Window::day(1));
        let all: Vec<Window> = Window::day(-1).two_hours().collect();
        assert_eq!((all.len(), all[0], all[11]), (12, Window::of(-DAY_MS), Window::of(-1)));
    }

    #[test]
    fn the_ends_of_time_have_windows() {
        assert!(Window::of(i64::MIN).start_ms <= Window::of(i64::MIN).range().end_ms);
        assert!(Window::day_of(i64::MAX).start_ms <= Window::day_of(i64::MAX).range().end_ms);
    }
}
