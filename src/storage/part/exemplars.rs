//! Exemplars of a row: times as differences, values raw, their own labels as texts.

use crate::encoding::cursor::{Cursor, Malformed, put_sized};
use crate::encoding::varint::{put_i64, put_u64};
use crate::model::{Exemplar, Labels};

/// Exemplars of one record; a row with more has more records.
pub const RECORD_EXEMPLARS: usize = 256;

/// Appends the record of up to [`RECORD_EXEMPLARS`] exemplars.
pub fn put_exemplars(out: &mut Vec<u8>, exemplars: &[Exemplar]) {
    put_u64(out, exemplars.len() as u64);
    let mut last_ms = 0i64;
    for exemplar in exemplars {
        put_i64(
            out,
            exemplar.timestamp_ms.wrapping_sub(std::mem::replace(&mut last_ms, exemplar.timestamp_ms)),
        );
        out.extend(exemplar.value.to_bits().to_le_bytes());
        put_u64(out, exemplar.labels.len() as u64);
        for (name, value) in &exemplar.labels {
            put_sized(out, name.as_bytes());
            put_sized(out, value.as_bytes());
        }
    }
}

/// Takes a record and gives its exemplars one by one.
pub fn take_exemplars<E: From<Malformed>>(
    value: &[u8],
    mut each: impl FnMut(Exemplar) -> Result<(), E>,
) -> Result<(), E> {
    let mut cursor = Cursor::new(value);
    let count = cursor.count(RECORD_EXEMPLARS)?;
    let mut timestamp_ms = 0i64;
    let mut pairs = Vec::new();
    for _ in 0..count {
        timestamp_ms = timestamp_ms.wrapping_add(cursor.zigzag()?);
        let value = cursor.f64()?;
        // A label takes two bytes at least.
        let labels = cursor.count(cursor.len() / 2)?;
        pairs.clear();
        for _ in 0..labels {
            let name = cursor.text()?;
            let value = cursor.text()?;
            let sorted = pairs.last().is_none_or(|(last, _)| *last < name);
            if !sorted || value.is_empty() {
                return Err(Malformed("labels of an exemplar are not canonical").into());
            }
            pairs.push((name, value));
        }
        each(Exemplar { timestamp_ms, value, labels: Labels::from_sorted(pairs.iter().copied()) })?;
    }
    Ok(cursor.end()?)
}
