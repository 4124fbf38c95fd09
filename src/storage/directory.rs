//! The data directory: what it holds, whose it is, which format it has.
//!
//! ```text
//! FORMAT    {"format":1,"features_required":[],"id":"<random>"}
//! LOCK      held by the process that serves the directory
//! log/      the durable log
//! db/       RocksDB: parts and catalogue
//! staging/  SST files under construction; emptied at start
//! ```
//! Owns creation and recognition. Everything unknown is refused by name rather than overwritten.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::StorageError;

/// The newest format that this build reads, and the one it writes.
pub const FORMAT: u32 = 1;

/// Entries of a data directory; `lost+found` stands in the root of many a volume.
const KNOWN: [&str; 6] = ["FORMAT", "LOCK", "log", "db", "staging", "lost+found"];

#[derive(Debug, Serialize, Deserialize)]
struct FormatFile {
    format: u32,
    #[serde(default)]
    features_required: Vec<String>,
    /// Random name of the directory, for whoever compares copies of it.
    id: String,
}

/// An opened and locked data directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Opens the directory or, where it is empty or absent, makes it one.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        std::fs::create_dir_all(path).map_err(io("create", path))?;
        refuse_foreign(path)?;
        let lock = lock(&path.join("LOCK"))?;
        let format = path.join("FORMAT");
        if format.exists() {
            check_format(&format)?
        } else {
            create(path, &format)?
        }
        for folder in ["log", "db"] {
            let folder = path.join(folder);
            if !folder.exists() {
                std::fs::create_dir(&folder).map_err(io("create", &folder))?;
            }
        }
        sync_folder(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub fn database(&self) -> PathBuf {
        self.path.join("db")
    }

    pub fn staging(&self) -> PathBuf {
        self.path.join("staging")
    }
}

fn refuse_foreign(path: &Path) -> Result<(), StorageError> {
    for entry in std::fs::read_dir(path).map_err(io("list", path))? {
        let name = entry.map_err(io("list", path))?.file_name().to_string_lossy().into_owned();
        // A crash while the directory was being made leaves this behind.
        let known = KNOWN.contains(&name.as_str()) || name == "FORMAT.new";
        if !known {
            return Err(StorageError::Foreign { path: path.to_owned(), found: name });
        }
    }
    let has = |name| path.join(name).exists();
    if !has("FORMAT") && (has("log") || has("db")) {
        return Err(StorageError::CorruptFormat {
            path: path.join("FORMAT"),
            reason: "the file is missing beside log and db".into(),
        });
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, StorageError> {
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(io("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StorageError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io("lock", path)(source)),
    }
}

fn check_format(path: &Path) -> Result<(), StorageError> {
    let text = std::fs::read_to_string(path).map_err(io("read", path))?;
    let corrupt = |reason: String| StorageError::CorruptFormat { path: path.to_owned(), reason };
    let format: FormatFile = serde_json::from_str(&text).map_err(|e| corrupt(e.to_string()))?;
    if format.format == 0 {
        return Err(corrupt("format 0 does not exist".into()));
    }
    if format.format > FORMAT {
        return Err(StorageError::NewerFormat { path: path.to_owned(), found: format.format, known: FORMAT });
    }
    if !format.features_required.is_empty() {
        return Err(StorageError::UnknownFeatures {
            path: path.to_owned(),
            features: format.features_required,
        });
    }
    Ok(())
}

/// Writes `FORMAT` so that it is whole or absent after a crash.
fn create(folder: &Path, format: &Path) -> Result<(), StorageError> {
    let id = format!("{:032x}", super::random_u128());
    let content = FormatFile { format: FORMAT, features_required: Vec::new(), id };
    let text = serde_json::to_string(&content).expect("a struct of plain fields is JSON");
    let temporary = folder.join("FORMAT.new");
    let mut file = File::create(&temporary).map_err(io("create", &temporary))?;
    file.write_all(format!("{text}\n").as_bytes()).map_err(io("write", &temporary))?;
    file.sync_all().map_err(io("sync", &temporary))?;
    std::fs::rename(&temporary, format).map_err(io("rename", &temporary))?;
    sync_folder(folder)
}

/// Makes names in a folder durable.
pub fn sync_folder(path: &Path) -> Result<(), StorageError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io("sync", path))
}

fn io<'a>(action: &'static str, path: &'a Path) -> impl Fn(std::io::Error) -> StorageError + 'a {
    move |source| StorageError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_keeps_its_id_and_is_locked_while_open() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("data");
        let first = Directory::open(&path).expect("create");
        assert!(matches!(Directory::open(&path), Err(StorageError::Locked { .. })));

        let format = std::fs::read(path.join("FORMAT")).expect("written");
        drop(first);
        drop(Directory::open(&path).expect("open again"));
        assert_eq!(std::fs::read(path.join("FORMAT")).expect("still there"), format);
    }

    #[test]
    fn directories_that_are_not_right_are_refused_by_name() {
        let check = |file: &str, content: &str, want: &str| {
            let folder = tempfile::tempdir().expect("temp dir");
            std::fs::write(folder.path().join(file), content).expect("write");
            let error = Directory::open(folder.path()).expect_err(file).to_string();
            assert!(error.contains(want), "{error}");
            assert!(error.contains(file), "{error}");
        };
        check("notes.txt", "x", "not an Onggi data directory");
        check("FORMAT", r#"{"format":2,"id":"x"}"#, "format 2");
        check("FORMAT", r#"{"format":1,"features_required":["zebra"],"id":"x"}"#, "zebra");
        check("FORMAT", "garbage", "corrupt");

        let folder = tempfile::tempdir().expect("temp dir");
        std::fs::create_dir(folder.path().join("db")).expect("mkdir");
        let error = Directory::open(folder.path()).expect_err("no FORMAT").to_string();
        assert!(error.contains("FORMAT") && error.contains("missing"), "{error}");
    }
}
