//! The data directory: whose it is, which format it has.
//!
//! Owns creation and recognition. Everything unknown is refused by name rather than overwritten.
#![doc = include_str!("format.md")]

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::durable;
use super::error::StorageError;
use super::local::{DatabasePaths, committed};

/// The newest format that this build reads, and the one it writes.
pub const FORMAT: u32 = 1;

/// Entries of a data directory; `lost+found` stands in the root of many a volume.
const KNOWN: [&str; 10] = [
    "FORMAT",
    "LOCK",
    "COMMITTED",
    "log",
    "db",
    "staging",
    "snapshots",
    "queries.active",
    IMPORTS,
    "lost+found",
];

/// Of a replica: the segments that it holds,
pub const HELD: &str = "held";
/// in the place of them, where it shows the bucket as it was,
pub const PAST: &str = "past";
/// pieces of blocks,
pub const CACHE: &str = "cache";
/// how far it is with a store that it found in the folder,
pub const ADOPTION: &str = "adoption";
/// and how the folders begin into which it has put such stores.
pub const ADOPTED: &str = "adopted-";

/// What a pull has fetched; a folder that has it is not whole.
pub const PULL: &str = "pull";
/// In it, the bucket's address: whoever finds it knows that everything beside it is a pull's, and may go.
const PULLED_FROM: &str = "BUCKET";

/// Files that are replaced as a whole, by way of a temporary one that a crash may leave behind.
const REPLACED: [&str; 2] = ["FORMAT", "COMMITTED"];

/// The end of a snapshot's name while it is made.
const UNFINISHED: &str = ".tmp";

/// The file in which imports remember what they have done.
pub const IMPORTS: &str = "imports";

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
        Self::open_locked(path, lock)
    }

    /// As [`Self::open`], of a folder that was looked at and whose lock is held.
    pub fn open_locked(path: &Path, lock: File) -> Result<Self, StorageError> {
        refuse_headless(path)?;
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
        let directory = Self { path: path.to_owned(), _lock: lock };
        directory.remove_unfinished_snapshots()?;
        Ok(directory)
    }

    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub fn database(&self) -> DatabasePaths {
        database_paths(&self.path)
    }

    /// Where a pull keeps what it has fetched.
    pub fn pulling(&self) -> PathBuf {
        self.path.join(PULL)
    }

    /// Makes a folder for a snapshot of this name, to be filled and then finished. It holds what a
    /// new data directory holds, and the same FORMAT: it is a copy of this one.
    pub fn begin_snapshot(&self, name: &str) -> Result<UnfinishedSnapshot, StorageError> {
        let folder = self.snapshots();
        if !folder.exists() {
            std::fs::create_dir(&folder).map_err(io("create", &folder))?;
        }
        sync_folder(&self.path)?;
        let path = folder.join(format!("{name}{UNFINISHED}"));
        std::fs::create_dir(&path).map_err(io("create", &path))?;
        let snapshot = UnfinishedSnapshot { path, finished: folder.join(name) };
        std::fs::create_dir(snapshot.log()).map_err(io("create", &snapshot.path))?;
        let (format, copy) = (self.path.join("FORMAT"), snapshot.path.join("FORMAT"));
        let content = std::fs::read(&format).map_err(io("read", &format))?;
        std::fs::write(&copy, content).map_err(io("write", &copy))?;
        Ok(snapshot)
    }

    /// A crash or a failure has left them behind; nobody was told their names.
    fn remove_unfinished_snapshots(&self) -> Result<(), StorageError> {
        let folder = self.snapshots();
        if !folder.exists() {
            return Ok(());
        }
        for entry in std::fs::read_dir(&folder).map_err(io("list", &folder))? {
            let path = entry.map_err(io("list", &folder))?.path();
            if path.extension().is_some_and(|extension| *extension == UNFINISHED[1..]) {
                std::fs::remove_dir_all(&path).map_err(io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }
}

/// A snapshot that is being made. Dropped without being finished, it is removed.
#[derive(Debug)]
pub struct UnfinishedSnapshot {
    path: PathBuf,
    finished: PathBuf,
}

impl UnfinishedSnapshot {
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub fn database(&self) -> DatabasePaths {
        database_paths(&self.path)
    }

    /// Makes everything in it durable, then its name.
    pub fn finish(self) -> Result<(), StorageError> {
        durable::sync_tree(&self.path).map_err(io("sync", &self.path))?;
        std::fs::rename(&self.path, &self.finished).map_err(io("rename", &self.path))?;
        sync_folder(self.finished.parent().unwrap_or(Path::new("/")))
    }
}

impl Drop for UnfinishedSnapshot {
    fn drop(&mut self) {
        // Finished, it has another name.
        if self.path.exists()
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, "unfinished snapshot stays until the next start");
        }
    }
}

