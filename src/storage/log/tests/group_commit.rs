//! One sync for many requests, overload, and who is told what when the log ends.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::support::{numbered, numbers_in};
use crate::error::ErrorKind;
use crate::storage::log::{Disk, DiskFile, Log, LogError, LogOptions, SystemDisk, list_files};

/// A disk whose syncs wait until somebody lets them through.
#[derive(Clone, Default)]
struct SlowDisk(Arc<Gate>);

#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

struct SlowFile(std::fs::File, Arc<Gate>);

impl SlowDisk {
    fn close(&self) {
        *self.0.closed.lock() = true;
    }

    fn open(&self) {
        *self.0.closed.lock() = false;
        self.0.opened.notify_all();
    }
}

impl Disk for SlowDisk {
    type File = SlowFile;

    fn create(&mut self, path: &Path) -> io::Result<SlowFile> {
        SystemDisk.create(path).map(|file| SlowFile(file, Arc::clone(&self.0)))
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }

    fn sync_directory(&mut self, dir: &Path) -> io::Result<()> {
        SystemDisk.sync_directory(dir)
    }
}

impl DiskFile for SlowFile {
    fn allocate(&mut self, offset: u64, bytes: u64) -> io::Result<()> {
        self.0.allocate(offset, bytes)
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        DiskFile::write_all_at(&mut self.0, bytes, offset)
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        DiskFile::set_len(&mut self.0, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut closed = self.1.closed.lock();
        while *closed {
            self.1.opened.wait(&mut closed);
        }
        DiskFile::sync_data(&mut self.0)
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

fn numbers_of(dir: &Path) -> Vec<u32> {
    let files = list_files(dir).expect("only files of the log");
    files.iter().flat_map(|file| numbers_in(&file.path, false).expect("a sealed file")).collect()
}

#[test]
fn many_senders_are_all_there_after_their_tickets() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = LogOptions { rotate_bytes: 20_000, ..LogOptions::default() };
    let log = Log::open(dir.path(), 1, options).expect("opened");
    let (senders, requests) = (8, 50);
    thread::scope(|scope| {
        for sender in 0..senders {
            let log = &log;
            scope.spawn(move || {
                for request in 0..requests {
                    let (batch, ids) = numbered(sender * requests + request);
                    let ticket = log.submit(&batch, &ids, 0).expect("taken");
                    let sequence = ticket.file_sequence();
                    ticket.wait().expect("durable");
                    assert!(log.active_sequence() >= sequence);
                }
            });
        }
    });

    let frames = log.counters().figures().frames;
    drop(log);
    let mut numbers = numbers_of(dir.path());
    numbers.sort_unstable();
    assert_eq!(numbers, (0..senders * requests).collect::<Vec<_>>());
    assert!(frames <= u64::from(senders * requests), "{frames}");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test is about what happens while nothing happens")]
async fn while_one_sync_runs_the_next_group_gathers() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = SlowDisk::default();
    let log = Log::open_on(disk.clone(), dir.path(), 1, LogOptions::default()).expect("opened");
    let submit = |number| {
        let (batch, ids) = numbered(number);
        log.submit(&batch, &ids, 0).expect("taken")
    };
    submit(0).await.expect("durable");

    disk.close();
    let first = submit(1);
    thread::sleep(Duration::from_millis(50));
    let mut gathered: Vec<_> = (2..100).map(submit).collect();
    let unanswered = tokio::time::timeout(Duration::from_millis(20), &mut gathered[0]).await;
    assert!(unanswered.is_err(), "nothing is acknowledged before its sync");
    disk.open();
    first.await.expect("durable");
    for ticket in gathered {
        ticket.await.expect("durable");
    }

    let frames = log.counters().figures().frames;
    assert!(frames <= 4, "98 requests that came during a sync are one group: {frames} frames");
    log.rotate().expect("sealed");
    assert_eq!(numbers_of(dir.path()), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_disk_that_is_behind_means_overload_and_not_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = SlowDisk::default();
    let options = LogOptions { frame_bytes_max: 2_000, ..LogOptions::default() };
    let log = Log::open_on(disk.clone(), dir.path(), 1, options).expect("opened");
    let submit = |number| {
        let (batch, ids) = numbered(number);
        log.submit(&batch, &ids, 0)
    };

    disk.close();
    let mut tickets = Vec::new();
    let refused = loop {
        match submit(tickets.len() as u32) {
            Ok(ticket) => tickets.push(ticket),
            Err(error) => break error,
        }
        assert!(tickets.len() < 10_000, "the log takes more than its limit");
    };
    assert!(matches!(refused, LogError::Overloaded { .. }), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert_eq!(log.counters().figures().overloads, 1);

    disk.open();
    let taken = tickets.len() as u32;
    tickets.into_iter().for_each(|ticket| ticket.wait().expect("durable"));
    submit(taken).expect("there is room again").wait().expect("durable");
    drop(log);
    assert_eq!(numbers_of(dir.path()), (0..=taken).collect::<Vec<_>>());
}

#[test]
fn a_request_with_nothing_to_store_waits_for_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = Log::open(dir.path(), 1, LogOptions::default()).expect("opened");
    let (mut batch, _) = numbered(1);
    batch.series.clear();
    log.submit(&batch, &[], 0).expect("taken").wait().expect("nothing to wait for");
    drop(log);
    assert_eq!(list_files(dir.path()).expect("listed"), []);
}

#[test]
fn labels_that_a_reader_would_refuse_are_not_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = Log::open(dir.path(), 1, LogOptions::default()).expect("opened");
    let (mut batch, ids) = numbered(1);
    batch.labels.swap(0, 1);
    let refused = log.submit(&batch, &ids, 0).expect_err("refused");
    assert!(matches!(refused, LogError::NotCanonical { .. }), "{refused}");
    let (batch, ids) = numbered(1);
    log.submit(&batch, &ids, 0).expect("taken").wait().expect("the refused batch left no trace");
    drop(log);
    assert_eq!(numbers_of(dir.path()), [1]);
}
