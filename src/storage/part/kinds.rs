//! Rows → kinds: rows that have in common whatever of their labels a question looks at.
//!
//! Whoever aggregates looks at few labels, which most rows share with many others. The numbers of texts
//! tell rows apart, so that a label set is made for each kind alone, and of a row no text is looked at.
//! Numbers are in the order of texts: label sets are in the order of their pairs of numbers, by which
//! rows come in the order of their full labels where that is wanted. Rows stand almost in that order
//! already: only the near ones that do not are sorted.

use std::collections::HashMap;
use std::ops::Range;

use super::container::SectionSource;
use super::error::PartError;
use super::label_sets::SET_BYTES;
use super::reader::{CHECK_ROWS, PartReader};
use super::room::{RESERVED_BYTES, Room};
use super::rows::{Row, SymbolPairs, each_row};
use super::series::LE;
use crate::model::{Labels, LabelsBuffer, LabelsHash};
use crate::querier::{LabelsWanted, QueryGuard};

/// Memory of a kind beside its pairs while rows are told apart.
const KIND_BYTES: u64 = 128;

/// Pairs that may differ from one row to the next without that all are given anew.
const BITS: usize = u64::BITS as usize;

/// Rows by kind.
#[derive(Debug)]
pub struct RowKinds {
    /// Rows, each with the number of its kind.
    pub rows: Vec<(u32, u32)>,
    /// What of the labels is wanted, of each kind.
    pub labels: Vec<Labels>,
}

impl<S: SectionSource> PartReader<S> {
    /// Kinds of `rows`, which ascend; `in_order` has them come in the order of their full labels. `None`
    /// where there are more kinds than `kinds_max`, or rows stand quite otherwise than they mostly do:
    /// whoever asks does better with the labels themselves.
    pub fn kinds(
        &self,
        rows: &[u32],
        wanted: &LabelsWanted,
        in_order: bool,
        kinds_max: usize,
        guard: &QueryGuard,
    ) -> Result<Option<RowKinds>, PartError> {
        self.check_rows(rows)?;
        guard.reserve(size_of_val(rows) as u64 * 2)?;
        let at_once_bytes = if rows.len() < CHECK_ROWS { 0 } else { RESERVED_BYTES };
        let mut room = Room::new(guard, at_once_bytes);
        let mut kinds = Kinds::new(self.kept(wanted)?);
        let (le, _) = self.dictionary.lower_bound(&self.source, LE)?;
        let mut near = Near { le, ..Near::default() };
        let mut sorted: Vec<(u32, u32)> = Vec::with_capacity(rows.len());
        let mut numbers = rows.iter().copied();
        let mut held_bytes = 0;
        let mut is_sorted = true;
        for batch in rows.chunks(CHECK_ROWS) {
            guard.check()?;
            let (rows_total, symbols) = (self.summary.rows, self.summary.symbols);
            each_row(&self.source, batch, rows_total, symbols, &mut |row| {
                let kinds_before = kinds.found.len();
                let kind = kinds.number(row);
                if kinds.found.len() > kinds_before {
                    room.take(KIND_BYTES + 16 * row.pairs.len() as u64)?;
                }
                let Some(number) = numbers.next() else { return Ok(()) };
                if in_order {
                    is_sorted &= near.add(number, kind, &row.pairs, &mut sorted);
                    if near.bytes() > held_bytes {
                        room.take(near.bytes() - held_bytes)?;
                        held_bytes = near.bytes();
                    }
                } else {
                    sorted.push((number, kind));
                }
                Ok(())
            })?;
            if !is_sorted || kinds.found.len() > kinds_max {
                return Ok(None);
            }
        }
        if !near.flush(&mut sorted) {
            return Ok(None);
        }
        let mut labels = Vec::with_capacity(kinds.found.len());
        let mut packed = LabelsBuffer::default();
        for pairs in &kinds.found {
            packed.clear();
            for (name, value) in pairs {
                packed.push(&self.symbol(*name)?, &self.symbol(*value)?);
            }
            room.take(packed.as_bytes().len() as u64 + SET_BYTES)?;
            labels.push(packed.labels());
        }
        Ok(Some(RowKinds { rows: sorted, labels }))
    }

    fn kept(&self, wanted: &LabelsWanted) -> Result<Kept, PartError> {
        let numbers = |names: &[String]| -> Result<Vec<u32>, PartError> {
            let mut numbers = Vec::with_capacity(names.len());
            for name in names {
                numbers.extend(self.dictionary.find(&self.source, name)?);
            }
            numbers.sort_unstable();
            Ok(numbers)
        };
        Ok(match wanted {
            LabelsWanted::All => Kept::AllBut(Vec::new()),
            LabelsWanted::By(names) => Kept::These(numbers(names)?),
            LabelsWanted::Without(names) => Kept::AllBut(numbers(names)?),
        })
    }
}

