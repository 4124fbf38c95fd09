//! Walks a protobuf message field by field, without copying.
//!
//! Owns the wire format: varints, lengths, wire types, what is malformed. Knows no message.
//! Groups are refused; whoever walks skips unknown fields by not looking at them.

use super::error::{DecodeError, WireFault};
use crate::model::series_batch::TextRef;

/// A message, or what is left of it, as a stretch of the body.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    rest: &'a [u8],
    /// Where `rest` starts in the body.
    at: usize,
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    pub number: u32,
    /// Where the field starts in the body.
    pub at: usize,
    pub value: Value<'a>,
}

/// The value of a field as the wire has it.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    /// No message here has such a field: its bits are not read.
    Fixed32,
    /// A text, a message or packed numbers.
    Bytes(Message<'a>),
}

impl<'a> Message<'a> {
    /// The whole body, which offsets are counted from.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body, at: 0 }
    }

    /// The fields in a stretch of the body, which [`Self::text`] or a field's place gave.
    pub fn within(body: &'a [u8], stretch: TextRef) -> Self {
        let at = stretch.start as usize;
        Self { rest: &body[at..at + stretch.len as usize], at }
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.rest
    }

    pub fn at(&self) -> usize {
        self.at
    }

    /// The message as a text of the body.
    ///
    /// Bodies are shorter than 4 GiB (see [`super::snappy::decompress`]).
    pub fn text(&self) -> TextRef {
        TextRef { start: self.at as u32, len: self.rest.len() as u32 }
    }

    /// The empty text at the start of the message: what a text is before its field came.
    pub fn text_start(&self) -> TextRef {
        TextRef { start: self.at as u32, len: 0 }
    }

    /// The next field, or `None` at the end of the message.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let at = self.at;
        let key = self.varint()?;
        let number = u32::try_from(key).map_or(0, |key| key >> 3);
        if number == 0 {
            return Err(malformed(at, WireFault::NoSuchField));
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => Value::Bytes(self.delimited()?),
            3 | 4 => return Err(malformed(at, WireFault::Group)),
            5 => self.array::<4>().map(|_| Value::Fixed32)?,
            _ => return Err(malformed(at, WireFault::NoSuchWireType)),
        };
        Ok(Some(Field { number, at, value }))
    }

    /// The next of packed varints, or `None` at the end.
    #[inline]
    pub fn next_varint(&mut self) -> Result<Option<u64>, DecodeError> {
        if self.rest.is_empty() { Ok(None) } else { self.varint().map(Some) }
    }

    /// The next of packed doubles, or `None` at the end.
    #[inline]
    pub fn next_double(&mut self) -> Result<Option<f64>, DecodeError> {
        if self.rest.is_empty() { Ok(None) } else { self.array().map(f64::from_le_bytes).map(Some) }
    }

    /// How many packed varints are left: each has one byte without the continuation bit.
    pub fn count_varints(&self) -> usize {
        self.rest.iter().filter(|byte| **byte < 0x80).count()
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, DecodeError> {
        match self.bytes() {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                self.at += 1;
                Ok(u64::from(*byte))
            }
            // As the length of nearly every series.
            [low, high, rest @ ..] if *high < 0x80 => {
                self.rest = rest;
                self.at += 2;
                Ok(u64::from(*low & 0x7f) | (u64::from(*high) << 7))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for (index, byte) in self.rest.iter().enumerate() {
            let is_beyond_64_bits = index == 9 && *byte > 1;
            if is_beyond_64_bits {
                return Err(malformed(self.at, WireFault::VarintTooLong));
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.advance(index + 1);
                return Ok(value);
            }
        }
        Err(malformed(self.at, WireFault::Truncated))
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some(array) = self.rest.first_chunk::<N>() else {
            return Err(malformed(self.at, WireFault::Truncated));
        };
        self.advance(N);
        Ok(*array)
    }

    #[inline]
    fn delimited(&mut self) -> Result<Self, DecodeError> {
        let at = self.at;
        let len = self.varint()?;
        let inner = usize::try_from(len).ok().and_then(|len| self.rest.get(..len));
        let Some(inner) = inner else {
            return Err(malformed(at, WireFault::LengthBeyondEnd));
        };
        let message = Self { rest: inner, at: self.at };
        self.advance(inner.len());
        Ok(message)
    }

    /// Passes over the next bytes, which are there.
    #[inline]
    pub fn advance(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
        self.at += bytes;
    }
}

impl Field<'_> {
    /// The error of a known field whose value has another wire type than it should.
    #[cold]
    pub fn wrong_type(&self, message: &'static str) -> DecodeError {
        DecodeError::WireType { message, field: self.number, at: self.at }
    }
}

