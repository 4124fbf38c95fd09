//! The folder of a replica: whose it is, and what a store that stood alone has left in it.
//!
//! Owns the lock, and the note of how far an adoption is. The note is written before anything counts on it,
//! durably each time; without it an adoption begins anew, which is harmless.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::replication::names::TombstoneId;
use crate::storage::directory::{self, ADOPTION, CACHE, Directory, HELD, PAST};
use crate::storage::durable;
use crate::storage::error::StorageError;

/// What makes up a store that stands alone; `FORMAT` goes last, and with it the store is gone.
const OF_STORE: [&str; 9] =
    ["COMMITTED", "COMMITTED.new", "FORMAT.new", "db", "imports", "log", "snapshots", "staging", "FORMAT"];

/// See the module.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: File,
}

/// How far an adoption is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Address of the bucket that it goes into.
    pub bucket: String,
    /// Deletions of the bucket that were there before it began: they do not mean what it brings. In hex.
    deletions: Vec<String>,
    /// Days, counted from 1970, of which everything is in the bucket.
    pub days: BTreeSet<i64>,
    /// All of it is in the bucket; the store is being put into this folder.
    pub aside: Option<String>,
}

impl Note {
    pub fn new(bucket: &str, deletions: impl Iterator<Item = TombstoneId>) -> Self {
        let deletions = deletions.map(|id| format!("{:032x}", id.0)).collect();
        Self { bucket: bucket.to_owned(), deletions, days: BTreeSet::new(), aside: None }
    }

    /// Whether a deletion was there before the adoption began.
    pub fn is_older(&self, deletion: TombstoneId) -> bool {
        self.deletions.contains(&format!("{:032x}", deletion.0))
    }
}

impl Folder {
    /// Opens the folder, which is made where it does not exist, for this process alone.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let lock = directory::lock_of_replica(path)?;
        Ok(Self { path: path.to_owned(), lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn held(&self) -> PathBuf {
        self.path.join(HELD)
    }

    /// In the place of what is held, where the bucket is shown as it was.
    pub fn past(&self) -> PathBuf {
        self.path.join(PAST)
    }

    /// Pieces of blocks.
    pub fn cache(&self) -> PathBuf {
        self.path.join(CACHE)
    }

    /// Whether there is a store that stood alone, or some of it that is not put aside yet.
    pub fn has_store(&self) -> Result<bool, StorageError> {
        let has = |name: &&str| self.path.join(name).exists();
        Ok(["FORMAT", "db", "log"].iter().any(has) || self.note()?.is_some())
    }

    /// The store that stood alone here.
    pub fn store(&self) -> Result<Directory, StorageError> {
        let has = |name: &str| self.path.join(name).exists();
        if !has("FORMAT") && !has("db") && !has("log") {
            let reason = "the store that it is about is gone, and not all of it is in the bucket".to_owned();
            return Err(StorageError::AdoptionNote { path: self.path.join(ADOPTION), reason });
        }
        let lock = self.lock.try_clone().map_err(io("lock", &self.path))?;
        Directory::open_locked(&self.path, lock)
    }

    pub fn note(&self) -> Result<Option<Note>, StorageError> {
        let path = self.path.join(ADOPTION);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("read", &path)(error)),
        };
        let note = serde_json::from_slice(&bytes);
        note.map(Some).map_err(|error| StorageError::AdoptionNote { path, reason: error.to_string() })
    }

    pub fn write_note(&self, note: &Note) -> Result<(), StorageError> {
        let path = self.path.join(ADOPTION);
        let text = serde_json::to_vec(note).expect("a struct of plain fields is JSON");
        durable::replace(&path, &text).map_err(io("write", &path))
    }

    /// Puts what is left of the store into a folder of its own, and forgets the adoption. `each` is asked
    /// before each step.
    pub fn put_aside<E: From<StorageError>>(
        &self,
        name: &str,
        mut each: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let aside = self.path.join(name);
        std::fs::create_dir_all(&aside).map_err(io("create", &aside))?;
        for entry in OF_STORE {
            let (from, to) = (self.path.join(entry), aside.join(entry));
            if from.exists() {
                each()?;
                std::fs::rename(&from, &to).map_err(io("put aside", &from))?;
            }
        }
        // Where the store has gone is durable before it is forgotten that it goes.
        for folder in [&aside, &self.path] {
            durable::sync_folder(folder).map_err(io("sync", folder))?;
        }
        each()?;
        let note = self.path.join(ADOPTION);
        std::fs::remove_file(&note).map_err(io("remove", &note))?;
        Ok(durable::sync_folder(&self.path).map_err(io("sync", &self.path))?)
    }
}

fn io(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> StorageError {
    let path = path.to_owned();
    move |source| StorageError::Io { action, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_comes_back_and_one_that_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().expect("folder");
        let folder = Folder::open(directory.path()).expect("opened");
        assert!(!folder.has_store().expect("looked"));
        let mut note = Note::new("file:///b", [TombstoneId(7)].into_iter());
        note.days.insert(-3);

        folder.write_note(&note).expect("written");

        assert_eq!(folder.note().expect("read"), Some(note.clone()));
        assert!(note.is_older(TombstoneId(7)) && !note.is_older(TombstoneId(8)));
        assert!(folder.has_store().expect("looked"));
        std::fs::write(directory.path().join(ADOPTION), "{").expect("written");
        let error = folder.note().expect_err("torn").to_string();
        assert!(error.contains(ADOPTION) && error.contains("begins anew"), "{error}");
    }

    #[test]
    fn what_is_put_aside_is_whole_wherever_it_was_interrupted() {
        #[derive(Debug)]
        struct Stopped;
        impl From<StorageError> for Stopped {
            fn from(error: StorageError) -> Self {
                panic!("{error}")
            }
        }
        for steps in 0..8 {
            let directory = tempfile::tempdir().expect("folder");
            drop(Directory::open(directory.path()).expect("a store"));
            let folder = Folder::open(directory.path()).expect("opened");
            let aside = "adopted-x".to_owned();
            folder
                .write_note(&Note { aside: Some(aside), ..Note::new("b", [].into_iter()) })
                .expect("written");
            let mut left = steps;
            let stopped = folder.put_aside("adopted-x", || {
                left -= 1;
                if left < 0 { Err(Stopped) } else { Ok(()) }
            });
            assert_eq!(stopped.is_ok(), steps >= 5, "{steps} steps: FORMAT, COMMITTED, log, db, the note");
            assert_eq!(folder.has_store().expect("looked"), steps < 5);

            if stopped.is_err() {
                folder.put_aside::<Stopped>("adopted-x", || Ok(())).expect("put aside");
            }

            assert!(!folder.has_store().expect("looked"));
            drop(Directory::open(&directory.path().join("adopted-x")).expect("the store as it was"));
        }
    }
}
