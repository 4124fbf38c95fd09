//! How much work a column is worth to its encoder.

/// How hard an encoder tries. Every column says itself how it is read, so that decoders take both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// For parts flushed from the head, which are merged within hours: light codecs only, some ten
    /// nanoseconds a sample.
    #[default]
    Fresh,
    /// For merged parts, which stay: the smallest of all codecs, some hundred nanoseconds a sample.
    Merged,
}
