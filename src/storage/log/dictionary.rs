//! The dictionary a file builds up: symbols and series, numbered as they are first seen.
//!
//! Owns the sections `symbols` and `series` on the writing side; [`super::tables`] is the reading
//! side. Lives as long as a file: later frames refer to what earlier ones defined.

use std::cmp::Ordering;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::encoding::varint::put_u64;

/// How a label pair is written in a series definition; the two lowest bits of a token.
pub const TOKEN_NEW: u64 = 0;
pub const TOKEN_KNOWN: u64 = 1;
pub const TOKEN_COPY: u64 = 2;
pub const TOKEN_SKIP: u64 = 3;

/// How far ahead a pair is looked for in the series before: bounds the work for hostile label sets.
const LOOK_AHEAD: usize = 64;

/// Who has series as numbers of its own for their labels. What a number stands for stays the same for as long as a
/// file is written to which the number was told.
pub trait NumberedLabels {
    /// The labels of a series, in order of names.
    fn numbers(&self, series: u32) -> &[u32];

    /// Name and value.
    fn label(&self, number: u32) -> (&str, &str);

    /// Bytes of all names and values of a series.
    fn text_bytes(&self, series: u32) -> usize;
}

/// Symbols and label pairs of one file.
#[derive(Debug)]
pub struct Dictionary {
    seed: u64,
    symbols: HashTable<u32>,
    /// All symbols one after the other; symbol `i` ends at `ends[i]`.
    text: Vec<u8>,
    ends: Vec<u64>,
    pairs: HashTable<u32>,
    /// Name and value symbol of each pair.
    pair_symbols: Vec<(u32, u32)>,
    /// Numbers that labels have elsewhere, with their pairs here.
    numbered: HashTable<(u32, u32)>,
    series: u32,
    tenant: Option<u32>,
    previous: Vec<u32>,
    /// What the pairs of `previous` were told by; nothing where they were told by their texts.
    previous_numbers: Vec<u32>,
    current: Vec<u32>,
    /// The pairs of `current` that are used for the first time.
    first_new: usize,
    /// The sections of the open frame.
    pub symbol_section: Vec<u8>,
    pub series_section: Vec<u8>,
}