pub fn database_paths(directory: &Path) -> DatabasePaths {
    DatabasePaths {
        database: directory.join("db"),
        staging: directory.join("staging"),
        committed: directory.join("COMMITTED"),
    }
}

/// Looks at a directory without changing anything of it; what is returned keeps others from opening it.
///
/// A missing `LOCK` is not made: nobody has the directory open then.
pub fn inspect(path: &Path) -> Result<Option<File>, StorageError> {
    std::fs::read_dir(path).map_err(io("list", path))?;
    let lock_path = path.join("LOCK");
    let lock = match File::open(&lock_path) {
        Ok(file) => match file.try_lock() {
            Ok(()) => Some(file),
            Err(TryLockError::WouldBlock) => return Err(StorageError::Locked { path: lock_path }),
            Err(TryLockError::Error(source)) => return Err(io("lock", &lock_path)(source)),
        },
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(io("open", &lock_path)(source)),
    };
    refuse_foreign(path)?;
    check_format(&path.join("FORMAT"))?;
    Ok(lock)
}

fn refuse_foreign(path: &Path) -> Result<(), StorageError> {
    for found in names(path)? {
        if is_of_replica(&found) {
            return Err(StorageError::OfReplica { path: path.to_owned(), found });
        }
        refuse_unknown(path, found)?;
    }
    refuse_headless(path)
}

/// Locks the folder of a replica, in which there may also be what a store that stood alone has left.
pub fn lock_of_replica(path: &Path) -> Result<File, StorageError> {
    std::fs::create_dir_all(path).map_err(io("create", path))?;
    for found in names(path)?.into_iter().filter(|name| !is_of_replica(name)) {
        refuse_unknown(path, found)?;
    }
    lock(&path.join("LOCK"))
}

/// Locks the folder that a pull fills: one in which there is nothing, or what an earlier pull has begun, which
/// is removed. It is not opened by anybody else before [`end_pull`].
pub fn begin_pull(path: &Path, url: &str) -> Result<Directory, StorageError> {
    std::fs::create_dir_all(path).map_err(io("create", path))?;
    let pulling = path.join(PULL);
    let is_begun = pulling.join(PULLED_FROM).exists();
    let is_free = |name: &str| ["LOCK", "lost+found", PULL].contains(&name);
    for name in names(path)?.into_iter().filter(|name| !is_free(name)) {
        if !is_begun {
            return Err(StorageError::NotEmpty { path: path.to_owned(), found: name });
        }
        refuse_unknown(path, name)?;
    }
    let lock = lock(&path.join("LOCK"))?;
    std::fs::create_dir_all(&pulling).map_err(io("create", &pulling))?;
    sync_folder(path)?;
    let from = pulling.join(PULLED_FROM);
    durable::replace(&from, format!("{url}\n").as_bytes()).map_err(io("write", &from))?;
    for name in names(path)?.into_iter().filter(|name| !is_free(name)) {
        remove(&path.join(name))?;
    }
    for name in names(&pulling)?.into_iter().filter(|name| name != PULLED_FROM) {
        remove(&pulling.join(name))?;
    }
    Directory::open_locked(path, lock)
}

/// The pull is whole: from here on the folder is a data directory like any other.
pub fn end_pull(directory: &Directory) -> Result<(), StorageError> {
    remove(&directory.path.join(PULL))?;
    sync_folder(&directory.path)
}

