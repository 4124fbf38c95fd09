//! `POST /api/v1/read`: remote read, by which a Prometheus asks us as if we were its own storage.
//!
//! [`samples`] is the form of one compressed message, [`chunks`] the stream of frames with chunks in
//! Prometheus' encodings: [`xor`] for floats, [`histograms`] for native histograms, both made of
//! [`bits`]. The first form that the request lists and we have is taken.

mod bits;
mod chunks;
#[cfg(test)]
mod decode;
mod histograms;
mod samples;
mod xor;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prost::Message as _;

use self::chunks::Frames;
use crate::ingest::proto::prometheus::label_matcher::Type;
use crate::ingest::proto::prometheus::read_request::ResponseType;
use crate::ingest::proto::prometheus::{LabelMatcher, Query, ReadRequest};
use crate::model::{Counts, MatchOp, Matcher, TenantId, TimeRange};
use crate::querier::{HistogramPoint, QueryGuard, SelectHints, SelectRequest, Series};
use crate::server::auth::tenant::tenant_of;
use crate::server::body::{self, BodyLimits};
use crate::server::error::{ApiError, ApiResult};
use crate::server::json::answer::streamed;
use crate::server::state::{ServerState, Shared};

/// Largest request, before and after decompression: selectors are short.
const REQUEST_BYTES_MAX: u64 = 4 << 20;
/// Prometheus' own limit of an answer as one message, in samples.
const SAMPLES_MAX: u64 = 50_000_000;

pub async fn read(State(state): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let limits = BodyLimits { bytes_max: REQUEST_BYTES_MAX, timeout: state.config.web.read_timeout };
    let received = match body::read(&parts.headers, body, limits, &state.memory.queries).await {
        Ok(received) => received,
        Err(error) => return error.into_response(),
    };
    let answered = match tenant_of(&state, &parts) {
        Ok(tenant) => answer(&state, tenant, &parts.headers, &received.bytes).await,
        Err(error) => Err(error),
    };
    match answered {
        Ok(response) => response,
        Err(error) => error.into_text(),
    }
}

async fn answer(state: &Shared, tenant: TenantId, headers: &HeaderMap, body: &[u8]) -> ApiResult<Response> {
    let asked = Asked::decode(headers, body)?;
    let for_work = Arc::clone(state);
    let of = tenant.clone();
    let work = move |guard: &QueryGuard| asked.answer(&for_work, &of, guard);
    let (encoded, guard) = state.run_query(&tenant, state.config.query.timeout, work).await?;
    let frames = match encoded {
        Encoded::Samples(message) => {
            let headers =
                [(header::CONTENT_TYPE, samples::CONTENT_TYPE), (header::CONTENT_ENCODING, "snappy")];
            return Ok((StatusCode::OK, headers, message).into_response());
        }
        Encoded::Chunks(frames) => frames,
    };
    let body = streamed(Vec::new(), frames, Vec::new(), Some(guard));
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, chunks::CONTENT_TYPE)], body).into_response())
}

enum Encoded {
    Samples(Vec<u8>),
    Chunks(Box<Frames>),
}

/// What a request asks for.
struct Asked {
    selections: Vec<SelectRequest>,
    /// The forms it takes, dearest first.
    forms: Vec<ResponseType>,
}

impl Asked {
    fn decode(headers: &HeaderMap, body: &[u8]) -> ApiResult<Self> {
        let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
        if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("snappy")) {
            return Err(ApiError::invalid("content encoding is not snappy"));
        }
        let unreadable = |why: String| ApiError::invalid(format!("read request: {why}"));
        let length = snap::raw::decompress_len(body).map_err(|e| unreadable(e.to_string()))?;
        if length as u64 > REQUEST_BYTES_MAX {
            return Err(unreadable(format!("it declares {length} bytes, more than {REQUEST_BYTES_MAX}")));
        }
        let message =
            snap::raw::Decoder::new().decompress_vec(body).map_err(|e| unreadable(e.to_string()))?;
        let request = ReadRequest::decode(message.as_slice()).map_err(|e| unreadable(e.to_string()))?;
        let selections = request.queries.iter().map(selection).collect::<ApiResult<Vec<_>>>()?;
        let listed = request.accepted_response_types;
        let mut forms: Vec<_> = listed.iter().filter_map(|n| ResponseType::try_from(*n).ok()).collect();
        match (listed.is_empty(), forms.is_empty()) {
            (true, _) => forms.push(ResponseType::Samples),
            (false, true) => return Err(ApiError::invalid("none of the accepted response types is known")),
            (false, false) => {}
        }
        Ok(Self { selections, forms })
    }

    fn answer(&self, state: &ServerState, tenant: &TenantId, guard: &QueryGuard) -> ApiResult<Encoded> {
        let querier = state.querier(tenant)?;
        let form = self.forms.first().copied().unwrap_or_default();
        let mut results: Vec<Vec<Series>> = Vec::new();
        let mut samples = 0u64;
        for selection in &self.selections {
            let mut result = Vec::new();
            for series in querier.select(selection, guard)? {
                guard.check()?;
                let series = series?;
                samples += (series.values.len() + series.histograms.len()) as u64;
                if form == ResponseType::Samples && samples > SAMPLES_MAX {
                    return Err(ApiError::invalid(format!("exceeded sample limit ({SAMPLES_MAX})")));
                }
                guard.reserve(weight(&series, form))?;
                result.push(series);
            }
            results.push(result);
        }
        match form {
            ResponseType::StreamedXorChunks => Ok(Encoded::Chunks(Box::new(Frames::new(results)))),
            ResponseType::Samples => Ok(Encoded::Samples(samples::encode(results, guard)?)),
        }
    }
}

/// What a series holds; as one message, as much again for its encoded form.
fn weight(series: &Series, form: ResponseType) -> u64 {
    let histogram = |point: &HistogramPoint| {
        let histogram = &*point.histogram;
        let buckets = match &histogram.counts {
            Counts::Integer { positive_deltas, negative_deltas, .. } => {
                positive_deltas.len() + negative_deltas.len()
            }
            Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
        };
        let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
        256 + 8 * (buckets + spans + histogram.custom_values.len())
    };
    let histograms: usize = series.histograms.iter().map(histogram).sum();
    let held = (series.labels.as_bytes().len() + series.values.len() * 16 + histograms + 64) as u64;
    if form == ResponseType::Samples { 2 * held } else { held }
}

fn selection(query: &Query) -> ApiResult<SelectRequest> {
    let matchers = query.matchers.iter().map(matcher).collect::<ApiResult<Vec<_>>>()?;
    let range = TimeRange::new(query.start_timestamp_ms, query.end_timestamp_ms);
    Ok(SelectRequest { matchers, range, hints: SelectHints::default() })
}

fn matcher(matcher: &LabelMatcher) -> ApiResult<Matcher> {
    let op = match matcher.r#type() {
        Type::Eq => MatchOp::Equal,
        Type::Neq => MatchOp::NotEqual,
        Type::Re => MatchOp::Regex,
        Type::Nre => MatchOp::NotRegex,
    };
    Matcher::new(&matcher.name, op, &matcher.value)
        .map_err(|e| ApiError::invalid(format!("matcher of {:?}: {e}", matcher.name)))
}

#[cfg(test)]
mod tests;
