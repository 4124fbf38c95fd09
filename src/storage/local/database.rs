//! The database: opened, asked for its catalogue, committed to, relieved of dead parts.
//!
//! Owns the order that makes a commit durable: SST files are synced and ingested first, then one
//! batch changes the catalogue and is flushed, its number is noted beside the database (see
//! [`committed`]), and only then does the caller delete what became superfluous.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    Cache, ColumnFamily, ColumnFamilyDescriptor, DB, Direction, FlushOptions, InfoLogger,
    IngestExternalFileOptions, IteratorMode, LogLevel, Options, ReadOptions, WriteBatch,
};

use super::catalogue::{Catalogue, CatalogueBatch, PartEntry};
use super::{committed, keys, recovery, sst, tuning};
use crate::error::ErrorKind;
use crate::model::{Metadata, MetricType, TenantId};
use crate::storage::disk_room::DiskRoom;
use crate::storage::head::metadata::Described;

/// Block cache of a database that is only looked at.
const LOOK_CACHE_BYTES: usize = 1 << 20;

/// With less room than this nothing is asked of RocksDB that it has to write: after a flush of its own
/// that found no room it takes nothing more before it is opened anew, however much room there is by
/// then. A commit takes some twenty kilobytes.
const ROOM_BYTES_MIN: u64 = 128 << 10;

/// What went wrong with the database, while doing what, to which folder.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("{action} in {}: {source}", path.display())]
    RocksDb { action: &'static str, path: PathBuf, source: rocksdb::Error },
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("catalogue in {}: entry {entry} is corrupt: {reason}", path.display())]
    Catalogue { path: PathBuf, entry: String, reason: String },
    #[error("part {part} in {} is not gone after its files were dropped", path.display())]
    NotDropped { path: PathBuf, part: u64 },
    #[error("database in {} is not whole: {flaw}; a start of the server heals what a power cut left", path.display())]
    Flawed { path: PathBuf, flaw: String },
    #[error("the catalogue names part {part}, but {} does not hold it", path.display())]
    MissingPart { path: PathBuf, part: u64 },
    #[error("part {part} in {} has {found} bytes of SST files instead of {expected}", path.display())]
    PartBytes { path: PathBuf, part: u64, found: u64, expected: u64 },
    #[error("catalogue in {} is of commit {catalogue}, metadata of commit {metadata}", path.display())]
    CommitTorn { path: PathBuf, catalogue: u64, metadata: u64 },
    #[error("{} is corrupt: {reason}; restore the data directory from a backup", path.display())]
    Committed { path: PathBuf, reason: String },
    #[error(
        "database in {} does not hold commit {commits}, which was finished: {tried}; restore the data directory \
         from a backup",
        path.display()
    )]
    Lost { path: PathBuf, commits: u64, tried: String },
}

impl LocalError {
    pub fn kind(&self) -> ErrorKind {
        if self.is_disk_full() { ErrorKind::Unavailable } else { ErrorKind::Internal }
    }

    /// Whether room on the disk would cure it.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::RocksDb { source, .. } => {
                let text = source.to_string();
                text.contains("No space left") || text.contains("NoSpace") || text.contains("quota")
            }
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}

type Families = Vec<ColumnFamilyDescriptor>;

/// Where a database lives.
#[derive(Clone, Debug)]
pub struct DatabasePaths {
    pub database: PathBuf,
    /// SST files are built here, on the same file system; emptied at start.
    pub staging: PathBuf,
    /// The number of the last finished commit, see [`committed`].
    pub committed: PathBuf,
}

/// An open database.
pub struct Database {
    pub(super) db: DB,
    pub(super) fresh_files: Options,
    pub(super) merged_files: Options,
    path: PathBuf,
    staging: PathBuf,
    committed: PathBuf,
    /// Number of the last commit that was begun. Who holds it keeps others from committing.
    commits: Mutex<u64>,
    _cache: Cache,
}

