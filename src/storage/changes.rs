//! What changed when: from which time on answers may be others than they were.
//!
//! Whoever keeps what he was answered notes the moment before he asks, and learns later of which times something
//! was written, deleted, hidden or dropped since. Samples come in any order, so this is no guess about how late they
//! may be: each batch says of its own earliest sample. A change is noted **once it is visible**, and before it is
//! acknowledged. So what was noted by a moment is seen by everybody who asks after it; what was visible in part only
//! is noted later, and counts as a change since.
//!
//! Owns the numbering of changes and the bound on what is remembered of them: times are rounded down and old moments
//! coarsened, so that what is told is never too late a time. Flushes and merges change no answer and are not noted;
//! retention by age follows the clock and is asked for where it stands, see [`super::retention`].

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::model::{SeriesBatch, TenantId};
use crate::querier::Moment;

/// Times are rounded down to this: samples that come as they are taken say something else once a second.
const GRAIN_MS: i64 = 1_000;

/// Stairs that are remembered of a tenant: beyond it, the older half loses every second one.
const STAIRS_MAX: usize = 512;

/// See the module.
#[derive(Default)]
pub struct Changes {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Number of the last change.
    last: u64,
    of_all: Stairs,
    of_tenant: HashMap<TenantId, Stairs>,
}

/// The earliest time that was changed after each moment: the later the moment, the later that time.
#[derive(Default)]
struct Stairs {
    /// Number of a change, and the earliest time of it and of all that came later. Both rise.
    stairs: Vec<(u64, i64)>,
}

impl Changes {
    /// A batch is visible.
    pub fn written(&self, batch: &SeriesBatch) {
        let floats = batch.floats.iter().map(|sample| sample.timestamp_ms).min();
        let histograms = batch.histograms.iter().map(|sample| sample.timestamp_ms).min();
        if let Some(from_ms) = floats.into_iter().chain(histograms).min() {
            self.of_tenant(&batch.tenant, from_ms);
        }
    }

    /// Something of a tenant has changed at this time, perhaps also later.
    pub fn of_tenant(&self, tenant: &TenantId, from_ms: i64) {
        let mut state = self.state.lock();
        state.last += 1;
        let number = state.last;
        match state.of_tenant.get_mut(tenant) {
            Some(stairs) => stairs.add(number, from_ms),
            None => state.of_tenant.entry(tenant.clone()).or_default().add(number, from_ms),
        }
    }

    /// The same of anybody's.
    pub fn of_all(&self, from_ms: i64) {
        let mut state = self.state.lock();
        state.last += 1;
        let number = state.last;
        state.of_all.add(number, from_ms);
    }

    /// The present moment.
    pub fn moment(&self) -> Moment {
        Moment(self.state.lock().last)
    }

    /// The earliest time of which something of the tenant's may have changed since; the end of time where nothing has.
    pub fn since(&self, tenant: &TenantId, moment: Moment) -> i64 {
        let state = self.state.lock();
        let own = state.of_tenant.get(tenant).map_or(i64::MAX, |stairs| stairs.since(moment));
        own.min(state.of_all.since(moment))
    }
}

impl Stairs {
    fn add(&mut self, number: u64, from_ms: i64) {
        let from_ms = from_ms.div_euclid(GRAIN_MS).saturating_mul(GRAIN_MS);
        while self.stairs.last().is_some_and(|(_, last_ms)| *last_ms >= from_ms) {
            self.stairs.pop();
        }
        self.stairs.push((number, from_ms));
        if self.stairs.len() > STAIRS_MAX {
            self.coarsen();
        }
    }

    /// Of two neighbours of the older half the earlier time holds up to the later number.
    fn coarsen(&mut self) {
        let recent = self.stairs.split_off(STAIRS_MAX / 2);
        let of_pair = |pair: &[(u64, i64)]| (pair[pair.len() - 1].0, pair[0].1);
        let mut coarser: Vec<(u64, i64)> = self.stairs.chunks(2).map(of_pair).collect();
        coarser.extend(recent);
        self.stairs = coarser;
    }

    fn since(&self, moment: Moment) -> i64 {
        let next = self.stairs.partition_point(|(number, _)| *number <= moment.0);
        self.stairs.get(next).map_or(i64::MAX, |(_, from_ms)| *from_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).expect("a name")
    }

    #[test]
    fn a_moment_knows_the_earliest_time_of_what_came_after_it() {
        let (changes, own) = (Changes::default(), tenant("a"));
        let at_first = changes.moment();
        assert_eq!(changes.since(&own, at_first), i64::MAX, "nothing has changed");

        changes.of_tenant(&own, 50_999);
        let then = changes.moment();
        changes.of_tenant(&own, 70_000);
        assert_eq!((changes.since(&own, at_first), changes.since(&own, then)), (50_000, 70_000));

        changes.of_tenant(&own, 20_000);
        assert_eq!((changes.since(&own, at_first), changes.since(&own, then)), (20_000, 20_000), "late data");
        assert_eq!(changes.since(&own, changes.moment()), i64::MAX);
    }

    #[test]
    fn other_tenants_are_not_concerned_but_by_what_concerns_all() {
        let (changes, own, other) = (Changes::default(), tenant("a"), tenant("b"));
        let moment = changes.moment();
        changes.of_tenant(&other, i64::MIN);
        assert_eq!((changes.since(&own, moment), changes.since(&other, moment)), (i64::MAX, i64::MIN));

        changes.of_all(7_000);
        assert_eq!((changes.since(&own, moment), changes.since(&other, moment)), (7_000, i64::MIN));
    }

    proptest! {
        #[test]
        fn what_is_told_is_never_too_late_and_what_is_remembered_is_bounded(
            steps in prop::collection::vec(-3i64..20, 1..2_000),
        ) {
            let mut stairs = Stairs::default();
            let mut times: Vec<i64> = Vec::new();
            let mut now_ms = 0;
            for (step, number) in steps.iter().zip(1..) {
                now_ms += step * GRAIN_MS / 4;
                times.push(now_ms);
                stairs.add(number, now_ms);
            }
            prop_assert!(stairs.stairs.len() <= STAIRS_MAX);
            let mut earliest_ms = i64::MAX;
            for (at, time_ms) in times.iter().enumerate().rev() {
                earliest_ms = earliest_ms.min(*time_ms);
                let told_ms = stairs.since(Moment(at as u64));
                prop_assert!(told_ms <= earliest_ms, "after {at}: {told_ms} is later than {earliest_ms}");
            }
            prop_assert_eq!(stairs.since(Moment(times.len() as u64)), i64::MAX);
        }
    }
}
