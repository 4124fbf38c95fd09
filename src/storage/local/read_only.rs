//! The database as something to be looked at: nothing is created, written, repaired or deleted.

use rocksdb::{Direction, IteratorMode, ReadOptions, properties};

use super::database::{Database, DatabasePaths, LocalError};
use super::{committed, keys, recovery};

/// Families that take ordinary writes, in the order in which they are looked at.
const SMALL_FAMILIES: [&str; 3] = ["default", keys::CATALOGUE, keys::METADATA];

impl Database {
    /// Opens what is there, if it holds every finished commit. The result must not be written to.
    pub fn open_read_only(paths: &DatabasePaths) -> Result<Self, LocalError> {
        let path = || paths.database.clone();
        // On some flipped bits of a MANIFEST RocksDB's reader would loop for ever.
        if let Some(flaw) = recovery::find_flaw(&paths.database)? {
            return Err(LocalError::Flawed { path: path(), flaw });
        }
        let finished = committed::read(&paths.committed)?;
        let database = Self::open_to_read(&paths.database)?;
        let (catalogue, metadata) = database.commit_numbers()?;
        if catalogue != metadata {
            return Err(LocalError::CommitTorn { path: path(), catalogue, metadata });
        }
        if catalogue < finished {
            let tried = format!("it ends with commit {catalogue}");
            return Err(LocalError::Lost { path: path(), commits: finished, tried });
        }
        Ok(database)
    }

    /// Reads every block of the small families, checksums included.
    pub fn read_small_families(&self) -> Result<(), LocalError> {
        for name in SMALL_FAMILIES {
            for row in self.db.iterator_cf_opt(self.family(name), scan_options(), IteratorMode::Start) {
                row.map_err(self.rocksdb_error("read family"))?;
            }
        }
        Ok(())
    }

    /// Reads every row of a part, checksums included; gives section and size of each.
    pub fn read_part(&self, part: u64, visit: &mut dyn FnMut(u8, u64)) -> Result<(), LocalError> {
        let from = keys::part_prefix(part);
        let mut options = scan_options();
        if let Some(next) = part.checked_add(1) {
            options.set_iterate_upper_bound(keys::part_prefix(next));
        }
        let mode = IteratorMode::From(&from, Direction::Forward);
        for row in self.db.iterator_cf_opt(self.family(keys::PARTS), options, mode) {
            let (key, value) = row.map_err(self.rocksdb_error("read part"))?;
            match key.get(8) {
                Some(section) => visit(*section, (key.len() + value.len()) as u64),
                None => return Err(self.corrupt(&key, "key without a section")),
            }
        }
        Ok(())
    }

    /// How many SST files there are, of all families.
    pub fn table_files(&self) -> u64 {
        let count = |name: &&str| {
            (0..7)
                .filter_map(|level| {
                    let property = properties::num_files_at_level(level);
                    self.db.property_int_value_cf(self.family(name), property).ok().flatten()
                })
                .sum::<u64>()
        };
        SMALL_FAMILIES.iter().chain(&[keys::PARTS]).map(count).sum()
    }
}

/// A pass over everything must not push out what a cache is for.
fn scan_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_verify_checksums(true);
    options.set_readahead_size(1 << 20);
    options
}
