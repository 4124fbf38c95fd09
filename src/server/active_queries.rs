//! The queries in flight, in a file: what was asked when a process died without saying so.
//!
//! A query that takes the process with it (out of memory, a bug, a kill) leaves its text behind and
//! the next start names it. The file has one slot of fixed size per query thread, overwritten in
//! place: a line of JSON while a query runs there, blanks otherwise. It is never synced: what a
//! process wrote outlives it, and what a power cut takes with it was not the query's doing.
//!
//! A log, not data: where the file cannot be written, queries go on without it.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::model::TenantId;

/// Name of the file in the data directory.
pub const FILE_NAME: &str = "queries.active";

/// A line with its end.
const SLOT_BYTES: usize = 1024;

/// What is read of a file that somebody else may have written.
const READ_BYTES_MAX: u64 = 1 << 20;

/// Queries named at a start; more are counted.
const NAMED_MAX: usize = 32;

const BLANK: [u8; SLOT_BYTES] = {
    let mut blank = [b' '; SLOT_BYTES];
    blank[SLOT_BYTES - 1] = b'\n';
    blank
};

/// One query as its slot tells it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    started_ms: i64,
    tenant: String,
    /// Cut to what fits.
    query: String,
}

#[derive(Debug)]
pub struct ActiveQueries {
    file: Option<File>,
    free: Mutex<Vec<usize>>,
    /// Whether a write has failed: said once.
    failed: AtomicBool,
}

impl ActiveQueries {
    /// Says which queries the last run left behind, and begins anew with room for `slots` queries.
    pub fn open(folder: &Path, slots: usize) -> Self {
        let path = folder.join(FILE_NAME);
        let file = take_over(&path, slots)
            .inspect_err(|error| {
                tracing::warn!(path = %path.display(), %error, "queries in flight are not noted");
            })
            .ok();
        Self { file, free: Mutex::new((0..slots).collect()), failed: AtomicBool::new(false) }
    }

    /// Notes a query until the answer is dropped.
    pub fn enter(&self, tenant: &TenantId, query: &str, started_ms: i64) -> ActiveQuery<'_> {
        let slot = match &self.file {
            Some(_) => self.free.lock().pop(),
            None => None,
        };
        if let Some(slot) = slot {
            self.write(slot, &line(tenant.as_str(), query, started_ms));
        }
        ActiveQuery { log: self, slot }
    }

    fn write(&self, slot: usize, line: &[u8; SLOT_BYTES]) {
        let Some(file) = &self.file else { return };
        if let Err(error) = file.write_all_at(line, (slot * SLOT_BYTES) as u64)
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "write {FILE_NAME}: queries in flight may not be noted from now on");
        }
    }
}

/// A query in flight.
#[must_use]
pub struct ActiveQuery<'a> {
    log: &'a ActiveQueries,
    slot: Option<usize>,
}

impl Drop for ActiveQuery<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.log.write(slot, &BLANK);
            self.log.free.lock().push(slot);
        }
    }
}

/// Reads what is there, says so, and leaves blank slots.
fn take_over(path: &Path, slots: usize) -> std::io::Result<File> {
    // Reading from a pipe, say, would wait for ever.
    if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return Err(std::io::Error::other("it is not a file"));
    }
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(READ_BYTES_MAX).read_to_end(&mut bytes)?;
    tell(path, &bytes);
    file.set_len(0)?;
    file.write_all_at(&BLANK.repeat(slots), 0)?;
    Ok(file)
}

fn tell(path: &Path, bytes: &[u8]) {
    let (unfinished, unreadable) = read(bytes);
    for Line { started_ms, tenant, query } in unfinished.iter().take(NAMED_MAX) {
        tracing::warn!(
            tenant,
            query,
            started_ms,
            "query did not finish: the last run ended while it was running"
        );
    }
    if unfinished.len() > NAMED_MAX {
        tracing::warn!(more = unfinished.len() - NAMED_MAX, "queries did not finish");
    }
    if unreadable > 0 {
        tracing::warn!(path = %path.display(), unreadable, "lines in the list of queries in flight make no sense");
    }
}

/// The queries of a file, and how many of its lines are none.
fn read(bytes: &[u8]) -> (Vec<Line>, usize) {
    let mut unreadable = 0;
    let mut lines = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<Line>(line) {
            Ok(line) if line.query.len() + line.tenant.len() < SLOT_BYTES => lines.push(line),
            _ => unreadable += 1,
        }
    }
    (lines, unreadable)
}

