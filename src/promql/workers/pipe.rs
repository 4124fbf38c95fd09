//! A pipe: one thread reads batch after batch while helpers map what was read before.
//!
//! Reading waits for storage and cannot be shared; what is made of a batch can. The thread that asked
//! reads ahead as long as somebody works at what it has read, and lends a hand where enough is on its
//! way. What was made is taken on that thread, batch by batch, in the order of reading: neither results
//! nor the first error depend on who was quicker.
//!
//! Owns what is on its way. How much may be is both ends': see [`Ends::may_read_ahead`].

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;

use parking_lot::{Condvar, Mutex};

use super::{Counted, Workers};

/// Batches on their way at a time.
const BATCHES_MAX: usize = 4;

/// Both ends of a pipe, on the thread that asked for it.
pub trait Ends<T, U> {
    type Error;

    /// The next batch; `None` where there is no more.
    fn read(&mut self) -> Result<Option<Vec<T>>, Self::Error>;

    /// Items of a batch that are worth being handed to another thread together.
    fn slice(&self, batch: &[T]) -> usize;

    /// Whether a batch may be read before all those before were taken.
    fn may_read_ahead(&self) -> bool;

    /// Takes what was made of the next batch: less than there were items, where some made nothing.
    fn take(&mut self, mapped: Vec<U>) -> Result<(), Self::Error>;
}

/// What is between the ends.
struct Between<'b, T, U, S> {
    state: Mutex<State<T, U, S>>,
    /// A slice was mapped, or a helper has gone.
    changed: Condvar,
    /// Helpers as they count for the share.
    helpers: AtomicUsize,
    goes_on: &'b (dyn Fn() -> bool + Sync),
}

struct State<T, U, S> {
    /// Slices that nobody works at.
    waiting: VecDeque<Slice<T>>,
    /// In order of reading; the first of them has the number `first`.
    batches: VecDeque<Mapped<U>>,
    first: usize,
    /// Helpers that were asked for and have not gone.
    at_work: usize,
    /// What helpers that have gone leave to those that come.
    own: Vec<S>,
}

struct Slice<T> {
    batch: usize,
    place: usize,
    items: Vec<T>,
    /// Of a batch that is worth being shared: waking a thread for less takes as long as it saves.
    is_shared: bool,
}

/// What is made of a batch, slice by slice.
struct Mapped<U> {
    slices: Vec<Vec<U>>,
    missing: usize,
}

impl Workers {
    /// Reads, maps and takes everything, until `goes_on` says no more: then the rest is missing. Each
    /// thread has something of its own that goes from item to item.
    pub fn pipe<T: Send, U: Send, S: Send, E: Ends<T, U>>(
        &self,
        ends: &mut E,
        goes_on: &(dyn Fn() -> bool + Sync),
        start: impl Fn() -> S + Sync,
        map: impl Fn(&mut S, T) -> Option<U> + Sync,
    ) -> Result<(), E::Error> {
        let between = Between {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                batches: VecDeque::new(),
                first: 0,
                at_work: 0,
                own: Vec::new(),
            }),
            changed: Condvar::new(),
            helpers: AtomicUsize::new(0),
            goes_on,
        };
        let mut own = start();
        self.pool.in_place_scope(|scope| -> Result<(), E::Error> {
            // Helpers stop when nothing waits: so they do when this ends early.
            let _abandoned = Abandoned(&between);
            let mut counted = None;
            let mut failed = None;
            let mut has_ended = false;
            loop {
                while let Some(mapped) = between.first_mapped() {
                    ends.take(mapped)?;
                }
                while between.is_worth_a_helper() {
                    // Who wants help is one of those who share it.
                    counted.get_or_insert_with(|| Counted::up(&self.batches));
                    let Some(helper) = self.recruit(&between.helpers) else { break };
                    let (between, start, map) = (&between, &start, &map);
                    let at_work = AtWork::begin(between);
                    scope.spawn(move |_| {
                        // Free again before it is seen to have gone.
                        let (_at_work, _helper) = (at_work, helper);
                        let mut own = between.state.lock().own.pop().unwrap_or_else(start);
                        while !self.beyond_share(&between.helpers) && between.work(&mut own, map) {}
                        between.state.lock().own.push(own);
                    });
                }
                let may_read = match between.on_the_way() {
                    (0, _) => true,
                    (batches, is_helped) => is_helped && batches < BATCHES_MAX && ends.may_read_ahead(),
                };
                if may_read && !has_ended {
                    match ends.read() {
                        Ok(Some(batch)) => {
                            let slice = ends.slice(&batch);
                            between.push(batch, slice);
                        }
                        Ok(None) => has_ended = true,
                        // What was read before comes first, its errors too.
                        Err(error) => (failed, has_ended) = (Some(error), true),
                    }
                    continue;
                }
                if between.work(&mut own, &map) {
                    continue;
                }
                if !between.wait() {
                    return failed.map_or(Ok(()), Err);
                }
            }
        })
    }
}

