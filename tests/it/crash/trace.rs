//! Reads what `recorder.c` has written.

use std::fs;
use std::path::{Path, PathBuf};

const MAGIC: u32 = 0x4f4e_4747;
const HEADER_BYTES: usize = 64;

/// One change, or one end of a sync.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// A process begins: no descriptor of the one before is open any more.
    Start,
    Open {
        fd: i64,
        flags: i64,
        directory: bool,
        path: PathBuf,
    },
    Close {
        fd: i64,
    },
    Dup {
        from: i64,
        to: i64,
    },
    Write {
        fd: i64,
        offset: u64,
        data: Vec<u8>,
    },
    Truncate {
        fd: i64,
        size: u64,
    },
    /// The file has at least this size afterwards.
    Allocate {
        fd: i64,
        size: u64,
    },
    SyncBegin {
        fd: i64,
        number: i64,
    },
    SyncEnd {
        fd: i64,
        number: i64,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    MakeDirectory {
        path: PathBuf,
    },
    RemoveDirectory {
        path: PathBuf,
    },
}

pub struct Record {
    pub op: Op,
    /// Name of the thread.
    pub thread: String,
    /// Length of the trace when this record was complete.
    pub end: u64,
}

/// Reads a trace of changes below `root`; paths in it become relative to `root`.
pub fn read(trace: &Path, root: &Path) -> Result<Vec<Record>, String> {
    let bytes = fs::read(trace).map_err(|error| format!("read {}: {error}", trace.display()))?;
    let mut records = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let Some(header) = bytes.get(at..at + HEADER_BYTES) else { break };
        let word = |i: usize| u32::from_le_bytes(header[i..i + 4].try_into().unwrap());
        let long = |i: usize| i64::from_le_bytes(header[i..i + 8].try_into().unwrap());
        if word(0) != MAGIC {
            return Err(format!("no record at {at} of the trace"));
        }
        let (path_bytes, other_bytes, data_bytes) = (word(32) as usize, word(36) as usize, word(40) as usize);
        let body = at + HEADER_BYTES;
        let end = body + path_bytes + other_bytes + data_bytes;
        // SIGKILL may come while a record is being written; only the last one can be cut.
        let Some(body) = bytes.get(body..end) else { break };
        let (path, rest) = body.split_at(path_bytes);
        let (other, data) = rest.split_at(other_bytes);
        let (a, b, c) = (long(8), long(16), long(24));
        let op = match word(4) {
            1 => Op::Start,
            2 => Op::Open { fd: a, flags: b, directory: c != 0, path: relative(path, root) },
            3 => Op::Close { fd: a },
            4 => Op::Dup { from: a, to: b },
            5 => Op::Write { fd: a, offset: b as u64, data: data.to_vec() },
            6 => Op::Truncate { fd: a, size: b as u64 },
            7 => Op::Allocate { fd: a, size: b as u64 },
            8 => Op::SyncBegin { fd: a, number: c },
            9 => Op::SyncEnd { fd: a, number: c },
            10 => Op::Rename { from: relative(path, root), to: relative(other, root) },
            11 => Op::Link { from: relative(path, root), to: relative(other, root) },
            12 => Op::Unlink { path: relative(path, root) },
            13 => Op::MakeDirectory { path: relative(path, root) },
            14 => Op::RemoveDirectory { path: relative(path, root) },
            15 => return Err(format!("the recorder cannot record: {}", String::from_utf8_lossy(path))),
            other => return Err(format!("record of unknown kind {other} at {at}")),
        };
        let thread = header[48..].split(|byte| *byte == 0).next().unwrap_or_default();
        let thread = String::from_utf8_lossy(thread).into_owned();
        records.push(Record { op, thread, end: end as u64 });
        at = end;
    }
    Ok(records)
}

/// Without the root, doubled slashes and `.`.
fn relative(path: &[u8], root: &Path) -> PathBuf {
    let path = Path::new(std::str::from_utf8(path).expect("paths of the server are UTF-8"));
    path.strip_prefix(root).expect("the recorder records paths below the root").components().collect()
}
