//! A page: rows of one section that follow each other.
//!
//! Owns the bytes of rows. Whole keys stand at every sixteenth row, so that one is found by halving and a
//! short walk. A page is read through once when it comes, and can be trusted from then on.

use std::ops::Range;

use bytes::Bytes;

use crate::encoding::cursor::{Cursor, Malformed};
use crate::encoding::varint::put_u64;

/// Every row of such a number has its whole key.
const RESTART_ROWS: usize = 16;

/// Gathers rows.
#[derive(Default)]
pub struct PageBuilder {
    bytes: Vec<u8>,
    rows: usize,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
}

impl PageBuilder {
    /// Appends a row, whose key is above the last one's.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        if self.rows == 0 {
            self.first_key.clear();
            self.first_key.extend_from_slice(key);
        }
        let shared = if self.rows.is_multiple_of(RESTART_ROWS) { 0 } else { shared(&self.last_key, key) };
        put_u64(&mut self.bytes, shared as u64);
        put_u64(&mut self.bytes, (key.len() - shared) as u64);
        put_u64(&mut self.bytes, value.len() as u64);
        self.bytes.extend_from_slice(&key[shared..]);
        self.bytes.extend_from_slice(value);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&key[shared..]);
        self.rows += 1;
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn first_key(&self) -> &[u8] {
        &self.first_key
    }

    /// Begins the next page.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.rows = 0;
    }
}

fn shared(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A page that was read through.
#[derive(Debug)]
pub struct Page {
    raw: Bytes,
    restarts: Vec<Restart>,
}

/// A row with its whole key.
#[derive(Debug)]
struct Restart {
    row: u32,
    /// Of the page's bytes.
    key: Range<u32>,
}

impl Page {
    /// Checks that the rows begin with `first_key`, ascend, and end below `next_key`.
    pub fn parse(raw: Bytes, first_key: &[u8], next_key: Option<&[u8]>) -> Result<Self, Malformed> {
        if u32::try_from(raw.len()).is_err() {
            return Err(Malformed("a page is too long"));
        }
        let mut restarts = Vec::new();
        let mut rows = Rows { cursor: Cursor::new(&raw), key: Vec::new() };
        let mut last: Option<Vec<u8>> = None;
        for number in 0usize.. {
            let at = raw.len() - rows.cursor.len();
            let is_restart = number.is_multiple_of(RESTART_ROWS);
            if is_restart {
                // With nothing to share, sharing is an error.
                rows.key.clear();
            }
            let Some(value) = rows.next()? else { break };
            if is_restart {
                let key_end = raw.len() - rows.cursor.len() - value.len();
                let key = (key_end - rows.key.len()) as u32..key_end as u32;
                restarts.push(Restart { row: at as u32, key });
            }
            match &mut last {
                None if rows.key != first_key => {
                    return Err(Malformed("a page begins with another key than the index says"));
                }
                None => last = Some(rows.key.clone()),
                Some(last) if *last >= rows.key => return Err(Malformed("keys of a page do not ascend")),
                Some(last) => last.clone_from(&rows.key),
            }
        }
        match (last, next_key) {
            (None, _) => Err(Malformed("a page without rows")),
            (Some(last), Some(next)) if *last >= *next => Err(Malformed("a page reaches into the next one")),
            _ => {
                restarts.shrink_to_fit();
                Ok(Self { raw, restarts })
            }
        }
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Malformed> {
        let mut rows = self.rows_from(key);
        while let Some(value) = rows.next()? {
            if rows.key() >= key {
                return Ok((rows.key() == key).then(|| self.raw.slice_ref(value)));
            }
        }
        Ok(None)
    }

    /// Rows from a little before the first that is not below `key`.
    pub fn rows_from(&self, key: &[u8]) -> Rows<'_> {
        let key_of = |restart: &Restart| &self.raw[restart.key.start as usize..restart.key.end as usize];
        let below = self.restarts.partition_point(|restart| key_of(restart) <= key);
        let row = self.restarts.get(below.saturating_sub(1)).map_or(0, |restart| restart.row);
        Rows { cursor: Cursor::new(&self.raw[row as usize..]), key: Vec::new() }
    }

    /// Memory that it takes.
    pub fn heap_bytes(&self) -> u64 {
        (self.raw.len() + self.restarts.capacity() * size_of::<Restart>()) as u64
    }
}

/// Rows one after another.
pub struct Rows<'a> {
    cursor: Cursor<'a>,
    key: Vec<u8>,
}

