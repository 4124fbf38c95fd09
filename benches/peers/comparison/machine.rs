//! The machine that figures were taken on: its processors, its memory, its kernel, and what its disk takes to sync.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::figures::percentile;

const SYNCS: usize = 200;
/// About what a group of requests appends to a log before it is synced.
const SYNCED_BYTES: usize = 64 << 10;

/// One line each; the disk is the one that `folder` is on.
pub fn describe(folder: &Path) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())).unwrap_or_default()
    };
    let processor = field(&read("/proc/cpuinfo"), "model name");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory_kib = field(&read("/proc/meminfo"), "MemTotal");
    let kib = memory_kib.split(' ').next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN);
    let [p50, p99, max] = sync_times_ms(folder);
    vec![
        format!(
            "{processor}, {cores} cores, {:.0} GiB, server and sender on the same",
            kib / (1 << 20) as f64
        ),
        format!("Linux {}, {}", read("/proc/sys/kernel/osrelease").trim(), file_system(folder)),
        format!("the disk's own fdatasync of 64 KiB, p50 / p99 / max: {p50:.1} / {p99:.1} / {max:.1} ms"),
    ]
}

fn file_system(folder: &Path) -> String {
    let output = Command::new("df").arg("--output=fstype").arg(folder).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().nth(1).unwrap_or("unknown file system").trim().to_owned()
}

/// How long appending and syncing takes, with nobody else at it: the median, the 99th percentile, the longest.
fn sync_times_ms(folder: &Path) -> [f64; 3] {
    let path = folder.join("synced");
    let mut file = File::create(&path).unwrap();
    let text = vec![0x5a_u8; SYNCED_BYTES];
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        file.write_all(&text).unwrap();
        let began = Instant::now();
        file.sync_data().unwrap();
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    drop(file);
    fs::remove_file(path).unwrap();
    [50, 99, 100].map(|percent| percentile(times.clone(), percent))
}
