//! What can go wrong with a part.

use std::fmt;

use super::container::Section;
use crate::error::ErrorKind;
use crate::model::Labels;
use crate::querier::QueryError;

/// Why a part was not written or not read.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// Bytes that no writer wrote.
    #[error("part is corrupt: {} section, key {}: {what}", section.as_str(), HexKey(key))]
    Corrupt { section: Section, key: Vec<u8>, what: String },
    #[error("part has format version {found}, this build reads up to {known}")]
    Version { found: u8, known: u8 },
    /// The container failed: I/O, a bad checksum.
    #[error("{} section of a part: {source}", section.as_str())]
    Container { section: Section, source: Box<dyn std::error::Error + Send + Sync> },
    /// An object that is no block, or not the one that was written.
    #[error("block {block:032x} cannot be read, at offset {offset}: {what}")]
    Block { block: u128, offset: u64, what: String },
    /// Where the part is kept cannot be reached for now; says which object it is and why.
    #[error("{0}")]
    Unreachable(String),
    #[error("{} section: key {} is not above {}", section.as_str(), HexKey(key), HexKey(last))]
    KeyOrder { section: Section, last: Vec<u8>, key: Vec<u8> },
    #[error("series {labels} of tenant {tenant} is not above the one before it")]
    SeriesOrder { tenant: String, labels: Labels },
    #[error("series {labels}: {what}")]
    Series { labels: Labels, what: String },
    #[error("part has no room: {0}")]
    Full(&'static str),
    #[error("row {row} was asked of a part of {rows} rows, or not in ascending order")]
    NoSuchRow { row: u32, rows: u32 },
    /// The query that reads ended: canceled, timed out, out of memory.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl PartError {
    pub(super) fn corrupt(section: Section, key: &[u8], what: impl Into<String>) -> Self {
        Self::Corrupt { section, key: key.to_vec(), what: what.into() }
    }

    /// What a container says of its own failure.
    pub fn container(section: Section, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Container { section, source: source.into() }
    }

    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Query(query) => query.kind(),
            Self::Unreachable(_) => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        }
    }
}

impl From<PartError> for QueryError {
    fn from(error: PartError) -> Self {
        match error {
            PartError::Query(query) => query,
            PartError::Unreachable(what) => Self::Unavailable(what),
            other => Self::Storage(other.to_string()),
        }
    }
}

/// The first bytes of a key in hexadecimal.
struct HexKey<'a>(&'a [u8]);

impl fmt::Display for HexKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 40;
        for byte in self.0.iter().take(SHOWN) {
            write!(f, "{byte:02x}")?;
        }
        if self.0.len() > SHOWN { write!(f, "… ({} bytes)", self.0.len()) } else { Ok(()) }
    }
}
