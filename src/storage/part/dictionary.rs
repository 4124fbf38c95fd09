//! The part's sorted strings: names and values of labels, each once, numbered from 1 in order.
//!
//! Equal order of numbers and texts is what makes label values and prefixes scans of the index.
//! Strings stand in front-coded blocks of 64; between blocks stand separators, the shortest texts
//! that tell two blocks apart, so that a text finds its block by one seek and nothing needs to be
//! held in memory. Number 0 is the empty text, which is no symbol.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;

use super::container::{Section, SectionSink, SectionSource};
use super::error::PartError;
use super::keys;
use crate::encoding::cursor::{Cursor, Malformed, put_sized};
use crate::encoding::varint::put_u64;

/// Strings of a block.
pub const BLOCK_SYMBOLS: u32 = 64;

/// Sorts after every text: no byte of UTF-8 is 0xff.
const AFTER_ALL_TEXTS: &[u8] = &[0xff];

/// Collects strings while rows are added; numbers are provisional until all are known.
#[derive(Debug, Default)]
pub struct SymbolTable {
    numbers: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
    text_bytes: usize,
}

impl SymbolTable {
    /// The provisional number of a text, from 0 in order of first sight.
    pub fn intern(&mut self, text: &str) -> Result<u32, PartError> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(*number);
        }
        // Numbers from 1 must fit 32 bits, and so must the one after the last.
        let number = u32::try_from(self.texts.len()).ok().filter(|n| *n < u32::MAX - 2);
        let number = number.ok_or(PartError::Full("more than 2^32 distinct strings"))?;
        let text: Arc<str> = text.into();
        self.text_bytes += text.len();
        self.numbers.insert(Arc::clone(&text), number);
        self.texts.push(text);
        Ok(number)
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// About how much memory the strings take.
    pub fn heap_bytes(&self) -> usize {
        self.text_bytes + self.texts.len() * 72
    }

    /// Writes the section and tells the final number of each provisional one.
    pub fn write(self, sink: &mut dyn SectionSink) -> Result<Vec<u32>, PartError> {
        let Self { numbers, mut texts, .. } = self;
        drop(numbers);
        let mut order: Vec<u32> = (0..texts.len() as u32).collect();
        order.sort_unstable_by(|a, b| texts[*a as usize].cmp(&texts[*b as usize]));
        let mut final_numbers = vec![0; texts.len()];
        for (rank, provisional) in order.iter().enumerate() {
            final_numbers[*provisional as usize] = rank as u32 + 1;
        }
        texts.sort_unstable();
        let mut value = Vec::new();
        for (number, block) in texts.chunks(BLOCK_SYMBOLS as usize).enumerate() {
            value.clear();
            put_block(&mut value, block);
            sink.put(Section::Symbols, &keys::block(keys::BLOCKS, number as u32), &value)?;
        }
        let blocks = texts.len().div_ceil(BLOCK_SYMBOLS as usize);
        for number in 0..blocks {
            let next_first = (number + 1) * BLOCK_SYMBOLS as usize;
            let mut key = vec![keys::SEPARATORS];
            match texts.get(next_first) {
                Some(next) => key.extend(separator(&texts[next_first - 1], next)),
                None => key.extend(AFTER_ALL_TEXTS),
            }
            sink.put(Section::Symbols, &key, &(number as u32).to_be_bytes())?;
        }
        Ok(final_numbers)
    }
}

/// The shortest start of `next` that sorts after `last`.
fn separator<'a>(last: &str, next: &'a str) -> &'a [u8] {
    let shared = shared_prefix(last, next);
    &next.as_bytes()[..shared + 1]
}

fn shared_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// Number of strings; of each how many bytes it shares with the one before, and the rest.
fn put_block(out: &mut Vec<u8>, texts: &[Arc<str>]) {
    put_u64(out, texts.len() as u64);
    let mut last: &str = "";
    for text in texts {
        let shared = shared_prefix(last, text);
        put_u64(out, shared as u64);
        put_sized(out, &text.as_bytes()[shared..]);
        last = text;
    }
}

/// A decoded block.
#[derive(Debug)]
pub(super) struct SymbolBlock {
    /// One after the other.
    texts: String,
    ends: Vec<usize>,
}

