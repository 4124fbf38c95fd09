//! Threads that help queries with large batches.
//!
//! The thread of a query always works at its batch itself; helpers only join it, and no more of
//! them than are free at that moment. So a query never waits for another one: beside the most
//! monstrous it is as quick as one thread makes it. Queries that want help at the same time share
//! the helpers evenly: whoever has more than its share gives one back after the slice at hand.
//!
//! Owns who works at what. Which thread took which item never shows: results keep the order of
//! the items. Batches of which each is read before it can be worked at go through a [`pipe`].

pub mod pipe;

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// The helpers of all queries.
pub struct Workers {
    pool: rayon::ThreadPool,
    total: usize,
    free: AtomicUsize,
    /// Batches at work, helped or not.
    batches: AtomicUsize,
}

/// One batch at work.
struct Batch<'b, T, U> {
    items: Mutex<std::iter::Enumerate<std::vec::IntoIter<T>>>,
    done: Mutex<Vec<(usize, U)>>,
    helpers: AtomicUsize,
    /// Items taken at a time.
    slice: usize,
    goes_on: &'b (dyn Fn() -> bool + Sync),
}

impl Workers {
    /// Threads beside the queries' own; `None` where there are none to be had.
    pub fn start(helpers: usize) -> Option<Self> {
        if helpers == 0 {
            return None;
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(helpers)
            .thread_name(|number| format!("promql-{number}"))
            .build()
            // Without helpers queries are only slower.
            .inspect_err(|error| tracing::warn!(%error, "queries run without helping threads"))
            .ok()?;
        Some(Self { pool, total: helpers, free: AtomicUsize::new(helpers), batches: AtomicUsize::new(0) })
    }

    /// Maps all items, `slice` at a time, until `goes_on` says no more; then the rest is missing.
    pub fn map<T: Send, U: Send>(
        &self,
        items: Vec<T>,
        slice: usize,
        goes_on: &(dyn Fn() -> bool + Sync),
        map: impl Fn(T) -> Option<U> + Sync,
    ) -> Vec<U> {
        self.map_with(items, slice, goes_on, || (), |_, item| map(item))
    }

    /// As [`Self::map`], with something of each thread's own that goes from item to item: buffers,
    /// and what the next item may find done already.
    pub fn map_with<T: Send, U: Send, S>(
        &self,
        items: Vec<T>,
        slice: usize,
        goes_on: &(dyn Fn() -> bool + Sync),
        start: impl Fn() -> S + Sync,
        map: impl Fn(&mut S, T) -> Option<U> + Sync,
    ) -> Vec<U> {
        let batch = Batch {
            done: Mutex::new(Vec::with_capacity(items.len())),
            items: Mutex::new(items.into_iter().enumerate()),
            helpers: AtomicUsize::new(0),
            slice: slice.max(1),
            goes_on,
        };
        let _counted = Counted::up(&self.batches);
        let mut own = start();
        self.pool.in_place_scope(|scope| {
            loop {
                // Asked again before every slice: helpers may have become free.
                while batch.is_worth_a_helper()
                    && let Some(helper) = self.recruit(&batch.helpers)
                {
                    let (batch, start, map) = (&batch, &start, &map);
                    scope.spawn(move |_| {
                        let _helper = helper;
                        let mut own = start();
                        while !self.beyond_share(&batch.helpers) && batch.work(&mut own, map) {}
                    });
                }
                if !batch.work(&mut own, &map) {
                    break;
                }
            }
        });
        let mut done = batch.done.into_inner();
        done.sort_unstable_by_key(|(at, _)| *at);
        done.into_iter().map(|(_, mapped)| mapped).collect()
    }

    /// A free thread, where there is one and these helpers do not use up their share.
    fn recruit<'s>(&'s self, helpers: &'s AtomicUsize) -> Option<Helper<'s>> {
        if helpers.load(Ordering::Relaxed) >= self.share() {
            return None;
        }
        let free = |free: usize| free.checked_sub(1);
        self.free.fetch_update(Ordering::AcqRel, Ordering::Relaxed, free).ok()?;
        Some(Helper { _of_batch: Counted::up(helpers), free: &self.free })
    }

    /// Helpers that each batch may have; one, where there are fewer than batches: who comes first.
    fn share(&self) -> usize {
        (self.total / self.batches.load(Ordering::Relaxed).max(1)).max(1)
    }

    fn beyond_share(&self, helpers: &AtomicUsize) -> bool {
        helpers.load(Ordering::Relaxed) > self.share()
    }
}

impl<T, U> Batch<'_, T, U> {
    /// Whether there is more work than one slice.
    fn is_worth_a_helper(&self) -> bool {
        self.items.lock().len() > self.slice
    }

