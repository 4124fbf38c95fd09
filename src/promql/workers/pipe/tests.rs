//! A pipe against a plain loop, with few and many helpers, errors and panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;

/// Reads batches of so many numbers each, counting on, and keeps what comes out.
struct Numbers {
    batches: VecDeque<usize>,
    next: u32,
    taken: Vec<Vec<u32>>,
    slice: usize,
    /// After so many batches reading fails, and after so many taking does.
    reading_fails_after: usize,
    taking_fails_after: usize,
}

impl Numbers {
    fn new(batches: &[usize], slice: usize) -> Self {
        Self {
            batches: batches.iter().copied().collect(),
            next: 0,
            taken: Vec::new(),
            slice,
            reading_fails_after: usize::MAX,
            taking_fails_after: usize::MAX,
        }
    }
}

impl Ends<u32, u32> for Numbers {
    type Error = &'static str;

    fn read(&mut self) -> Result<Option<Vec<u32>>, Self::Error> {
        if self.reading_fails_after == 0 {
            return Err("reading");
        }
        self.reading_fails_after -= 1;
        let Some(count) = self.batches.pop_front() else { return Ok(None) };
        let batch = (self.next..self.next + count as u32).collect();
        self.next += count as u32;
        Ok(Some(batch))
    }

    fn slice(&self, _batch: &[u32]) -> usize {
        self.slice
    }

    fn may_read_ahead(&self) -> bool {
        true
    }

    fn take(&mut self, mapped: Vec<u32>) -> Result<(), Self::Error> {
        if self.taking_fails_after == self.taken.len() {
            return Err("taking");
        }
        self.taken.push(mapped);
        Ok(())
    }
}

fn doubled(item: u32) -> Option<u32> {
    (!item.is_multiple_of(3)).then_some(item * 2)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_comes_out_is_what_a_loop_makes(
        batches in prop::collection::vec(0usize..60, 0..20),
        slice in 1usize..40,
        helpers in 1usize..4,
    ) {
        let workers = Workers::start(helpers).expect("threads start");
        let mut ends = Numbers::new(&batches, slice);

        workers.pipe(&mut ends, &|| true, || (), |(), item| doubled(item)).expect("nothing fails");

        let mut next = 0;
        let plain: Vec<Vec<u32>> = batches
            .iter()
            .map(|count| {
                let from = next;
                next += *count as u32;
                (from..next).filter_map(doubled).collect()
            })
            .collect();
        prop_assert_eq!(ends.taken, plain);
        prop_assert_eq!((workers.free.into_inner(), workers.batches.into_inner()), (helpers, 0));
    }

    #[test]
    fn what_was_read_before_an_error_is_taken_before_it(
        batches in prop::collection::vec(1usize..60, 1..12),
        fails_after in 0usize..12,
        is_reading in any::<bool>(),
    ) {
        let workers = Workers::start(2).expect("threads start");
        let mut ends = Numbers::new(&batches, 8);
        let fails_after = fails_after.min(batches.len());
        let failing = match is_reading {
            true => &mut ends.reading_fails_after,
            false => &mut ends.taking_fails_after,
        };
        *failing = fails_after;

        let result = workers.pipe(&mut ends, &|| true, || (), |(), item| doubled(item));

        let want = match (is_reading, fails_after == batches.len()) {
            (true, _) => Err("reading"),
            (false, false) => Err("taking"),
            (false, true) => Ok(()),
        };
        prop_assert_eq!(result, want);
        prop_assert_eq!(ends.taken.len(), fails_after);
        prop_assert_eq!((workers.free.into_inner(), workers.batches.into_inner()), (2, 0));
    }
}

#[test]
fn each_thread_takes_its_own_along() {
    let workers = Workers::start(2).expect("threads start");
    let begun = AtomicUsize::new(0);
    let mut ends = Numbers::new(&[50; 40], 5);

    let start = || begun.fetch_add(1, Ordering::Relaxed);
    workers.pipe(&mut ends, &|| true, start, |_, item| Some(item)).expect("nothing fails");

    assert_eq!(ends.taken.concat(), (0..2000).collect::<Vec<u32>>());
    assert!(begun.into_inner() <= 3, "helpers come and go, what is theirs stays");
}

#[test]
fn work_that_nobody_waits_for_ends() {
    let workers = Workers::start(2).expect("threads start");
    let goes_on = AtomicBool::new(true);
    let mut ends = Numbers::new(&[50; 1000], 5);

    let canceled = |(): &mut (), item: u32| {
        if item == 300 {
            goes_on.store(false, Ordering::Relaxed);
        }
        Some(item)
    };
    let result = workers.pipe(&mut ends, &|| goes_on.load(Ordering::Relaxed), || (), canceled);

    // What was read last is in nobody's hands: who asked looks why.
    assert_eq!(result, Ok(()));
    assert!(ends.taken.len() < 1000);
    assert_eq!((workers.free.into_inner(), workers.batches.into_inner()), (2, 0));
}

#[test]
fn a_panic_is_the_askers() {
    let workers = Workers::start(2).expect("threads start");
    for at in [0, 7, 1999] {
        let mut ends = Numbers::new(&[50; 40], 5);
        let panics = |(): &mut (), item: u32| {
            assert!(item != at, "this one");
            Some(item)
        };

        let result = catch_unwind(AssertUnwindSafe(|| workers.pipe(&mut ends, &|| true, || (), panics)));

        assert!(result.is_err());
    }
    assert_eq!((workers.free.into_inner(), workers.batches.into_inner()), (2, 0));
}