impl Dictionary {
    /// `seed` keys the hash tables, so that no sender can aim at one bucket.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            symbols: HashTable::new(),
            text: Vec::new(),
            ends: Vec::new(),
            pairs: HashTable::new(),
            pair_symbols: Vec::new(),
            numbered: HashTable::new(),
            series: 0,
            tenant: None,
            previous: Vec::new(),
            previous_numbers: Vec::new(),
            current: Vec::new(),
            first_new: 0,
            symbol_section: Vec::new(),
            series_section: Vec::new(),
        }
    }

    /// Forgets everything, and keeps the memory.
    pub fn clear(&mut self) {
        self.symbols.clear();
        self.text.clear();
        self.ends.clear();
        self.pairs.clear();
        self.pair_symbols.clear();
        self.numbered.clear();
        self.series = 0;
        self.tenant = None;
        self.previous.clear();
        self.previous_numbers.clear();
        self.current.clear();
        self.first_new = 0;
        self.symbol_section.clear();
        self.series_section.clear();
    }

    /// The number of a text; defines it where it is new.
    pub fn symbol(&mut self, symbol: &[u8]) -> u32 {
        let (text, ends, seed) = (&self.text, &self.ends, self.seed);
        let hash = xxh3_64_with_seed(symbol, seed);
        if let Some(found) = self.symbols.find(hash, |id| text_of(text, ends, *id) == symbol) {
            return *found;
        }
        let id = u32::try_from(self.ends.len()).expect("a file is too short for 2^32 symbols");
        self.text.extend_from_slice(symbol);
        self.ends.push(self.text.len() as u64);
        let (text, ends) = (&self.text, &self.ends);
        self.symbols.insert_unique(hash, id, |id| xxh3_64_with_seed(text_of(text, ends, *id), seed));
        put_u64(&mut self.symbol_section, symbol.len() as u64);
        self.symbol_section.extend_from_slice(symbol);
        id
    }

    fn pair(&mut self, name: &[u8], value: &[u8]) -> u32 {
        let pair = (self.symbol(name), self.symbol(value));
        let (known, seed) = (&self.pair_symbols, self.seed);
        let hash = hash_pair(pair, seed);
        if let Some(found) = self.pairs.find(hash, |id| known[*id as usize] == pair) {
            return *found;
        }
        let id = u32::try_from(self.pair_symbols.len()).expect("a file is too short for 2^32 pairs");
        self.pair_symbols.push(pair);
        let known = &self.pair_symbols;
        self.pairs.insert_unique(hash, id, |id| hash_pair(known[*id as usize], seed));
        id
    }

    /// Defines the next series by its canonical labels; answers its number.
    pub fn define<'a>(&mut self, tenant: &str, labels: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> u32 {
        let tenant = self.tenant_symbol(tenant);
        let mut current = self.begin_series();
        let mut near = 0;
        for (name, value) in labels {
            let known = self.pair_of_previous(&mut near, name, value);
            current.push(known.unwrap_or_else(|| self.pair(name, value)));
        }
        self.previous_numbers.clear();
        self.end_series(tenant, current)
    }

    /// As [`Self::define`], and with the same bytes, of a series whose labels have numbers: texts are looked at
    /// where a number comes for the first time.
    pub fn define_numbered(&mut self, tenant: &str, series: u32, of: &impl NumberedLabels) -> u32 {
        let tenant = self.tenant_symbol(tenant);
        let mut current = self.begin_series();
        let numbers = of.numbers(series);
        for (at, &number) in numbers.iter().enumerate() {
            // Series that follow each other mostly have the same names.
            let is_same = self.previous_numbers.get(at) == Some(&number);
            current.push(if is_same { self.previous[at] } else { self.pair_of_number(number, of) });
        }
        self.previous_numbers.clear();
        self.previous_numbers.extend_from_slice(numbers);
        self.end_series(tenant, current)
    }

    fn tenant_symbol(&mut self, tenant: &str) -> u32 {
        let is_known = |known: &u32| text_of(&self.text, &self.ends, *known) == tenant.as_bytes();
        self.tenant.filter(is_known).unwrap_or_else(|| self.symbol(tenant.as_bytes()))
    }

    fn pair_of_number(&mut self, number: u32, of: &impl NumberedLabels) -> u32 {
        if let Some((_, pair)) = self.numbered.find(spread(number), |(known, _)| *known == number) {
            return *pair;
        }
        let (name, value) = of.label(number);
        let pair = self.pair(name.as_bytes(), value.as_bytes());
        self.numbered.insert_unique(spread(number), (number, pair), |(number, _)| spread(*number));
        pair
    }

    /// Makes the series before the previous one; gives room for the pairs of the next.
    fn begin_series(&mut self) -> Vec<u32> {
        self.first_new = self.pair_symbols.len();
        std::mem::swap(&mut self.previous, &mut self.current);
        let mut current = std::mem::take(&mut self.current);
        current.clear();
        current
    }

    fn end_series(&mut self, tenant: u32, current: Vec<u32>) -> u32 {
        let tenant_changed = self.tenant != Some(tenant);
        put_u64(&mut self.series_section, (current.len() as u64) << 1 | u64::from(tenant_changed));
        if tenant_changed {
            put_u64(&mut self.series_section, u64::from(tenant));
            self.tenant = Some(tenant);
        }
        self.put_pairs(&current);
        self.current = current;
        self.series += 1;
        self.series - 1
    }

    /// The pair if the series before has it: most labels of a target's series are the same. To be
    /// asked in order of names, which `from` goes along with.
    fn pair_of_previous(&self, from: &mut usize, name: &[u8], value: &[u8]) -> Option<u32> {
        let text = |symbol| text_of(&self.text, &self.ends, symbol);
        while let Some(pair) = self.previous.get(*from) {
            let (its_name, its_value) = self.pair_symbols[*pair as usize];
            match text(its_name).cmp(name) {
                Ordering::Greater => break,
                Ordering::Less => *from += 1,
                Ordering::Equal => {
                    *from += 1;
                    return (text(its_value) == value).then_some(*pair);
                }
            }
        }
        None
    }

    /// Appends the pairs, as copies from the series before wherever they stand there in order.
    fn put_pairs(&mut self, current: &[u32]) {
        let (mut from, mut copied) = (0, 0u64);
        for pair in current {
            let ahead = self.previous[from..].iter().take(LOOK_AHEAD).position(|known| known == pair);
            if ahead != Some(0) {
                flush_copy(&mut self.series_section, &mut copied);
            }
            match ahead {
                Some(skip) => {
                    if skip > 0 {
                        put_u64(&mut self.series_section, (skip as u64) << 2 | TOKEN_SKIP);
                    }
                    from += skip + 1;
                    copied += 1;
                }
                None if (*pair as usize) < self.first_new => {
                    put_u64(&mut self.series_section, u64::from(*pair) << 2 | TOKEN_KNOWN);
                }
                None => {
                    let (name, value) = self.pair_symbols[*pair as usize];
                    put_u64(&mut self.series_section, u64::from(name) << 2 | TOKEN_NEW);
                    put_u64(&mut self.series_section, u64::from(value));
                }
            }
        }
        flush_copy(&mut self.series_section, &mut copied);
    }
}

fn flush_copy(out: &mut Vec<u8>, copied: &mut u64) {
    if *copied > 0 {
        put_u64(out, *copied << 2 | TOKEN_COPY);
        *copied = 0;
    }
}

fn text_of<'a>(text: &'a [u8], ends: &[u64], id: u32) -> &'a [u8] {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] as usize };
    &text[start..ends[id] as usize]
}

/// Numbers are nobody's choice: all that is asked for is that neighbours do not meet, nor those that are steps
/// of 2^n apart, whose products end alike.
fn spread(number: u32) -> u64 {
    u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
}

fn hash_pair((name, value): (u32, u32), seed: u64) -> u64 {
    xxh3_64_with_seed(&(u64::from(name) << 32 | u64::from(value)).to_le_bytes(), seed)
}