/// While it lives nobody commits.
pub struct CommitsHeld<'a>(#[expect(dead_code, reason = "held, not read")] MutexGuard<'a, u64>);

impl Database {
    /// Opens or creates the database, after it was proved to hold every finished commit.
    pub fn open(paths: &DatabasePaths, cache_bytes: usize) -> Result<Self, LocalError> {
        empty_folder(&paths.staging)?;
        let finished = committed::read(&paths.committed)?;
        recovery::prepare(paths, finished)?;
        let open = |options: Options, families: Families| {
            DB::open_cf_descriptors(&options, &paths.database, families)
        };
        let database = Self::open_with(open, paths, cache_bytes)?;
        let found = database.commit_numbers()?.0;
        if found > finished {
            // The power went between flush and note. Whoever reads the catalogue now acts on it.
            committed::write(&paths.committed, found)?;
        }
        *database.commits.lock() = found;
        Ok(database)
    }

    /// Opens a database to look at it; changes none of its files.
    pub(super) fn open_to_read(path: &Path) -> Result<Self, LocalError> {
        let paths =
            DatabasePaths { database: path.to_owned(), staging: PathBuf::new(), committed: PathBuf::new() };
        let open = |mut options: Options, families: Families| {
            options.create_if_missing(false);
            options.create_missing_column_families(false);
            // It would be written into the folder.
            options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Fatal, |_, _| {}));
            DB::open_cf_descriptors_read_only(&options, path, families, false)
        };
        Self::open_with(open, &paths, LOOK_CACHE_BYTES)
    }

    fn open_with(
        open: impl FnOnce(Options, Families) -> Result<DB, rocksdb::Error>,
        paths: &DatabasePaths,
        cache_bytes: usize,
    ) -> Result<Self, LocalError> {
        let cache = Cache::new_lru_cache(cache_bytes);
        let families = vec![
            ColumnFamilyDescriptor::new("default", tuning::small_family(&cache)),
            ColumnFamilyDescriptor::new(keys::CATALOGUE, tuning::small_family(&cache)),
            ColumnFamilyDescriptor::new(keys::METADATA, tuning::small_family(&cache)),
            ColumnFamilyDescriptor::new(keys::PARTS, tuning::parts_family(&cache)),
        ];
        let path = paths.database.clone();
        let db = open(tuning::database(), families).map_err(|source| LocalError::RocksDb {
            action: "open database",
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            db,
            fresh_files: tuning::parts_family(&cache),
            merged_files: tuning::merged_files(&cache),
            path,
            staging: paths.staging.clone(),
            committed: paths.committed.clone(),
            commits: Mutex::new(0),
            _cache: cache,
        })
    }

    pub(super) fn staging(&self) -> &Path {
        &self.staging
    }

    pub(super) fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("all families are opened with the database")
    }

    pub(super) fn rocksdb_error(&self, action: &'static str) -> impl Fn(rocksdb::Error) -> LocalError + '_ {
        move |source| LocalError::RocksDb { action, path: self.path.clone(), source }
    }

    /// Reads the whole catalogue.
    pub fn catalogue(&self) -> Result<Catalogue, LocalError> {
        let mut catalogue = Catalogue::default();
        for row in self.db.iterator_cf(self.family(keys::CATALOGUE), IteratorMode::Start) {
            let (key, value) = row.map_err(self.rocksdb_error("read catalogue"))?;
            match key.first() {
                Some(b'p') => catalogue.parts.push(self.entry(&key, &value)?),
                Some(b'l') if key[1..] == *keys::LOCAL_LOG => catalogue.covered = self.entry(&key, &value)?,
                Some(b't') => catalogue.tombstones.push(self.entry(&key, &value)?),
                Some(b'c') if *key == *keys::CATALOGUE_COMMIT => {}
                _ => return Err(self.corrupt(&key, "unknown kind of entry")),
            }
        }
        for row in self.db.iterator_cf(self.family(keys::METADATA), IteratorMode::Start) {
            let (key, value) = row.map_err(self.rocksdb_error("read metadata"))?;
            if *key != *keys::METADATA_COMMIT {
                catalogue.metadata.push(self.metadata_entry(&key, &value)?);
            }
        }
        Ok(catalogue)
    }

    /// The last commit that catalogue and metadata hold.
    pub(super) fn commit_numbers(&self) -> Result<(u64, u64), LocalError> {
        let number = |family: &str, key: &[u8]| {
            let value =
                self.db.get_cf(self.family(family), key).map_err(self.rocksdb_error("read commit"))?;
            value.map_or(Ok(0), |value| self.entry(key, &value))
        };
        Ok((number(keys::CATALOGUE, keys::CATALOGUE_COMMIT)?, number(keys::METADATA, keys::METADATA_COMMIT)?))
    }

    /// The last commit, if all that it consists of is there: the same commit in both families, and
    /// every byte of the SST files of live parts.
    pub(super) fn whole_commits(&self) -> Result<u64, LocalError> {
        let path = || self.path.clone();
        let (commits, metadata) = self.commit_numbers()?;
        if commits != metadata {
            return Err(LocalError::CommitTorn { path: path(), catalogue: commits, metadata });
        }
        let bytes = self.bytes_by_part()?;
        for PartEntry { number: part, bytes: expected, .. } in self.catalogue()?.parts {
            let found = bytes.get(&part).copied().unwrap_or(0);
            if found != expected {
                return Err(LocalError::PartBytes { path: path(), part, found, expected });
            }
        }
        Ok(commits)
    }

    /// Bytes of the SST files of each part.
    fn bytes_by_part(&self) -> Result<BTreeMap<u64, u64>, LocalError> {
        let files = self.db.live_files().map_err(self.rocksdb_error("list SST files"))?;
        let mut bytes = BTreeMap::new();
        for file in files.iter().filter(|file| file.column_family_name == keys::PARTS) {
            if let Some(part) = file.start_key.as_deref().and_then(keys::part_of) {
                *bytes.entry(part).or_default() += file.size as u64;
            }
        }
        Ok(bytes)
    }

    fn metadata_entry(&self, key: &[u8], value: &[u8]) -> Result<(TenantId, Described), LocalError> {
        let (tenant, metric) = keys::split_metadata(key).ok_or_else(|| self.corrupt(key, "no tenant"))?;
        let tenant = TenantId::parse(tenant).map_err(|e| self.corrupt(key, &e.to_string()))?;
        let (received_ms, metric_type, help, unit): (i64, u8, String, String) = self.entry(key, value)?;
        let metric_type = MetricType::from_number(metric_type);
        let metadata = Metadata { metric: metric.to_owned(), metric_type, help, unit };
        Ok((tenant, Described { received_ms, metadata }))
    }

    fn entry<T: serde::de::DeserializeOwned>(&self, key: &[u8], value: &[u8]) -> Result<T, LocalError> {
        serde_json::from_slice(value).map_err(|e| self.corrupt(key, &e.to_string()))
    }

    pub(super) fn corrupt(&self, key: &[u8], reason: &str) -> LocalError {
        let entry = key.escape_ascii().to_string();
        LocalError::Catalogue { path: self.path.clone(), entry, reason: reason.to_owned() }
    }

    /// Removes SST files of these parts that never were ingested.
    pub fn discard_staged(&self, parts: &[u64]) -> Result<(), LocalError> {
        let error = |action| move |source| LocalError::Io { action, path: self.staging.clone(), source };
        for entry in std::fs::read_dir(&self.staging).map_err(error("list"))? {
            let entry = entry.map_err(error("list"))?;
            let part = sst::part_of_staged(&entry.file_name().to_string_lossy());
            if part.is_some_and(|part| parts.contains(&part)) {
                std::fs::remove_file(entry.path()).map_err(error("remove a file of"))?;
            }
        }
        Ok(())
    }

    /// Takes finished SST files in. They are durable after this, and garbage until a commit names
    /// their part.
    pub fn ingest(&self, files: Vec<PathBuf>) -> Result<(), LocalError> {
        if files.is_empty() {
            return Ok(());
        }
        self.check_room()?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        // Readers pin parts, not RocksDB snapshots.
        options.set_snapshot_consistency(false);
        self.db
            .ingest_external_file_cf_opts(self.family(keys::PARTS), &options, files)
            .map_err(self.rocksdb_error("ingest part"))
    }

    /// Changes the catalogue by all batches in their order, as one; durable and finished when it
    /// returns. After an error it is open whether they took place: see [`crate::storage::commit`].
    pub fn commit(&self, batches: &[&CatalogueBatch]) -> Result<(), LocalError> {
        let mut commits = self.commits.lock();
        self.check_room()?;
        // Also one that fails takes its number: it may be in the memtable, or durable.
        *commits += 1;
        let (catalogue, metadata) = (self.family(keys::CATALOGUE), self.family(keys::METADATA));
        let json = |value: &dyn erased::Json| value.json();
        let mut write = WriteBatch::default();
        for batch in batches {
            self.put(&mut write, batch);
        }
        write.put_cf(catalogue, keys::CATALOGUE_COMMIT, json(&*commits));
        write.put_cf(metadata, keys::METADATA_COMMIT, json(&*commits));
        self.db.write_without_wal(write).map_err(self.rocksdb_error("write catalogue"))?;
        let mut flush = FlushOptions::default();
        flush.set_wait(true);
        self.db
            .flush_cfs_opt(&[catalogue, metadata], &flush)
            .map_err(self.rocksdb_error("flush catalogue"))?;
        committed::write(&self.committed, *commits)
    }

    fn check_room(&self) -> Result<(), LocalError> {
        let error =
            |source| LocalError::Io { action: "change the database in", path: self.path.clone(), source };
        let free_bytes = DiskRoom::of(&self.path).map_err(error)?.free_bytes;
        if free_bytes >= ROOM_BYTES_MIN {
            return Ok(());
        }
        let left = format!("No space left on device, or too little: {free_bytes} bytes");
        Err(error(std::io::Error::new(std::io::ErrorKind::StorageFull, left)))
    }

    /// Keeps everybody from committing.
    pub fn hold_commits(&self) -> CommitsHeld<'_> {
        CommitsHeld(self.commits.lock())
    }

    /// Copies the database as it stands while commits are held, SST files by links, and proves the copy
    /// whole. Parts that no commit names may be among it, as garbage. It is not durable yet.
    pub fn copy_to(&self, copy: &DatabasePaths, _held: &CommitsHeld<'_>) -> Result<(), LocalError> {
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(&copy.database))
            .map_err(self.rocksdb_error("copy database"))?;
        // Not the number of the last commit begun: that one may have failed.
        let finished = committed::read(&self.committed)?;
        if Self::open_to_read(&copy.database)?.whole_commits()? < finished {
            let tried = "the copy ends before it".to_owned();
            return Err(LocalError::Lost { path: copy.database.clone(), commits: finished, tried });
        }
        committed::write(&copy.committed, finished)
    }

    fn put(&self, write: &mut WriteBatch, batch: &CatalogueBatch) {
        let (catalogue, metadata) = (self.family(keys::CATALOGUE), self.family(keys::METADATA));
        let json = |value: &dyn erased::Json| value.json();
        for part in &batch.live {
            write.put_cf(catalogue, keys::catalogue_part(part.number), json(part));
        }
        for part in &batch.dead {
            write.delete_cf(catalogue, keys::catalogue_part(part.number));
        }
        if let Some(covered) = &batch.covered {
            write.put_cf(catalogue, keys::catalogue_log(), json(covered));
        }
        for tombstone in &batch.tombstones {
            write.put_cf(catalogue, keys::catalogue_tombstone(tombstone.id), json(tombstone));
        }
        for tombstone in &batch.tombstones_done {
            write.delete_cf(catalogue, keys::catalogue_tombstone(tombstone.id));
        }
        for (tenant, described) in &batch.metadata {
            let Metadata { metric, metric_type, help, unit } = &described.metadata;
            let value = (described.received_ms, *metric_type as u8, help, unit);
            write.put_cf(metadata, keys::metadata(tenant.as_str(), metric), json(&value));
        }
    }

    /// Removes every byte of a part that the catalogue no longer names.
    pub fn drop_part(&self, part: u64) -> Result<(), LocalError> {
        let parts = self.family(keys::PARTS);
        let (from, to) = (keys::part_prefix(part), keys::part_prefix(part + 1));
        self.db.delete_file_in_range_cf(parts, from, to).map_err(self.rocksdb_error("drop part"))?;
        if self.part_at_or_after(part)? == Some(part) {
            return Err(LocalError::NotDropped { path: self.path.clone(), part });
        }
        Ok(())
    }

    /// Drops what a crash left behind and checks that every live part is there. Asks for no file's
    /// contents: thousands of parts are looked at in no time.
    pub fn drop_garbage(&self, catalogue: &Catalogue) -> Result<u64, LocalError> {
        let live: BTreeSet<u64> = catalogue.parts.iter().map(|part| part.number).collect();
        let present: BTreeSet<u64> = self.parts_on_disk()?.into_iter().collect();
        if let Some(&part) = live.difference(&present).next() {
            return Err(LocalError::MissingPart { path: self.path.clone(), part });
        }
        let mut dropped = 0;
        for &part in present.difference(&live) {
            self.drop_part(part)?;
            dropped += 1;
        }
        Ok(dropped)
    }

    /// Numbers of the parts that have files here, whether the catalogue names them or not.
    pub fn parts_on_disk(&self) -> Result<Vec<u64>, LocalError> {
        let files = self.db.live_files().map_err(self.rocksdb_error("list files"))?;
        // No file has keys of two parts.
        let of_parts = files.iter().filter(|file| file.column_family_name == keys::PARTS);
        let parts: BTreeSet<u64> =
            of_parts.filter_map(|file| keys::part_of(file.start_key.as_ref()?)).collect();
        Ok(parts.into_iter().collect())
    }

    /// Whether a byte of the part is there.
    #[cfg(test)]
    pub fn has_part(&self, part: u64) -> Result<bool, LocalError> {
        Ok(self.part_at_or_after(part)? == Some(part))
    }

    fn part_at_or_after(&self, part: u64) -> Result<Option<u64>, LocalError> {
        let from = keys::part_prefix(part);
        let mode = IteratorMode::From(&from, Direction::Forward);
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let mut rows = self.db.iterator_cf_opt(self.family(keys::PARTS), options, mode);
        match rows.next() {
            None => Ok(None),
            Some(Err(source)) => Err(self.rocksdb_error("list parts")(source)),
            Some(Ok((key, _))) => Ok(keys::part_of(&key)),
        }
    }
}

/// `&dyn` JSON for the few shapes of a commit.
mod erased {
    pub trait Json {
        fn json(&self) -> Vec<u8>;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> Vec<u8> {
            serde_json::to_vec(self).expect("catalogue entries have text keys only")
        }
    }
}

pub(super) fn empty_folder(path: &Path) -> Result<(), LocalError> {
    let error = |action| move |source| LocalError::Io { action, path: path.to_owned(), source };
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(error("empty")(e)),
        _ => {}
    }
    std::fs::create_dir(path).map_err(error("create"))
}

/// A database shared by the parts that read from it.
pub type SharedDatabase = Arc<Database>;
