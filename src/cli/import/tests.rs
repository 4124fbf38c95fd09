//! Imports into a store: of a real Prometheus' blocks, of text, again, and of what is too old.

use std::path::{Path, PathBuf};

use super::*;
use crate::clock::ManualClock;
use crate::ingest::prometheus_block::{Block, Sample};
use crate::model::time::{DAY_MS, YEAR_MS};
use crate::model::{Histogram, Matcher, TimeRange};
use crate::querier::{QueryGuard, SelectHints, SelectRequest, Series};
use crate::storage::StorageOptions;

/// Shortly after the fixture was made.
const NOW_MS: i64 = 1_795_309_000_000;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn options(path: &Path) -> StorageOptions {
    StorageOptions { retention_ms: DAY_MS, ..StorageOptions::small(path, ManualClock::at_ms(NOW_MS)) }
}

fn of(sources: &[PathBuf]) -> Import {
    Import {
        tenant: TenantId::anonymous(),
        labels: Labels::empty(),
        format: None,
        again: false,
        sources: sources.to_vec(),
        retention_ms: 100 * YEAR_MS,
    }
}

fn imported(import: &Import, path: &Path) -> anyhow::Result<Fed> {
    let offline = Offline::open_quietly(options(path))?;
    let fed = import.run(&offline, path, &*ManualClock::at_ms(NOW_MS))?;
    offline.close()?;
    Ok(fed)
}

fn stored(path: &Path, matchers: Vec<Matcher>) -> Vec<Series> {
    let offline = Offline::open_quietly(options(path)).expect("opens");
    let querier = offline.storage.querier(&TenantId::anonymous()).expect("ready");
    let guard = QueryGuard::unlimited();
    let request = SelectRequest { matchers, range: TimeRange::ALL, hints: SelectHints::default() };
    querier.select(&request, &guard).expect("selected").map(|series| series.expect("read")).collect()
}

#[test]
fn a_block_of_a_prometheus_is_in_the_store_to_the_bit() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let source = fixture("prometheus-3.5");

    let fed = imported(&of(std::slice::from_ref(&source)), folder.path()).expect("imported");

    assert!(fed.refused.is_empty(), "{:?}", fed.refused);
    let all = stored(folder.path(), Vec::new());
    let mut block = Block::open(&Block::folders(&source).expect("blocks")[0].1).expect("a block");
    let (mut floats, mut histograms) = (0, 0);
    while let Some(series) = block.next_series().expect("read") {
        let there = all.iter().find(|there| there.labels == series.labels);
        let mut check = |sample| {
            let there = there.unwrap_or_else(|| panic!("{} is missing", series.labels));
            match sample {
                Sample::Float(sample) => {
                    let at = there.timestamps_ms.binary_search(&sample.timestamp_ms).expect("the sample");
                    assert_eq!(there.values[at].to_bits(), sample.value.to_bits());
                    floats += 1;
                }
                Sample::Histogram(sample) => {
                    let point = there.histograms.iter().find(|p| p.timestamp_ms == sample.timestamp_ms);
                    let stored: &Histogram = &point.expect("the histogram").histogram;
                    assert!(stored.same_bits(&sample.histogram), "{stored:?} is not {sample:?}");
                    histograms += 1;
                }
            }
            Ok::<_, crate::ingest::prometheus_block::BlockError>(())
        };
        block.samples(&series, &mut check).expect("read");
    }
    assert_eq!((fed.written.floats, fed.written.histograms), (floats, histograms));
    let count: usize = all.iter().map(|series| series.timestamps_ms.len() + series.histograms.len()).sum();
    assert_eq!(count as u64, floats + histograms, "the store has nothing else");
}

#[test]
fn whole_blocks_are_passed_over_the_second_time_unless_asked_for() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let mut import = of(&[fixture("backfill/blocks")]);
    let first = imported(&import, folder.path()).expect("imported");
    assert_eq!((first.blocks, first.blocks_done_before, first.written.floats), (2, 0, 8));

    let second = imported(&import, folder.path()).expect("imported");
    assert_eq!((second.blocks, second.blocks_done_before, second.written.floats), (0, 2, 0));

    import.again = true;
    let again = imported(&import, folder.path()).expect("imported");
    assert_eq!((again.blocks, again.written.floats), (2, 8));
    let count: usize = stored(folder.path(), Vec::new()).iter().map(|s| s.timestamps_ms.len()).sum();
    assert_eq!(count, 8, "equal samples merge");

    // As another tenant's, or with other labels, it is another import.
    import.again = false;
    import.labels = Labels::from_pairs([("replica", "a")]);
    assert_eq!(imported(&import, folder.path()).expect("imported").blocks, 2);

    // A line that a crash cut short says nothing and spoils nothing.
    let ledger = folder.path().join(IMPORTS);
    let mut text = std::fs::read_to_string(&ledger).expect("a ledger");
    text.truncate(text.len() - 20);
    std::fs::write(&ledger, text).expect("written");
    assert_eq!(imported(&import, folder.path()).expect("imported").blocks, 1);
    assert_eq!(imported(&import, folder.path()).expect("imported").blocks, 0);
}

#[test]
fn labels_are_added_to_series_that_do_not_have_them() {
    let folder = tempfile::tempdir().expect("temporary directory");
    for source in ["backfill/blocks", "backfill/backfill.om"] {
        let import = Import {
            labels: Labels::from_pairs([("zone", "default"), ("cluster", "c1")]),
            ..of(&[fixture(source)])
        };
        imported(&import, folder.path()).expect("imported");
    }

    let zones: Vec<_> = stored(folder.path(), Vec::new())
        .into_iter()
        .map(|series| {
            assert_eq!(series.labels.get("cluster"), Some("c1"));
            series.labels.get("zone").map(str::to_owned).expect("each has one")
        })
        .collect();
    assert_eq!(zones, ["a", "b", "default"], "a block and its text are the same three series");
}

