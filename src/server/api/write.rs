//! `POST /api/v1/write`: remote write 1.0 and 2.0.
//!
//! What is refused for good is named in a 400 after everything else was stored; what waiting
//! cures is a 503, and then nothing was refused. What another sender of an HA pair brings is a success, too, and
//! counted as written: Prometheus takes anything less for a failure. A request of nothing else is a 202.

use std::fmt::Write as _;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::clock::boot_ms;
use crate::error::ErrorKind;
use crate::ingest::ha_pairs::Deduplicated;
use crate::ingest::remote_write::{columns_bytes_max, decode_unread};
use crate::ingest::{self, DecodeError, DecodeLimits, Protocol, ValidationRules};
use crate::memory::MemoryLease;
use crate::model::series_batch::{BatchSeries, Refusals, Written};
use crate::model::{SeriesBatch, TenantId};
use crate::server::auth::tenant::tenant_of;
use crate::server::body::{self, BodyError, BodyLimits};
use crate::server::consistency::POSITION;
use crate::server::error::ApiError;
use crate::server::ha_pairs;
use crate::server::limits;
use crate::server::state::Shared;
use crate::storage::Position;

/// Bodies up to this are decoded where they were received; decoding more than some hundred
/// microseconds' worth would hold up other connections.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// What an honest request's columns take per byte of its decompressed body. 2.0 names labels by
/// number: its bodies are small and their columns are not. A request that needs more is decoded
/// again, with the ceiling of what any can need leased.
fn columns_per_body_byte(protocol: Protocol) -> u64 {
    match protocol {
        Protocol::V1 => 2,
        Protocol::V2 => 6,
    }
}

const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

pub async fn write(State(state): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let text = |name: HeaderName| parts.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let protocol =
        ingest::remote_write::negotiate(text(header::CONTENT_TYPE), text(header::CONTENT_ENCODING));
    let (response, protocol) = match protocol {
        Ok(protocol) => (answer(&state, protocol, &parts, body).await, protocol.to_string()),
        Err(unsupported) => {
            (plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, unsupported.to_string()), "unknown".to_owned())
        }
    };
    let code = response.status();
    state.metrics.remote_write_requests.with_label_values(&[protocol.as_str(), code.as_str()]).inc();
    response
}

/// What became of a request.
struct Outcome {
    written: Written,
    /// What another sender brings.
    duplicates: Written,
    /// Where it stands in the log of a bucket.
    position: Option<Position>,
    /// Why not everything was written.
    error: Option<Response>,
}

impl Outcome {
    fn failed(error: Response) -> Self {
        let nothing = Written::default();
        Self { written: nothing, duplicates: nothing, position: None, error: Some(error) }
    }

    fn success(&self) -> StatusCode {
        let nothing = Written::default();
        let is_duplicate = self.written == nothing && self.duplicates != nothing;
        if is_duplicate { StatusCode::ACCEPTED } else { StatusCode::NO_CONTENT }
    }
}

/// A request as it is to be stored.
struct Received {
    batch: SeriesBatch,
    refused: Refusals,
    of_pairs: Deduplicated,
}

async fn answer(state: &Shared, protocol: Protocol, parts: &Parts, body: Body) -> Response {
    let outcome = match receive(state, protocol, parts, body).await {
        Ok((received, lease)) => store(state, received, lease).await,
        Err(error) => Outcome::failed(error),
    };
    let success = outcome.success();
    let mut response = outcome.error.unwrap_or_else(|| success.into_response());
    if let Some(position) = outcome.position {
        let position = HeaderValue::from_str(&position.to_string()).expect("digits and a colon");
        response.headers_mut().insert(POSITION, position);
    }
    if protocol == Protocol::V2 {
        let written = outcome.written.plus(outcome.duplicates);
        let counts = [
            (SAMPLES_WRITTEN, written.floats),
            (HISTOGRAMS_WRITTEN, written.histograms),
            (EXEMPLARS_WRITTEN, written.exemplars),
        ];
        for (name, count) in counts {
            response.headers_mut().insert(name, HeaderValue::from(count));
        }
    }
    response
}