/// A slot's content; the query is cut until it fits with everything that JSON escapes in it.
fn line(tenant: &str, query: &str, started_ms: i64) -> [u8; SLOT_BYTES] {
    let mut slot = BLANK;
    let mut room = SLOT_BYTES;
    loop {
        room = query.floor_char_boundary(room / 8 * 7);
        let line = Line { started_ms, tenant: tenant.to_owned(), query: query[..room].to_owned() };
        let text = serde_json::to_vec(&line).expect("a struct of plain fields is JSON");
        if text.len() < SLOT_BYTES {
            slot[..text.len()].copy_from_slice(&text);
            return slot;
        }
        if room == 0 {
            return slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> TenantId {
        TenantId::parse("t").expect("valid")
    }

    fn unfinished(folder: &Path) -> (Vec<String>, usize) {
        let (lines, unreadable) = read(&std::fs::read(folder.join(FILE_NAME)).expect("readable"));
        (lines.into_iter().map(|line| line.query).collect(), unreadable)
    }

    #[test]
    fn only_queries_in_flight_stand_in_the_file() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let active = ActiveQueries::open(folder.path(), 2);

        let first = active.enter(&tenant(), "up", 1);
        let second = active.enter(&tenant(), "line\nbreak \"quoted\"", 2);
        let beyond = active.enter(&tenant(), "no slot is left", 3);
        drop(first);

        assert_eq!(unfinished(folder.path()), (vec!["line\nbreak \"quoted\"".to_owned()], 0));
        drop((second, beyond));
        assert_eq!(unfinished(folder.path()), (vec![], 0));
        assert_eq!(active.free.lock().len(), 2);
    }

    #[test]
    fn the_next_run_finds_what_was_left_and_begins_with_nothing() {
        let (folder, after) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        let active = ActiveQueries::open(folder.path(), 3);
        let entered = active.enter(&tenant(), "sum(up)", 1);
        // As a process leaves it that is killed now.
        std::fs::copy(folder.path().join(FILE_NAME), after.path().join(FILE_NAME)).expect("copied");
        drop(entered);
        assert_eq!(unfinished(after.path()).0, ["sum(up)"]);

        ActiveQueries::open(after.path(), 3);

        assert_eq!(unfinished(after.path()), (vec![], 0));
    }

    #[test]
    fn a_long_query_is_cut_and_a_slot_never_grows() {
        let check = |query: &str| {
            let slot = line("t", query, i64::MIN);
            let (lines, unreadable) = read(&slot);
            assert_eq!((lines.len(), unreadable), (1, 0), "{query:.20}");
            assert!(query.starts_with(&lines[0].query) && slot.ends_with(b"\n"));
        };
        check("");
        check("up");
        check(&"é".repeat(5000));
        check(&"\u{1}".repeat(5000));
        check(&"\"".repeat(900));
    }

    #[test]
    fn any_content_of_the_file_is_survived() {
        let check = |content: &[u8], want: usize, unreadable: usize| {
            let folder = tempfile::tempdir().expect("temporary directory");
            std::fs::write(folder.path().join(FILE_NAME), content).expect("written");
            let (lines, odd) = read(content);
            assert_eq!((lines.len(), odd), (want, unreadable), "{content:.40?}");
            let active = ActiveQueries::open(folder.path(), 1);
            assert!(active.file.is_some());
            assert_eq!(unfinished(folder.path()), (vec![], 0));
        };
        check(b"", 0, 0);
        check(b"\0\0\0\xff\xfe\n{\"query\":1}\n[[[[", 0, 3);
        check(b"{\"started_ms\":1,\"tenant\":\"t\",\"query\":\"up\"}", 1, 0);
        check(&vec![b'['; 3 << 20], 0, 1);
        let long = format!("{{\"started_ms\":1,\"tenant\":\"t\",\"query\":\"{}\"}}", "x".repeat(5000));
        check(long.as_bytes(), 0, 1);
    }

    #[test]
    fn what_is_no_file_is_left_alone_and_queries_go_on() {
        let folder = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(folder.path().join(FILE_NAME)).expect("created");

        let active = ActiveQueries::open(folder.path(), 1);

        assert!(active.file.is_none());
        drop(active.enter(&tenant(), "up", 1));
    }
}
