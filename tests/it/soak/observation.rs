//! What is looked at every few seconds of a soak, and what its last third is against the second.
//!
//! A row of the CSV file per look, a row of the Markdown table per column. The first third is for what has to fill up:
//! caches, the registry, the first merges.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::peers_bench::comparison::figures::{median, percentile};
use crate::peers_bench::comparison::process::{bytes_below, usage};

const MIB: f64 = (1 << 20) as f64;

/// One look.
pub struct Observation {
    /// Since the start.
    pub at_s: f64,
    pub samples: u64,
    pub anonymous_bytes: f64,
    pub resident_bytes: f64,
    pub active_series: f64,
    pub disk_bytes: f64,
    pub open_files: f64,
    pub threads: f64,
    /// Of writes and of questions since the last look.
    pub write_ms: Vec<f64>,
    pub question_ms: Vec<f64>,
}

/// One column: what it is called, how many digits it is told with, and how it is read.
pub struct Column {
    pub name: &'static str,
    digits: usize,
    pub read: fn(&Observation) -> f64,
}

const fn column(name: &'static str, digits: usize, read: fn(&Observation) -> f64) -> Column {
    Column { name, digits, read }
}

pub const ANONYMOUS: Column =
    column("anonymous memory, MiB", 1, |seen: &Observation| seen.anonymous_bytes / MIB);
pub const RESIDENT: Column =
    column("resident memory, MiB", 1, |seen: &Observation| seen.resident_bytes / MIB);
pub const SERIES: Column = column("series in the head", 0, |seen: &Observation| seen.active_series);
pub const WRITE_P50: Column =
    column("write p50, ms", 2, |seen: &Observation| percentile(seen.write_ms.clone(), 50));
pub const WRITE_P99: Column =
    column("write p99, ms", 1, |seen: &Observation| percentile(seen.write_ms.clone(), 99));
pub const QUESTION_P50: Column =
    column("question p50, ms", 2, |seen: &Observation| percentile(seen.question_ms.clone(), 50));
pub const QUESTION_P95: Column =
    column("question p95, ms", 1, |seen: &Observation| percentile(seen.question_ms.clone(), 95));
pub const DISK: Column =
    column("disk, bytes per sample", 3, |seen: &Observation| seen.disk_bytes / seen.samples as f64);
pub const FILES: Column = column("open files", 0, |seen: &Observation| seen.open_files);
pub const THREADS: Column = column("threads", 0, |seen: &Observation| seen.threads);

pub const COLUMNS: [&Column; 10] = [
    &ANONYMOUS,
    &RESIDENT,
    &SERIES,
    &WRITE_P50,
    &WRITE_P99,
    &QUESTION_P50,
    &QUESTION_P95,
    &DISK,
    &FILES,
    &THREADS,
];

impl Observation {
    /// Looks at a process and its folder; the rest is told.
    pub fn take(process: u32, data: &Path, at_s: f64, samples: u64, active_series: f64) -> Self {
        let usage = usage(process);
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let threads = status.lines().find_map(|line| line.strip_prefix("Threads:"));
        let open_files = fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
        Self {
            at_s,
            samples,
            anonymous_bytes: usage.anonymous_bytes,
            resident_bytes: usage.resident_bytes,
            active_series,
            disk_bytes: bytes_below(data) as f64,
            open_files: open_files as f64,
            threads: threads.and_then(|text| text.trim().parse().ok()).unwrap_or(f64::NAN),
            write_ms: Vec::new(),
            question_ms: Vec::new(),
        }
    }
}

/// Every look as CSV: seconds, samples, and the columns.
pub fn csv(all: &[Observation]) -> String {
    let names: Vec<String> = COLUMNS.iter().map(|column| format!("\"{}\"", column.name)).collect();
    let mut out = format!("seconds,samples,{}\n", names.join(","));
    for seen in all {
        let cells: Vec<String> =
            COLUMNS.iter().map(|column| format!("{:.*}", column.digits, (column.read)(seen))).collect();
        writeln!(out, "{:.0},{},{}", seen.at_s, seen.samples, cells.join(",")).unwrap();
    }
    out
}

/// The medians of a column over each third.
pub fn thirds(all: &[Observation], column: &Column) -> [f64; 3] {
    let third = all.len() / 3;
    [&all[..third], &all[third..2 * third], &all[2 * third..]]
        .map(|part| median(part.iter().map(column.read).filter(|value| value.is_finite()).collect()))
}

/// A row per column, as Markdown.
pub fn table(all: &[Observation]) -> String {
    let mut out =
        "| | first third | second third | last third | last / second |\n|---|---:|---:|---:|---:|\n"
            .to_owned();
    for column in COLUMNS {
        let [first, second, last] = thirds(all, column);
        let (name, digits) = (column.name, column.digits);
        let share = last / second;
        writeln!(out, "| {name} | {first:.digits$} | {second:.digits$} | {last:.digits$} | {share:.2} |")
            .unwrap();
    }
    out
}
