//! Keyed hashes: what no sender can foresee, since every process draws its own keys.
//!
//! Spans are known by their hash alone, 128 bits under a secret of 192 bytes; wherever else a hash
//! is used, the thing itself is compared too, and the key only keeps senders from aiming at one
//! place of a table.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU128;

use xxhash_rust::xxh3::{xxh3_64_with_secret, xxh3_128_with_secret};

use crate::model::TenantId;
use crate::model::series_batch::LabelLimits;

const SECRET_BYTES: usize = 192;

/// The hash of the bytes that a tenant's labels came in, and of what they were taken for.
pub type SpanHash = NonZeroU128;

/// What bytes of labels are taken for: the same bytes mean another thing in another context, and are
/// not found there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext<'a> {
    pub tenant: &'a TenantId,
    pub form: LabelForm,
    /// The limits that they were judged by, if they were.
    pub judged_by: Option<LabelLimits>,
}

/// How a series' labels came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelForm {
    /// In one piece.
    Span,
    /// In one piece, of which something was taken off.
    ReducedSpan,
    /// In any pieces, which are looked up label by label.
    Pieces,
}

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

    /// What makes spans those of their context.
    pub fn context(&self, context: &SpanContext<'_>) -> u128 {
        let SpanContext { tenant, form, judged_by } = context;
        let is_judged = u8::from(judged_by.is_some());
        let mut text = vec![*form as u8, is_judged];
        let LabelLimits { labels_per_series, name_bytes, value_bytes } = judged_by.unwrap_or_default();
        for limit in [labels_per_series, name_bytes, value_bytes] {
            // Nothing has so many labels or bytes: that is no limit either.
            text.extend((limit.unwrap_or(usize::MAX) as u64).to_le_bytes());
        }
        text.extend(tenant.as_str().as_bytes());
        xxh3_128_with_secret(&text, &self.secret)
    }

    /// `context` is what [`Self::context`] gave.
    #[inline]
    pub fn span(&self, context: u128, span: &[u8]) -> SpanHash {
        NonZeroU128::new(context ^ xxh3_128_with_secret(span, &self.secret)).unwrap_or(NonZeroU128::MIN)
    }

    /// What stands for all series that were found in a context label by label.
    pub fn stamp(&self, context: u128) -> SpanHash {
        NonZeroU128::new(context).unwrap_or(NonZeroU128::MIN)
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
