//! The answer as a stream of frames: per frame its length, its CRC32C and one series' chunks.
//!
//! Frames are made when the connection asks for them; what is held is the series they are made of.

use std::iter::Peekable;

use prost::Message as _;

use super::samples::labels;
use super::{histograms, xor};
use crate::ingest::proto::prometheus as proto;
use crate::ingest::proto::prometheus::chunk::Encoding;
use crate::querier::Series;
use crate::server::json::rows::Rows;

pub const CONTENT_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// Prometheus' own number.
const SAMPLES_PER_CHUNK: usize = 120;
/// A series goes on in a new frame when its chunks have this size; receivers bound a frame.
const FRAME_BYTES: usize = 1 << 20;

/// All frames, series after series. A frame holds one series: receivers look at no other.
pub struct Frames {
    /// With the number of the query that each series answers.
    series: std::vec::IntoIter<(i64, Series)>,
    current: Option<(i64, Vec<proto::Label>, Peekable<Chunks>)>,
}

impl Frames {
    pub fn new(results: Vec<Vec<Series>>) -> Self {
        let numbered = results.into_iter().zip(0i64..);
        let series: Vec<_> =
            numbered.flat_map(|(result, query)| result.into_iter().map(move |one| (query, one))).collect();
        Self { series: series.into_iter(), current: None }
    }
}

impl Rows for Frames {
    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        loop {
            if let Some((query_index, labels, chunks)) = &mut self.current {
                if chunks.peek().is_some() {
                    out.extend_from_slice(&frame(&message(*query_index, labels.clone(), chunks)));
                    return true;
                }
                self.current = None;
            }
            let Some((query_index, series)) = self.series.next() else { return false };
            let labels = labels(&series.labels);
            self.current =
                Some((query_index, labels, Chunks { series, floats: 0, histograms: 0 }.peekable()));
        }
    }
}

fn message(
    query_index: i64,
    labels: Vec<proto::Label>,
    chunks: &mut Peekable<Chunks>,
) -> proto::ChunkedReadResponse {
    let mut bytes = 0;
    let mut taken = Vec::new();
    while bytes < FRAME_BYTES
        && let Some(chunk) = chunks.next()
    {
        bytes += chunk.data.len();
        taken.push(chunk);
    }
    let chunked_series = vec![proto::ChunkedSeries { labels, chunks: taken }];
    proto::ChunkedReadResponse { chunked_series, query_index }
}

/// A series' samples in order of time: each chunk is of one kind, and no two overlap.
struct Chunks {
    series: Series,
    /// How many of each have been taken.
    floats: usize,
    histograms: usize,
}

impl Iterator for Chunks {
    type Item = proto::Chunk;

    fn next(&mut self) -> Option<proto::Chunk> {
        let times_ms = &self.series.timestamps_ms[self.floats..];
        let points = &self.series.histograms[self.histograms..];
        match (times_ms.first(), points.first()) {
            (None, None) => None,
            (Some(float_ms), Some(point)) if point.timestamp_ms < *float_ms => {
                let end = points.partition_point(|point| point.timestamp_ms < *float_ms);
                Some(self.take_histograms(end))
            }
            (None, Some(_)) => Some(self.take_histograms(points.len())),
            (Some(_), Some(point)) => {
                let end = times_ms.partition_point(|time_ms| *time_ms < point.timestamp_ms);
                // A float and a histogram never have one time: there is at least one before it.
                Some(self.take_floats(end.max(1)))
            }
            (Some(_), None) => Some(self.take_floats(times_ms.len())),
        }
    }
}

impl Chunks {
    fn take_floats(&mut self, available: usize) -> proto::Chunk {
        let taken = self.floats..self.floats + available.min(SAMPLES_PER_CHUNK);
        self.floats = taken.end;
        let times_ms = &self.series.timestamps_ms[taken.clone()];
        chunk(Encoding::Xor, (times_ms[0], times_ms[times_ms.len() - 1]), {
            xor::encode(times_ms, &self.series.values[taken])
        })
    }

    fn take_histograms(&mut self, available: usize) -> proto::Chunk {
        let (before, points) = self.series.histograms.split_at(self.histograms);
        let points = &points[..available.min(SAMPLES_PER_CHUNK)];
        let points = &points[..histograms::fitting(points)];
        self.histograms += points.len();
        let (data, is_float) = histograms::encode(points, before.last().map(|point| &*point.histogram));
        let encoding = if is_float { Encoding::FloatHistogram } else { Encoding::Histogram };
        chunk(encoding, (points[0].timestamp_ms, points[points.len() - 1].timestamp_ms), data)
    }
}

fn chunk(encoding: Encoding, (min_time_ms, max_time_ms): (i64, i64), data: Vec<u8>) -> proto::Chunk {
    proto::Chunk { min_time_ms, max_time_ms, r#type: encoding.into(), data }
}

/// `uvarint length · CRC32C, big endian · message`.
fn frame(message: &proto::ChunkedReadResponse) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut frame = Vec::with_capacity(message.len() + 14);
    prost::encoding::encode_varint(message.len() as u64, &mut frame);
    frame.extend_from_slice(&crc32c::crc32c(&message).to_be_bytes());
    frame.extend_from_slice(&message);
    frame
}