impl SymbolBlock {
    fn decode(value: &[u8], count: usize) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(value);
        if cursor.count(BLOCK_SYMBOLS as usize)? != count {
            return Err(Malformed("a block of strings has not as many as it should"));
        }
        let mut block = Self { texts: String::new(), ends: Vec::with_capacity(count) };
        let mut text = Vec::new();
        for at in 0..count {
            let shared = cursor.count(text.len())?;
            text.truncate(shared);
            text.extend_from_slice(cursor.sized()?);
            let valid = std::str::from_utf8(&text).map_err(|_| Malformed("a string is not UTF-8"))?;
            if valid.is_empty() || (at > 0 && block.text(at - 1) >= valid) {
                return Err(Malformed("strings are not in order"));
            }
            block.texts.push_str(valid);
            block.ends.push(block.texts.len());
        }
        cursor.end()?;
        block.texts.shrink_to_fit();
        Ok(block)
    }

    fn text(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.texts[start..self.ends[at]]
    }

    /// How many texts are below this one.
    fn lower_bound(&self, text: &str) -> usize {
        let (mut from, mut to) = (0, self.ends.len());
        while from < to {
            let middle = (from + to) / 2;
            if self.text(middle) < text { from = middle + 1 } else { to = middle }
        }
        from
    }

    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.texts.capacity() + self.ends.capacity() * size_of::<usize>()
    }
}

/// A string of the part.
pub struct Symbol {
    block: Arc<SymbolBlock>,
    at: usize,
}

impl Symbol {
    /// The string of this number in the block that has it.
    pub(super) fn of(block: &Arc<SymbolBlock>, number: u32) -> Self {
        Self { block: Arc::clone(block), at: ((number - 1) % BLOCK_SYMBOLS) as usize }
    }
}

impl Deref for Symbol {
    type Target = str;

