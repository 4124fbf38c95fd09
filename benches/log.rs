//! The log's codec: nanoseconds per sample to encode and to decode, bytes per sample.
//!
//! 100 targets of 500 series each send a scrape in requests of 2000 samples: counters, gauges, and
//! some true doubles. The figure that counts is the steady state; definitions are measured apart. In a segment of a
//! replica each series is defined again: what that costs who writes it, by the labels of requests and by those that
//! the head has, and what who reads it.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use onggi::encoding::frame::FRAME_HEADER_BYTES;
use onggi::model::series_batch::Refusals;
use onggi::model::{FloatSample, Labels, SeriesBatch, TenantId};
use onggi::storage::internals::{
    Chosen, DecodedFrame, FileEncoder, FreshDecoder, Log, LogFileReader, LogOptions, LoggedLabels, Registry,
    file_path,
};

const TARGETS: u32 = 100;
const SERIES_PER_TARGET: u32 = 500;
const REQUEST_SAMPLES: usize = 2_000;
const SCRAPES: u32 = 20;

/// The requests of one scrape of all targets, with the ids of their series.
fn scrape(round: u32) -> Vec<(SeriesBatch, Vec<u32>)> {
    let ids: Vec<u32> = (0..TARGETS * SERIES_PER_TARGET).collect();
    ids.chunks(REQUEST_SAMPLES).map(|ids| (request(round, ids), ids.to_vec())).collect()
}

fn request(round: u32, ids: &[u32]) -> SeriesBatch {
    let mut batch = SeriesBatch::new(TenantId::anonymous(), Bytes::new());
    let mut text = Vec::new();
    for id in ids {
        let (target, metric) = (id / SERIES_PER_TARGET, id % SERIES_PER_TARGET);
        let timestamp_ms = 1_700_000_000_000 + i64::from(round) * 15_000 + i64::from(target * 37);
        let (round, seed) = (f64::from(round), f64::from(*id));
        let value = match id % 10 {
            0..4 => f64::from(metric % 3),
            4..7 => seed * 1_000.0 + round * f64::from(metric),
            7 => (seed * 100.0 + round).round() / 100.0,
            8 => seed * 4_096.0 * 100.0,
            _ => (seed + round).sin() * 1e3,
        };
        let labels = Labels::from_pairs([
            ("__name__", format!("node_metric_{}_total", metric / 4)),
            ("cpu", (metric % 4).to_string()),
            ("instance", format!("10.0.{}.{}:9100", target / 250, target % 250)),
            ("job", "node".to_owned()),
        ]);
        push(&mut batch, &mut text, &labels, FloatSample { timestamp_ms, start_ms: 0, value });
    }
    batch.text = text.into();
    batch
}

/// As `push_owned`, without copying the text for every series.
fn push(batch: &mut SeriesBatch, text: &mut Vec<u8>, labels: &Labels, sample: FloatSample) {
    use onggi::model::series_batch::{BatchSeries, LabelRef, TextRef};

    let first = batch.labels.len() as u32;
    for (name, value) in labels {
        let mut put = |part: &str| {
            text.extend_from_slice(part.as_bytes());
            TextRef { start: (text.len() - part.len()) as u32, len: part.len() as u32 }
        };
        batch.labels.push(LabelRef { name: put(name), value: put(value) });
    }
    batch.floats.push(sample);
    let at = batch.floats.len() as u32;
    let labels = first..batch.labels.len() as u32;
    batch.series.push(BatchSeries { labels, floats: at - 1..at, ..BatchSeries::default() });
}

