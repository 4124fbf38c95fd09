//! What the bucket was asked, how it answered, and how long that took.
//!
//! Owns plain numbers; the server turns them into metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::replication::bucket::BucketError;

/// Calls, as they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Put,
    Get,
    List,
    Delete,
}

/// By the index of [`Figures::operations`].
pub const OPERATIONS: [&str; 4] = ["put", "get", "list", "delete"];
/// By the index of [`OperationFigures::requests`].
pub const OUTCOMES: [&str; 4] = ["ok", "not_found", "unknown", "refused"];
/// Upper bounds of the classes of duration; the last class has none.
pub const SECONDS_BOUNDS: [f64; 9] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0];

#[derive(Debug, Default)]
struct OfOperation {
    requests: [AtomicU64; OUTCOMES.len()],
    micros: AtomicU64,
    within: [AtomicU64; SECONDS_BOUNDS.len() + 1],
}

#[derive(Debug, Default)]
pub struct Counters {
    operations: [OfOperation; OPERATIONS.len()],
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

/// One operation's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OperationFigures {
    pub requests: [u64; OUTCOMES.len()],
    pub seconds: f64,
    /// Requests in each class of duration, not cumulative.
    pub within: [u64; SECONDS_BOUNDS.len() + 1],
}

/// All numbers, read one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    pub operations: [OperationFigures; OPERATIONS.len()],
    /// In payloads of puts that were answered.
    pub sent_bytes: u64,
    /// In bodies of gets.
    pub received_bytes: u64,
}

impl Counters {
    pub fn count<T>(&self, operation: Operation, outcome: &Result<T, BucketError>, took: Duration) {
        let outcome = match outcome {
            Ok(_) => 0,
            Err(BucketError::NotFound) => 1,
            Err(BucketError::Unknown(_)) => 2,
            Err(BucketError::Refused(_)) => 3,
        };
        let class = SECONDS_BOUNDS.iter().take_while(|bound| took.as_secs_f64() > **bound).count();
        let of_operation = &self.operations[operation as usize];
        of_operation.requests[outcome].fetch_add(1, Ordering::Relaxed);
        of_operation.micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        of_operation.within[class].fetch_add(1, Ordering::Relaxed);
    }

    pub fn sent(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn received(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn figures(&self) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let operation = |of: &OfOperation| OperationFigures {
            requests: of.requests.each_ref().map(read),
            seconds: read(&of.micros) as f64 / 1e6,
            within: of.within.each_ref().map(read),
        };
        Figures {
            operations: self.operations.each_ref().map(operation),
            sent_bytes: read(&self.sent_bytes),
            received_bytes: read(&self.received_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_operation_outcome_and_duration() {
        let counters = Counters::default();
        counters.count(Operation::Get, &Ok(()), Duration::from_millis(5));
        counters.count(Operation::Get, &Err::<(), _>(BucketError::NotFound), Duration::from_millis(6));
        counters.count(Operation::List, &Err::<(), _>(BucketError::Refused(String::new())), Duration::MAX);
        counters.sent(7);

        let figures = counters.figures();
        assert_eq!(figures.operations[Operation::Get as usize].requests, [1, 1, 0, 0]);
        assert_eq!(figures.operations[Operation::Get as usize].within[..3], [1, 1, 0]);
        assert_eq!(figures.operations[Operation::List as usize].requests, [0, 0, 0, 1]);
        assert_eq!(figures.operations[Operation::List as usize].within.last(), Some(&1));
        assert_eq!((figures.sent_bytes, figures.received_bytes), (7, 0));
    }
}
