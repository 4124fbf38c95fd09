//! The directory of log files: names, listing, removal.
//!
//! Owns how a sequence becomes a file name. Opens no file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::LogError;

const EXTENSION: &str = ".log";

/// The path of a file by its sequence.
pub fn file_path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(file_name(sequence))
}

fn file_name(sequence: u64) -> String {
    format!("{sequence:010}{EXTENSION}")
}

/// The sequence that a path's name tells; `None` where it is no name of a log file.
pub(super) fn sequence_of_path(path: &Path) -> Option<u64> {
    path.file_name()?.to_str().and_then(sequence_of)
}

fn sequence_of(name: &str) -> Option<u64> {
    let sequence = name.strip_suffix(EXTENSION)?.parse().ok()?;
    (file_name(sequence) == name).then_some(sequence)
}

/// A file of the log, and how long it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFileEntry {
    pub sequence: u64,
    pub path: PathBuf,
    pub bytes: u64,
}

/// The log's files in order. Anything else in the directory is an error that names it.
pub fn list_files(dir: &Path) -> Result<Vec<LogFileEntry>, LogError> {
    let failed = |source| LogError::io("list", dir, source);
    let (mut files, mut foreign) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let metadata = entry.metadata().map_err(failed)?;
        match entry.file_name().to_str().and_then(sequence_of) {
            Some(sequence) if metadata.is_file() => {
                files.push(LogFileEntry { sequence, path: entry.path(), bytes: metadata.len() });
            }
            _ => foreign.push(entry.path()),
        }
    }
    if !foreign.is_empty() {
        foreign.sort();
        return Err(LogError::ForeignFiles { paths: foreign });
    }
    files.sort_by_key(|file| file.sequence);
    Ok(files)
}

/// Removes files and makes that durable. One that is gone already is fine.
pub fn remove_files(dir: &Path, sequences: &[u64]) -> Result<(), LogError> {
    for sequence in sequences {
        let path = file_path(dir, *sequence);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(LogError::io("remove", &path, source)),
        }
    }
    sync_directory(dir)
}

/// Makes created and removed names durable.
pub(super) fn sync_directory(dir: &Path) -> Result<(), LogError> {
    let opened = File::open(dir).map_err(|source| LogError::io("open directory", dir, source))?;
    opened.sync_all().map_err(|source| LogError::sync("sync directory", dir, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_listed_in_order_and_removed_for_good() {
        let dir = tempfile::tempdir().expect("a directory");
        for sequence in [10_000_000_000, 2, 1] {
            fs::write(file_path(dir.path(), sequence), [0; 3]).expect("written");
        }

        let listed = list_files(dir.path()).expect("only files of the log");
        assert_eq!(
            listed.iter().map(|f| (f.sequence, f.bytes)).collect::<Vec<_>>(),
            [(1, 3), (2, 3), (10_000_000_000, 3)]
        );

        remove_files(dir.path(), &[1, 7, 2]).expect("the one that is not there is fine");
        assert_eq!(list_files(dir.path()).expect("listed").len(), 1);
    }

    #[test]
    fn foreign_files_are_named() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["0000000001.log", "1.log", "notes.txt", "+000000001.log"] {
            fs::write(dir.path().join(name), []).expect("written");
        }
        fs::create_dir(dir.path().join("0000000009.log")).expect("created");

        let message = list_files(dir.path()).expect_err("foreign files").to_string();
        for name in ["/1.log", "notes.txt", "+000000001.log", "0000000009.log"] {
            assert!(message.contains(name), "{message}");
        }
        assert!(!message.contains("/0000000001.log"), "{message}");
    }
}