impl<T, U, S> Between<'_, T, U, S> {
    /// Adds a batch, in slices of about that many items.
    fn push(&self, batch: Vec<T>, slice: usize) {
        let is_shared = batch.len() >= 2 * slice;
        let pieces = (batch.len() / slice.max(1)).max(1);
        let length = batch.len().div_ceil(pieces).max(1);
        let mut state = self.state.lock();
        let number = state.first + state.batches.len();
        let mut items = batch.into_iter();
        let mut slices = Vec::new();
        loop {
            let items: Vec<T> = items.by_ref().take(length).collect();
            if items.is_empty() {
                break;
            }
            let place = slices.len();
            slices.push(Vec::new());
            state.waiting.push_back(Slice { batch: number, place, items, is_shared });
        }
        let missing = slices.len();
        state.batches.push_back(Mapped { slices, missing });
    }

    /// Maps a slice that nobody works at; says whether there was one.
    fn work(&self, own: &mut S, map: &impl Fn(&mut S, T) -> Option<U>) -> bool {
        let slice = self.state.lock().waiting.pop_front();
        let Some(Slice { batch, place, items, .. }) = slice else { return false };
        if !(self.goes_on)() {
            return false;
        }
        let mapped: Vec<U> = items.into_iter().filter_map(|item| map(own, item)).collect();
        let mut state = self.state.lock();
        let at = batch - state.first;
        state.batches[at].slices[place] = mapped;
        state.batches[at].missing -= 1;
        drop(state);
        self.changed.notify_all();
        true
    }

    /// What was made of the first batch, once all of it is there.
    fn first_mapped(&self) -> Option<Vec<U>> {
        let mut state = self.state.lock();
        if !state.has_first_mapped() {
            return None;
        }
        let mut slices = state.batches.pop_front()?.slices.into_iter();
        state.first += 1;
        drop(state);
        let mut mapped = slices.next().unwrap_or_default();
        slices.for_each(|slice| mapped.extend(slice));
        Some(mapped)
    }

    /// Whether more waits than those that come for it would take next.
    fn is_worth_a_helper(&self) -> bool {
        let state = self.state.lock();
        state.waiting.get(state.at_work).is_some_and(|slice| slice.is_shared)
    }

    /// How many batches are on their way, and whether anybody is there who works at them.
    fn on_the_way(&self) -> (usize, bool) {
        let state = self.state.lock();
        (state.batches.len(), state.at_work > 0)
    }

    /// Waits for the first batch or for something to do. `false` where neither will come.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        while !state.has_first_mapped() && state.waiting.is_empty() {
            if state.batches.is_empty() || state.at_work == 0 {
                return false;
            }
            self.changed.wait(&mut state);
        }
        true
    }
}

impl<T, U, S> State<T, U, S> {
    fn has_first_mapped(&self) -> bool {
        self.batches.front().is_some_and(|batch| batch.missing == 0)
    }
}

/// A helper, gone when it is dropped, also by a panic.
struct AtWork<'b, T, U, S>(&'b Between<'b, T, U, S>);

impl<'b, T, U, S> AtWork<'b, T, U, S> {
    fn begin(between: &'b Between<'b, T, U, S>) -> Self {
        between.state.lock().at_work += 1;
        Self(between)
    }
}

impl<T, U, S> Drop for AtWork<'_, T, U, S> {
    fn drop(&mut self) {
        self.0.state.lock().at_work -= 1;
        self.0.changed.notify_all();
    }
}

/// Leaves nothing to do when it is dropped.
struct Abandoned<'b, T, U, S>(&'b Between<'b, T, U, S>);

impl<T, U, S> Drop for Abandoned<'_, T, U, S> {
    fn drop(&mut self) {
        // Dropped without the lock: what items hold may take long to free.
        let waiting = std::mem::take(&mut self.0.state.lock().waiting);
        drop(waiting);
    }
}

#[cfg(test)]
mod tests;
