//! Which series must stay registered though no epoch has them yet: those of writes on their way.
//!
//! A write's series are resolved to ids before it goes to the bucket, and its samples are entered by those ids
//! when it is there. Until then it pins the epoch that its series are marked with, so that none of them is
//! forgotten and no id comes to stand for another. Owns the number of the open epoch, since the two must be
//! looked at together.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// See the module.
#[derive(Debug)]
pub struct Pins(Mutex<State>);

#[derive(Debug)]
struct State {
    open_epoch: u64,
    /// By epoch, how many writes.
    writes: BTreeMap<u64, usize>,
}

/// As long as it lives, series that are marked as used in its epoch are not forgotten.
#[derive(Debug)]
pub struct Pin {
    pins: Arc<Pins>,
    epoch: u64,
}

impl Pins {
    pub fn new(open_epoch: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { open_epoch, writes: BTreeMap::new() })))
    }

    /// Pins the open epoch.
    pub fn pin(self: &Arc<Self>) -> Pin {
        let mut state = self.0.lock();
        let epoch = state.open_epoch;
        *state.writes.entry(epoch).or_default() += 1;
        Pin { pins: Arc::clone(self), epoch }
    }

    pub fn open(&self, epoch: u64) {
        self.0.lock().open_epoch = epoch;
    }

    /// The first epoch whose series somebody needs, where epochs before `oldest` are gone. Pins that are made from
    /// now on are of no earlier one.
    pub fn oldest_needed(&self, oldest: u64) -> u64 {
        let state = self.0.lock();
        state.writes.keys().next().map_or(oldest, |pinned| oldest.min(*pinned))
    }
}

impl Pin {
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.pins.0.lock();
        if let Some(writes) = state.writes.get_mut(&self.epoch) {
            *writes -= 1;
            if *writes == 0 {
                state.writes.remove(&self.epoch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_oldest_write_on_its_way_uses_is_needed() {
        let pins = Pins::new(3);
        assert_eq!(pins.oldest_needed(3), 3);
        let (first, second) = (pins.pin(), pins.pin());
        pins.open(5);
        let third = pins.pin();
        assert_eq!((first.epoch(), third.epoch()), (3, 5));

        assert_eq!(pins.oldest_needed(5), 3);
        drop(first);
        assert_eq!(pins.oldest_needed(5), 3, "there were two");
        drop(second);
        assert_eq!(pins.oldest_needed(5), 5);
        assert_eq!(pins.oldest_needed(4), 4);
    }
}