    fn deref(&self) -> &str {
        self.block.text(self.at)
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Blocks kept decoded between questions.
#[derive(Debug, Default)]
struct Cache {
    blocks: HashMap<u32, Arc<SymbolBlock>>,
    bytes: usize,
}

/// Reads strings of a part; keeps decoded blocks up to a limit.
#[derive(Debug)]
pub struct Dictionary {
    symbols: u32,
    cache: Mutex<Cache>,
    cache_bytes_max: usize,
}

impl Dictionary {
    pub fn new(symbols: u32, cache_bytes_max: usize) -> Self {
        Self { symbols, cache: Mutex::default(), cache_bytes_max }
    }

    pub fn cached_bytes(&self) -> usize {
        self.cache.lock().bytes
    }

    pub fn drop_cache(&self) {
        *self.cache.lock() = Cache::default();
    }

    /// The text of a number between 1 and the number of symbols.
    pub fn text(&self, source: &dyn SectionSource, number: u32) -> Result<Symbol, PartError> {
        Ok(Symbol::of(&self.block_of(source, number)?, number))
    }

    /// The block that has the text of a number, which is checked.
    pub(super) fn block_of(
        &self,
        source: &dyn SectionSource,
        number: u32,
    ) -> Result<Arc<SymbolBlock>, PartError> {
        if number == 0 || number > self.symbols {
            let what = format!("string {number} of {} was referred to", self.symbols);
            return Err(PartError::corrupt(Section::Symbols, &number.to_be_bytes(), what));
        }
        self.block(source, (number - 1) / BLOCK_SYMBOLS)
    }

    /// The least number whose text is not below `text`, and whether it is that text; one beyond
    /// the last where all are below.
    pub fn lower_bound(&self, source: &dyn SectionSource, text: &str) -> Result<(u32, bool), PartError> {
        if self.symbols == 0 {
            return Ok((1, false));
        }
        let mut start = vec![keys::SEPARATORS];
        start.extend(text.as_bytes());
        // The first key above the text itself.
        start.push(0);
        let mut number = None;
        source.scan(Section::Symbols, &start, &[keys::SEPARATORS + 1], &mut |key, value| {
            let block = <[u8; 4]>::try_from(value).ok().map(u32::from_be_bytes);
            let block = block.filter(|block| *block < self.symbols.div_ceil(BLOCK_SYMBOLS));
            number = Some(block.ok_or_else(|| {
                PartError::corrupt(Section::Symbols, key, "separator names no block of strings")
            })?);
            Ok(false)
        })?;
        let number = number.ok_or_else(|| {
            PartError::corrupt(Section::Symbols, &start, "the separator after all strings is missing")
        })?;
        let block = self.block(source, number)?;
        let at = block.lower_bound(text);
        let exact = at < block.ends.len() && block.text(at) == text;
        Ok((number * BLOCK_SYMBOLS + at as u32 + 1, exact))
    }

    /// The number of exactly this text.
    pub fn find(&self, source: &dyn SectionSource, text: &str) -> Result<Option<u32>, PartError> {
        let (number, exact) = self.lower_bound(source, text)?;
        Ok(exact.then_some(number))
    }

    /// Numbers of the texts that start with `prefix`: `first..end`.
    pub fn with_prefix(&self, source: &dyn SectionSource, prefix: &str) -> Result<(u32, u32), PartError> {
        let (first, _) = self.lower_bound(source, prefix)?;
        let end = match text_after_prefix(prefix) {
            Some(after) => self.lower_bound(source, &after)?.0,
            None => self.symbols + 1,
        };
        Ok((first, end))
    }

    fn block(&self, source: &dyn SectionSource, number: u32) -> Result<Arc<SymbolBlock>, PartError> {
        if let Some(block) = self.cache.lock().blocks.get(&number) {
            return Ok(Arc::clone(block));
        }
        let key = keys::block(keys::BLOCKS, number);
        let corrupt = |what: String| PartError::corrupt(Section::Symbols, &key, what);
        let value = source.get(Section::Symbols, &key)?;
        let value = value.ok_or_else(|| corrupt("the block of strings is missing".into()))?;
        let count = (self.symbols - number * BLOCK_SYMBOLS).min(BLOCK_SYMBOLS) as usize;
        let block = SymbolBlock::decode(&value, count).map_err(|e| corrupt(e.to_string()))?;
        let block = Arc::new(block);
        let mut cache = self.cache.lock();
        if cache.bytes + block.bytes() > self.cache_bytes_max {
            *cache = Cache::default();
        }
        if cache.blocks.insert(number, Arc::clone(&block)).is_none() {
            cache.bytes += block.bytes();
        }
        Ok(block)
    }
}

/// The least text above all that start with `prefix`; `None` where there is none.
fn text_after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // Code points and their UTF-8 sort alike; the step over the surrogates keeps that.
        let next = (last as u32 + 1..=char::MAX as u32).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::storage::part::MemoryContainer;

    fn written(texts: &BTreeSet<String>) -> (MemoryContainer, Dictionary) {
        let mut table = SymbolTable::default();
        for text in texts.iter().rev() {
            table.intern(text).expect("room");
        }
        let mut container = MemoryContainer::default();
        table.write(&mut container).expect("in memory");
        (container, Dictionary::new(texts.len() as u32, 1 << 12))
    }

    proptest! {
        #[test]
        fn texts_are_found_by_number_by_text_and_by_prefix(
            texts in prop::collection::btree_set("[ab\u{e9}\u{d7ff}\u{10ffff}]{1,6}", 0..300),
            probes in prop::collection::vec("[abc\u{e9}\u{d7ff}\u{10ffff}]{0,4}", 20),
        ) {
            let (container, dictionary) = written(&texts);
            let sorted: Vec<&String> = texts.iter().collect();

            for (at, text) in sorted.iter().enumerate() {
                let number = at as u32 + 1;
                prop_assert_eq!(&*dictionary.text(&container, number).unwrap(), text.as_str());
                prop_assert_eq!(dictionary.find(&container, text).unwrap(), Some(number));
            }
            for probe in &probes {
                let below = sorted.iter().filter(|text| **text < probe).count() as u32;
                prop_assert_eq!(dictionary.lower_bound(&container, probe).unwrap(), (below + 1, texts.contains(probe)));
                let (first, end) = dictionary.with_prefix(&container, probe).unwrap();
                let starting = sorted.iter().filter(|text| text.starts_with(probe.as_str())).count() as u32;
                prop_assert_eq!((first, end), (below + 1, below + 1 + starting));
            }
            prop_assert!(dictionary.cached_bytes() <= 1 << 14);
        }

        #[test]
        fn any_bytes_are_a_block_or_an_error(value in prop::collection::vec(any::<u8>(), 0..200), count in 0usize..=64) {
            let _ = SymbolBlock::decode(&value, count);
        }
    }
}