    /// Takes a slice and maps it; says whether there was one.
    fn work<S>(&self, own: &mut S, map: &impl Fn(&mut S, T) -> Option<U>) -> bool {
        if !(self.goes_on)() {
            return false;
        }
        let slice: Vec<(usize, T)> = self.items.lock().by_ref().take(self.slice).collect();
        if slice.is_empty() {
            return false;
        }
        let mapped: Vec<(usize, U)> =
            slice.into_iter().filter_map(|(at, item)| Some((at, map(own, item)?))).collect();
        self.done.lock().extend(mapped);
        true
    }
}

/// One more for as long as it lives.
struct Counted<'c>(&'c AtomicUsize);

impl<'c> Counted<'c> {
    fn up(count: &'c AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A thread's time, given back when it is dropped, also by a panic.
struct Helper<'s> {
    _of_batch: Counted<'s>,
    free: &'s AtomicUsize,
}

impl Drop for Helper<'_> {
    fn drop(&mut self) {
        self.free.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let workers = Workers::start(3).expect("threads start");
        for slice in [0, 1, 7, 1000] {
            let got = workers.map((0..100).collect(), slice, &|| true, |i| (i % 3 != 0).then_some(i * 2));
            let want: Vec<i32> = (0..100).filter(|i| i % 3 != 0).map(|i| i * 2).collect();
            assert_eq!(got, want, "{slice}");
        }
        assert_eq!((workers.free.into_inner(), workers.batches.into_inner()), (3, 0));
    }

    #[test]
    fn each_thread_takes_its_own_along_from_item_to_item() {
        let workers = Workers::start(3).expect("threads start");
        let before = |last: &mut Option<i32>, item: i32| Some((item, last.replace(item)));

        let got = workers.map_with((0..1000).collect(), 7, &|| true, || None, before);

        assert_eq!(got.len(), 1000);
        assert!(got.iter().all(|(item, before)| before.is_none_or(|before| before < *item)));
        assert!(got.iter().filter(|(_, before)| before.is_none()).count() <= 4);
    }

    #[test]
    fn a_batch_is_done_while_another_holds_every_helper() {
        let workers = Workers::start(2).expect("threads start");
        let (started, has_started) = mpsc::channel();
        let released = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let wait = |item: i32| {
                    started.send(()).expect("the test listens");
                    while !released.load(Ordering::Relaxed) {
                        std::thread::yield_now();
                    }
                    Some(item)
                };
                workers.map((0..3).collect(), 1, &|| true, wait);
            });
            for _ in 0..3 {
                has_started.recv().expect("the monster works on three threads");
            }

            let small = workers.map((0..1000).collect(), 1, &|| true, Some);

            assert_eq!(small.len(), 1000);
            released.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn helpers_beyond_the_share_go_to_who_comes_later() {
        const ITEMS: i32 = 1_000_000;
        let workers = Workers::start(2).expect("threads start");
        let (later_came, later_is_helped) = (AtomicBool::new(false), AtomicBool::new(false));
        let (started, has_started) = mpsc::channel();
        let goes_on = || !later_is_helped.load(Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let wait = |item: i32| {
                    while !later_came.load(Ordering::Relaxed) {
                        let _ = started.send(());
                        std::thread::yield_now();
                    }
                    Some(item)
                };
                workers.map((0..ITEMS).collect(), 1, &goes_on, wait);
            });
            while workers.free.load(Ordering::Relaxed) > 0 {
                has_started.recv().expect("the first batch takes every helper");
            }

            workers.map((0..ITEMS).collect(), 1, &goes_on, |item| {
                later_came.store(true, Ordering::Relaxed);
                let name = std::thread::current().name().unwrap_or_default().to_owned();
                if name.starts_with("promql-") {
                    later_is_helped.store(true, Ordering::Relaxed);
                }
                Some(item)
            });
        });
        assert!(later_is_helped.into_inner());
    }
}
