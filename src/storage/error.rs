//! What can go wrong with the store as a whole.

use std::path::PathBuf;

use super::local::LocalError;
use super::log::LogError;
use super::part::PartError;
use super::replica::driver::StartError;
use crate::error::ErrorKind;
use crate::querier::QueryError;

/// Why the store cannot be opened, flushed or closed. Names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "{} is not an Onggi data directory: it holds {found:?}; point --storage.path to an empty folder or to one of Onggi's",
        path.display()
    )]
    Foreign { path: PathBuf, found: String },
    #[error("{} says format {found}, this build reads up to format {known}: use a newer build", path.display())]
    NewerFormat { path: PathBuf, found: u32, known: u32 },
    #[error("{} requires the features {features:?}, which this build does not know: use a newer build", path.display())]
    UnknownFeatures { path: PathBuf, features: Vec<String> },
    #[error("{} is corrupt: {reason}; restore it from a backup of the folder", path.display())]
    CorruptFormat { path: PathBuf, reason: String },
    #[error("{} is locked by another process: one data directory serves one process at a time", path.display())]
    Locked { path: PathBuf },
    #[error(
        "{} belongs to a replica (it holds {found:?}): start it with --bucket.url, or make another folder of the bucket \
         by onggi bucket pull",
        path.display()
    )]
    OfReplica { path: PathBuf, found: String },
    #[error("{} is a pull that did not end: run onggi bucket pull for it again", path.display())]
    UnfinishedPull { path: PathBuf },
    #[error("{} is not empty: it holds {found:?}; a pull makes a folder of its own", path.display())]
    NotEmpty { path: PathBuf, found: String },
    #[error("{}: {reason}; without this file an adoption begins anew, or is over where there is no store", path.display())]
    AdoptionNote { path: PathBuf, reason: String },
    #[error(
        "the catalogue covers log files up to {covered}, but the log goes on at {found}: log file {missing} in {} is missing; restore it",
        path.display()
    )]
    MissingLog { path: PathBuf, covered: u64, found: u64, missing: u64 },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error("part {part}: {source}")]
    Part { part: u64, source: PartError },
    #[error("merge of parts {inputs:?}: {what}")]
    Merge { inputs: Vec<u64>, what: &'static str },
    #[error("deletion {id} in the catalogue is unreadable: {reason}")]
    Tombstone { id: String, reason: String },
    #[error("block {name}: {source}")]
    Block { name: String, source: PartError },
    #[error("a store on a bucket has no {0}: the bucket is the copy")]
    OnBucket(&'static str),
    #[error(transparent)]
    Replica(#[from] StartError),
    #[error("start background thread {name}: {source}")]
    Thread { name: &'static str, source: std::io::Error },
}

impl StorageError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Local(local) => local.kind(),
            Self::Log(log) => log.kind(),
            Self::OnBucket(_) => ErrorKind::Invalid,
            Self::Part { source, .. } | Self::Block { source, .. } => source.kind(),
            _ => ErrorKind::Internal,
        }
    }
}

impl From<StorageError> for QueryError {
    fn from(error: StorageError) -> Self {
        match error.kind() {
            // A block that the bucket does not give now: it may in a moment.
            ErrorKind::Unavailable => Self::Unavailable(error.to_string()),
            _ => Self::Storage(error.to_string()),
        }
    }
}

/// Why a batch was not stored. Nothing of it is acknowledged then, nothing refused for good.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Internal(String),
}

impl From<StorageError> for AppendError {
    fn from(error: StorageError) -> Self {
        match error.kind() {
            ErrorKind::Unavailable => Self::Unavailable(error.to_string()),
            _ => Self::Internal(error.to_string()),
        }
    }
}

impl AppendError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }
}
