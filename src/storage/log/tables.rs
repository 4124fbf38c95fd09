//! The dictionary of a file as its reader builds it up, frame by frame.
//!
//! Owns the sections `symbols` and `series` on the reading side; [`super::dictionary`] writes
//! them. Takes memory in proportion to the file's own bytes.

use crate::encoding::varint::{take_u32, take_u64};
use crate::model::TenantId;

use super::defined::{DefinedLabels, DefinedSeries};
use super::dictionary::{TOKEN_COPY, TOKEN_KNOWN, TOKEN_NEW};
use super::malformed::{Malformed, Weight, series_weight};

/// Symbols, pairs and the count of series so far.
#[derive(Debug, Default)]
pub struct Tables {
    labels: DefinedLabels,
    /// Bytes of name and value, by pair.
    pair_bytes: Vec<u32>,
    series: u32,
    tenant: Option<TenantId>,
    /// The pairs of the series before, whose names rise.
    previous: Vec<u32>,
    current: Vec<u32>,
}

impl Tables {
    /// Makes ready for another file, in the same memory.
    pub fn clear(&mut self) {
        self.labels.clear();
        self.pair_bytes.clear();
        self.series = 0;
        self.tenant = None;
        self.previous.clear();
        self.current.clear();
    }

    /// Texts and pairs that are defined.
    pub fn labels(&self) -> &DefinedLabels {
        &self.labels
    }

    /// Gives away what is defined, for the memory of something else: of use to nobody before it is cleared.
    pub fn swap_labels(&mut self, labels: &mut DefinedLabels) {
        std::mem::swap(&mut self.labels, labels);
    }

    /// How many series are defined.
    pub fn series(&self) -> u32 {
        self.series
    }

    pub fn symbol(&self, id: u32) -> Result<&str, Malformed> {
        self.labels.symbol(id).ok_or(Malformed::What("a symbol that is not defined"))
    }

    /// Takes a symbol's number and answers its text.
    pub fn take_symbol(&self, rest: &mut &[u8]) -> Result<&str, Malformed> {
        self.symbol(take_u32(rest)?)
    }

    /// Takes the number of a symbol that is a tenant's name.
    pub fn take_tenant(&self, rest: &mut &[u8]) -> Result<TenantId, Malformed> {
        let name = self.take_symbol(rest)?;
        match &self.tenant {
            Some(tenant) if tenant.as_str() == name => Ok(tenant.clone()),
            _ => TenantId::parse(name).map_err(|_| Malformed::What("a text that is no tenant name")),
        }
    }

    pub fn decode_symbols(&mut self, mut rest: &[u8]) -> Result<(), Malformed> {
        while !rest.is_empty() {
            self.labels.push_symbol(take_text(&mut rest)?);
        }
        Ok(())
    }

    pub fn decode_series(
        &mut self,
        mut rest: &[u8],
        weight: &mut Weight,
        new_series: &mut DefinedSeries,
    ) -> Result<(), Malformed> {
        while !rest.is_empty() {
            let head = take_u64(&mut rest)?;
            if head & 1 == 1 {
                self.tenant = Some(self.take_tenant(&mut rest)?);
            }
            let tenant = self.tenant.as_ref().ok_or(Malformed::What("a series without a tenant"))?;
            new_series.begin_run(tenant);
            if let Err(malformed) = self.take_pairs(&mut rest, head >> 1) {
                // What is copied from here on would not be known to be canonical.
                self.current.clear();
                return Err(malformed);
            }
            let text_bytes = self.current.iter().map(|pair| self.pair_bytes[*pair as usize] as usize);
            weight.add(series_weight(self.current.len(), text_bytes.sum()))?;
            new_series.push(&self.current);
            self.series = self.series.checked_add(1).ok_or(Malformed::What("too many series"))?;
        }
        Ok(())
    }

    /// Takes the pairs of the next series into `current`, and sees that they are canonical.
    fn take_pairs(&mut self, rest: &mut &[u8], count: u64) -> Result<(), Malformed> {
        std::mem::swap(&mut self.previous, &mut self.current);
        self.current.clear();
        let mut from = 0;
        while (self.current.len() as u64) < count {
            let token = take_u64(rest)?;
            let number = token >> 2;
            match token & 3 {
                TOKEN_NEW => {
                    let pair = self.define_pair(number, take_u32(rest)?)?;
                    self.push_pair(pair)?;
                }
                TOKEN_KNOWN if number < self.pair_bytes.len() as u64 => self.push_pair(number as u32)?,
                TOKEN_KNOWN => return Err(Malformed::What("a label pair that is not defined")),
                TOKEN_COPY => {
                    let beyond = Malformed::What("a copy beyond the labels of the series before");
                    let end = self.end_in_previous(from, number).ok_or(beyond)?;
                    // Names that rose there rise here.
                    self.push_pair(self.previous[from])?;
                    self.current.extend_from_slice(&self.previous[from + 1..end]);
                    from = end;
                }
                _ => {
                    let beyond = Malformed::What("a skip beyond the labels of the series before");
                    from = self.end_in_previous(from, number).ok_or(beyond)?;
                }
            }
        }
        if self.current.len() as u64 != count {
            return Err(Malformed::What("more labels than announced"));
        }
        Ok(())
    }

    /// The end of so many pairs of the series before, at least one, from `from` on.
    fn end_in_previous(&self, from: usize, number: u64) -> Option<usize> {
        let left = (self.previous.len() - from) as u64;
        (1..=left).contains(&number).then(|| from + number as usize)
    }

    fn define_pair(&mut self, name: u64, value: u32) -> Result<u32, Malformed> {
        let name = u32::try_from(name).map_err(|_| Malformed::What("a symbol that is not defined"))?;
        let (name_text, value_text) = (self.symbol(name)?, self.symbol(value)?);
        if value_text.is_empty() {
            return Err(NOT_CANONICAL);
        }
        let text_bytes =
            u32::try_from(name_text.len() + value_text.len()).map_err(|_| Malformed::TooLarge)?;
        let number =
            u32::try_from(self.pair_bytes.len()).map_err(|_| Malformed::What("too many label pairs"))?;
        self.pair_bytes.push(text_bytes);
        self.labels.push_pair(name, value);
        Ok(number)
    }

    /// Appends a pair to `current`, behind whose last name its own must come.
    fn push_pair(&mut self, pair: u32) -> Result<(), Malformed> {
        if let Some(last) = self.current.last() {
            let [last, name] = [*last, pair].map(|pair| self.labels.name_symbol(pair));
            if self.symbol(last)? >= self.symbol(name)? {
                return Err(NOT_CANONICAL);
            }
        }
        self.current.push(pair);
        Ok(())
    }
}

const NOT_CANONICAL: Malformed = Malformed::What("labels that are not canonical");

/// Takes a text that stands in place: its length, then its bytes.
pub fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Malformed> {
    let len = usize::try_from(take_u64(rest)?).map_err(|_| Malformed::TooLarge)?;
    let (text, after) = rest.split_at_checked(len).ok_or(Malformed::What("a text is cut off"))?;
    *rest = after;
    std::str::from_utf8(text).map_err(|_| Malformed::What("a text that is not UTF-8"))
}
