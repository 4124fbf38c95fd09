//! What can go wrong with the log, and what the caller should do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::ErrorKind;

/// An error of the log. Cloned to every request that was in the frame.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The disk does not keep up: retry later. Nothing of the request was taken.
    #[error("log is behind: {open_bytes} bytes wait for the disk, {limit_bytes} are allowed")]
    Overloaded { open_bytes: u64, limit_bytes: u64 },
    /// A single request that no frame can hold.
    #[error("request takes {bytes} bytes in the log, more than the {limit_bytes} of a frame")]
    BatchTooLarge { bytes: u64, limit_bytes: u64 },
    /// No room on the disk: nothing was acknowledged, the next request tries again.
    #[error("disk is full: {action} {}: {source}", path.display())]
    DiskFull { action: &'static str, path: PathBuf, source: Arc<io::Error> },
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: Arc<io::Error> },
    /// What is on the disk is unknown from here on: the process must not go on.
    #[error("sync failed and is never retried: {action} {}: {source}", path.display())]
    SyncFailed { action: &'static str, path: PathBuf, source: Arc<io::Error> },
    /// A bug of the caller: such labels would make the file unreadable.
    #[error("labels of a series {what}: batch was not validated")]
    NotCanonical { what: &'static str },
    #[error("log has stopped: {reason}")]
    Stopped { reason: Arc<str> },
    #[error(
        "log file {} is corrupt at offset {offset}: {what}; restore the file from a backup, or move it away \
         to start without what it holds",
        path.display()
    )]
    Corrupt { path: PathBuf, offset: u64, what: String },
    #[error("log file {} has {what}, which this version does not know: use the version that wrote it", path.display())]
    UnknownFormat { path: PathBuf, what: String },
    #[error("{} does not belong into the log: move it away", paths_list(paths))]
    ForeignFiles { paths: Vec<PathBuf> },
}

impl LogError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Overloaded { .. } | Self::DiskFull { .. } | Self::Stopped { .. } => ErrorKind::Unavailable,
            Self::BatchTooLarge { .. } => ErrorKind::Invalid,
            Self::Io { .. }
            | Self::SyncFailed { .. }
            | Self::NotCanonical { .. }
            | Self::Corrupt { .. }
            | Self::UnknownFormat { .. }
            | Self::ForeignFiles { .. } => ErrorKind::Internal,
        }
    }

    /// An error of reading, creating or writing.
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let (path, source) = (path.to_owned(), Arc::new(source));
        if Self::is_full(&source) {
            Self::DiskFull { action, path, source }
        } else {
            Self::Io { action, path, source }
        }
    }

    pub(super) fn is_full(error: &io::Error) -> bool {
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    pub(super) fn sync(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::SyncFailed { action, path: path.to_owned(), source: Arc::new(source) }
    }

    pub(super) fn corrupt(path: &Path, offset: u64, what: impl ToString) -> Self {
        Self::Corrupt { path: path.to_owned(), offset, what: what.to_string() }
    }
}

fn paths_list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
