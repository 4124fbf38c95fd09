//! Entropy-coded numbers: crate `pco`, fenced in.
//!
//! `pco` bins numbers by range, codes the bins by their frequency (tANS) and lays the offsets
//! within the bins beside them. Owns what of its format may stand in our columns: one chunk of one
//! page without the version that a file of its own would begin with, without its recurring
//! patterns, convolutions and dictionaries, whose decoders may allocate far more than the bytes
//! they are given. What is left takes less than a mebibyte beside the numbers themselves.
//!
//! What `pco` wrote is read again and compared before it is believed: merging throws the source
//! away.

use std::cell::Cell;

use pco::data_types::Number;
use pco::metadata::DeltaEncoding;
use pco::wrapped::{ChunkDecompressor, FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DecompressorScratch, DeltaSpec, FULL_BATCH_N, ModeSpec};

use crate::encoding::cursor::{Cursor, Malformed};

/// The version of `pco`'s format that our columns hold. Newer ones get a codec of their own.
const PCO_VERSION: [u8; 2] = [4, 1];

/// Beyond this level a column hardly gets smaller.
const LEVEL: usize = 8;

/// `pco`'s modes: the lowest four bits of a chunk.
const MODE_MASK: u8 = 0x0f;
const CLASSIC: u8 = 0;
const FLOAT_MULTIPLES: u8 = 2;
const FLOAT_QUANTA: u8 = 3;

const CORRUPT: Malformed = Malformed("entropy-coded numbers are corrupt");

/// Numbers that may be laid down here.
pub trait Binned: Number {
    /// How a chunk of such numbers may begin.
    const MODES: &'static [u8];

    fn same_bits(a: &Self, b: &Self) -> bool;
}

macro_rules! binned_integers {
    ($($integer:ty),*) => {
        $(impl Binned for $integer {
            const MODES: &'static [u8] = &[CLASSIC];

            fn same_bits(a: &Self, b: &Self) -> bool {
                a == b
            }
        })*
    };
}

binned_integers!(u8, u16, u32, u64);

impl Binned for f64 {
    const MODES: &'static [u8] = &[CLASSIC, FLOAT_MULTIPLES, FLOAT_QUANTA];

    fn same_bits(a: &Self, b: &Self) -> bool {
        a.to_bits() == b.to_bits()
    }
}

/// Appends integers as they are: differences are the caller's. Says whether it did; where it did
/// not, `out` is as it was.
pub fn put_binned_integers<T: Binned>(out: &mut Vec<u8>, integers: &[T]) -> bool {
    let config = config(ModeSpec::Classic, DeltaSpec::NoOp);
    put_binned(out, integers, &config)
}

/// Appends floats, or the differences of their bits: whichever is smaller. Says whether it did;
/// where it did not, `out` is as it was.
pub fn put_binned_floats(out: &mut Vec<u8>, values: &[f64]) -> bool {
    let start = out.len();
    let as_they_are = put_binned(out, values, &config(ModeSpec::Auto, DeltaSpec::NoOp));
    let between = out.len();
    let differences = put_binned(out, values, &config(ModeSpec::Auto, DeltaSpec::TryConsecutive(1)));
    if differences && (!as_they_are || out.len() - between < between - start) {
        out.drain(start..between);
    } else {
        out.truncate(between);
    }
    as_they_are || differences
}

fn config(mode: ModeSpec, delta: DeltaSpec) -> ChunkConfig {
    ChunkConfig::default()
        .with_compression_level(LEVEL)
        .with_mode_spec(mode)
        .with_delta_spec(delta)
        .with_enable_8_bit(true)
}

fn put_binned<T: Binned>(out: &mut Vec<u8>, numbers: &[T], config: &ChunkConfig) -> bool {
    let start = out.len();
    let written = write_chunk(out, numbers, config);
    if written && reads_as(&out[start..], numbers) {
        return true;
    }
    out.truncate(start);
    false
}

fn write_chunk<T: Binned>(out: &mut Vec<u8>, numbers: &[T], config: &ChunkConfig) -> bool {
    let Ok(mut chunk) = FileCompressor::default().chunk_compressor(numbers, config) else { return false };
    chunk.n_per_page().len() == 1 && chunk.write_meta(&mut *out).is_ok() && chunk.write_page(0, out).is_ok()
}

fn reads_as<T: Binned>(bytes: &[u8], numbers: &[T]) -> bool {
    let mut cursor = Cursor::new(bytes);
    let (mut at, mut same) = (0, true);
    let read = take_binned(&mut cursor, numbers.len(), |batch: &[T]| {
        same &= batch.iter().zip(&numbers[at..]).all(|(a, b)| T::same_bits(a, b));
        at += batch.len();
    });
    read.is_ok() && same && cursor.is_empty()
}

thread_local! {
    /// Room to decode in, some twelve kilobytes: to clear it anew takes as long as to decode a short
    /// column. Whoever decodes takes it out meanwhile.
    static SCRATCH: Cell<Option<DecompressorScratch>> = const { Cell::new(None) };
}

