//! Requests as they will be sent: encoded and compressed beforehand, one file per connection.
//!
//! Owns the files and what is in them. A sender reads along, so that neither encoding nor a data set that fills the
//! memory is part of what is measured. What is in the requests is [`super::workload`]'s.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::workload::{self, Spec, Target};
use crate::support::wire::{compress, put_bytes, put_samples};

/// Before each body in a file: its length, its samples, and the times of its first and its last sample.
const HEADER_BYTES: usize = 24;

/// Where one data set is, and how much of it there is.
pub struct Dataset {
    pub spec: Spec,
    /// What is loaded before questions are asked.
    pub history: Part,
    /// What follows it, for writes beside questions.
    pub sequel: Part,
    /// Series that are scraped at the end.
    pub active_series: usize,
    /// All series that there ever were.
    pub series: usize,
}

/// Requests over a stretch of time, a file per connection.
#[derive(Default)]
pub struct Part {
    pub files: Vec<PathBuf>,
    pub samples: u64,
    pub compressed_bytes: u64,
}

/// How a data set is cut into requests.
#[derive(Clone, Copy)]
pub struct Cut {
    pub connections: usize,
    /// Series of one request, each with one sample, as an agent's queue sends them.
    pub request_series: usize,
    /// Scrapes that belong to the history; the rest is the sequel.
    pub history_cycles: usize,
}

impl Dataset {
    /// Writes the files into a folder of their own. Connections are written side by side.
    pub fn write(folder: &Path, spec: &Spec, cut: Cut) -> Self {
        fs::create_dir_all(folder).unwrap();
        let written: Vec<Written> = std::thread::scope(|scope| {
            let shares = spread(workload::targets(spec), cut.connections);
            let writers: Vec<_> = shares
                .into_iter()
                .enumerate()
                .map(|(number, targets)| scope.spawn(move || write_share(folder, number, targets, spec, cut)))
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let mut dataset = Self {
            spec: spec.clone(),
            history: Part::default(),
            sequel: Part::default(),
            active_series: written.iter().map(|share| share.active_series).sum(),
            series: written.iter().map(|share| share.series).sum(),
        };
        for share in written {
            for (part, file) in [(&mut dataset.history, share.history), (&mut dataset.sequel, share.sequel)] {
                part.samples += file.samples;
                part.compressed_bytes += file.compressed_bytes;
                part.files.push(file.path);
            }
        }
        dataset
    }

    /// Between history and sequel.
    pub fn history_end_ms(&self, cut: Cut) -> i64 {
        self.spec.start_ms + cut.history_cycles as i64 * self.spec.interval_ms
    }
}

/// The targets of each connection, about the same number of series for all; each ordered by when they are scraped.
pub fn spread(mut targets: Vec<Target>, connections: usize) -> Vec<Vec<Target>> {
    let mut shares: Vec<(usize, Vec<Target>)> = (0..connections).map(|_| (0, Vec::new())).collect();
    targets.sort_by_key(|target| std::cmp::Reverse(target.series()));
    for target in targets {
        let share = shares.iter_mut().min_by_key(|(series, _)| *series).expect("there is a connection");
        share.0 += target.series();
        share.1.push(target);
    }
    let mut shares: Vec<_> = shares.into_iter().map(|(_, targets)| targets).collect();
    shares.iter_mut().for_each(|targets| targets.sort_by_key(|target| target.offset_ms));
    shares
}

/// What one connection will send.
struct Written {
    history: WrittenFile,
    sequel: WrittenFile,
    active_series: usize,
    series: usize,
}

struct WrittenFile {
    path: PathBuf,
    samples: u64,
    compressed_bytes: u64,
}

fn write_share(folder: &Path, number: usize, mut targets: Vec<Target>, spec: &Spec, cut: Cut) -> Written {
    let mut series = 0;
    let mut write = |name: &str, cycles: std::ops::Range<usize>| {
        let mut file = RequestFile::create(folder.join(format!("{name}-{number}")), cut.request_series);
        for cycle in cycles {
            for target in &mut targets {
                series += target.scrape(spec, cycle, |labels, at_ms, value| file.put(labels, at_ms, value));
            }
        }
        file.finish()
    };
    let history = write("history", 0..cut.history_cycles);
    let sequel = write("sequel", cut.history_cycles..spec.cycles);
    let active_series = targets.iter().map(Target::series).sum();
    Written { history, sequel, active_series, series }
}

/// A file of requests that is being written.
struct RequestFile {
    path: PathBuf,
    file: BufWriter<File>,
    request_series: usize,
    message: Vec<u8>,
    series: Vec<u8>,
    samples_in_message: u32,
    first_ms: i64,
    last_ms: i64,
    samples: u64,
    compressed_bytes: u64,
}

impl RequestFile {
    fn create(path: PathBuf, request_series: usize) -> Self {
        let file = BufWriter::new(File::create(&path).unwrap());
        Self {
            path,
            file,
            request_series,
            message: Vec::new(),
            series: Vec::new(),
            samples_in_message: 0,
            first_ms: 0,
            last_ms: 0,
            samples: 0,
            compressed_bytes: 0,
        }
    }

    fn put(&mut self, labels: &[u8], at_ms: i64, value: f64) {
        if self.samples_in_message == 0 {
            self.first_ms = at_ms;
        }
        self.series.clear();
        self.series.extend_from_slice(labels);
        put_samples(&mut self.series, &[(at_ms, value)]);
        put_bytes(&mut self.message, 1, &self.series);
        self.samples_in_message += 1;
        self.last_ms = at_ms;
        if self.samples_in_message as usize == self.request_series {
            self.cut();
        }
    }

    /// Writes the request that has gathered.
    fn cut(&mut self) {
        if self.samples_in_message == 0 {
            return;
        }
        let body = compress(&self.message);
        self.file.write_all(&(body.len() as u32).to_le_bytes()).unwrap();
        self.file.write_all(&self.samples_in_message.to_le_bytes()).unwrap();
        self.file.write_all(&self.first_ms.to_le_bytes()).unwrap();
        self.file.write_all(&self.last_ms.to_le_bytes()).unwrap();
        self.file.write_all(&body).unwrap();
        self.samples += u64::from(self.samples_in_message);
        self.compressed_bytes += body.len() as u64;
        self.samples_in_message = 0;
        self.message.clear();
    }

    fn finish(mut self) -> WrittenFile {
        self.cut();
        self.file.flush().unwrap();
        WrittenFile { path: self.path, samples: self.samples, compressed_bytes: self.compressed_bytes }
    }
}

/// One request, ready to be sent.
pub struct Record {
    pub body: Vec<u8>,
    pub samples: u32,
    /// Times of its first and its last sample.
    pub first_ms: i64,
    pub last_ms: i64,
}

/// Reads a file of requests from its beginning.
pub struct Records(BufReader<File>);

impl Records {
    pub fn open(path: &Path) -> Self {
        Self(BufReader::with_capacity(1 << 20, File::open(path).unwrap()))
    }
}

impl Iterator for Records {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let mut header = [0; HEADER_BYTES];
        match self.0.read_exact(&mut header) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
            result => result.unwrap(),
        }
        let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let time_ms = |at: usize| i64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let mut body = vec![0; number(0) as usize];
        self.0.read_exact(&mut body).unwrap();
        Some(Record { body, samples: number(4), first_ms: time_ms(8), last_ms: time_ms(16) })
    }
}

