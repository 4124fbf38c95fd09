//! The header: the format's version and the part's figures.

use super::container::Section;
use super::error::PartError;
use super::keys;
use super::series::{PartSummary, TenantRows};
use crate::encoding::cursor::{Cursor, Malformed, put_sized};
use crate::encoding::varint::{put_i64, put_u64};
use crate::model::TenantId;

/// The version that is written; older ones are read.
pub const FORMAT_VERSION: u8 = 1;

/// The header's value.
pub fn encode_summary(summary: &PartSummary) -> Vec<u8> {
    let mut out = vec![FORMAT_VERSION];
    let numbers = [
        u64::from(summary.rows),
        summary.float_samples,
        summary.histogram_samples,
        summary.exemplars,
        u64::from(summary.symbols),
        u64::from(summary.timestamp_columns),
        summary.bytes,
    ];
    numbers.iter().for_each(|number| put_u64(&mut out, *number));
    put_i64(&mut out, summary.min_ms);
    put_i64(&mut out, summary.max_ms);
    put_u64(&mut out, summary.tenants.len() as u64);
    for tenant in &summary.tenants {
        put_sized(&mut out, tenant.tenant.as_str().as_bytes());
        put_u64(&mut out, u64::from(tenant.end_row - tenant.first_row));
    }
    for days in [&summary.days, &summary.exemplar_days] {
        put_u64(&mut out, days.len() as u64);
        let mut last = 0i64;
        for day in days {
            put_i64(&mut out, day.wrapping_sub(std::mem::replace(&mut last, *day)));
        }
    }
    out
}

/// Reads a header.
pub fn decode_summary(value: &[u8]) -> Result<PartSummary, PartError> {
    match value.first() {
        Some(&FORMAT_VERSION) => take_summary(&value[1..])
            .map_err(|e| PartError::corrupt(Section::Header, keys::HEADER, e.to_string())),
        Some(found) => Err(PartError::Version { found: *found, known: FORMAT_VERSION }),
        None => Err(PartError::corrupt(Section::Header, keys::HEADER, "header is empty")),
    }
}

fn take_summary(value: &[u8]) -> Result<PartSummary, Malformed> {
    let mut cursor = Cursor::new(value);
    let mut summary = PartSummary {
        rows: cursor.varint_u32()?,
        float_samples: cursor.varint()?,
        histogram_samples: cursor.varint()?,
        exemplars: cursor.varint()?,
        symbols: cursor.varint_u32()?,
        timestamp_columns: cursor.varint_u32()?,
        bytes: cursor.varint()?,
        min_ms: cursor.zigzag()?,
        max_ms: cursor.zigzag()?,
        ..PartSummary::default()
    };
    if summary.symbols > u32::MAX - 2 {
        return Err(Malformed("too many strings"));
    }
    let tenants = cursor.count(cursor.len())?;
    let mut first_row = 0u32;
    for _ in 0..tenants {
        let tenant =
            TenantId::parse(cursor.text()?).map_err(|_| Malformed("a tenant has a name that is none"))?;
        let rows = cursor.varint_u32()?;
        let end_row = first_row.checked_add(rows).ok_or(Malformed("tenants have too many rows"))?;
        if summary.tenants.last().is_some_and(|last| last.tenant >= tenant) {
            return Err(Malformed("tenants are not in order"));
        }
        summary.tenants.push(TenantRows { tenant, first_row, end_row });
        first_row = end_row;
    }
    if first_row != summary.rows {
        return Err(Malformed("tenants have other rows than the part"));
    }
    summary.days = take_days(&mut cursor)?;
    summary.exemplar_days = take_days(&mut cursor)?;
    cursor.end()?;
    Ok(summary)
}

fn take_days(cursor: &mut Cursor<'_>) -> Result<Vec<i64>, Malformed> {
    let count = cursor.count(cursor.len())?;
    let mut days = Vec::with_capacity(count);
    let mut day = 0i64;
    for _ in 0..count {
        day = day.wrapping_add(cursor.zigzag()?);
        if days.last().is_some_and(|last| *last >= day) {
            return Err(Malformed("days are not in order"));
        }
        days.push(day);
    }
    Ok(days)
}
