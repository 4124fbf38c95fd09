//! Where a part's bytes are kept: sections of sorted keys.
//!
//! Owns the section numbers and the two traits a container implements. The container in memory
//! serves tests; RocksDB's is `storage::local`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::error::PartError;

/// A part's sections. The numbers are part of the format; more may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Section {
    /// One row: version, statistics, tenants, days.
    Header = 0,
    /// The sorted strings of the part.
    Symbols = 1,
    /// Row → labels, row → time bounds.
    Series = 2,
    /// Day, tenant, label → rows.
    Index = 3,
    TimestampColumns = 4,
    Floats = 5,
    Histograms = 6,
    Exemplars = 7,
}

impl Section {
    pub const ALL: [Self; 8] = [
        Self::Header,
        Self::Symbols,
        Self::Series,
        Self::Index,
        Self::TimestampColumns,
        Self::Floats,
        Self::Histograms,
        Self::Exemplars,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Symbols => "symbols",
            Self::Series => "series",
            Self::Index => "index",
            Self::TimestampColumns => "timestamp columns",
            Self::Floats => "floats",
            Self::Histograms => "histograms",
            Self::Exemplars => "exemplars",
        }
    }
}

/// Takes a part's rows. Keys ascend strictly within a section; sections may be interleaved.
pub trait SectionSink {
    fn put(&mut self, section: Section, key: &[u8], value: &[u8]) -> Result<(), PartError>;
}

/// Says of one row whether to go on.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool, PartError>;

/// Gives a part's rows back.
pub trait SectionSource: Send + Sync {
    fn get(&self, section: Section, key: &[u8]) -> Result<Option<Bytes>, PartError>;

    /// Visits rows with `start <= key < end_exclusive` in order of keys until `visit` says no.
    fn scan(
        &self,
        section: Section,
        start: &[u8],
        end_exclusive: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), PartError>;

    /// For several scans of one section, each behind the one before, where a container may go on from
    /// where it stands.
    fn walk(&self, section: Section) -> Box<dyn SectionWalk + '_> {
        Box::new(EachScan { source: self, section })
    }
}

/// Scans of one section, each of keys behind those of the one before.
pub trait SectionWalk {
    /// As [`SectionSource::scan`].
    fn scan(&mut self, start: &[u8], end_exclusive: &[u8], visit: Visit<'_>) -> Result<(), PartError>;
}

/// Scans that know nothing of each other.
struct EachScan<'a, S: ?Sized> {
    source: &'a S,
    section: Section,
}

impl<S: SectionSource + ?Sized> SectionWalk for EachScan<'_, S> {
    fn scan(&mut self, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), PartError> {
        self.source.scan(self.section, start, end, visit)
    }
}

impl<T: SectionSource + ?Sized> SectionSource for Arc<T> {
    fn get(&self, section: Section, key: &[u8]) -> Result<Option<Bytes>, PartError> {
        (**self).get(section, key)
    }

    fn scan(&self, section: Section, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), PartError> {
        (**self).scan(section, start, end, visit)
    }

    fn walk(&self, section: Section) -> Box<dyn SectionWalk + '_> {
        (**self).walk(section)
    }
}

impl<T: SectionSource + ?Sized> SectionSource for Box<T> {
    fn get(&self, section: Section, key: &[u8]) -> Result<Option<Bytes>, PartError> {
        (**self).get(section, key)
    }

    fn scan(&self, section: Section, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), PartError> {
        (**self).scan(section, start, end, visit)
    }

    fn walk(&self, section: Section) -> Box<dyn SectionWalk + '_> {
        (**self).walk(section)
    }
}

/// A container in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryContainer {
    rows: BTreeMap<(Section, Vec<u8>), Bytes>,
    last_keys: BTreeMap<Section, Vec<u8>>,
}

impl MemoryContainer {
    /// Every row, for tests that count or damage them.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = (&(Section, Vec<u8>), &mut Bytes)> {
        self.rows.iter_mut()
    }

    /// Bytes of the keys and values of one section.
    pub fn section_bytes(&self, section: Section) -> usize {
        self.rows
            .iter()
            .filter(|((s, _), _)| *s == section)
            .map(|((_, key), value)| key.len() + value.len())
            .sum()
    }
}

impl SectionSink for MemoryContainer {
    fn put(&mut self, section: Section, key: &[u8], value: &[u8]) -> Result<(), PartError> {
        if let Some(last) = self.last_keys.get(&section).filter(|last| last.as_slice() >= key) {
            return Err(PartError::KeyOrder { section, last: last.clone(), key: key.to_vec() });
        }
        self.last_keys.insert(section, key.to_vec());
        self.rows.insert((section, key.to_vec()), Bytes::copy_from_slice(value));
        Ok(())
    }
}

impl SectionSource for MemoryContainer {
    fn get(&self, section: Section, key: &[u8]) -> Result<Option<Bytes>, PartError> {
        Ok(self.rows.get(&(section, key.to_vec())).cloned())
    }

    fn scan(&self, section: Section, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), PartError> {
        if start >= end {
            return Ok(());
        }
        for ((_, key), value) in self.rows.range((section, start.to_vec())..(section, end.to_vec())) {
            if !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }
}