/// Takes `count` numbers, at least one, and gives them in stretches.
pub fn take_binned<T: Binned>(
    cursor: &mut Cursor<'_>,
    count: usize,
    each: impl FnMut(&[T]),
) -> Result<(), Malformed> {
    let bytes = cursor.rest();
    // A dictionary, which is not among the modes, would be allocated before it is read.
    let mode = bytes.first().ok_or(CORRUPT)? & MODE_MASK;
    if !T::MODES.contains(&mode) {
        return Err(Malformed("entropy-coded numbers of an unknown kind"));
    }
    let (file, _) = FileDecompressor::new(PCO_VERSION.as_slice()).map_err(|_| CORRUPT)?;
    let (chunk, page) = file.chunk_decompressor::<T, _>(bytes).map_err(|_| CORRUPT)?;
    // Looking back takes a window of up to 128 MiB, which is allocated with the page.
    match chunk.meta().delta_encoding {
        DeltaEncoding::NoOp | DeltaEncoding::Consecutive { .. } => {}
        _ => return Err(Malformed("entropy-coded numbers with unknown differences")),
    }
    let mut scratch = SCRATCH.take().unwrap_or_default();
    let taken = take_page(&chunk, page, count, &mut scratch, each);
    SCRATCH.set(Some(scratch));
    cursor.take(bytes.len() - taken?)?;
    Ok(())
}

/// Takes the only page of a chunk; says how many bytes follow it.
fn take_page<T: Binned>(
    chunk: &ChunkDecompressor<T>,
    page: &[u8],
    count: usize,
    scratch: &mut DecompressorScratch,
    mut each: impl FnMut(&[T]),
) -> Result<usize, Malformed> {
    let mut page = chunk.page_decompressor_with_scratch(page, count, scratch).map_err(|_| CORRUPT)?;
    let mut batch = [T::default(); FULL_BATCH_N];
    let mut left = count;
    while left > 0 {
        let taken = page.read(&mut batch).map_err(|_| CORRUPT)?.n_processed;
        if taken == 0 || taken > left {
            return Err(CORRUPT);
        }
        each(&batch[..taken]);
        left -= taken;
    }
    Ok(page.into_src().len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_bytes_of<T: Binned>(bytes: &[u8], count: usize) -> usize {
        let mut given = 0;
        let _ = take_binned::<T>(&mut Cursor::new(bytes), count, |batch| given += batch.len());
        given
    }

    fn written<T: Binned>(numbers: &[T]) -> Vec<u8> {
        let mut bytes = Vec::new();
        assert!(put_binned_integers(&mut bytes, numbers));
        bytes
    }

    #[test]
    fn columns_hold_the_version_of_the_format_that_they_are_read_as() {
        let header = FileCompressor::default().write_header(Vec::new()).expect("into memory");
        assert_eq!(header, PCO_VERSION);
    }

    #[test]
    fn what_may_allocate_beyond_its_bytes_is_refused() {
        let numbers: Vec<u64> = (0..2_000).map(|i| i % 37 * (i % 5)).collect();
        let chunk_of = |mode: ModeSpec, delta: DeltaSpec| {
            let mut bytes = Vec::new();
            assert!(write_chunk(&mut bytes, &numbers, &config(mode, delta)));
            bytes
        };
        let read = |bytes: &[u8]| take_binned::<u64>(&mut Cursor::new(bytes), numbers.len(), |_| {});

        let refused = read(&chunk_of(ModeSpec::TryDict, DeltaSpec::NoOp));
        assert_eq!(refused, Err(Malformed("entropy-coded numbers of an unknown kind")));
        let refused = read(&chunk_of(ModeSpec::Classic, DeltaSpec::TryLookback));
        assert_eq!(refused, Err(Malformed("entropy-coded numbers with unknown differences")));
        assert_eq!(read(&chunk_of(ModeSpec::Classic, DeltaSpec::TryConsecutive(2))), Ok(()));
    }

    #[test]
    fn bytes_that_follow_are_left() {
        let numbers: Vec<u16> = (0..700).map(|i| i * 31 % 999).collect();
        let mut bytes = written(&numbers);
        bytes.extend([1, 2, 3]);

        let (mut cursor, mut back) = (Cursor::new(&bytes), Vec::new());
        let read = take_binned(&mut cursor, numbers.len(), |batch: &[u16]| back.extend_from_slice(batch));
        assert_eq!(read, Ok(()));
        assert_eq!(back, numbers);
        assert_eq!(cursor.rest(), [1, 2, 3]);
    }

    proptest! {
        #[test]
        fn any_doubles_come_back_to_the_bit(
            bits in prop::collection::vec(any::<u64>(), 1..600),
            shift in 0u32..64,
        ) {
            let values: Vec<f64> = bits.iter().map(|bits| f64::from_bits(bits >> shift)).collect();
            let mut bytes = Vec::new();
            prop_assert!(put_binned_floats(&mut bytes, &values));
            prop_assert!(reads_as(&bytes, &values));
        }

        #[test]
        fn any_bytes_are_numbers_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 1usize..2_000) {
            prop_assert!(any_bytes_of::<u8>(&bytes, count) <= count);
            prop_assert!(any_bytes_of::<u64>(&bytes, count) <= count);
            prop_assert!(any_bytes_of::<f64>(&bytes, count) <= count);
        }

        #[test]
        fn damaged_numbers_are_numbers_or_an_error(
            numbers in prop::collection::vec(0u32..1 << 20, 1..600),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            count in 1usize..2_000,
        ) {
            let mut bytes = written(&numbers);
            for (at, with) in damage {
                let at = at.index(bytes.len());
                bytes[at] ^= with;
            }
            prop_assert!(any_bytes_of::<u32>(&bytes, count) <= count);
        }
    }
}
