//! What is looked at once an hour or once a day, as rows of a CSV file.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::stream::{Figures, Stream};
use crate::support::http::Client;

/// One look. Bytes are bytes, times are seconds where their names do not say otherwise.
pub struct Observation {
    pub hour: i64,
    pub wall_s: f64,
    pub sent: u64,
    pub anonymous_bytes: f64,
    /// The most since the last look.
    pub anonymous_bytes_max: f64,
    pub active_series: f64,
    pub registry_bytes: f64,
    pub head_bytes: f64,
    pub epochs: f64,
    pub parts: [f64; 3],
    pub part_bytes: f64,
    pub part_samples: f64,
    pub disk_bytes: f64,
    pub written_bytes: f64,
    pub write_p50_ms: f64,
    pub write_p99_ms: f64,
    pub postponed: u64,
}

impl Observation {
    pub const HEADER: &str = "hour,wall_s,sent,anonymous_bytes,anonymous_bytes_max,active_series,\
        registry_bytes,head_bytes,epochs,parts_0,parts_1,parts_2,part_bytes,part_samples,disk_bytes,\
        written_bytes,write_p50_ms,write_p99_ms,postponed";

    pub fn take(
        client: &Client,
        stream: &mut Stream<'_>,
        (hour, began): (i64, Instant),
        resident: &Resident,
        data: &Path,
    ) -> Self {
        let figures = Figures::read(client);
        let level = |level: u8| figures.get(&format!("onggi_parts_by_level{{level=\"{level}\"}}"));
        let mut latencies = std::mem::take(&mut stream.latencies);
        latencies.sort_unstable();
        let quantile_ms = |share: f64| {
            let at = (latencies.len() as f64 * share) as usize;
            latencies.get(at).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
        };
        let (anonymous_bytes, anonymous_bytes_max) = resident.take();
        Self {
            hour,
            wall_s: began.elapsed().as_secs_f64(),
            sent: stream.sent.stored(),
            anonymous_bytes,
            anonymous_bytes_max,
            active_series: figures.get("onggi_active_series"),
            registry_bytes: figures.get("onggi_registry_bytes"),
            head_bytes: figures.get("onggi_head_bytes"),
            epochs: figures.get("onggi_epochs"),
            parts: [level(0), level(1), level(2)],
            part_bytes: figures.get("onggi_part_bytes"),
            part_samples: figures.get("onggi_part_samples"),
            disk_bytes: bytes_below(data) as f64,
            written_bytes: figures.get("onggi_log_written_bytes_total")
                + figures.get("onggi_merge_written_bytes_total"),
            write_p50_ms: quantile_ms(0.5),
            write_p99_ms: quantile_ms(0.99),
            postponed: stream.sent.postponed,
        }
    }

    pub fn bytes_per_sample(&self) -> f64 {
        self.disk_bytes / self.sent as f64
    }

    pub fn row(&self) -> String {
        let mut row = String::new();
        let [fresh, of_hours, of_days] = self.parts;
        write!(
            row,
            "{},{:.1},{},{:.0},{:.0},{},{},{},{},{fresh},{of_hours},{of_days},{},{},{:.0},{},{:.1},{:.1},{}",
            self.hour,
            self.wall_s,
            self.sent,
            self.anonymous_bytes,
            self.anonymous_bytes_max,
            self.active_series,
            self.registry_bytes,
            self.head_bytes,
            self.epochs,
            self.part_bytes,
            self.part_samples,
            self.disk_bytes,
            self.written_bytes,
            self.write_p50_ms,
            self.write_p99_ms,
            self.postponed,
        )
        .expect("a String takes everything");
        row
    }
}

/// Bytes of the files below a folder.
pub fn bytes_below(folder: &Path) -> u64 {
    // Files come and go while they are counted.
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_gone) => 0,
        })
        .sum()
}

/// Anonymous resident memory of a process, watched.
#[derive(Default)]
pub struct Resident(Mutex<(f64, f64)>);

impl Resident {
    pub fn watch(&self, process: u32, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
            let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0);
            let mut seen = self.0.lock().unwrap();
            *seen = (kib * 1024.0, seen.1.max(kib * 1024.0));
            drop(seen);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The last and the most; from now on anew.
    fn take(&self) -> (f64, f64) {
        let mut seen = self.0.lock().unwrap();
        let taken = *seen;
        seen.1 = 0.0;
        taken
    }
}
