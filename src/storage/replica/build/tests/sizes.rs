//! How large blocks are beside the local parts of the same samples.

use super::model::OfSeries;
use super::*;
use crate::storage::directory::Directory;
use crate::storage::local::Database;
use crate::storage::local::sst::SstSink;

/// A scrape of a target: every fifteen seconds a counter, a gauge, a constant and a latency.
fn scraped(series: usize, from_ms: i64, samples: i64) -> Piece {
    let names = ["http_requests_total", "memory_bytes", "build_info", "temperature_celsius"];
    let pairs = [
        ("__name__", names[series % 4].to_owned()),
        ("instance", format!("10.1.{}.{}:9100", series / 4 / 250, series / 4 % 250)),
        ("job", "node".to_owned()),
        ("zone", ["eu-1", "eu-2", "us-1"][series / 4 % 3].to_owned()),
    ];
    let mut piece = Piece::new("anonymous", Labels::from_pairs(pairs));
    for at in 0..samples {
        let timestamp_ms = from_ms + at * 15_000 + (series / 4 * 37 % 15_000) as i64;
        let tick = timestamp_ms / 15_000;
        let noise = (tick.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(series as i64) >> 40) % 100;
        let value = match series % 4 {
            0 => (tick * 3 + noise % 4) as f64,
            1 => 1e9 + 4096.0 * noise as f64,
            2 => 1.0,
            _ => 20.0 + noise as f64 / 10.0,
        };
        piece.floats.push(float(timestamp_ms, value));
    }
    piece
}

/// Bytes of a local part of these series.
fn local_bytes(database: &Database, pieces: &[Piece], effort: Effort) -> u64 {
    let mut sink = match effort {
        Effort::Fresh => SstSink::fresh(database, 1),
        Effort::Merged => SstSink::merged(database, 2),
    };
    let mut writer = PartWriter::new(&mut sink, PartOptions { effort, ..PartOptions::default() });
    for ((tenant, labels), (columns, _)) in in_row_order(pieces) {
        let mut series = PartSeries::new(tenant, labels);
        series.timestamps_ms = columns.floats.iter().map(|sample| sample.timestamp_ms).collect();
        series.values = columns.floats.iter().map(|sample| sample.value).collect();
        writer.add(&series).expect("in row order");
    }
    writer.finish().expect("written");
    sink.finish().expect("written").1
}

fn in_row_order(pieces: &[Piece]) -> Vec<((TenantId, Labels), OfSeries)> {
    let mut all: Vec<_> = Model::of(pieces).0.into_iter().collect();
    all.sort_by(|(a, _), (b, _)| crate::storage::part::row_order((&a.0, &a.1), (&b.0, &b.1)));
    all
}

#[test]
fn blocks_are_about_as_large_as_local_parts() {
    const SERIES: usize = 800;
    const SAMPLES: i64 = 40;
    const CUTS: i64 = 12;
    let folder = tempfile::tempdir().expect("folder");
    let directory = Directory::open(&folder.path().join("data")).expect("a new one");
    let database = Database::open(&directory.database(), 1 << 20).expect("a new one");
    let day_ms = NOW_MS.div_euclid(DAY_MS) * DAY_MS;
    let scrapes = |cut: i64| -> Vec<Piece> {
        (0..SERIES).map(|series| scraped(series, day_ms + cut * SAMPLES * 15_000, SAMPLES)).collect()
    };
    let cuts: Vec<NewBlock> = (0..CUTS).flat_map(|cut| cut_of(&[scrapes(cut)])).collect();
    let merged = merge_of(&cuts).expect("merged");
    let all: Vec<Piece> = (0..CUTS).flat_map(scrapes).collect();

    let samples = SERIES as f64 * SAMPLES as f64;
    let cut = cuts[0].bytes.len() as f64 / samples;
    let local_cut = local_bytes(&database, &scrapes(0), Effort::Fresh) as f64 / samples;
    let merged = merged[0].bytes.len() as f64 / samples / CUTS as f64;
    let local_merged = local_bytes(&database, &all, Effort::Merged) as f64 / samples / CUTS as f64;
    eprintln!(
        "bytes a sample: a cut {cut:.3}, local {local_cut:.3}; merged {merged:.3}, local {local_merged:.3}"
    );

    assert!(cut < 1.05 * local_cut, "{cut} {local_cut}");
    assert!(merged < 1.05 * local_merged, "{merged} {local_merged}");
}