/// From bytes to a valid batch, what was left out of it, and the memory both stand on.
async fn receive(
    state: &Shared,
    protocol: Protocol,
    parts: &Parts,
    body: Body,
) -> Result<(Received, MemoryLease), Response> {
    let tenant = tenant_of(state, parts).map_err(ApiError::into_text)?;
    let tenant_limits = state.limits_of(&tenant);
    let bytes_max = state.config.remote_write.body_bytes_max;
    let limits =
        BodyLimits { bytes_max: compressed_bytes_max(bytes_max), timeout: state.config.web.read_timeout };
    let compressed = body::read(&parts.headers, body, limits, &state.memory.writes).await;
    let compressed = compressed.map_err(IntoResponse::into_response)?;

    if let Some(per_second) = tenant_limits.samples_per_second {
        let checked = state.rates.check(&tenant, per_second, state.clock.now_ms());
        checked.map_err(|seconds| over_rate(&tenant, per_second, seconds))?;
    }
    let mut lease = compressed.lease;
    let declared = ingest::remote_write::declared_len(&compressed.bytes).map_err(|e| malformed(&e))? as u64;
    if declared > bytes_max {
        let limit_bytes = bytes_max as usize;
        return Err(malformed(&DecodeError::TooLarge { declared_bytes: declared as usize, limit_bytes }));
    }
    let mut rules = ValidationRules::at(state.clock.now_ms(), state.config.storage.retention_ms);
    rules.limits = limits::of_labels(&tenant_limits);
    // Small bodies fit what is leased for them anyway: no second attempt for a handful of samples.
    let honest = declared.saturating_mul(columns_per_body_byte(protocol)).max(INLINE_BYTES_MAX as u64);
    // No attempt asks for more than there will ever be: beyond that the request is too large.
    let room = state.memory.writes.limit_bytes().saturating_sub(declared);
    let ceiling = (columns_bytes_max(declared as usize) as u64).min(room);
    let mut decoded = Err(DecodeError::Expands { limit_bytes: 0 });
    for columns_bytes in [honest.min(ceiling), ceiling] {
        lease_all(state, &mut lease, declared.saturating_add(columns_bytes))
            .map_err(IntoResponse::into_response)?;
        let body = compressed.bytes.clone();
        decoded = decode(state, protocol, body, declared, tenant.clone(), rules, columns_bytes).await?;
        if !matches!(decoded, Err(DecodeError::Expands { .. })) {
            break;
        }
    }
    let received = decoded.map_err(|e| malformed(&e))?;
    let batch = &received.batch;
    lease_all(state, &mut lease, batch_bytes(batch)).map_err(IntoResponse::into_response)?;
    if let Some(per_second) = tenant_limits.samples_per_second {
        let written = batch.written();
        let samples = written.floats + written.histograms;
        let taken = state.rates.take(&batch.tenant, samples, per_second, state.clock.now_ms());
        taken.map_err(|seconds| over_rate(&batch.tenant, per_second, seconds))?;
    }
    Ok((received, lease))
}

/// Why a whole request is refused whose tenant sends faster than he may.
fn over_rate(tenant: &TenantId, per_second: u64, seconds: u64) -> Response {
    let message = format!(
        "tenant {tenant} sends more than his limit of {per_second} samples a second (samples_per_second): \
         nothing of this request was stored, repeat it in {seconds} seconds"
    );
    ApiError::new(ErrorKind::RateLimited, message).into_text_after(seconds)
}

/// Decodes and validates within so much memory, all but the labels of series that the store knows as good.
/// Large bodies are decoded off the connections' threads.
async fn decode(
    state: &Shared,
    protocol: Protocol,
    body: Bytes,
    declared: u64,
    tenant: TenantId,
    rules: ValidationRules,
    columns_bytes: u64,
) -> Result<Result<Received, DecodeError>, Response> {
    let limits = DecodeLimits { decompressed_bytes_max: state.config.remote_write.body_bytes_max as usize };
    let (pairs, storage) = (state.ha_pairs.clone(), state.storage.clone());
    let (now_ms, clusters_max) = (boot_ms(), state.limits_of(&tenant).ha_clusters);
    let decode = move || -> Result<Received, DecodeError> {
        let mut unread = decode_unread(protocol, body, tenant, &limits, columns_bytes as usize)?;
        let is_asked = |batch: &SeriesBatch, series: &BatchSeries| rules.is_up_to_labels(batch, series);
        storage.recognise(unread.batch(), &rules.limits, is_asked);
        let mut batch = unread.read()?;
        let of_pairs = pairs.map(|pairs| pairs.deduplicate(&mut batch, now_ms, clusters_max));
        let mut of_pairs = of_pairs.unwrap_or_default();
        let mut refused = std::mem::take(&mut of_pairs.refused);
        refused.merge(ingest::validate(&mut batch, &rules));
        batch.judged_by = Some(rules.limits);
        Ok(Received { batch, refused, of_pairs })
    };
    if declared as usize <= INLINE_BYTES_MAX {
        return Ok(decode());
    }
    let decoding = tokio::task::spawn_blocking(decode);
    decoding.await.map_err(|e| ApiError::new(ErrorKind::Internal, format!("decode request: {e}")).into_text())
}

