//! Keys of the sections: big endian, so that bytes sort as numbers do.

use super::container::Section;
use super::error::PartError;

/// The header's only key.
pub const HEADER: &[u8] = b"h";

/// First byte of the keys of [`Section::Symbols`] and [`Section::Series`]: blocks by number.
pub const BLOCKS: u8 = 0;
/// Symbols: texts that separate blocks.
pub const SEPARATORS: u8 = 1;
/// Series: time bounds of rows.
pub const BOUNDS: u8 = 1;

pub fn block(kind: u8, number: u32) -> [u8; 5] {
    let [a, b, c, d] = number.to_be_bytes();
    [kind, a, b, c, d]
}

/// The block's number in a key of [`block`].
pub fn block_number(section: Section, key: &[u8]) -> Result<u32, PartError> {
    match key {
        [_, number @ ..] if number.len() == 4 => Ok(be_u32(number)),
        _ => Err(PartError::corrupt(section, key, "key is not one of a block")),
    }
}

pub fn column(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// The first record of a row has the row alone as its key, later ones their number after it.
pub fn record(row: u32, number: u16) -> Vec<u8> {
    let mut key = row.to_be_bytes().to_vec();
    if number > 0 {
        key.extend(number.to_be_bytes());
    }
    key
}

/// Row and number of a record.
pub fn record_of(section: Section, key: &[u8]) -> Result<(u32, u16), PartError> {
    match key.len() {
        4 => Ok((be_u32(key), 0)),
        6 => Ok((be_u32(&key[..4]), u16::from_be_bytes([key[4], key[5]]))),
        _ => Err(PartError::corrupt(section, key, "key is not one of a row")),
    }
}

/// The end of a stretch of rows that ends with `row`.
pub fn after_row(row: u32) -> Vec<u8> {
    match row.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        None => vec![0xff; 5],
    }
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// What an index entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IndexKey {
    pub kind: IndexKind,
    /// Days since 1970, negative before.
    pub day: i64,
    pub tenant: u32,
    /// Symbols, or 0: name 0 is "every row", value 0 "every row that has the label".
    pub name: u32,
    pub value: u32,
}

/// What the rows of an index entry have on the entry's day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum IndexKind {
    Samples = 0,
    Exemplars = 1,
}

const INDEX_KEY_BYTES: usize = 1 + 8 + 4 + 4 + 4;

impl IndexKey {
    /// The key of the entry's segment that starts with `first_row`.
    pub fn segment(&self, first_row: u32) -> Vec<u8> {
        let mut key = self.prefix();
        key.extend(first_row.to_be_bytes());
        key
    }

    /// What all segments of the entry start with.
    pub fn prefix(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(INDEX_KEY_BYTES + 4);
        key.push(self.kind as u8);
        // With the sign turned, days before 1970 sort before those after.
        key.extend((self.day as u64 ^ 1 << 63).to_be_bytes());
        key.extend(self.tenant.to_be_bytes());
        key.extend(self.name.to_be_bytes());
        key.extend(self.value.to_be_bytes());
        key
    }

    /// Where entries after this one and its segments start; beyond all of its name's where this is
    /// the last value.
    pub fn end_prefix(&self) -> Vec<u8> {
        match (self.value.checked_add(1), self.name.checked_add(1)) {
            (Some(value), _) => Self { value, ..*self }.prefix(),
            (None, Some(name)) => Self { name, value: 0, ..*self }.prefix(),
            (None, None) => {
                let mut end = self.prefix();
                end.extend([0xff; 5]);
                end
            }
        }
    }
}

/// Name, value and first row of an index key whose other parts the scan's bounds have fixed.
pub fn index_entry(key: &[u8]) -> Result<(u32, u32, u32), PartError> {
    if key.len() != INDEX_KEY_BYTES + 4 {
        return Err(PartError::corrupt(Section::Index, key, "key is not one of an index entry"));
    }
    Ok((be_u32(&key[13..17]), be_u32(&key[17..21]), be_u32(&key[21..25])))
}

/// An index key whole: the entry and the first row of its segment.
pub fn index_segment(key: &[u8]) -> Result<(IndexKey, u32), PartError> {
    let (name, value, first_row) = index_entry(key)?;
    let kind = match key[0] {
        0 => IndexKind::Samples,
        1 => IndexKind::Exemplars,
        _ => return Err(PartError::corrupt(Section::Index, key, "unknown kind of index entry")),
    };
    let day = key[1..9].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    Ok((IndexKey { kind, day: (day ^ 1 << 63) as i64, tenant: be_u32(&key[9..13]), name, value }, first_row))
}
