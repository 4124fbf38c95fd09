//! Decodes a request: decompress, walk, let the known be recognised, read the labels of the rest.

use bytes::Bytes;

use super::columns::{Columns, columns_bytes_max};
use super::{DecodeError, Protocol, snappy, v1, v2};
use crate::model::{SeriesBatch, TenantId};

/// What a request may cost.
#[derive(Clone, Copy, Debug)]
pub struct DecodeLimits {
    /// Largest body after decompression; checked against its declared length before anything is
    /// allocated. The columns of the batch are bounded by a multiple of the body
    /// ([`super::DECODED_PER_BODY_BYTE`]).
    pub decompressed_bytes_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { decompressed_bytes_max: 32 << 20 }
    }
}

/// Decodes the snappy-compressed body of a request.
///
/// The batch holds what was sent as it was sent: nothing is sorted, and nothing is refused that
/// [`validate`](crate::ingest::validate::validate) can refuse by name.
pub fn decode(
    protocol: Protocol,
    body: Bytes,
    tenant: TenantId,
    limits: &DecodeLimits,
) -> Result<SeriesBatch, DecodeError> {
    let columns_bytes = columns_bytes_max(snappy::declared_len(&body)?);
    decode_within(protocol, body, tenant, limits, columns_bytes)
}

/// Decodes as [`decode`] does, into columns of at most `columns_bytes`.
pub fn decode_within(
    protocol: Protocol,
    body: Bytes,
    tenant: TenantId,
    limits: &DecodeLimits,
    columns_bytes: usize,
) -> Result<SeriesBatch, DecodeError> {
    decode_unread(protocol, body, tenant, limits, columns_bytes)?.read()
}

/// A decoded request whose series of 1.0 have no labels yet, where their bytes stand in one piece. That a
/// span holds labels and nothing else is proven by [`Self::read`], or by its bytes being those that the labels of
/// a series came in before: nothing less may make a series known.
pub struct Unread {
    columns: Columns,
}

impl Unread {
    /// The batch so far, for whoever recognises series: those whose labels are nobody's concern any more
    /// ([`is_done_with_labels`]) stay without.
    ///
    /// [`is_done_with_labels`]: crate::model::series_batch::BatchSeries::is_done_with_labels
    pub fn batch(&mut self) -> &mut SeriesBatch {
        self.columns.batch()
    }

    /// Reads the labels of all other series.
    pub fn read(mut self) -> Result<SeriesBatch, DecodeError> {
        v1::read_labels(&mut self.columns)?;
        Ok(self.columns.into_batch())
    }
}

/// Decodes into columns of at most `columns_bytes`, and leaves the labels of 1.0 to be read.
///
/// A caller that leases memory first may try with what honest requests need and, should that or
/// [`Unread::read`] end in [`DecodeError::Expands`], lease [`columns_bytes_max`] and try again.
pub fn decode_unread(
    protocol: Protocol,
    body: Bytes,
    tenant: TenantId,
    limits: &DecodeLimits,
    columns_bytes: usize,
) -> Result<Unread, DecodeError> {
    let text = snappy::decompress(&body, limits.decompressed_bytes_max)?;
    drop(body);
    let mut columns = Columns::new(tenant, text.clone(), columns_bytes.min(columns_bytes_max(text.len())));
    match protocol {
        Protocol::V1 => v1::decode_guessing(&text, &mut columns)?,
        Protocol::V2 => v2::decode(&text, &mut columns)?,
    }
    Ok(Unread { columns })
}
