//! Snapshots: the store as it stands, as a data directory of its own.
//!
//! `snapshots/<name>` holds links to the SST files and to the sealed log files, and copies of the few
//! small files; none of the linked files is ever changed, so the two directories can be served
//! side by side. It takes disk space only as the original deletes what the snapshot still holds.
//!
//! Commits wait while log and database are taken, so that the two fit: a log file that is gone by then
//! is covered by the copied catalogue, and no deletion in it reaches beyond the copied log.
//! Without the head there are no log files; the copied catalogue then says that it covers what was left
//! out, which is why the copy is opened once.
//!
//! It is made under another name, made durable, and renamed at last: a name that was answered is
//! whole, also after a power cut. What a crash leaves is removed at the next start.

use jiff::Timestamp;
use tracing::info;

use super::directory::UnfinishedSnapshot;
use super::durable;
use super::engine::Engine;
use super::error::StorageError;
use super::local::catalogue::Covered;
use super::local::{CatalogueBatch, Database};
use super::log;

/// Block cache of a copy that is opened for one commit.
const CACHE_BYTES: usize = 1 << 20;

/// Takes a snapshot of everything acknowledged so far, or of what parts hold; gives its name.
pub fn take(engine: &Engine, skip_head: bool) -> Result<String, StorageError> {
    let name = name(engine.clock.now_ms(), super::random_u128() as u64);
    let snapshot = engine.directory.begin_snapshot(&name)?;
    let last_file = copy(engine, &snapshot, skip_head)?;
    if skip_head {
        let database = Database::open(&snapshot.database(), CACHE_BYTES)?;
        let covered = Some(Covered { through: last_file });
        database.commit(&[&CatalogueBatch { covered, ..CatalogueBatch::default() }])?;
    }
    snapshot.finish()?;
    info!(name, skip_head, "snapshot taken");
    Ok(name)
}

/// Takes log and database as of one moment; gives the last log file of that moment.
fn copy(engine: &Engine, snapshot: &UnfinishedSnapshot, skip_head: bool) -> Result<u64, StorageError> {
    let held = engine.database.hold_commits();
    // Sealed, the files up to here hold whatever was acknowledged and never change again.
    let last_file = engine.log.rotate()?;
    if !skip_head {
        link_log(engine, snapshot, last_file)?;
    }
    engine.database.copy_to(&snapshot.database(), &held)?;
    Ok(last_file)
}

fn link_log(engine: &Engine, snapshot: &UnfinishedSnapshot, last_file: u64) -> Result<(), StorageError> {
    let files = log::list_files(&engine.directory.log())?;
    for file in files.into_iter().filter(|file| file.sequence <= last_file) {
        match durable::link_or_copy(&file.path, &log::file_path(&snapshot.log(), file.sequence)) {
            Ok(()) => {}
            // Covered by a commit, and deleted since it was listed.
            Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(StorageError::Io { action: "link into the snapshot", path: file.path, source });
            }
        }
    }
    Ok(())
}

/// `20260821T101530Z-2be650b6d019eb54`, as Prometheus names its own.
fn name(now_ms: i64, random: u64) -> String {
    let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{}-{random:016x}", now.strftime("%Y%m%dT%H%M%SZ"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_utc_and_sort_by_time() {
        assert_eq!(name(1_700_000_000_999, 0xab), "20231114T221320Z-00000000000000ab");
    }
}
