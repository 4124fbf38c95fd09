//! Disks that are full, slow or broken: what was acknowledged stays, what failed is told.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::support::{Rng, numbered, numbers_in};
use crate::error::ErrorKind;
use crate::storage::log::{Disk, DiskFile, Log, LogError, LogOptions, SystemDisk, Ticket, list_files};

/// What goes wrong from now on.
#[derive(Debug)]
struct Faults {
    /// Bytes that are left on the disk.
    room: u64,
    /// What of the disk each file takes.
    taken: HashMap<PathBuf, u64>,
    no_fallocate: bool,
    write_errors: u32,
    sync_errors: u32,
    directory_sync_errors: u32,
    remove_errors: u32,
}

#[derive(Clone)]
struct FaultyDisk(Arc<Mutex<Faults>>);

struct FaultyFile {
    path: PathBuf,
    file: File,
    faults: Arc<Mutex<Faults>>,
}

impl FaultyDisk {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Faults {
            room: u64::MAX / 2,
            taken: HashMap::new(),
            no_fallocate: false,
            write_errors: 0,
            sync_errors: 0,
            directory_sync_errors: 0,
            remove_errors: 0,
        })))
    }

    fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.0.lock());
    }
}

fn count_down(errors: &mut u32) -> io::Result<()> {
    if *errors == 0 {
        return Ok(());
    }
    *errors -= 1;
    Err(io::Error::from_raw_os_error(libc::EIO))
}

impl Disk for FaultyDisk {
    type File = FaultyFile;

    fn create(&mut self, path: &Path) -> io::Result<FaultyFile> {
        let file = SystemDisk.create(path)?;
        self.0.lock().taken.insert(path.to_owned(), 0);
        Ok(FaultyFile { path: path.to_owned(), file, faults: Arc::clone(&self.0) })
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let mut faults = self.0.lock();
        count_down(&mut faults.remove_errors)?;
        SystemDisk.remove(path)?;
        faults.room += faults.taken.remove(path).unwrap_or(0);
        Ok(())
    }

    fn sync_directory(&mut self, dir: &Path) -> io::Result<()> {
        count_down(&mut self.0.lock().directory_sync_errors)?;
        SystemDisk.sync_directory(dir)
    }
}

impl FaultyFile {
    /// Takes room up to `end`; answers how far there was some.
    fn grow(&self, end: u64) -> u64 {
        let faults = &mut *self.faults.lock();
        let taken = faults.taken.get_mut(&self.path).expect("the file was created");
        let more = end.saturating_sub(*taken).min(faults.room);
        faults.room -= more;
        *taken += more;
        end.min(*taken)
    }
}