fn encode(criterion: &mut Criterion) {
    let (first, later) = (scrape(0), scrape(1));
    let samples = u64::from(TARGETS * SERIES_PER_TARGET);
    let mut group = criterion.benchmark_group("log/encode");
    group.throughput(Throughput::Elements(samples));

    let encode_all = |encoder: &mut FileEncoder, requests: &[(SeriesBatch, Vec<u32>)]| {
        for (batch, ids) in requests {
            encoder.add_batch(batch, ids, 0).expect("small");
        }
    };
    group.bench_function("new series", |bencher| {
        bencher.iter_batched(
            FileEncoder::new,
            |mut encoder| {
                encode_all(&mut encoder, &first);
                encoder.take_frame(None)
            },
            BatchSize::LargeInput,
        );
    });
    let mut encoder = FileEncoder::new();
    encode_all(&mut encoder, &first);
    let defined = encoder.take_frame(None).expect("a frame");
    println!("definitions: {:.2} B/series with the first sample", defined.len() as f64 / samples as f64);
    let mut spare = Some(defined);
    group.bench_function("known series", |bencher| {
        bencher.iter(|| {
            encode_all(&mut encoder, &later);
            spare = encoder.take_frame(spare.take());
        });
    });
    let frame = spare.expect("a frame");
    println!("known series: {:.2} B/sample", frame.len() as f64 / samples as f64);
    group.finish();
}

fn decode(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = Log::open(dir.path(), 1, LogOptions::default()).expect("opened");
    for round in 0..SCRAPES {
        for (batch, ids) in scrape(round) {
            log.submit(&batch, &ids, 0).expect("taken").wait().expect("durable");
        }
    }
    log.rotate().expect("sealed");
    let path = file_path(dir.path(), 1);
    let samples = u64::from(TARGETS * SERIES_PER_TARGET * SCRAPES);
    let bytes = std::fs::metadata(&path).expect("the file").len();
    println!("sealed file: {:.2} B/sample over {SCRAPES} scrapes", bytes as f64 / samples as f64);

    let mut group = criterion.benchmark_group("log/decode");
    group.throughput(Throughput::Elements(samples));
    group.sample_size(20);
    group.bench_function("replay a file", |bencher| {
        let mut frame = DecodedFrame::default();
        bencher.iter(|| {
            let mut reader = LogFileReader::open(&path, false).expect("opened");
            let mut read = 0;
            while reader.next_frame(&mut frame).expect("a valid file") {
                read += black_box(&frame.floats).len() as u64;
            }
            assert_eq!(read, samples);
        });
    });
    group.finish();
}

/// All series in one partition: what a place costs is paid when a series is registered.
fn place<'a>(_tenant: &str, _labels: &mut dyn Iterator<Item = (&'a [u8], &'a [u8])>) -> u16 {
    0
}

fn segment(criterion: &mut Criterion) {
    let registry = Registry::placing(place);
    let mut requests = scrape(0);
    for (batch, ids) in &mut requests {
        *ids = registry.resolve(batch, 1, &|_, _| Ok(()), &mut Refusals::default());
    }
    let samples = u64::from(TARGETS * SERIES_PER_TARGET);
    let mut group = criterion.benchmark_group("log/segment");
    group.throughput(Throughput::Elements(samples));

    let places: Vec<u32> = (0..REQUEST_SAMPLES as u32).collect();
    let encode = |mut encoder: FileEncoder| {
        let labels = registry.numbered();
        for (batch, ids) in &requests {
            let chosen = Chosen { series: &places[..ids.len()], metadata: &[] };
            encoder.add_numbered(batch, ids, chosen, &labels, 0).expect("small");
        }
        encoder.take_frame(None).expect("a frame")
    };
    group.bench_function("encode by the head's labels", |bencher| {
        bencher.iter_batched(FileEncoder::new, encode, BatchSize::LargeInput);
    });

    let payload = encode(FileEncoder::new()).into_bytes().split_off(FRAME_HEADER_BYTES);
    let (mut decoder, mut frame) = (FreshDecoder::default(), DecodedFrame::default());
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decoder.decode(black_box(&payload), &mut frame).expect("own bytes"));
    });
    let (mut labels, mut found) = (LoggedLabels::default(), Vec::new());
    group.bench_function("decode and look up", |bencher| {
        bencher.iter(|| {
            decoder.decode(black_box(&payload), &mut frame).expect("own bytes");
            labels.replace(&mut frame.new_labels);
            found.clear();
            for (tenant, series) in frame.new_series.runs() {
                registry.restore(&mut labels, tenant, series, 1, &mut found);
            }
            assert_eq!(found.len() as u64, samples);
        });
    });
    group.finish();
}

criterion_group!(benches, encode, decode, segment);
criterion_main!(benches);