#[test]
fn what_is_older_than_retention_is_refused_and_counted() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let years = Import { retention_ms: YEAR_MS, ..of(&[fixture("backfill/blocks")]) };
    let fed = imported(&years, folder.path()).expect("imported");
    assert_eq!((fed.too_old(), fed.written.floats), (8, 0));
    assert!(fed.summary().contains("refused 8: too_old"), "{}", fed.summary());
    assert!(fed.refused.examples[0].contains("backfill"), "{:?}", fed.refused.examples);

    // With a longer retention the block is another matter, and what is stored stays though the store's
    // own options say a day.
    let fed = imported(&of(&[fixture("backfill/blocks")]), folder.path()).expect("imported");
    assert_eq!((fed.blocks, fed.too_old(), fed.written.floats), (2, 0, 8));
    assert_eq!(stored(folder.path(), vec![Matcher::equal(METRIC_NAME, "backfill_total")]).len(), 1);
}

#[test]
fn text_is_imported_and_what_is_wrong_with_it_is_named() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let path = folder.path().join("text");
    let data = folder.path().join("data");
    let mut import = of(std::slice::from_ref(&path));
    let mut check = |text: &str, format, want: &str| {
        std::fs::write(&path, text).expect("written");
        import.format = format;
        match imported(&import, &data) {
            Ok(fed) => assert_eq!(fed.summary(), want, "{text}"),
            Err(error) => assert!(format!("{error:#}").contains(want), "{text}: {error:#}"),
        }
    };
    let one = "imported 1 floats, 0 histograms, 0 exemplars";
    check("up 1 1795308000\n# EOF\n", None, one);
    check("up 1 1795308000000\n", None, one);
    check("up 1 1795308000\n", Some(TextFormat::OpenMetrics), "without \"# EOF\"");
    check("up 1 1795308000\n\nup 1\n# EOF", None, "line 3: a sample without a timestamp");
    check("up 1 1795308000\n# EOF\nup 2 1\n", Some(TextFormat::OpenMetrics), "something follows # EOF");
    // Milliseconds taken for seconds are far in the future.
    check(
        "up 1 1795308000000\n# EOF\n",
        None,
        "imported 0 floats, 0 histograms, 0 exemplars; refused 1: too_far_in_future",
    );
    check(
        "up{a=\"1\",a=\"2\"} 1 1795308000\n# EOF\n",
        None,
        "imported 0 floats, 0 histograms, 0 exemplars; refused 1: duplicate_label",
    );
    check(
        "a_total 1 1795308000 # {id=\"x\"} 2 1795308000\n# EOF",
        None,
        "imported 1 floats, 0 histograms, 1 exemplars",
    );
    check(
        "# HELP up Whether it is.\n# TYPE up gauge\nup 1 1795308000\n# TYPE a counter\n# EOF\n",
        None,
        "imported 1 floats, 0 histograms, 0 exemplars, metadata of 2 metrics",
    );
    let histogram = "{count:1,sum:2,schema:0,zero_threshold:0,zero_count:1}";
    check(
        &format!("h {histogram} 1795308000 st@1795300000\nh # {{id=\"x\"}} 2 1795308000\n# EOF"),
        None,
        "imported 0 floats, 1 histograms, 1 exemplars",
    );
    check(
        "h {count:2,sum:2,schema:0,zero_threshold:0,zero_count:1} 1795308000\n# EOF",
        None,
        "imported 0 floats, 0 histograms, 0 exemplars; refused 1: invalid_histogram",
    );
}

#[test]
fn help_type_and_unit_of_a_text_are_metadata() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let path = folder.path().join("text");
    let data = folder.path().join("data");
    let text = "# HELP a_seconds How \\\"long\\\".\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                # TYPE up gauge\nup 1 1795308000\n# HELP late x\n# EOF\n";
    std::fs::write(&path, text).expect("written");

    let fed = imported(&of(&[path]), &data).expect("imported");

    assert_eq!(fed.metadata, 3);
    let offline = Offline::open_quietly(options(&data)).expect("opens");
    let querier = offline.storage.querier(&TenantId::anonymous()).expect("ready");
    let found: Vec<_> = querier
        .metadata(None)
        .expect("metadata")
        .into_iter()
        .map(|m| (m.metric, m.metric_type.as_str(), m.help, m.unit))
        .collect();
    let of = |metric: &str, kind, help: &str, unit: &str| {
        (metric.to_owned(), kind, help.to_owned(), unit.to_owned())
    };
    let want = [
        of("a_seconds", "histogram", "How \"long\".", "seconds"),
        of("late", "unknown", "x", ""),
        of("up", "gauge", "", ""),
    ];
    assert_eq!(found, want);
}

#[test]
fn a_folder_without_blocks_says_how_to_come_by_some() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let source = folder.path().join("prometheus");
    std::fs::create_dir(&source).expect("made");
    let error = |data: &str| {
        let failed = imported(&of(std::slice::from_ref(&source)), &folder.path().join(data));
        format!("{:#}", failed.expect_err("nothing to import"))
    };
    assert!(error("a").contains("no write-ahead log either"), "{}", error("a"));

    std::fs::create_dir(source.join("wal")).expect("made");
    assert!(error("b").contains("only a write-ahead log"), "{}", error("b"));
    assert!(error("b").contains("/api/v1/admin/tsdb/snapshot"), "{}", error("b"));
}
