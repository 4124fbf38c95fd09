//! Imports the blocks of a Prometheus, oldest first.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::Import;
use super::feeder::Feeder;
use super::ledger::{ImportedBlock, Ledger};
use crate::ingest::prometheus_block::{Block, BlockError, BlockMeta, Sample};
use crate::model::time::DAY_MS;

const PROGRESS_PERIOD: Duration = Duration::from_secs(2);

/// How to come by what a Prometheus still holds in memory.
const SNAPSHOT: &str = "to have all of it in blocks, start that Prometheus with --web.enable-admin-api, POST to its \
                        /api/v1/admin/tsdb/snapshot and import the folder below snapshots/ that it names";

/// Why a block was not imported to its end.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error("{0:#}")]
    Feed(#[from] anyhow::Error),
}

pub fn import(
    import: &Import,
    folder: &Path,
    feeder: &mut Feeder<'_>,
    ledger: &mut Ledger,
) -> anyhow::Result<()> {
    let blocks = Block::folders(folder)?;
    let has_log = folder.join("wal").is_dir();
    match blocks.iter().map(|(meta, _)| meta.max_time).max() {
        None if has_log => {
            bail!("there is no block in it, only a write-ahead log, which is not imported; {SNAPSHOT}")
        }
        None => bail!(
            "there is no block in it, and no write-ahead log either: no Prometheus keeps its data there"
        ),
        Some(end_ms) if has_log => {
            let end = time_of(end_ms);
            eprintln!(
                "note: what is newer than {end} is in the write-ahead log, which is not imported; {SNAPSHOT}"
            );
        }
        Some(_) => {}
    }
    let count = blocks.len();
    for (at, (meta, folder)) in blocks.into_iter().enumerate() {
        let imported = imported_block(import, &meta, &folder, feeder)?;
        let name = format!("block {} of {count}, {}", at + 1, meta.ulid);
        if ledger.has(&imported) && !import.again {
            eprintln!("{name}: was imported before");
            feeder.fed.blocks_done_before += 1;
            continue;
        }
        let began = Instant::now();
        import_block(import, &folder, &name, feeder)
            .with_context(|| format!("import {}", folder.display()))?;
        // Only what is durable is remembered.
        feeder.settle()?;
        ledger.add(imported)?;
        feeder.fed.blocks += 1;
        eprintln!(
            "{name}: {} samples of {} series in {:.1} s",
            meta.stats.num_samples,
            meta.stats.num_series,
            began.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

/// A time for people; what is no time stays a number.
fn time_of(timestamp_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(timestamp_ms)
        .map_or_else(|_| format!("{timestamp_ms} ms"), |timestamp| timestamp.to_string())
}

fn imported_block(
    import: &Import,
    meta: &BlockMeta,
    folder: &Path,
    feeder: &Feeder<'_>,
) -> anyhow::Result<ImportedBlock> {
    let tombstones = match std::fs::metadata(folder.join("tombstones")) {
        Ok(metadata) => metadata.len(),
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error).context("look at the block's tombstones"),
    };
    // A block that is all within retention is the same import under any longer one.
    let oldest_ms = feeder.oldest_ms().max(meta.min_time);
    Ok(ImportedBlock {
        ulid: meta.ulid.clone(),
        tombstones,
        tenant: import.tenant.to_string(),
        labels: import.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        oldest_day: oldest_ms.div_euclid(DAY_MS),
    })
}

fn import_block(
    import: &Import,
    folder: &Path,
    name: &str,
    feeder: &mut Feeder<'_>,
) -> Result<(), ImportError> {
    let mut block = Block::open(folder)?;
    let mut shown = Instant::now();
    while let Some(series) = block.next_series()? {
        let labels = import.labelled(&series.labels);
        feeder.begin(&labels);
        block.samples(&series, |sample| {
            if feeder.is_full() {
                feeder.hand_on()?;
                feeder.begin(&labels);
            }
            match sample {
                Sample::Float(sample) => feeder.float(sample),
                Sample::Histogram(sample) => feeder.histogram(sample),
            }
            Ok::<(), ImportError>(())
        })?;
        if shown.elapsed() >= PROGRESS_PERIOD {
            eprintln!("{name}: {:.0} %", block.read_share() * 100.0);
            shown = Instant::now();
        }
    }
    Ok(())
}
