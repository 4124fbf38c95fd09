//! The database: opened, asked for its catalogue, committed to, relieved of dead parts.
//!
//! Owns the order that makes a commit durable: SST files are synced and ingested first, then one
//! batch changes the catalogue and is flushed, and only then does the caller delete what became
//! superfluous.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{
    Cache, ColumnFamily, ColumnFamilyDescriptor, DB, Direction, FlushOptions, IngestExternalFileOptions,
    IteratorMode, Options, ReadOptions, WriteBatch,
};

use super::catalogue::{Catalogue, CatalogueBatch};
use super::{keys, tuning};
use crate::error::ErrorKind;
use crate::model::{Metadata, MetricType, TenantId};
use crate::storage::head::metadata::Described;

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
    #[error("the catalogue names part {part}, but {} does not hold it", path.display())]
    MissingPart { path: PathBuf, part: u64 },
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

/// An open database.
pub struct Database {
    pub(super) db: DB,
    pub(super) sst_options: Options,
    path: PathBuf,
    staging: PathBuf,
    _cache: Cache,
}

impl Database {
    /// Opens or creates the database in `path`; SST files are built in `staging`, on the same
    /// file system, which is emptied first.
    pub fn open(path: &Path, staging: &Path, cache_bytes: usize) -> Result<Self, LocalError> {
        empty_folder(staging)?;
        let cache = Cache::new_lru_cache(cache_bytes);
        let families = [
            ColumnFamilyDescriptor::new("default", tuning::small_family(&cache)),
            ColumnFamilyDescriptor::new(keys::CATALOGUE, tuning::small_family(&cache)),
            ColumnFamilyDescriptor::new(keys::METADATA, tuning::small_family(&cache)),
            ColumnFamilyDescriptor::new(keys::PARTS, tuning::parts_family(&cache)),
        ];
        let db = DB::open_cf_descriptors(&tuning::database(), path, families).map_err(|source| {
            LocalError::RocksDb { action: "open database", path: path.to_owned(), source }
        })?;
        Ok(Self {
            db,
            sst_options: tuning::parts_family(&cache),
            path: path.to_owned(),
            staging: staging.to_owned(),
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
                _ => return Err(self.corrupt(&key, "unknown kind of entry")),
            }
        }
        for row in self.db.iterator_cf(self.family(keys::METADATA), IteratorMode::Start) {
            let (key, value) = row.map_err(self.rocksdb_error("read metadata"))?;
            catalogue.metadata.push(self.metadata_entry(&key, &value)?);
        }
        Ok(catalogue)
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

    fn corrupt(&self, key: &[u8], reason: &str) -> LocalError {
        let entry = key.escape_ascii().to_string();
        LocalError::Catalogue { path: self.path.clone(), entry, reason: reason.to_owned() }
    }

    /// Removes SST files that never were ingested.
    pub fn clear_staging(&self) -> Result<(), LocalError> {
        empty_folder(&self.staging)
    }

    /// Takes finished SST files in. They are durable after this, and garbage until a commit names
    /// their part.
    pub fn ingest(&self, files: Vec<PathBuf>) -> Result<(), LocalError> {
        if files.is_empty() {
            return Ok(());
        }
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        // Readers pin parts, not RocksDB snapshots.
        options.set_snapshot_consistency(false);
        self.db
            .ingest_external_file_cf_opts(self.family(keys::PARTS), &options, files)
            .map_err(self.rocksdb_error("ingest part"))
    }

    /// Changes the catalogue as one; durable when it returns.
    pub fn commit(&self, batch: &CatalogueBatch) -> Result<(), LocalError> {
        let (catalogue, metadata) = (self.family(keys::CATALOGUE), self.family(keys::METADATA));
        let json = |value: &dyn erased::Json| value.json();
        let mut write = WriteBatch::default();
        for part in &batch.live {
            write.put_cf(catalogue, keys::catalogue_part(part.number), json(part));
        }
        for part in &batch.dead {
            write.delete_cf(catalogue, keys::catalogue_part(*part));
        }
        if let Some(covered) = &batch.covered {
            write.put_cf(catalogue, keys::catalogue_log(), json(covered));
        }
        for tombstone in &batch.tombstones {
            write.put_cf(catalogue, keys::catalogue_tombstone(tombstone.id), json(tombstone));
        }
        for id in &batch.tombstones_done {
            write.delete_cf(catalogue, keys::catalogue_tombstone(*id));
        }
        for (tenant, described) in &batch.metadata {
            let Metadata { metric, metric_type, help, unit } = &described.metadata;
            let value = (described.received_ms, *metric_type as u8, help, unit);
            write.put_cf(metadata, keys::metadata(tenant.as_str(), metric), json(&value));
        }
        self.db.write_without_wal(write).map_err(self.rocksdb_error("write catalogue"))?;
        let mut flush = FlushOptions::default();
        flush.set_wait(true);
        self.db.flush_cfs_opt(&[catalogue, metadata], &flush).map_err(self.rocksdb_error("flush catalogue"))
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

    /// Drops what a crash left behind and checks that every live part is there.
    pub fn drop_garbage(&self, catalogue: &Catalogue) -> Result<u64, LocalError> {
        let live: std::collections::BTreeSet<u64> = catalogue.parts.iter().map(|part| part.number).collect();
        let mut present = std::collections::BTreeSet::new();
        let mut at = 0;
        while let Some(part) = self.part_at_or_after(at)? {
            present.insert(part);
            at = part + 1;
        }
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

fn empty_folder(path: &Path) -> Result<(), LocalError> {
    let error = |action| move |source| LocalError::Io { action, path: path.to_owned(), source };
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(error("empty")(e)),
        _ => {}
    }
    std::fs::create_dir(path).map_err(error("create"))
}

/// A database shared by the parts that read from it.
pub type SharedDatabase = Arc<Database>;
