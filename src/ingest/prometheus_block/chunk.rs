//! A chunk: its encoding and the samples in it.

use super::{histogram, xor};
use crate::encoding::cursor::Malformed;
use crate::model::FloatSample;
use crate::model::series_batch::HistogramSample;

/// A sample of either kind.
#[derive(Clone, Debug)]
pub enum Sample {
    Float(FloatSample),
    Histogram(HistogramSample),
}

impl Sample {
    pub fn timestamp_ms(&self) -> i64 {
        match self {
            Self::Float(sample) => sample.timestamp_ms,
            Self::Histogram(sample) => sample.timestamp_ms,
        }
    }
}

const XOR: u8 = 1;
const HISTOGRAM: u8 = 2;
const FLOAT_HISTOGRAM: u8 = 3;

/// Gives the samples of a chunk one by one: a histogram can be many times as large as its bits.
pub fn decode(encoding: u8, data: &[u8], each: &mut dyn FnMut(Sample)) -> Result<(), Malformed> {
    match encoding {
        XOR => xor::decode(data, each),
        HISTOGRAM => histogram::decode_integers(data, each),
        FLOAT_HISTOGRAM => histogram::decode_floats(data, each),
        _ => Err(Malformed("a chunk has an encoding that is not known")),
    }
}
