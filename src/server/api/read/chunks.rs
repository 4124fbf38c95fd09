//! The answer as a stream of frames: per frame its length, its CRC32C and one series' chunks.

use prost::Message as _;

use super::samples::labels;
use super::xor;
use crate::ingest::proto::prometheus as proto;
use crate::querier::{QueryGuard, Series};
use crate::server::error::ApiResult;

pub const CONTENT_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// Prometheus' own number.
const SAMPLES_PER_CHUNK: usize = 120;
/// A series goes on in a new frame when its chunks have this size; receivers bound a frame.
const FRAME_BYTES: usize = 1 << 20;

/// All frames, series after series. A frame holds one series: receivers look at no other.
pub fn encode(results: Vec<Vec<Series>>, guard: &QueryGuard) -> ApiResult<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    for (query_index, result) in results.into_iter().enumerate() {
        for series in result {
            guard.check()?;
            push_series(&mut frames, query_index as i64, &series);
        }
    }
    Ok(frames)
}

fn push_series(frames: &mut Vec<Vec<u8>>, query_index: i64, series: &Series) {
    let mut message = proto::ChunkedReadResponse {
        chunked_series: vec![proto::ChunkedSeries { labels: labels(&series.labels), chunks: Vec::new() }],
        query_index,
    };
    let mut bytes = 0;
    let runs = series.timestamps_ms.chunks(SAMPLES_PER_CHUNK).zip(series.values.chunks(SAMPLES_PER_CHUNK));
    for (timestamps_ms, values) in runs {
        let chunk = chunk(timestamps_ms, values);
        bytes += chunk.data.len();
        message.chunked_series[0].chunks.push(chunk);
        if bytes >= FRAME_BYTES {
            frames.push(frame(&message));
            message.chunked_series[0].chunks.clear();
            bytes = 0;
        }
    }
    if bytes > 0 {
        frames.push(frame(&message));
    }
}

fn chunk(timestamps_ms: &[i64], values: &[f64]) -> proto::Chunk {
    proto::Chunk {
        min_time_ms: timestamps_ms.first().copied().unwrap_or_default(),
        max_time_ms: timestamps_ms.last().copied().unwrap_or_default(),
        r#type: proto::chunk::Encoding::Xor.into(),
        data: xor::encode(timestamps_ms, values),
    }
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