#[cfg(test)]
mod tests {
    use onggi::ingest::proto::prometheus::{Label, WriteRequest};
    use prost::Message;

    use super::*;

    #[test]
    fn requests_hold_every_sample_in_the_order_of_each_series() {
        let folder = tempfile::tempdir().unwrap();
        let start_ms = 1_760_000_000_000;
        let spec =
            Spec { seed: 1, series: 900, start_ms, interval_ms: 15_000, cycles: 5, churn_percent: 0.0 };
        let cut = Cut { connections: 2, request_series: 300, history_cycles: 4 };

        let dataset = Dataset::write(folder.path(), &spec, cut);

        assert_eq!(dataset.active_series, dataset.series);
        assert_eq!(dataset.history.samples, 4 * dataset.series as u64);
        assert_eq!(dataset.sequel.samples, dataset.series as u64);
        for (part, end_ms) in [
            (&dataset.history, dataset.history_end_ms(cut)),
            (&dataset.sequel, start_ms + 5 * spec.interval_ms),
        ] {
            let mut samples = 0;
            for record in part.files.iter().flat_map(|file| Records::open(file)) {
                let message = snap::raw::Decoder::new().decompress_vec(&record.body).unwrap();
                let request = WriteRequest::decode(&message[..]).unwrap();
                assert_eq!(request.timeseries.len(), record.samples as usize);
                let is_sorted = |labels: &[Label]| labels.is_sorted_by(|a, b| a.name < b.name);
                assert!(request.timeseries.iter().all(|series| is_sorted(&series.labels)));
                assert!(record.last_ms < end_ms + 15_000);
                samples += u64::from(record.samples);
            }
            assert_eq!(samples, part.samples);
        }
    }
}
