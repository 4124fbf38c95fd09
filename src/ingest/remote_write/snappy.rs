//! Decompresses bodies: snappy blocks, not the framed format. Their elements are [`super::elements`]'.
//!
//! The declared length is believed only after it was compared with the limit and with what the
//! body can hold at best, so that a short body cannot make us allocate much.

use bytes::Bytes;
use snap::raw::{Decoder, decompress_len};

use super::{DecodeError, elements, spare};

/// The densest element of the format: three bytes that copy 64.
const COPY_BYTES: usize = 3;
const COPIED_BYTES_MAX: usize = 64;

/// The length after decompression that a compressed body declares.
pub fn declared_len(body: &[u8]) -> Result<usize, DecodeError> {
    if body.is_empty() {
        return Err(DecodeError::EmptyBody);
    }
    decompress_len(body).map_err(DecodeError::Snappy)
}

/// Decompresses a body whose declared length is within `limit_bytes`.
///
/// Offsets into the text are `u32`, which caps the limit.
pub fn decompress(body: &[u8], limit_bytes: usize) -> Result<Bytes, DecodeError> {
    let limit_bytes = limit_bytes.min(u32::MAX as usize);
    let declared_bytes = declared_len(body)?;
    if declared_bytes > limit_bytes {
        return Err(DecodeError::TooLarge { declared_bytes, limit_bytes });
    }
    if declared_bytes > body.len().div_ceil(COPY_BYTES) * COPIED_BYTES_MAX {
        return Err(DecodeError::Implausible { declared_bytes, body_bytes: body.len() });
    }
    let mut buffer = spare::take(declared_bytes);
    let text = &mut buffer[..declared_bytes];
    if !elements::unpack(elements_of(body), text) {
        // It knows what is wrong.
        Decoder::new().decompress(body, text).map_err(DecodeError::Snappy)?;
    }
    Ok(spare::into_text(buffer, declared_bytes))
}

/// What stands behind the declared length, which could be read.
fn elements_of(body: &[u8]) -> &[u8] {
    let last = body.iter().position(|byte| *byte < 0x80);
    last.map_or(&[], |last| &body[last + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compress(text: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(text).unwrap()
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let dense = vec![7u8; 3 << 20];
        let sparse: Vec<u8> =
            (0..100_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for text in [&b""[..], b"a", &dense, &sparse] {
            assert_eq!(decompress(&compress(text), 32 << 20).unwrap(), text);
        }
    }

    #[test]
    fn a_declared_length_beyond_the_limit_is_refused_before_it_is_allocated() {
        let body = compress(&vec![0; 1001]);
        assert!(decompress(&body, 1001).is_ok());
        assert!(matches!(
            decompress(&body, 1000),
            Err(DecodeError::TooLarge { declared_bytes: 1001, limit_bytes: 1000 })
        ));
    }

    #[test]
    fn a_short_body_cannot_declare_a_long_text() {
        let bomb = [0xff, 0xff, 0x7f, 0x00, 0x41];
        assert!(matches!(decompress(&bomb, 32 << 20), Err(DecodeError::Implausible { .. })));
    }

    #[test]
    fn a_broken_block_is_an_error() {
        let mut body = compress(b"some bytes that are longer than a header");
        body[0] = b'0';
        assert!(matches!(decompress(&body, 1 << 20), Err(DecodeError::Snappy(_))));
        assert!(matches!(decompress(&[0xff; 20], 1 << 20), Err(DecodeError::Snappy(_))));
        assert!(matches!(decompress(&[], 1 << 20), Err(DecodeError::EmptyBody)));
    }
}
