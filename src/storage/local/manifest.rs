//! How far a MANIFEST can be read: the record format of RocksDB's logs, without what is in them.
//!
//! ```text
//! block of 32 KiB = record … · zeros where less than a header is left
//! record          = crc32c u32 LE, masked · length u16 LE · kind u8 · payload
//! crc32c            of kind and payload
//! kind            = 1 whole · 2 first, 3 middle, 4 last piece of one that spans blocks
//! ```
//! RocksDB's own reader is lenient where it should not be: it passes over a block that begins with
//! zeros and applies what stands behind it, though what is missing came first. A power cut can leave
//! just that, so the end of what is whole is found here.

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// What can be said of a MANIFEST's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every record up to here is whole; there is nothing behind it, or nothing that can be read.
    Until(usize),
    /// A valid record of a kind that only a newer RocksDB writes: its reader decides.
    Unknown,
}

/// Finds the end of the last record before the first flaw.
pub fn extent(bytes: &[u8]) -> Extent {
    let (mut at, mut end, mut inside) = (0, 0, false);
    loop {
        let left = BLOCK_BYTES - at % BLOCK_BYTES;
        if left < HEADER_BYTES {
            at += left;
            continue;
        }
        let Some((kind, record_bytes)) = record(bytes.get(at..).unwrap_or(&[]), left) else {
            return Extent::Until(end);
        };
        at += record_bytes;
        match (kind, inside) {
            (WHOLE, false) => end = at,
            (FIRST, false) => inside = true,
            (MIDDLE, true) => {}
            (LAST, true) => (end, inside) = (at, false),
            (WHOLE..=LAST, _) => return Extent::Until(end),
            _ => return Extent::Unknown,
        }
    }
}

/// Kind and length of the record at the start of `bytes`, where a block has `left` bytes left.
fn record(bytes: &[u8], left: usize) -> Option<(u8, usize)> {
    let header = bytes.get(..HEADER_BYTES)?;
    let checksum = u32::from_le_bytes(header[..4].try_into().expect("four bytes"));
    let record_bytes = HEADER_BYTES + usize::from(u16::from_le_bytes([header[4], header[5]]));
    let checked = bytes.get(6..record_bytes).filter(|_| record_bytes <= left)?;
    (masked(crc32c::crc32c(checked)) == checksum).then_some((header[6], record_bytes))
}

/// RocksDB stores checksums rotated, so that a checksum over data that holds one means something.
fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appends a record as RocksDB would.
    fn push(bytes: &mut Vec<u8>, mut payload: &[u8]) {
        let mut first = true;
        loop {
            let left = BLOCK_BYTES - bytes.len() % BLOCK_BYTES;
            if left < HEADER_BYTES {
                bytes.resize(bytes.len() + left, 0);
                continue;
            }
            let (piece, rest) = payload.split_at(payload.len().min(left - HEADER_BYTES));
            let kind = match (first, rest.is_empty()) {
                (true, true) => WHOLE,
                (true, false) => FIRST,
                (false, false) => MIDDLE,
                (false, true) => LAST,
            };
            push_piece(bytes, kind, piece);
            if rest.is_empty() {
                return;
            }
            (payload, first) = (rest, false);
        }
    }

    fn push_piece(bytes: &mut Vec<u8>, kind: u8, piece: &[u8]) {
        let checked = [&[kind], piece].concat();
        bytes.extend(masked(crc32c::crc32c(&checked)).to_le_bytes());
        bytes.extend((piece.len() as u16).to_le_bytes());
        bytes.extend(checked);
    }

    #[test]
    fn records_are_counted_until_the_first_that_is_not_whole() {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for size in [10, 0, 3, BLOCK_BYTES - 60, 100, 3 * BLOCK_BYTES, 5] {
            push(&mut bytes, &vec![7; size]);
            ends.push(bytes.len());
            assert_eq!(extent(&bytes), Extent::Until(bytes.len()), "{size}");
        }

        for cut in (0..bytes.len()).step_by(97).chain(ends.iter().copied()) {
            let whole = *ends.iter().rfind(|end| **end <= cut).expect("zero is one of them");
            assert_eq!(extent(&bytes[..cut]), Extent::Until(whole), "cut at {cut}");
            let mut zeroed = bytes.clone();
            zeroed[cut..].iter_mut().take(512).for_each(|byte| *byte = 0);
            let Extent::Until(until) = extent(&zeroed) else { panic!("zeros are no record") };
            // The zeros behind a block's last record belong there.
            assert!(until == whole || zeroed == bytes, "{until} for zeros at {cut}");
        }
    }

    #[test]
    fn every_flipped_bit_ends_it_before_its_record() {
        let mut bytes = Vec::new();
        push(&mut bytes, b"one");
        let end = bytes.len();
        push(&mut bytes, b"two");
        push(&mut bytes, b"three");
        for bit in end * 8..(end + HEADER_BYTES + 3) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(extent(&flipped), Extent::Until(end), "bit {bit}");
        }
    }

    #[test]
    fn pieces_out_of_order_end_it_and_a_newer_kind_is_left_to_rocksdb() {
        let mut bytes = Vec::new();
        push_piece(&mut bytes, LAST, b"piece");
        assert_eq!(extent(&bytes), Extent::Until(0));

        let mut bytes = Vec::new();
        push_piece(&mut bytes, FIRST, b"piece");
        push_piece(&mut bytes, WHOLE, b"piece");
        assert_eq!(extent(&bytes), Extent::Until(0));

        let mut bytes = Vec::new();
        push(&mut bytes, b"one");
        push_piece(&mut bytes, 10, b"?");
        assert_eq!(extent(&bytes), Extent::Unknown);
    }
}