/// Stores what is good and says what was not.
async fn store(state: &Shared, received: Received, lease: MemoryLease) -> Outcome {
    let Received { batch, mut refused, of_pairs } = received;
    let tenant = batch.tenant.clone();
    let (mut written, mut position) = (Written::default(), None);
    if !batch.is_empty() {
        match state.storage.append(batch).await {
            Ok(appended) => {
                (written, position) = (appended.written, appended.position);
                refused.merge(appended.refused);
            }
            Err(error) => return Outcome::failed(ApiError::new(error.kind(), error.to_string()).into_text()),
        }
    }
    drop(lease);
    if let Some(pairs) = &state.ha_pairs {
        let (now, clusters_max) = (ha_pairs::now(&*state.clock), state.limits_of(&tenant).ha_clusters);
        pairs.acknowledged(&tenant, &of_pairs, written != Written::default(), now, clusters_max);
    }
    let kinds =
        [("float", written.floats), ("histogram", written.histograms), ("exemplar", written.exemplars)];
    for (kind, count) in kinds {
        state.metrics.samples_accepted.with_label_values(&[kind]).inc_by(count);
    }
    for (reason, count) in &refused.counts {
        state.metrics.samples_refused.with_label_values(&[reason.as_str()]).inc_by(*count);
    }
    let error = (!refused.is_empty()).then(|| {
        let message = describe(&refused);
        tracing::warn!(refused = refused.total(), message, "samples refused");
        plain(StatusCode::BAD_REQUEST, message)
    });
    Outcome { written, duplicates: of_pairs.duplicates, position, error }
}

/// One line: senders log the first.
fn describe(refused: &Refusals) -> String {
    let mut text = String::from("refused");
    for (at, (reason, count)) in refused.counts.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(text, "{comma} {count} {}", reason.as_str());
    }
    text.push_str("; everything else was stored");
    for example in &refused.examples {
        let _ = write!(text, "; {}", example.replace('\n', "\\n"));
    }
    text
}

/// The largest snappy block whose text is within the limit.
fn compressed_bytes_max(bytes_max: u64) -> u64 {
    bytes_max.saturating_add(bytes_max / 6).saturating_add(32)
}

/// Makes the lease hold `bytes`. A request that could never have them is too large, not early.
fn lease_all(state: &Shared, lease: &mut MemoryLease, bytes: u64) -> Result<(), BodyError> {
    let limit_bytes = state.memory.writes.limit_bytes();
    if bytes > limit_bytes {
        return Err(BodyError::TooLarge { limit_bytes });
    }
    if bytes > lease.bytes() {
        let more = bytes - lease.bytes();
        lease.grow(more)?;
    }
    lease.shrink_to(bytes);
    Ok(())
}

/// What a batch holds: its text and its columns.
fn batch_bytes(batch: &SeriesBatch) -> u64 {
    let histogram = |h: &crate::model::series_batch::HistogramSample| {
        let h = &h.histogram;
        8 * (h.positive_spans.len() + h.negative_spans.len() + h.custom_values.len()) + 128
    };
    let bytes = batch.text.len()
        + size_of_val(batch.labels.as_slice())
        + size_of_val(batch.series.as_slice())
        + size_of_val(batch.floats.as_slice())
        + size_of_val(batch.histograms.as_slice())
        + batch.histograms.iter().map(histogram).sum::<usize>()
        + size_of_val(batch.exemplars.as_slice())
        + batch.exemplars.iter().map(|e| e.labels.as_bytes().len()).sum::<usize>()
        + batch.metadata.iter().map(|m| m.metric.len() + m.help.len() + m.unit.len() + 80).sum::<usize>();
    bytes as u64
}

fn malformed(error: &DecodeError) -> Response {
    ApiError::new(error.kind(), error.to_string()).into_text()
}

fn plain(status: StatusCode, message: String) -> Response {
    (status, format!("{message}\n")).into_response()
}
