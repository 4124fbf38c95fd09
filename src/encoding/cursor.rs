//! A cursor over bytes that may be hostile: varints, fixed little endian, sized stretches.
//!
//! Reading past the end or a number that does not fit is an error of a few words, to which callers
//! add where it happened. A count is checked against what the caller can hold before it is used.

use super::varint::{self, VarintError};

/// Why bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

impl From<VarintError> for Malformed {
    fn from(error: VarintError) -> Self {
        Self(match error {
            VarintError::Truncated => "ends inside a varint",
            VarintError::TooLarge => "a varint does not fit its type",
            VarintError::NotShortest => "a varint is longer than necessary",
        })
    }
}

/// Reads forward through bytes.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes left.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What is left, without taking it.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(Malformed("ends too early"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(Malformed("ends too early"))?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.take_array::<1>().map(|[byte]| byte)
    }

    pub fn u32_le(&mut self) -> Result<u32, Malformed> {
        self.take_array().map(u32::from_le_bytes)
    }

    pub fn u64_le(&mut self) -> Result<u64, Malformed> {
        self.take_array().map(u64::from_le_bytes)
    }

    pub fn f64(&mut self) -> Result<f64, Malformed> {
        self.u64_le().map(f64::from_bits)
    }

    #[inline]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        varint::take_u64(&mut self.bytes).map_err(Malformed::from)
    }

    #[inline]
    pub fn zigzag(&mut self) -> Result<i64, Malformed> {
        self.varint().map(varint::unzigzag)
    }

    pub fn varint_u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed("number does not fit 32 bits"))
    }

    /// A varint that says how many of something follow: at most `max`.
    pub fn count(&mut self, max: usize) -> Result<usize, Malformed> {
        match usize::try_from(self.varint()?) {
            Ok(count) if count <= max => Ok(count),
            _ => Err(Malformed("a count is too large")),
        }
    }

    /// A length, then as many bytes.
    pub fn sized(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.count(self.bytes.len())?;
        self.take(len)
    }

    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.sized()?).map_err(|_| Malformed("text is not UTF-8"))
    }

    /// That nothing is left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Malformed("bytes are left over")) }
    }
}

/// Appends a length, then the bytes.
pub fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut cursor = Cursor::new(&bytes);
            while cursor.varint().is_ok() {}
            let mut cursor = Cursor::new(&bytes);
            while cursor.text().is_ok_and(|text| !text.is_empty()) {}
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        let mut bytes = Vec::new();
        put_sized(&mut bytes, b"abc");

        assert_eq!(Cursor::new(&bytes).text(), Ok("abc"));
        assert!(Cursor::new(&bytes[..3]).text().is_err());
        assert!(Cursor::new(&bytes).count(2).is_err());
    }
}