#[cold]
fn malformed(at: usize, fault: WireFault) -> DecodeError {
    DecodeError::Malformed { at, fault }
}

/// The signed number behind a zigzag varint (`sint64`).
#[inline]
pub fn zigzag64(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// The signed number behind a zigzag varint of 32 bits (`sint32`); higher bits do not count.
#[inline]
pub fn zigzag32(value: u64) -> i32 {
    let value = value as u32;
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(body: &[u8]) -> Option<WireFault> {
        let mut message = Message::new(body);
        loop {
            match message.next_field() {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(DecodeError::Malformed { fault, .. }) => return Some(fault),
                Err(other) => panic!("unexpected {other}"),
            }
        }
    }

    #[test]
    fn every_wire_type_is_walked_over() {
        let body = [
            &[0x08, 0x96, 0x01][..],
            &[0x11, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0x1a, 2, b'h', b'i'],
            &[0x25, 1, 2, 3, 4],
            &[0xf8, 0xff, 0xff, 0xff, 0x0f, 0],
        ]
        .concat();

        let mut message = Message::new(&body);
        let mut numbers = Vec::new();
        while let Some(field) = message.next_field().unwrap() {
            numbers.push(field.number);
            match field.value {
                Value::Varint(value) => assert!(value == 150 || field.number != 1),
                Value::Bytes(text) => assert_eq!((text.bytes(), text.text().start), (&b"hi"[..], 14)),
                Value::Fixed64(bits) => assert_eq!(bits, 0x0807_0605_0403_0201),
                Value::Fixed32 => assert_eq!(field.number, 4),
            }
        }

        assert_eq!(numbers, [1, 2, 3, 4, (1 << 29) - 1]);
    }

    #[test]
    fn malformed_bytes_are_named() {
        let check = |body: &[u8], want: WireFault| assert_eq!(fault(body), Some(want), "{body:x?}");
        check(&[0x80], WireFault::Truncated);
        check(&[0x08], WireFault::Truncated);
        check(&[0x08, 0xff], WireFault::Truncated);
        check(&[0x09, 1, 2, 3], WireFault::Truncated);
        check(&[0x0d, 1, 2, 3], WireFault::Truncated);
        check(&[0x0a, 1], WireFault::LengthBeyondEnd);
        check(
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            WireFault::LengthBeyondEnd,
        );
        check(&[0x0b, 0x0c], WireFault::Group);
        check(&[0x0c], WireFault::Group);
        check(&[0x0e], WireFault::NoSuchWireType);
        check(&[0x0f], WireFault::NoSuchWireType);
        check(&[0x00, 0x00], WireFault::NoSuchField);
        check(&[0x80, 0x80, 0x80, 0x80, 0x10, 0x00], WireFault::NoSuchField);
        check(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], WireFault::VarintTooLong);
        check(
            &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            WireFault::VarintTooLong,
        );
    }

    #[test]
    fn the_longest_varint_holds_all_64_bits() {
        let body = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let field = Message::new(&body).next_field().unwrap().unwrap();
        assert!(matches!(field.value, Value::Varint(u64::MAX)));
    }

    #[test]
    fn varints_of_any_length_are_read_and_passed_over() {
        let check = |bytes: &[u8], want: u64| {
            let body = [bytes, &[0x2a]].concat();
            let mut message = Message::new(&body);
            assert_eq!(message.varint().ok(), Some(want), "{bytes:x?}");
            assert_eq!((message.bytes(), message.at()), (&[0x2a][..], bytes.len()));
        };
        check(&[0x7f], 127);
        check(&[0x80, 0x01], 128);
        check(&[0xac, 0x02], 300);
        check(&[0xff, 0x7f], (1 << 14) - 1);
        check(&[0x80, 0x80, 0x01], 1 << 14);
        // Longer than they have to be.
        check(&[0x80, 0x00], 0);
        check(&[0x81, 0x80, 0x00], 1);
    }

    #[test]
    fn zigzag_numbers_alternate() {
        let check = |value: u64, want: i64| {
            assert_eq!(zigzag64(value), want);
            assert_eq!(i64::from(zigzag32(value)), want);
        };
        check(0, 0);
        check(1, -1);
        check(2, 1);
        check(105, -53);
        assert_eq!(zigzag64(u64::MAX), i64::MIN);
        assert_eq!(zigzag32(u64::from(u32::MAX)), i32::MIN);
    }
}
