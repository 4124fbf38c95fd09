//! What can be wrong with a block.

use std::path::{Path, PathBuf};

use crate::encoding::cursor::Malformed;

/// Why a block cannot be read. Names the file and the place in it.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} is damaged at offset {offset}: {what}", path.display())]
    Damaged { path: PathBuf, offset: u64, what: String },
    #[error("{}: {what}", path.display())]
    Unknown { path: PathBuf, what: String },
}

impl BlockError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(super) fn damaged(path: &Path, offset: u64, what: impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), offset, what: what.to_string() }
    }

    /// Damage found by a decoder of bytes, at its place in the file.
    pub(super) fn at(path: &Path, offset: u64) -> impl Fn(Malformed) -> Self {
        let path = path.to_owned();
        move |malformed| Self::Damaged { path: path.clone(), offset, what: malformed.0.to_owned() }
    }
}
