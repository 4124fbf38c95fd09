//! Where the power is cut: which records of a trace are worth an image, and what the server was
//! doing there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::disk::{Disk, Identity, Survival};
use super::trace::{Op, Record};
use crate::support::random::Random;

/// Of the writes between two syncs, every so many gets an image.
const WRITES_PER_IMAGE: usize = 5;
/// Images with some of the changes, after each change of a MANIFEST or of CURRENT: where RocksDB
/// counts on more than there is.
const IMAGES_OF_MANIFEST: usize = 4;
/// The file in which an import notes what it has done.
const LEDGER: &str = "imports";

/// The thread that merges and applies retention.
const MERGE_THREAD: &str = "onggi-merge";

/// What the process is doing, told from the file it does it to, and from the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Directory and database are made or opened.
    Open,
    /// The log grows.
    Append,
    /// A sealed epoch becomes SST files outside the database.
    Seal,
    /// Parts become one, or are split, in SST files outside the database.
    Merge,
    /// The database takes SST files in.
    Ingest,
    /// The catalogue changes and is flushed.
    Commit,
    /// RocksDB notes what it consists of.
    Manifest,
    /// Log files go that parts cover.
    Delete,
    /// SST files go: of parts that were merged or are too old, and old ones of the catalogue.
    Drop,
    /// A snapshot is made.
    Copy,
    /// An import notes what it has done.
    Ledger,
}

impl Step {
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl Survival {
    pub fn name(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Names => "names",
            Self::All => "all",
            Self::Some(_) => "some",
        }
    }
}

/// A power cut: after this record, with this survival.
#[derive(Clone, Debug)]
pub struct Moment {
    pub record: usize,
    /// The last record whose image is the same: what was acknowledged by then must be in it.
    pub last_equal: usize,
    pub step: Step,
    pub survival: Survival,
}

/// All images worth a look, of a trace that began on this disk: after every change of names and every
/// sync, and between them. With `kills` also those of a process that ended while the power stayed.
pub fn moments(
    mut disk: Disk,
    trace: &[Record],
    kills: bool,
    random: &mut Random,
) -> Result<Vec<Moment>, String> {
    let mut stepper = Stepper::default();
    let mut moments: Vec<Moment> = Vec::new();
    let mut known: HashMap<(Survival, Identity), usize> = HashMap::new();
    let mut writes = 0;
    for (number, record) in trace.iter().enumerate() {
        disk.apply(&record.op)?;
        let step = stepper.step(record);
        let mut some = || Survival::Some(random.next());
        let survivals: Vec<Survival> = match &record.op {
            Op::Write { .. } if step == Step::Manifest => (0..IMAGES_OF_MANIFEST).map(|_| some()).collect(),
            Op::Write { .. } | Op::Truncate { .. } | Op::Allocate { .. } => {
                writes += 1;
                if writes % WRITES_PER_IMAGE != 0 {
                    continue;
                }
                vec![some()]
            }
            Op::Start | Op::Close { .. } | Op::Dup { .. } | Op::SyncBegin { .. } => continue,
            Op::Open { flags, .. } if flags & i64::from(libc::O_CREAT) == 0 => continue,
            _ => {
                let several = if step == Step::Manifest { IMAGES_OF_MANIFEST } else { 1 };
                let whole = [Survival::Synced, Survival::Names].into_iter();
                let kill = kills.then_some(Survival::All);
                whole.chain(kill).chain((0..several).map(|_| some())).collect()
            }
        };
        for survival in survivals {
            let moment = Moment { record: number, last_equal: number, step, survival };
            if let Survival::Some(_) | Survival::All = survival {
                moments.push(moment);
                continue;
            }
            // The same image asks for more the later it is: the earlier demand is part of it.
            let position = *known.entry((survival, disk.identity(survival))).or_insert(moments.len());
            match moments.get_mut(position) {
                Some(equal) => equal.last_equal = number,
                None => moments.push(moment),
            }
        }
    }
    Ok(moments)
}

/// The trace as it would be if no sync of a log file had succeeded since log files were last deleted.
pub fn without_last_log_syncs(trace: &[Record]) -> Vec<&Op> {
    let is_deletion = |record: &Record| matches!(&record.op, Op::Unlink { path } if path.starts_with("log"));
    let last_deletion = trace.iter().rposition(is_deletion).expect("log files were deleted");
    let mut stepper = Stepper::default();
    let mut ops = Vec::new();
    for (number, record) in trace.iter().enumerate() {
        let of_log = stepper.step(record) == Step::Append;
        if number < last_deletion || !of_log || !matches!(record.op, Op::SyncEnd { .. }) {
            ops.push(&record.op);
        }
    }
    ops
}

/// Follows descriptors to tell the step of an operation on one.
#[derive(Default)]
struct Stepper {
    paths: HashMap<i64, PathBuf>,
    database_step: Option<Step>,
}

impl Stepper {
    fn step(&mut self, record: &Record) -> Step {
        let merges = record.thread == MERGE_THREAD;
        match &record.op {
            Op::Open { fd, path, flags, .. } => {
                self.paths.insert(*fd, path.clone());
                // An SST file that the database makes itself is a flush of the catalogue.
                if flags & i64::from(libc::O_CREAT) != 0 && path.starts_with("db") && is_sst(path) {
                    self.database_step = Some(Step::Commit);
                }
                self.of_path(path, merges)
            }
            Op::Dup { from, to } => {
                let path = self.paths.get(from).cloned().unwrap_or_default();
                let step = self.of_path(&path, merges);
                self.paths.insert(*to, path);
                step
            }
            Op::Close { fd }
            | Op::Write { fd, .. }
            | Op::Truncate { fd, .. }
            | Op::Allocate { fd, .. }
            | Op::SyncBegin { fd, .. }
            | Op::SyncEnd { fd, .. } => {
                let path = self.paths.get(fd).cloned().unwrap_or_default();
                self.of_path(&path, merges)
            }
            // RocksDB moves an ingested file by a link, or by a rename.
            Op::Link { to, .. } | Op::Rename { to, .. } if to.starts_with("db") && is_sst(to) => {
                self.database_step = Some(Step::Ingest);
                Step::Ingest
            }
            Op::Rename { to, .. } | Op::Link { to, .. } => self.of_path(to, merges),
            Op::Unlink { path } if path.starts_with("log") => Step::Delete,
            Op::Unlink { path } if path.starts_with("db") && is_sst(path) => Step::Drop,
            Op::Unlink { path } | Op::RemoveDirectory { path } | Op::MakeDirectory { path } => {
                self.of_path(path, merges)
            }
            Op::Start => {
                *self = Self::default();
                Step::Open
            }
        }
    }

    fn of_path(&mut self, path: &Path, merges: bool) -> Step {
        if path.starts_with("snapshots") {
            return Step::Copy;
        }
        if path.starts_with("log") {
            return Step::Append;
        }
        if path.starts_with("staging") && !path.starts_with("staging/recovery") {
            self.database_step = Some(Step::Ingest);
            return if merges { Step::Merge } else { Step::Seal };
        }
        if path.to_string_lossy().starts_with("COMMITTED") {
            return Step::Commit;
        }
        if path == Path::new(LEDGER) {
            return Step::Ledger;
        }
        if !path.starts_with("db") {
            return Step::Open;
        }
        if is_manifest(path) { Step::Manifest } else { self.database_step.unwrap_or(Step::Open) }
    }
}

fn is_manifest(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("MANIFEST-") || name == "CURRENT" || name.ends_with(".dbtmp")
}

fn is_sst(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "sst")
}
