//! Keyed hashes: what no sender can foresee, since every process draws its own keys.
//!
//! Spans are known by their hash alone, 128 bits under a secret of 192 bytes; wherever else a hash
//! is used, the thing itself is compared too, and the key only keeps senders from aiming at one
//! place of a table.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU128;

use xxhash_rust::xxh3::{xxh3_64_with_secret, xxh3_128_with_secret};

use crate::model::TenantId;

const SECRET_BYTES: usize = 192;

/// The hash of the bytes that a tenant's labels came in.
pub type SpanHash = NonZeroU128;

/// See the module.
#[derive(Clone)]
pub struct Keys {
    secret: [u8; SECRET_BYTES],
    factor: u64,
}

impl Keys {
    pub fn random() -> Self {
        // The standard library's keyed hash, under keys of the system's.
        let random = RandomState::new();
        let mut secret = [0; SECRET_BYTES];
        for (at, word) in secret.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&random.hash_one(at).to_le_bytes());
        }
        Self { secret, factor: random.hash_one("factor") | 1 }
    }

    /// What makes a tenant's spans its own.
    pub fn tenant(&self, tenant: &TenantId) -> u128 {
        xxh3_128_with_secret(tenant.as_str().as_bytes(), &self.secret)
    }

    /// `tenant` is what [`Self::tenant`] gave.
    #[inline]
    pub fn span(&self, tenant: u128, span: &[u8]) -> SpanHash {
        NonZeroU128::new(tenant ^ xxh3_128_with_secret(span, &self.secret)).unwrap_or(NonZeroU128::MIN)
    }

    #[inline]
    pub fn pair(&self, name: u32, value: &[u8]) -> u64 {
        self.mix(xxh3_64_with_secret(value, &self.secret), u64::from(name))
    }

    /// Of a series: the numbers of its pairs, which are its tenant's own, in order.
    #[inline]
    pub fn series(&self, tenant: u32, pairs: &[u32]) -> u64 {
        pairs.iter().fold(u64::from(tenant) ^ !self.factor, |hash, pair| self.mix(hash, u64::from(*pair)))
    }

    #[inline]
    pub fn mix(&self, hash: u64, more: u64) -> u64 {
        let product = u128::from(hash.rotate_left(23) ^ more) * u128::from(self.factor);
        (product as u64) ^ (product >> 64) as u64
    }
}
