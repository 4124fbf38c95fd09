//! Whether the bucket answers those who look at it again and again: sweeps, refreshes, heartbeats.
//!
//! Owns since when it does not. One look that failed is nothing: the next one tells.

use crate::replication::timing::Moment;

/// A bucket that did not answer so many looks in a row is away.
const AWAY_LOOKS_MIN: u32 = 2;

/// See the module.
#[derive(Debug)]
pub struct Looks {
    /// When the bucket last answered one, and how many it has not answered since.
    answered: Moment,
    failed: u32,
}

impl Looks {
    pub fn new(now: Moment) -> Self {
        Self { answered: now, failed: 0 }
    }

    /// A look ended.
    pub fn note(&mut self, now: Moment, is_done: bool) {
        if is_done {
            *self = Self::new(now);
        } else {
            self.failed = self.failed.saturating_add(1);
        }
    }

    /// Since when the bucket has not answered, by our own wall clock; `None` while it does.
    pub fn away_since_ms(&self) -> Option<i64> {
        (self.failed >= AWAY_LOOKS_MIN).then_some(self.answered.wall_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_away_after_the_second_look_that_failed_since_the_last_that_did_not() {
        let at = |wall_ms| Moment { boot_ms: 0, wall_ms };
        let mut looks = Looks::new(at(1));

        looks.note(at(2), true);
        looks.note(at(3), false);
        assert_eq!(looks.away_since_ms(), None);
        looks.note(at(4), false);
        assert_eq!(looks.away_since_ms(), Some(2));
        looks.note(at(5), true);
        assert_eq!(looks.away_since_ms(), None);
    }
}
