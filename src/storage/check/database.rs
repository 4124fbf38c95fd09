//! The database: whether it opens, its catalogue, and that the parts it names are those that are there.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::{Run, part};
use crate::storage::directory::database_paths;
use crate::storage::local::database::SharedDatabase;
use crate::storage::local::{Catalogue, Database};
use crate::storage::view::Hidden;

const RESTORE: &str = "restore the directory from a backup";

/// Checks everything below `db`; tells up to which log file parts cover the log.
pub fn check(path: &Path, run: &mut Run<'_>) -> Option<u64> {
    let folder = path.join("db");
    match is_unused(&folder) {
        Ok(true) => return Some(0),
        Ok(false) => {}
        Err(error) => {
            run.finding("db", format!("list {}: {error}", folder.display()), RESTORE);
            return None;
        }
    }
    let database = match Database::open_read_only(&database_paths(path)) {
        Ok(database) => Arc::new(database),
        Err(error) => {
            run.finding("db", error.to_string(), RESTORE);
            return None;
        }
    };
    run.checked.table_files = database.table_files();
    if let Err(error) = database.read_small_families() {
        run.finding("db", error.to_string(), RESTORE);
    }
    let catalogue = match database.catalogue() {
        Ok(catalogue) => Some(catalogue),
        Err(error) => {
            run.finding("db", error.to_string(), RESTORE);
            None
        }
    };
    let present = match database.parts_on_disk() {
        Ok(present) => present.into_iter().collect(),
        Err(error) => {
            run.finding("db", error.to_string(), RESTORE);
            BTreeSet::new()
        }
    };
    match &catalogue {
        Some(catalogue) => check_catalogue(&database, catalogue, &present, run),
        None => part::read_unnamed(&database, &present, run),
    }
    catalogue.map(|catalogue| catalogue.covered.through)
}

/// Whether nothing was ever flushed into it: RocksDB makes its files at the first start.
fn is_unused(folder: &Path) -> std::io::Result<bool> {
    if !folder.exists() {
        return Ok(true);
    }
    Ok(folder.read_dir()?.next().is_none())
}

fn check_catalogue(
    database: &SharedDatabase,
    catalogue: &Catalogue,
    present: &BTreeSet<u64>,
    run: &mut Run<'_>,
) {
    for tombstone in &catalogue.tombstones {
        let id = tombstone.id;
        if let Err(reason) = Hidden::new(tombstone.clone()) {
            run.finding("db", format!("deletion {id:032x} is unreadable: {reason}"), RESTORE);
        }
        if tombstone.start_ms > tombstone.end_ms {
            run.finding("db", format!("deletion {id:032x} ends before it begins"), RESTORE);
        }
    }
    let live: BTreeSet<u64> = catalogue.parts.iter().map(|entry| entry.number).collect();
    let garbage = present.difference(&live).count();
    if garbage > 0 {
        run.watch.note(format!(
            "db: {garbage} parts that the catalogue does not name are left from a flush that did not end; the \
             next start drops them"
        ));
    }
    let total: u64 = catalogue.parts.iter().map(|entry| entry.bytes).sum();
    let mut done = 0;
    for entry in &catalogue.parts {
        run.watch.progress("parts", done, total);
        if present.contains(&entry.number) {
            part::check(database, entry, catalogue.covered.through, run);
        } else {
            let what = "the catalogue names it, the database does not hold it";
            run.finding(format!("part {}", entry.number), what, RESTORE);
        }
        done += entry.bytes;
        run.checked.parts += 1;
    }
    run.watch.progress("parts", total, total);
}
