//! Float samples and the staleness marker.

/// The bits of the staleness marker, one exact NaN among many.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker: "this series has ended here".
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether `value` is the staleness marker (and not any other NaN).
pub fn is_stale_nan(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// One float sample. All times are milliseconds since 1970, negative before it.
#[derive(Clone, Copy, Debug)]
pub struct FloatSample {
    pub timestamp_ms: i64,
    /// Start ("created") timestamp of the counter; 0 where the sender gave none.
    pub start_ms: i64,
    pub value: f64,
}

impl PartialEq for FloatSample {
    /// Equal to the bit: NaN payloads and the sign of zero count.
    fn eq(&self, other: &Self) -> bool {
        self.timestamp_ms == other.timestamp_ms
            && self.start_ms == other.start_ms
            && self.value.to_bits() == other.value.to_bits()
    }
}

impl Eq for FloatSample {}
