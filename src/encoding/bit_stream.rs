//! Bits in a row of bytes, the highest bit of a byte first.
//!
//! Owns nothing but the order of bits. Reading past the end is an answer, never a panic.

/// Appends bits to a byte buffer. Call [`BitWriter::finish`] to pad the last byte with zeros.
#[derive(Debug)]
pub struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    /// The lowest `filled` bits are waiting to be written.
    pending: u64,
    filled: u32,
}

impl<'a> BitWriter<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, pending: 0, filled: 0 }
    }

    /// Appends the lowest `width` bits of `bits`, `width` up to 64.
    pub fn put(&mut self, bits: u64, width: u32) {
        debug_assert!(width <= 64);
        if width > 32 {
            self.put_short(bits >> 32, width - 32);
            self.put_short(bits, 32);
        } else {
            self.put_short(bits, width);
        }
    }

    /// At most 7 bits wait between calls, so that 32 more always fit.
    fn put_short(&mut self, bits: u64, width: u32) {
        let mask = (1u64 << width) - 1;
        self.pending = self.pending << width | bits & mask;
        self.filled += width;
        while self.filled >= 8 {
            self.filled -= 8;
            self.out.push((self.pending >> self.filled) as u8);
        }
    }

    pub fn finish(self) {
        if self.filled > 0 {
            self.out.push((self.pending << (8 - self.filled)) as u8);
        }
    }
}

/// Takes bits from bytes.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// The lowest `held` bits of `pending` are next.
    pending: u64,
    held: u32,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pending: 0, held: 0 }
    }

    /// Takes `width` bits, up to 64; `None` where fewer are left.
    pub fn take(&mut self, width: u32) -> Option<u64> {
        if width > 32 {
            let high = self.take_short(width - 32)?;
            return Some(high << 32 | self.take_short(32)?);
        }
        self.take_short(width)
    }

    fn take_short(&mut self, width: u32) -> Option<u64> {
        while self.held < width {
            if let Some((four, rest)) = self.bytes.split_first_chunk::<4>() {
                // Fewer than 32 bits are held here, so that 32 more fit.
                self.pending = self.pending << 32 | u64::from(u32::from_be_bytes(*four));
                self.held += 32;
                self.bytes = rest;
            } else {
                let (byte, rest) = self.bytes.split_first()?;
                self.pending = self.pending << 8 | u64::from(*byte);
                self.held += 8;
                self.bytes = rest;
            }
        }
        self.held -= width;
        Some(self.pending >> self.held & ((1u64 << width) - 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_come_back_in_order(items in prop::collection::vec((any::<u64>(), 0u32..=64), 0..200)) {
            let mut bytes = Vec::new();
            let mut writer = BitWriter::new(&mut bytes);
            for (bits, width) in &items {
                writer.put(*bits, *width);
            }
            writer.finish();

            let mut reader = BitReader::new(&bytes);
            for (bits, width) in &items {
                let mask = if *width == 64 { u64::MAX } else { (1 << width) - 1 };
                prop_assert_eq!(reader.take(*width), Some(bits & mask));
            }
            prop_assert_eq!(reader.take(8), None);
        }
    }
}
