//! Samples per second: a bucket of tokens by tenant.
//!
//! A bucket holds one second's worth. A request is let in while there is anything in the bucket and
//! takes all its samples out, below zero if need be: a request larger than the limit is not refused
//! for ever, and those after it wait until the debt is paid.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::model::TenantId;

/// From so many buckets on, those that are full are forgotten now and then: they say nothing.
const BUCKETS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub struct Rates {
    buckets: Mutex<HashMap<TenantId, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    samples: f64,
    at_ms: i64,
}

impl Bucket {
    fn filled(self, limit: f64, now_ms: i64) -> Self {
        // A clock that was set back fills nothing.
        let seconds = now_ms.saturating_sub(self.at_ms).max(0) as f64 / 1000.0;
        Self { samples: (self.samples + seconds * limit).min(limit), at_ms: now_ms }
    }

    /// Else the seconds until the debt is paid.
    fn lets_in(self, limit: f64) -> Result<(), u64> {
        if self.samples > 0.0 { Ok(()) } else { Err((-self.samples / limit).ceil().max(1.0) as u64) }
    }
}

impl Rates {
    /// Whether a request would be let in now, whatever it brings; else in how many seconds to come back.
    /// Asked before the request is decoded: a refusal then costs no more than receiving it.
    pub fn check(&self, tenant: &TenantId, per_second: u64, now_ms: i64) -> Result<(), u64> {
        let limit = per_second as f64;
        match self.buckets.lock().get(tenant) {
            Some(bucket) => bucket.filled(limit, now_ms).lets_in(limit),
            None => Ok(()),
        }
    }

    /// Takes `samples` at `per_second`, or says in how many seconds to come back.
    pub fn take(&self, tenant: &TenantId, samples: u64, per_second: u64, now_ms: i64) -> Result<(), u64> {
        let limit = per_second as f64;
        let mut buckets = self.buckets.lock();
        let full = Bucket { samples: limit, at_ms: now_ms };
        let mut bucket = buckets.get(tenant).map_or(full, |bucket| bucket.filled(limit, now_ms));
        bucket.lets_in(limit)?;
        bucket.samples -= samples as f64;
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(tenant) {
            buckets.retain(|_, bucket| bucket.filled(limit, now_ms).samples < limit);
        }
        buckets.insert(tenant.clone(), bucket);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_is_paid_before_more_is_let_in_and_tenants_do_not_share() {
        let rates = Rates::default();
        let (a, b) = (TenantId::parse("a").expect("valid"), TenantId::parse("b").expect("valid"));
        let check = |tenant: &TenantId, samples: u64, now_ms: i64, want: Result<(), u64>| {
            assert_eq!(rates.check(tenant, 10, now_ms), want, "{tenant} at {now_ms}");
            assert_eq!(rates.take(tenant, samples, 10, now_ms), want, "{tenant} at {now_ms}");
        };
        check(&a, 40, 0, Ok(()));
        check(&a, 1, 0, Err(3));
        check(&b, 10, 0, Ok(()));
        check(&b, 1, 0, Err(1));
        check(&a, 1, 2_000, Err(1));
        check(&a, 1, 1_000, Err(2));
        check(&a, 1, 3_100, Ok(()));
        check(&b, 10, 1_000, Ok(()));
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let rates = Rates::default();
        for number in 0..BUCKETS_MAX {
            let tenant = TenantId::parse(&number.to_string()).expect("valid");
            rates.take(&tenant, 1, 10, 0).expect("within the limit");
        }
        rates.take(&TenantId::anonymous(), 1, 10, 60_000).expect("within the limit");
        assert_eq!(rates.buckets.lock().len(), 1);
    }
}