impl<'a> Rows<'a> {
    /// The next row's value; its key is [`Self::key`] then.
    pub fn next(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        if self.cursor.is_empty() {
            return Ok(None);
        }
        let shared = self.cursor.count(self.key.len())?;
        let own_bytes = self.cursor.count(self.cursor.len())?;
        let value_bytes = self.cursor.count(self.cursor.len())?;
        self.key.truncate(shared);
        self.key.extend_from_slice(self.cursor.take(own_bytes)?);
        self.cursor.take(value_bytes).map(Some)
    }

    pub fn key(&self) -> &[u8] {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(keys: &[&str]) -> PageBuilder {
        let mut builder = PageBuilder::default();
        keys.iter().for_each(|key| builder.push(key.as_bytes(), key.to_uppercase().as_bytes()));
        builder
    }

    fn parse(raw: &[u8], first_key: &str, next_key: Option<&str>) -> Result<Page, Malformed> {
        Page::parse(Bytes::copy_from_slice(raw), first_key.as_bytes(), next_key.map(str::as_bytes))
    }

    #[test]
    fn every_row_is_found_and_no_other() {
        let keys: Vec<String> = (0..100).map(|number| format!("key-{:04}", number * 2)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let page = parse(built(&keys).bytes(), "key-0000", Some("key-0199")).expect("own bytes");

        for number in 0..201 {
            let key = format!("key-{number:04}");
            let want = (number % 2 == 0 && number < 200).then(|| key.to_uppercase());
            let found = page.get(key.as_bytes()).expect("own bytes");
            assert_eq!(found.as_deref(), want.as_deref().map(str::as_bytes), "{key}");
        }
        assert_eq!(page.get(b"").expect("own bytes"), None);
        assert_eq!(page.restarts.len(), 7);
    }

    #[test]
    fn a_page_that_does_not_fit_its_place_is_refused() {
        let ab = built(&["a", "b"]);
        let check = |raw: &[u8], first_key: &str, next_key: Option<&str>, want: &str| {
            assert_eq!(parse(raw, first_key, next_key).err().map(|e| e.0), Some(want));
        };
        assert!(parse(ab.bytes(), "a", None).is_ok() && parse(ab.bytes(), "a", Some("c")).is_ok());
        check(ab.bytes(), "b", None, "a page begins with another key than the index says");
        check(ab.bytes(), "a", Some("b"), "a page reaches into the next one");
        check(built(&["b", "a"]).bytes(), "b", None, "keys of a page do not ascend");
        check(built(&["a", "a"]).bytes(), "a", None, "keys of a page do not ascend");
        check(&[], "a", None, "a page without rows");
        check(&ab.bytes()[..7], "a", None, "ends inside a varint");
    }

    #[test]
    fn whole_keys_stand_where_readers_begin() {
        let mut raw = Vec::new();
        for number in 0..17u8 {
            // Of the seventeenth row's key the first byte is left to the row before.
            let shared = u8::from(number > 0);
            raw.extend_from_slice(&[shared, 2 - shared, 0]);
            raw.extend_from_slice(&[b'k', number][usize::from(shared)..]);
        }
        assert_eq!(parse(&raw, "k\0", None).err(), Some(Malformed("a count is too large")));
        assert!(parse(&raw[..raw.len() - 4], "k\0", None).is_ok());
    }
}
