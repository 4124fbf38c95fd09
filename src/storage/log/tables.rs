//! The dictionary of a file as its reader builds it up, frame by frame.
//!
//! Owns the sections `symbols` and `series` on the reading side; [`super::dictionary`] writes
//! them. Takes memory in proportion to the file's own bytes.

use crate::encoding::varint::{take_u32, take_u64};
use crate::model::{Labels, TenantId};

use super::dictionary::{TOKEN_COPY, TOKEN_KNOWN, TOKEN_NEW};
use super::malformed::{Malformed, Weight, series_weight};

/// A series definition: its number in the file, its tenant, its labels.
pub type DefinedSeries = (u32, TenantId, Labels);

/// Symbols, pairs and the count of series so far.
#[derive(Debug, Default)]
pub struct Tables {
    text: String,
    /// Symbol `i` ends at `ends[i]`.
    ends: Vec<usize>,
    pairs: Vec<(u32, u32)>,
    series: u32,
    tenant: Option<TenantId>,
    previous: Vec<u32>,
    current: Vec<u32>,
}

impl Tables {
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many series are defined.
    pub fn series(&self) -> u32 {
        self.series
    }

    pub fn symbol(&self, id: u32) -> Result<&str, Malformed> {
        let id = id as usize;
        let end = *self.ends.get(id).ok_or(Malformed::What("a symbol that is not defined"))?;
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        Ok(&self.text[start..end])
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
            self.text.push_str(take_text(&mut rest)?);
            self.ends.push(self.text.len());
        }
        Ok(())
    }

    pub fn decode_series(
        &mut self,
        mut rest: &[u8],
        weight: &mut Weight,
        out: &mut Vec<DefinedSeries>,
    ) -> Result<(), Malformed> {
        while !rest.is_empty() {
            let head = take_u64(&mut rest)?;
            if head & 1 == 1 {
                self.tenant = Some(self.take_tenant(&mut rest)?);
            }
            let tenant = self.tenant.clone().ok_or(Malformed::What("a series without a tenant"))?;
            self.take_pairs(&mut rest, head >> 1)?;
            let labels = self.labels(weight)?;
            out.push((self.series, tenant, labels));
            self.series = self.series.checked_add(1).ok_or(Malformed::What("too many series"))?;
        }
        Ok(())
    }

    /// Takes the pairs of the next series into `current`.
    fn take_pairs(&mut self, rest: &mut &[u8], count: u64) -> Result<(), Malformed> {
        std::mem::swap(&mut self.previous, &mut self.current);
        self.current.clear();
        let mut from = self.previous.as_slice();
        while (self.current.len() as u64) < count {
            let token = take_u64(rest)?;
            let number = token >> 2;
            match token & 3 {
                TOKEN_NEW => {
                    let name =
                        u32::try_from(number).map_err(|_| Malformed::What("a symbol that is not defined"))?;
                    self.current.push(self.pairs.len() as u32);
                    self.pairs.push((name, take_u32(rest)?));
                }
                TOKEN_KNOWN if number < self.pairs.len() as u64 => self.current.push(number as u32),
                TOKEN_KNOWN => return Err(Malformed::What("a label pair that is not defined")),
                TOKEN_COPY => {
                    let (copied, after) = usize::try_from(number)
                        .ok()
                        .and_then(|number| from.split_at_checked(number))
                        .filter(|(copied, _)| !copied.is_empty())
                        .ok_or(Malformed::What("a copy beyond the labels of the series before"))?;
                    self.current.extend_from_slice(copied);
                    from = after;
                }
                _ => {
                    from = usize::try_from(number)
                        .ok()
                        .and_then(|number| from.get(number..))
                        .filter(|_| number > 0)
                        .ok_or(Malformed::What("a skip beyond the labels of the series before"))?;
                }
            }
        }
        if self.current.len() as u64 != count {
            return Err(Malformed::What("more labels than announced"));
        }
        Ok(())
    }

    /// The label set of `current`, which must be canonical.
    fn labels(&self, weight: &mut Weight) -> Result<Labels, Malformed> {
        let (mut text_bytes, mut previous) = (0usize, "");
        for pair in &self.current {
            let (name, value) = self.pair(*pair)?;
            if name <= previous || value.is_empty() {
                return Err(Malformed::What("labels that are not canonical"));
            }
            previous = name;
            text_bytes += name.len() + value.len();
        }
        weight.add(series_weight(self.current.len(), text_bytes))?;
        Ok(Labels::from_sorted(
            self.current.iter().map(|pair| self.pair(*pair).expect("looked up just above")),
        ))
    }

    fn pair(&self, pair: u32) -> Result<(&str, &str), Malformed> {
        let (name, value) = self.pairs[pair as usize];
        Ok((self.symbol(name)?, self.symbol(value)?))
    }
}

/// Takes a text that stands in place: its length, then its bytes.
pub fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Malformed> {
    let len = usize::try_from(take_u64(rest)?).map_err(|_| Malformed::TooLarge)?;
    let (text, after) = rest.split_at_checked(len).ok_or(Malformed::What("a text is cut off"))?;
    *rest = after;
    std::str::from_utf8(text).map_err(|_| Malformed::What("a text that is not UTF-8"))
}