/// Which labels are kept, by the numbers of their names, which ascend.
enum Kept {
    These(Vec<u32>),
    AllBut(Vec<u32>),
}

impl Kept {
    fn has(&self, name: u32) -> bool {
        match self {
            Self::These(names) => names.binary_search(&name).is_ok(),
            Self::AllBut(names) => names.binary_search(&name).is_err(),
        }
    }
}

/// Tells kinds apart, row by row.
struct Kinds {
    kept: Kept,
    /// Places of the pairs that are kept of a row with the names of the last one, and those that are below
    /// [`BITS`] as bits.
    places: Vec<usize>,
    bits: u64,
    /// The pairs that are kept of the row at hand, one behind the other.
    key: Vec<u8>,
    numbers: HashMap<Vec<u8>, u32, LabelsHash>,
    /// The pairs of each kind.
    found: Vec<SymbolPairs>,
    last: u32,
}

impl Kinds {
    fn new(kept: Kept) -> Self {
        Self {
            kept,
            places: Vec::new(),
            bits: 0,
            key: Vec::new(),
            numbers: HashMap::default(),
            found: Vec::new(),
            last: 0,
        }
    }

    /// The kind of a row that follows the one before.
    fn number(&mut self, row: &Row) -> u32 {
        if row.is_other {
            self.places.clear();
            self.places.extend((0..row.pairs.len()).filter(|at| self.kept.has(row.pairs[*at].0)));
            let low = self.places.iter().filter(|at| **at < BITS);
            self.bits = low.fold(0u64, |bits, at| bits | 1u64 << *at);
        } else if row.other_values & self.bits == 0 {
            return self.last;
        }
        self.key.clear();
        for at in &self.places {
            let (name, value) = row.pairs[*at];
            self.key.extend_from_slice(&name.to_le_bytes());
            self.key.extend_from_slice(&value.to_le_bytes());
        }
        let known = self.numbers.get(self.key.as_slice()).copied();
        self.last = known.unwrap_or_else(|| {
            let number = self.found.len() as u32;
            self.numbers.insert(self.key.clone(), number);
            self.found.push(self.places.iter().map(|at| row.pairs[*at]).collect());
            number
        });
        self.last
    }
}

/// Rows that may have to change places to come in the order of their labels: those of which each differs
/// from the one before in no label that comes before `le`.
#[derive(Default)]
struct Near {
    /// The number of `le`, or of what would follow it.
    le: u32,
    rows: Vec<NearRow>,
    pairs: SymbolPairs,
    /// Those of the row that comes before all of these.
    before: SymbolPairs,
}

struct NearRow {
    row: u32,
    kind: u32,
    pairs: Range<usize>,
}

impl Near {
    /// Adds the next row; those that are in their places are appended to `sorted`. Says whether they are
    /// behind all others there.
    fn add(&mut self, row: u32, kind: u32, pairs: &[(u32, u32)], sorted: &mut Vec<(u32, u32)>) -> bool {
        let is_apart = match self.rows.last() {
            Some(last) => are_apart(&self.pairs[last.pairs.clone()], pairs, self.le),
            None => false,
        };
        let are_behind = !is_apart || self.flush(sorted);
        let start = self.pairs.len();
        self.pairs.extend_from_slice(pairs);
        self.rows.push(NearRow { row, kind, pairs: start..self.pairs.len() });
        are_behind
    }

    /// Sorts what there is and appends it to `sorted`; says whether it is behind all that is there.
    fn flush(&mut self, sorted: &mut Vec<(u32, u32)>) -> bool {
        let Self { rows, pairs, before, .. } = self;
        if !rows.is_sorted_by(|a, b| pairs[a.pairs.clone()] <= pairs[b.pairs.clone()]) {
            rows.sort_unstable_by(|a, b| pairs[a.pairs.clone()].cmp(&pairs[b.pairs.clone()]));
        }
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return true };
        let are_behind = sorted.is_empty() || before[..] < pairs[first.pairs.clone()];
        before.clear();
        before.extend_from_slice(&pairs[last.pairs.clone()]);
        sorted.extend(rows.iter().map(|near| (near.row, near.kind)));
        rows.clear();
        pairs.clear();
        are_behind
    }

    fn bytes(&self) -> u64 {
        (size_of_val(&*self.rows) + size_of_val(&*self.pairs)) as u64
    }
}

/// Whether the labels of `b` come behind those of `a` for a label whose name is below `le`.
fn are_apart(a: &[(u32, u32)], b: &[(u32, u32)], le: u32) -> bool {
    let differing = a.iter().zip(b).find(|(a, b)| a != b);
    differing.is_some_and(|(a, b)| a < b && a.0 < le)
}
