//! The index: day, tenant, label → rows.
//!
//! An entry's rows are gaps and runs, cut into segments, so that neither a value of every row nor
//! one of scattered rows is large. Beside each (name, value) there is an entry of every row that
//! has the name (value 0) and of every row of the tenant (name 0).

mod folded;

use std::collections::HashMap;

use roaring::RoaringBitmap;

use folded::FoldedState;

use super::container::{Section, SectionSink};
use super::error::PartError;
use super::keys::{IndexKey, IndexKind};
use crate::encoding::cursor::{Cursor, Malformed};
use crate::encoding::varint::put_u64;

/// Bytes after which an entry's next segment begins.
const SEGMENT_BYTES: usize = 16 << 10;

/// Rows of one entry, appended in ascending order.
#[derive(Debug, Default)]
struct Postings {
    /// The first row of the open segment.
    first_row: u32,
    /// Where the run before the open one ended.
    last_end: u32,
    run_start: u32,
    run_end: u32,
    bytes: Vec<u8>,
    full: Vec<(u32, Vec<u8>)>,
}

impl Postings {
    fn push(&mut self, row: u32) {
        if self.run_end == row && self.run_start < self.run_end {
            self.run_end = row + 1;
            return;
        }
        if self.run_start < self.run_end {
            self.close_run();
            if self.bytes.len() >= SEGMENT_BYTES {
                self.full.push((self.first_row, std::mem::take(&mut self.bytes)));
                (self.first_row, self.last_end) = (row, row);
            }
        } else {
            (self.first_row, self.last_end) = (row, row);
        }
        (self.run_start, self.run_end) = (row, row + 1);
    }

    /// The gap to the run before, doubled; odd and followed by the length where it is not one row.
    fn close_run(&mut self) {
        let gap = u64::from(self.run_start - self.last_end);
        let run = self.run_end - self.run_start;
        put_u64(&mut self.bytes, gap << 1 | u64::from(run > 1));
        if run > 1 {
            put_u64(&mut self.bytes, u64::from(run));
        }
        self.last_end = self.run_end;
    }

    fn finish(mut self) -> Vec<(u32, Vec<u8>)> {
        self.close_run();
        self.full.push((self.first_row, self.bytes));
        self.full
    }
}

/// Takes a segment that starts with `first_row`; its rows are below `end_row`.
pub fn take_postings(
    value: &[u8],
    first_row: u32,
    end_row: u32,
    out: &mut RoaringBitmap,
) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(value);
    let mut row = u64::from(first_row);
    let out_of_bounds = Malformed("an entry names rows that are not there");
    while !cursor.is_empty() {
        let head = cursor.varint()?;
        let run = if head & 1 == 1 { u64::from(cursor.varint_u32()?) } else { 1 };
        let start = row.checked_add(head >> 1).ok_or(out_of_bounds)?;
        row = start.checked_add(run).filter(|end| *end <= u64::from(end_row)).ok_or(out_of_bounds)?;
        out.insert_range(start as u32..row as u32);
    }
    Ok(())
}

/// Collects entries with provisional symbol numbers.
#[derive(Debug, Default)]
pub struct IndexTable {
    entries: HashMap<IndexKey, Postings, FoldedState>,
}

/// The number of "every value" and "every name" while symbols are provisional (from 0 on).
const EVERY: u32 = u32::MAX;

impl IndexTable {
    /// About how much memory the entries take.
    pub fn heap_bytes(&self) -> usize {
        self.entries.capacity() * (size_of::<IndexKey>() + size_of::<Postings>() + 1)
    }

    /// Adds a row, above those before it, to the entries of a day.
    pub fn push(&mut self, kind: IndexKind, day: i64, tenant: u32, row: u32, pairs: &[(u32, u32)]) {
        let mut add = |name, value| {
            self.entries.entry(IndexKey { kind, day, tenant, name, value }).or_default().push(row);
        };
        add(EVERY, EVERY);
        for (name, value) in pairs {
            add(*name, EVERY);
            add(*name, *value);
        }
    }

    /// Writes the section.
    pub fn write(self, sink: &mut dyn SectionSink, final_numbers: &[u32]) -> Result<(), PartError> {
        let number =
            |provisional: u32| if provisional == EVERY { 0 } else { final_numbers[provisional as usize] };
        let mut entries: Vec<(IndexKey, Postings)> = self
            .entries
            .into_iter()
            .map(|(key, rows)| (IndexKey { name: number(key.name), value: number(key.value), ..key }, rows))
            .collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        for (key, postings) in entries {
            for (first_row, bytes) in postings.finish() {
                sink.put(Section::Index, &key.segment(first_row), &bytes)?;
            }
        }
        Ok(())
    }
}
