//! Gathers samples into batches and hands them to the store.
//!
//! Some batches are on their way at once, so that one sync makes several durable. Where the store is
//! behind with its flushes it says so, and the batch waits; nothing is dropped. Memory is bounded by
//! the batches on their way.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::JoinHandle;

use crate::cli::offline::Offline;
use crate::ingest::{ValidationRules, validate};
use crate::model::series_batch::{
    BatchSeries, HistogramSample, LabelRef, RefusalReason, Refusals, TextRef, Written,
};
use crate::model::{Exemplar, FloatSample, Labels, Metadata, SeriesBatch, TenantId};
use crate::storage::{AppendError, Appended, Storage};

/// A batch is handed on when it holds about so much.
const BATCH_BYTES: usize = 2 << 20;
/// Batches that the store works on at once.
const ON_THEIR_WAY_MAX: usize = 4;
/// A store that takes nothing for so long will not take anything any more: a full disk, mostly.
const BEHIND_MAX: Duration = Duration::from_secs(120);
const BEHIND_PERIOD: Duration = Duration::from_millis(50);

/// What became of the samples.
#[derive(Debug, Default)]
pub struct Fed {
    pub written: Written,
    pub refused: Refusals,
    /// Descriptions of metrics.
    pub metadata: u64,
    pub blocks: u64,
    pub blocks_done_before: u64,
}

impl Fed {
    pub fn too_old(&self) -> u64 {
        self.refused.counts.get(&RefusalReason::TooOld).copied().unwrap_or(0)
    }

    pub fn summary(&self) -> String {
        let Written { floats, histograms, exemplars } = self.written;
        let mut text = format!("imported {floats} floats, {histograms} histograms, {exemplars} exemplars");
        if self.metadata > 0 {
            text += &format!(", metadata of {} metrics", self.metadata);
        }
        if self.blocks + self.blocks_done_before > 0 {
            text += &format!(" of {} blocks ({} were imported before)", self.blocks, self.blocks_done_before);
        }
        for (reason, count) in &self.refused.counts {
            text += &format!("; refused {count}: {}", reason.as_str());
        }
        text
    }
}

/// See the module.
pub struct Feeder<'s> {
    offline: &'s Offline,
    tenant: TenantId,
    rules: ValidationRules,
    text: Vec<u8>,
    batch: SeriesBatch,
    bytes: usize,
    on_their_way: VecDeque<JoinHandle<Result<Appended, AppendError>>>,
    pub fed: Fed,
}

impl<'s> Feeder<'s> {
    pub fn new(offline: &'s Offline, tenant: TenantId, rules: ValidationRules) -> Self {
        let batch = SeriesBatch::new(tenant.clone(), Default::default());
        let on_their_way = VecDeque::new();
        Self { offline, tenant, rules, text: Vec::new(), batch, bytes: 0, on_their_way, fed: Fed::default() }
    }

    /// The oldest time that is let in.
    pub fn oldest_ms(&self) -> i64 {
        self.rules.oldest_ms
    }

    /// Begins a series: samples that follow are its own.
    pub fn begin(&mut self, labels: &Labels) {
        self.begin_pairs(labels.iter());
    }

