//! Rows → label sets.
//!
//! Neighbours share most of their labels, and stand in the part as what differs: only that is looked up
//! and packed. Of many rows, blocks of strings stay at hand until all are read: in the order of rows,
//! every metric goes through the strings of all targets again, which may be more than the dictionary
//! keeps.

use std::sync::Arc;

use super::container::SectionSource;
use super::dictionary::{BLOCK_SYMBOLS, Dictionary, Symbol, SymbolBlock};
use super::error::PartError;
use super::reader::{CHECK_ROWS, PartReader};
use super::room::{RESERVED_BYTES, Room};
use super::rows::{Row, each_row};
use crate::model::{Labels, LabelsRow};
use crate::querier::QueryGuard;
use crate::storage::label_numbers::LabelNumbers;
use crate::storage::number_hash::NumberMap;

/// Memory that a label set takes beside its bytes.
pub(super) const SET_BYTES: u64 = 32;

/// Beyond so many rows, memory is reserved for more than one at a time, and blocks stay at hand.
const MANY_ROWS: usize = 256;

/// Places for blocks at hand: each has one, which it shares with others.
const BLOCKS_MAX: u32 = 1024;

impl<S: SectionSource> PartReader<S> {
    /// Labels of `rows`, which ascend, in the same order.
    pub fn labels(&self, rows: &[u32], guard: &QueryGuard) -> Result<Vec<Labels>, PartError> {
        self.check_rows(rows)?;
        let is_many = rows.len() > MANY_ROWS;
        let mut room = Room::new(guard, if is_many { RESERVED_BYTES } else { 0 });
        let mut texts =
            Texts { dictionary: &self.dictionary, source: &self.source, guard, blocks: Vec::new() };
        if is_many {
            texts.blocks.resize(self.summary.symbols.div_ceil(BLOCK_SYMBOLS).min(BLOCKS_MAX) as usize, None);
        }
        let mut labels = Vec::with_capacity(rows.len());
        let mut packed = LabelsRow::default();
        for batch in rows.chunks(CHECK_ROWS) {
            guard.check()?;
            let (rows_total, symbols) = (self.summary.rows, self.summary.symbols);
            each_row(&self.source, batch, rows_total, symbols, &mut |row| {
                texts.pack(row, &mut packed)?;
                room.take(packed.as_bytes().len() as u64 + SET_BYTES)?;
                labels.push(packed.labels());
                Ok(())
            })?;
        }
        Ok(labels)
    }
}

impl<S: SectionSource> PartReader<S> {
    /// As [`Self::labels`], as numbers, of which each label has one.
    pub fn label_numbers(&self, rows: &[u32], guard: &QueryGuard) -> Result<LabelNumbers, PartError> {
        self.check_rows(rows)?;
        let mut sets = LabelNumbers::default();
        let mut known: NumberMap<(u32, u32), u32> = NumberMap::default();
        let mut own: Vec<u32> = Vec::new();
        let mut reserved_bytes = 0;
        for batch in rows.chunks(CHECK_ROWS) {
            guard.check()?;
            let (rows_total, symbols) = (self.summary.rows, self.summary.symbols);
            each_row(&self.source, batch, rows_total, symbols, &mut |row| {
                if row.is_other {
                    own.clear();
                    for pair in &row.pairs {
                        own.push(self.label_number(*pair, &mut known, &mut sets)?);
                    }
                } else {
                    let mut others = row.other_values;
                    while others != 0 {
                        let at = others.trailing_zeros() as usize;
                        own[at] = self.label_number(row.pairs[at], &mut known, &mut sets)?;
                        others &= others - 1;
                    }
                }
                sets.add_set(&own);
                Ok(())
            })?;
            guard.reserve(sets.bytes() - reserved_bytes)?;
            reserved_bytes = sets.bytes();
        }
        Ok(sets)
    }

    fn label_number(
        &self,
        pair: (u32, u32),
        known: &mut NumberMap<(u32, u32), u32>,
        sets: &mut LabelNumbers,
    ) -> Result<u32, PartError> {
        if let Some(number) = known.get(&pair) {
            return Ok(*number);
        }
        let number = sets.add_label(&self.symbol(pair.0)?, &self.symbol(pair.1)?);
        known.insert(pair, number);
        Ok(number)
    }
}

/// Texts for one question.
struct Texts<'a> {
    dictionary: &'a Dictionary,
    source: &'a dyn SectionSource,
    guard: &'a QueryGuard,
    /// Blocks at hand, with their numbers; what they take is reserved.
    blocks: Vec<Option<(u32, Arc<SymbolBlock>)>>,
}

impl Texts<'_> {
    /// Makes of the row before the next one.
    fn pack(&mut self, row: &Row, packed: &mut LabelsRow) -> Result<(), PartError> {
        if row.is_other {
            packed.resize(row.pairs.len());
            for (at, (name, value)) in row.pairs.iter().enumerate() {
                packed.set_name(at, &self.text(*name)?);
                packed.set_value(at, &self.text(*value)?);
            }
            return Ok(());
        }
        let mut others = row.other_values;
        while others != 0 {
            let at = others.trailing_zeros() as usize;
            packed.set_value(at, &self.text(row.pairs[at].1)?);
            others &= others - 1;
        }
        Ok(())
    }

    fn text(&mut self, number: u32) -> Result<Symbol, PartError> {
        if self.blocks.is_empty() || number == 0 {
            return self.dictionary.text(self.source, number);
        }
        let block_number = (number - 1) / BLOCK_SYMBOLS;
        let place = block_number as usize % self.blocks.len();
        if let Some((held, block)) = &self.blocks[place]
            && *held == block_number
        {
            return Ok(Symbol::of(block, number));
        }
        let block = self.dictionary.block_of(self.source, number)?;
        let symbol = Symbol::of(&block, number);
        self.guard.reserve(block.bytes() as u64)?;
        if let Some((_, before)) = self.blocks[place].replace((block_number, block)) {
            self.guard.release(before.bytes() as u64);
        }
        Ok(symbol)
    }
}

impl Drop for Texts<'_> {
    fn drop(&mut self) {
        let bytes = self.blocks.iter().flatten().map(|(_, block)| block.bytes() as u64).sum();
        self.guard.release(bytes);
    }
}
