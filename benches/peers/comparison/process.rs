//! What a process has used and what a folder holds, as the kernel counts it.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// In which `/proc` counts processor time, on every architecture that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// In which the kernel counts what files take.
const BLOCK_BYTES: u64 = 512;

#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// In user and in kernel mode, of all threads.
    pub cpu_s: f64,
    pub resident_bytes: f64,
    /// Of that, what is no file's.
    pub anonymous_bytes: f64,
    /// Most that was ever resident.
    pub peak_bytes: f64,
}

pub fn usage(process: u32) -> Usage {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name of the program may have spaces; after its bracket the third field of the line follows.
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a split has a part").split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) * 1024.0
    };
    Usage {
        cpu_s: (ticks(11) + ticks(12)) / TICKS_PER_SECOND,
        resident_bytes: bytes("VmRSS:"),
        anonymous_bytes: bytes("RssAnon:"),
        peak_bytes: bytes("VmHWM:"),
    }
}

/// What the files below a folder take on the disk; one with several names counts once.
pub fn bytes_below(folder: &Path) -> u64 {
    let mut folders = vec![folder.to_owned()];
    let (mut seen, mut bytes) = (HashSet::new(), 0);
    while let Some(inner) = folders.pop() {
        // Servers merge meanwhile: what is gone by now takes nothing.
        for entry in fs::read_dir(inner).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(of) if of.is_dir() => folders.push(entry.path()),
                Ok(of) if seen.insert(of.ino()) => bytes += of.blocks() * BLOCK_BYTES,
                _ => {}
            }
        }
    }
    bytes
}