fn remove(path: &Path) -> Result<(), StorageError> {
    let is_folder = path.is_dir() && !path.is_symlink();
    let removed = if is_folder { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    removed.map_err(io("remove", path))
}

fn names(path: &Path) -> Result<Vec<String>, StorageError> {
    let entries = std::fs::read_dir(path).map_err(io("list", path))?;
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        Ok(entry.map_err(io("list", path))?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

fn is_replaced(name: &str, files: &[&str]) -> bool {
    files.iter().any(|file| durable::temporary(Path::new(file)) == Path::new(name))
}

fn is_of_replica(name: &str) -> bool {
    [HELD, PAST, CACHE, ADOPTION].contains(&name)
        || name.starts_with(ADOPTED)
        || is_replaced(name, &[ADOPTION])
}

fn refuse_unknown(path: &Path, name: String) -> Result<(), StorageError> {
    if name == PULL {
        return Err(StorageError::UnfinishedPull { path: path.to_owned() });
    }
    if KNOWN.contains(&name.as_str()) || is_replaced(&name, &REPLACED) {
        return Ok(());
    }
    Err(StorageError::Foreign { path: path.to_owned(), found: name })
}

fn refuse_headless(path: &Path) -> Result<(), StorageError> {
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

/// Writes `FORMAT`, which makes the folder a data directory: what must stand beside it comes before.
fn create(folder: &Path, format: &Path) -> Result<(), StorageError> {
    let committed = database_paths(folder).committed;
    durable::replace(&committed, &committed::content(0)).map_err(io("write", &committed))?;
    let id = format!("{:032x}", super::random_u128());
    let content = FormatFile { format: FORMAT, features_required: Vec::new(), id };
    let text = serde_json::to_string(&content).expect("a struct of plain fields is JSON");
    durable::replace(format, format!("{text}\n").as_bytes()).map_err(io("write", format))
}

/// Makes names in a folder durable.
fn sync_folder(path: &Path) -> Result<(), StorageError> {
    durable::sync_folder(path).map_err(io("sync", path))
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
    fn unfinished_snapshots_go_and_finished_ones_stay() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("data");
        let directory = Directory::open(&path).expect("create");
        drop(directory.begin_snapshot("given-up").expect("begun"));
        directory.begin_snapshot("whole").expect("begun").finish().expect("finished");
        std::fs::create_dir_all(path.join("snapshots/crashed.tmp/db")).expect("as a crash leaves it");
        let there = || {
            let entries = std::fs::read_dir(path.join("snapshots")).expect("listed");
            let mut names: Vec<_> = entries.map(|e| e.expect("entry").file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(there(), ["crashed.tmp", "whole"]);

        drop(directory);
        drop(Directory::open(&path).expect("open again"));
        assert_eq!(there(), ["whole"]);
        assert!(path.join("snapshots/whole/FORMAT").exists() && path.join("snapshots/whole/log").is_dir());
    }

    #[test]
    fn a_replicas_folder_is_refused_to_others_by_name_and_a_store_in_it_is_not() {
        let check = |name: &str| {
            let folder = tempfile::tempdir().expect("temp dir");
            drop(Directory::open(folder.path()).expect("create"));
            std::fs::create_dir(folder.path().join(name)).expect("made");
            let error = Directory::open(folder.path()).expect_err(name).to_string();
            assert!(error.contains(name) && error.contains("--bucket.url"), "{error}");
            let error = inspect(folder.path()).expect_err(name).to_string();
            assert!(error.contains(name) && error.contains("--bucket.url"), "{error}");

            let lock = lock_of_replica(folder.path()).expect("a replica's");
            assert!(matches!(lock_of_replica(folder.path()), Err(StorageError::Locked { .. })));
            Directory::open_locked(folder.path(), lock).expect("the store in it");
        };
        check(HELD);
        check(PAST);
        check(CACHE);
        check(ADOPTION);
        check("adopted-20260821T101530Z");
        let folder = tempfile::tempdir().expect("temp dir");
        std::fs::write(folder.path().join("notes.txt"), "x").expect("written");
        assert!(matches!(lock_of_replica(folder.path()), Err(StorageError::Foreign { .. })));
    }

    #[test]
    fn a_pull_takes_an_empty_folder_or_one_that_it_has_begun_and_nobody_opens_it_before_its_end() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("data");
        let first = begin_pull(&path, "file:///x").expect("begun");
        std::fs::write(path.join("pull/block"), "fetched").expect("written");
        std::fs::write(path.join("db/file"), "half").expect("written");
        assert!(matches!(begin_pull(&path, "file:///x"), Err(StorageError::Locked { .. })));
        drop(first);
        assert!(matches!(Directory::open(&path), Err(StorageError::UnfinishedPull { .. })));
        assert!(matches!(lock_of_replica(&path), Err(StorageError::UnfinishedPull { .. })));

        let again = begin_pull(&path, "file:///x").expect("begun again");
        assert!(!path.join("pull/block").exists() && !path.join("db/file").exists());
        end_pull(&again).expect("ended");
        drop(again);
        drop(Directory::open(&path).expect("a data directory"));

        let check = |found: &str| match begin_pull(&path, "file:///x") {
            Err(StorageError::NotEmpty { .. }) => {}
            other => panic!("{found}: {other:?}"),
        };
        check("a data directory");
        for name in ["FORMAT", "COMMITTED", "log", "db"] {
            remove(&path.join(name)).expect("removed");
        }
        std::fs::write(path.join("holiday.jpg"), "not ours").expect("written");
        check("a stranger's");
        std::fs::create_dir(path.join(PULL)).expect("made");
        check("a stranger's, with a folder of that name");
        std::fs::write(path.join("pull/BUCKET"), "file:///x").expect("written");
        assert!(matches!(begin_pull(&path, "file:///x"), Err(StorageError::Foreign { .. })));
        assert!(path.join("holiday.jpg").exists());
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
