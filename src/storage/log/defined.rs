//! What frames define: texts, label pairs of two texts each, series by the numbers of their pairs.
//!
//! Numbers are the file's own. A reader of many frames keeps the texts and pairs of all of them,
//! since later series refer to pairs of earlier frames; it turns each pair into what it needs once,
//! not once a series.

use crate::model::TenantId;

/// Texts and pairs, each numbered in order.
#[derive(Clone, Debug, Default)]
pub struct DefinedLabels {
    text: String,
    /// Symbol `i` ends at `ends[i]`.
    ends: Vec<usize>,
    /// Symbols of name and value.
    pairs: Vec<(u32, u32)>,
}

impl DefinedLabels {
    /// Texts defined.
    pub fn symbols(&self) -> usize {
        self.ends.len()
    }

    /// Pairs defined.
    pub fn pairs(&self) -> usize {
        self.pairs.len()
    }

    pub fn symbol(&self, number: u32) -> Option<&str> {
        let at = number as usize;
        let end = *self.ends.get(at)?;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        Some(&self.text[start..end])
    }

    /// Name and value of a pair; those of a series are defined.
    pub fn label(&self, pair: u32) -> (&str, &str) {
        let (name, value) = self.pairs[pair as usize];
        let text = |symbol| self.symbol(symbol).expect("looked up when the pair was defined");
        (text(name), text(value))
    }

    /// The symbol of a pair's name.
    pub(super) fn name_symbol(&self, pair: u32) -> u32 {
        self.pairs[pair as usize].0
    }

    /// Adds what a later frame of the file defines.
    pub fn append(&mut self, later: &Self) {
        self.append_since(later, 0, 0);
    }

    /// Adds what another has defined after its first so many texts and pairs.
    pub(super) fn append_since(&mut self, other: &Self, symbols: usize, pairs: usize) {
        let start = symbols.checked_sub(1).map_or(0, |last| other.ends[last]);
        let before = self.text.len();
        self.text.push_str(&other.text[start..]);
        self.ends.extend(other.ends[symbols..].iter().map(|end| end - start + before));
        self.pairs.extend_from_slice(&other.pairs[pairs..]);
    }

    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.pairs.clear();
    }

    pub(super) fn push_symbol(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// Both symbols must be defined.
    pub(super) fn push_pair(&mut self, name: u32, value: u32) {
        self.pairs.push((name, value));
    }

    /// One pair of two texts of its own.
    #[cfg(test)]
    pub fn of_label(name: &str, value: &str, symbols_before: u32) -> Self {
        let mut labels = Self::default();
        labels.push_symbol(name);
        labels.push_symbol(value);
        labels.push_pair(symbols_before, symbols_before + 1);
        labels
    }
}

/// Series of one frame. Their pairs are all defined, and canonical: names rise, no value is empty.
#[derive(Debug, Default)]
pub struct DefinedSeries {
    pairs: Vec<u32>,
    /// Where the pairs of each series end.
    ends: Vec<usize>,
    /// Tenants, each with the first of the series that are its own.
    runs: Vec<(usize, TenantId)>,
}

impl DefinedSeries {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The series of each tenant in turn; the numbers of their pairs, series by series.
    pub fn runs(&self) -> impl Iterator<Item = (&TenantId, impl Iterator<Item = &[u32]>)> {
        self.runs.iter().enumerate().map(|(at, (first, tenant))| {
            let end = self.runs.get(at + 1).map_or(self.ends.len(), |(next, _)| *next);
            (tenant, (*first..end).map(|series| self.pairs_of(series)))
        })
    }

    fn pairs_of(&self, series: usize) -> &[u32] {
        let start = if series == 0 { 0 } else { self.ends[series - 1] };
        &self.pairs[start..self.ends[series]]
    }

    pub(super) fn clear(&mut self) {
        self.pairs.clear();
        self.ends.clear();
        self.runs.clear();
    }

    /// What is pushed from here on is this tenant's.
    pub(super) fn begin_run(&mut self, tenant: &TenantId) {
        if self.runs.last().is_none_or(|(_, last)| last != tenant) {
            self.runs.push((self.ends.len(), tenant.clone()));
        }
    }

    pub(super) fn push(&mut self, pairs: &[u32]) {
        self.pairs.extend_from_slice(pairs);
        self.ends.push(self.pairs.len());
    }
}
