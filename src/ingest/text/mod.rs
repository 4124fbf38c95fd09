//! Text exposition with timestamps: OpenMetrics, or the older text format of Prometheus.
//!
//! What scrapers read has no timestamps, so it is no history: here every sample must have one.
//! [`mod@line`] takes one line apart; [`number`] reads values and times, [`histogram`] native histograms,
//! [`metadata`] what metrics are; [`lines`] gives lines of bounded length. Every error names the line.
//!
//! Some words are beyond both formats, so that an export comes back bit for bit. Parsers that do not
//! know them refuse the line and misread nothing:
//! - `NaN(0x7ff0000000000002)`: a NaN by its bits, the staleness marker for one; `NaN` alone is the
//!   usual `0x7ff8000000000001`
//! - `st@1700000000.5` behind the timestamp: the start ("created") timestamp, in the unit of the
//!   timestamp, as in OpenMetrics 2.0
//! - `{count:…}` in the place of the value: a native histogram, as in OpenMetrics 2.0 with some fields more
//! - `name{…} # {trace_id="…"} 0.5 1700000000.5`: an exemplar without a sample, since exemplars are kept
//!   with their series and their own times

pub mod histogram;
mod line;
mod lines;
pub mod metadata;
pub mod number;
#[cfg(test)]
mod tests;

pub use line::{Line, SampleAt, TextSample, is_plain_name, parse};
pub use lines::{LINE_BYTES_MAX, Lines};

/// Which of the two formats a text is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// Timestamps in seconds, `# EOF` at the end.
    OpenMetrics,
    /// Timestamps in milliseconds.
    Prometheus,
}

/// Why a text cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    #[error("line {line}: {what}")]
    Line { line: u64, what: &'static str },
    #[error("line {line} is longer than {LINE_BYTES_MAX} bytes")]
    TooLong { line: u64 },
    #[error("line {line} is not UTF-8")]
    NotUtf8 { line: u64 },
    #[error("read line {line}: {source}")]
    Io { line: u64, source: std::io::Error },
    #[error("the text ends without \"# EOF\": it is cut off, or not OpenMetrics")]
    NoEnd,
}