impl DiskFile for FaultyFile {
    fn allocate(&mut self, offset: u64, bytes: u64) -> io::Result<()> {
        if self.faults.lock().no_fallocate {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if self.grow(offset + bytes) < offset + bytes {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.file.allocate(offset, bytes)
    }

    /// On a full disk as much is written as has room.
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let half = bytes.len() / 2;
        if let Err(error) = count_down(&mut self.faults.lock().write_errors) {
            DiskFile::write_all_at(&mut self.file, &bytes[..half], offset)?;
            return Err(error);
        }
        let room = self.grow(offset + bytes.len() as u64).saturating_sub(offset) as usize;
        DiskFile::write_all_at(&mut self.file, &bytes[..room], offset)?;
        if room < bytes.len() { Err(io::Error::from_raw_os_error(libc::ENOSPC)) } else { Ok(()) }
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        let faults = &mut *self.faults.lock();
        let taken = faults.taken.get_mut(&self.path).expect("the file was created");
        faults.room += taken.saturating_sub(bytes);
        *taken = bytes.min(*taken);
        DiskFile::set_len(&mut self.file, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        count_down(&mut self.faults.lock().sync_errors)?;
        DiskFile::sync_data(&mut self.file)
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

fn small_options() -> LogOptions {
    LogOptions { rotate_bytes: 6_000, preallocate_bytes: 2_000, ..LogOptions::default() }
}

fn submit(log: &Log, number: u32) -> Result<Ticket, LogError> {
    let (batch, ids) = numbered(number);
    log.submit(&batch, &ids, 0)
}

fn write_one(log: &Log, number: u32) -> Result<(), LogError> {
    submit(log, number)?.wait()
}

/// All numbers of the directory's files, which must be sealed.
fn numbers_of(dir: &Path) -> Vec<u32> {
    let files = list_files(dir).expect("only files of the log");
    files.iter().flat_map(|file| numbers_in(&file.path, false).expect("a sealed file")).collect()
}

#[test]
fn a_full_disk_refuses_writes_and_recovers_alone() {
    for no_fallocate in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = FaultyDisk::new();
        disk.set(|faults| faults.no_fallocate = no_fallocate);
        let log = Log::open_on(disk.clone(), dir.path(), 1, small_options()).expect("opened");
        let mut acknowledged = Vec::new();
        for (round, room) in [(0, u64::MAX / 2), (1, 300), (2, u64::MAX / 2), (3, 0), (4, u64::MAX / 2)] {
            disk.set(|faults| faults.room = room);
            for number in round * 100..round * 100 + 60 {
                match write_one(&log, number) {
                    Ok(()) => acknowledged.push(number),
                    Err(error) => {
                        assert!(matches!(error, LogError::DiskFull { .. }), "{error}");
                        assert_eq!(error.kind(), ErrorKind::Unavailable);
                        assert!(room < 1000, "round {round}: {error}");
                    }
                }
            }
            let all_or_some = if room > 1000 { number_range(round) } else { Vec::new() };
            assert!(all_or_some.iter().all(|number| acknowledged.contains(number)), "round {round}");
        }
        assert!(!acknowledged.contains(&359), "a disk without room takes nothing for ever");
        drop(log);

        assert_eq!(numbers_of(dir.path()), acknowledged);
    }
}

fn number_range(round: u32) -> Vec<u32> {
    (round * 100..round * 100 + 60).collect()
}

#[test]
fn a_disk_that_is_full_at_the_first_write_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = FaultyDisk::new();
    disk.set(|faults| faults.room = 10);
    let log = Log::open_on(disk.clone(), dir.path(), 1, small_options()).expect("opened");

    disk.set(|faults| faults.remove_errors = 1);
    assert!(matches!(write_one(&log, 1), Err(LogError::DiskFull { .. })));
    assert!(matches!(write_one(&log, 2), Err(LogError::DiskFull { .. })));
    disk.set(|faults| faults.room = 100_000);
    write_one(&log, 3).expect("there is room");
    assert_eq!(log.active_sequence(), 1, "no sequence was left out");
    drop(log);

    assert_eq!(numbers_of(dir.path()), [3]);
}

#[test]
fn a_failed_write_fails_its_frame_and_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = FaultyDisk::new();
    let log = Log::open_on(disk.clone(), dir.path(), 1, small_options()).expect("opened");

    write_one(&log, 1).expect("durable");
    disk.set(|faults| faults.write_errors = 1);
    assert!(matches!(write_one(&log, 2), Err(LogError::Io { action: "write", .. })));
    write_one(&log, 3).expect("durable, in another file");
    assert_eq!(log.active_sequence(), 2);
    assert_eq!(log.counters().figures().write_failures, 1);
    drop(log);

    assert_eq!(numbers_of(dir.path()), [1, 3]);
}

#[test]
fn a_failed_sync_ends_the_log() {
    let check = |fail: fn(&mut Faults), before: u32| {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = FaultyDisk::new();
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let on_fatal = Arc::new(move |error: &LogError| tell.lock().push(error.to_string()));
        let options = LogOptions { on_fatal, ..small_options() };
        let log = Log::open_on(disk.clone(), dir.path(), 1, options).expect("opened");
        (0..before).for_each(|number| write_one(&log, number).expect("durable"));

        disk.set(fail);
        let error = write_one(&log, 100).expect_err("not durable");
        assert!(matches!(error, LogError::SyncFailed { .. }), "{error}");
        assert_eq!(told.lock().as_slice(), [error.to_string()]);
        let error = write_one(&log, 101).expect_err("never again");
        assert!(matches!(error, LogError::Stopped { .. }), "{error}");
        assert!(matches!(log.rotate(), Err(LogError::Stopped { .. })));
    };
    check(|faults| faults.sync_errors = 1, 0);
    check(|faults| faults.sync_errors = 1, 3);
    check(|faults| faults.directory_sync_errors = 1, 0);
}

#[test]
fn a_log_that_cannot_be_sealed_says_so_and_is_sealed_later() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = FaultyDisk::new();
    let log = Log::open_on(disk.clone(), dir.path(), 1, small_options()).expect("opened");
    write_one(&log, 1).expect("durable");

    disk.set(|faults| faults.write_errors = 1);
    assert!(matches!(log.rotate(), Err(LogError::Io { .. })));
    assert_eq!(log.rotate().expect("sealed now"), 1);
    write_one(&log, 2).expect("durable");
    drop(log);

    assert_eq!(numbers_of(dir.path()), [1, 2]);
}

#[test]
fn whatever_fails_and_recovers_the_acknowledged_are_there_once() {
    for seed in 0..30 {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = FaultyDisk::new();
        let mut rng = Rng::new(seed);
        disk.set(|faults| faults.no_fallocate = rng.one_in(3));
        let log = Log::open_on(disk.clone(), dir.path(), 1, small_options()).expect("opened");
        let mut acknowledged = Vec::new();
        for round in 0..30 {
            disk.set(|faults| match rng.below(6) {
                0 => faults.room = rng.below(3_000) as u64,
                1 => faults.write_errors = 1 + rng.below(3) as u32,
                2 => faults.remove_errors = rng.below(2) as u32,
                _ => faults.room = u64::MAX / 2,
            });
            let numbers = round * 10..round * 10 + rng.below(10) as u32;
            let tickets: Vec<_> = numbers.map(|number| (number, submit(&log, number))).collect();
            if rng.one_in(4) {
                drop(log.rotate());
            }
            for (number, ticket) in tickets {
                if ticket.expect("taken").wait().is_ok() {
                    acknowledged.push(number);
                }
            }
        }
        disk.set(|faults| (faults.room, faults.write_errors, faults.remove_errors) = (u64::MAX / 2, 0, 0));
        drop(log);
        assert_eq!(numbers_of(dir.path()), acknowledged, "seed {seed}");
        let sequences: Vec<_> =
            list_files(dir.path()).expect("listed").iter().map(|file| file.sequence).collect();
        assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>(), "seed {seed}");
    }
}