    /// As [`Self::begin`], of labels that nobody has judged yet.
    pub fn begin_pairs<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
        let first = self.batch.labels.len() as u32;
        for (name, value) in pairs {
            let label = LabelRef { name: self.push_text(name), value: self.push_text(value) };
            self.batch.labels.push(label);
        }
        let labels = first..self.batch.labels.len() as u32;
        self.bytes += labels.len() * size_of::<LabelRef>() + size_of::<BatchSeries>();
        let (floats, histograms) = (self.batch.floats.len() as u32, self.batch.histograms.len() as u32);
        let exemplars = self.batch.exemplars.len() as u32;
        self.batch.series.push(BatchSeries {
            labels,
            floats: floats..floats,
            histograms: histograms..histograms,
            exemplars: exemplars..exemplars,
            ..BatchSeries::default()
        });
    }

    fn push_text(&mut self, part: &str) -> TextRef {
        let start = self.text.len() as u32;
        self.text.extend_from_slice(part.as_bytes());
        self.bytes += part.len();
        TextRef { start, len: part.len() as u32 }
    }

    pub fn float(&mut self, sample: FloatSample) {
        self.batch.floats.push(sample);
        self.bytes += size_of::<FloatSample>();
        let end = self.batch.floats.len() as u32;
        self.open_series().floats.end = end;
    }

    pub fn histogram(&mut self, sample: HistogramSample) {
        self.bytes += size_of::<HistogramSample>() + sample.histogram.heap_bytes();
        self.batch.histograms.push(sample);
        let end = self.batch.histograms.len() as u32;
        self.open_series().histograms.end = end;
    }

    pub fn exemplar(&mut self, exemplar: Exemplar) {
        self.bytes += size_of::<Exemplar>() + exemplar.labels.as_bytes().len();
        self.batch.exemplars.push(exemplar);
        let end = self.batch.exemplars.len() as u32;
        self.open_series().exemplars.end = end;
    }

    /// Adds what a metric is; it belongs to no series.
    pub fn metadata(&mut self, metadata: Metadata) {
        self.bytes +=
            size_of::<Metadata>() + metadata.metric.len() + metadata.help.len() + metadata.unit.len();
        self.batch.metadata.push(metadata);
        self.fed.metadata += 1;
    }

    fn open_series(&mut self) -> &mut BatchSeries {
        self.batch.series.last_mut().expect("samples follow the beginning of their series")
    }

    /// Whether the batch should be handed on; the series must begin again after that.
    pub fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES
    }

    /// Hands the batch on; waits only where too many are on their way.
    pub fn hand_on(&mut self) -> anyhow::Result<()> {
        let next = SeriesBatch::new(self.tenant.clone(), Default::default());
        let mut batch = std::mem::replace(&mut self.batch, next);
        batch.text = std::mem::take(&mut self.text).into();
        self.bytes = 0;
        self.fed.refused.merge(validate(&mut batch, &self.rules));
        if batch.is_empty() {
            return Ok(());
        }
        if self.on_their_way.len() >= ON_THEIR_WAY_MAX {
            self.wait_for_one()?;
        }
        let append = append(self.offline.storage.clone(), batch);
        self.on_their_way.push_back(self.offline.runtime.spawn(append));
        Ok(())
    }

    /// Hands on what is gathered and waits until all of it is durable.
    pub fn settle(&mut self) -> anyhow::Result<()> {
        self.hand_on()?;
        while !self.on_their_way.is_empty() {
            self.wait_for_one()?;
        }
        Ok(())
    }

    pub fn finish(mut self) -> anyhow::Result<Fed> {
        self.settle()?;
        Ok(self.fed)
    }

    fn wait_for_one(&mut self) -> anyhow::Result<()> {
        let Some(first) = self.on_their_way.pop_front() else { return Ok(()) };
        let appended = self.offline.runtime.block_on(first).context("append samples")?;
        let appended = match appended {
            Ok(appended) => appended,
            Err(error) => bail!("the store takes no more samples: {error}"),
        };
        self.fed.written.floats += appended.written.floats;
        self.fed.written.histograms += appended.written.histograms;
        self.fed.written.exemplars += appended.written.exemplars;
        self.fed.refused.merge(appended.refused);
        Ok(())
    }
}

/// Appends, and comes again where the store is behind.
async fn append(storage: Storage, batch: SeriesBatch) -> Result<Appended, AppendError> {
    let mut waited = Duration::ZERO;
    loop {
        match storage.append(batch.clone()).await {
            Err(AppendError::Unavailable(_)) if waited < BEHIND_MAX => {
                tokio::time::sleep(BEHIND_PERIOD).await;
                waited += BEHIND_PERIOD;
            }
            outcome => return outcome,
        }
    }
}
