//! What segments and blocks say, without parts: maps, and the join of equal times.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::chunk::histogram_canonical_bytes;
use crate::encoding::frame::FRAME_HEADER_BYTES;
use crate::encoding::log_file::{FileHeader, LogId};
use crate::model::series_batch::HistogramSample;
use crate::model::{Exemplar, FloatSample, Labels, SeriesBatch, TenantId, TimeRange};
use crate::querier::{HistogramPoint, QueryGuard};
use crate::replication::build::NewBlock;
use crate::storage::block::{BlockSource, PageCache};
use crate::storage::join::SampleColumns;
use crate::storage::log::FileEncoder;
use crate::storage::part::PartReader;
use crate::storage::replica::selection::Selected;
use crate::storage::select::sort_exemplars;

/// What one sender wrote of one series.
#[derive(Clone, Debug)]
pub struct Piece {
    pub tenant: TenantId,
    pub labels: Labels,
    pub floats: Vec<FloatSample>,
    pub histograms: Vec<HistogramSample>,
    pub exemplars: Vec<Exemplar>,
}

impl Piece {
    pub fn new(tenant: &str, labels: Labels) -> Self {
        let tenant = TenantId::parse(tenant).expect("a good name");
        Self { tenant, labels, floats: Vec::new(), histograms: Vec::new(), exemplars: Vec::new() }
    }
}

/// The payload of a segment's frame; `None` where nothing was written.
pub fn payload(pieces: &[Piece]) -> Option<Bytes> {
    let mut encoder = FileEncoder::new();
    let mut ids: BTreeMap<(&TenantId, &Labels), u32> = BTreeMap::new();
    for piece in pieces {
        let next = ids.len() as u32;
        let id = *ids.entry((&piece.tenant, &piece.labels)).or_insert(next);
        let mut batch = SeriesBatch::new(piece.tenant.clone(), Bytes::new());
        batch.push_owned(&piece.labels, &piece.floats, &piece.histograms, &piece.exemplars);
        encoder.add_batch(&batch, &[id], 5).expect("pieces are small");
    }
    let header = FileHeader { log: LogId([0; 16]), sequence: 0, created_ms: 0 };
    let mut frame = encoder.take_frame(None)?;
    Some(Bytes::copy_from_slice(&frame.place(&header, 0, 0)[FRAME_HEADER_BYTES..]))
}

/// All that there is of a series.
pub type OfSeries = (SampleColumns, Vec<Exemplar>);

/// All that there is of each series, joined.
#[derive(Clone, Debug, Default)]
pub struct Model(pub BTreeMap<(TenantId, Labels), OfSeries>);

impl Model {
    pub fn of(pieces: &[Piece]) -> Self {
        let mut model = Self::default();
        for piece in pieces {
            let (columns, exemplars) = model.series(&piece.tenant, &piece.labels);
            columns.floats.extend(&piece.floats);
            columns.histograms.extend(piece.histograms.iter().map(|sample| HistogramPoint {
                timestamp_ms: sample.timestamp_ms,
                start_ms: sample.start_ms,
                histogram: sample.histogram.clone().into(),
            }));
            exemplars.extend(piece.exemplars.iter().cloned());
        }
        model.join();
        model
    }

    fn series(&mut self, tenant: &TenantId, labels: &Labels) -> &mut OfSeries {
        self.0.entry((tenant.clone(), labels.clone())).or_default()
    }

    pub fn add(&mut self, other: Self) {
        for ((tenant, labels), (columns, more)) in other.0 {
            let (all, exemplars) = self.series(&tenant, &labels);
            all.floats.extend(columns.floats);
            all.histograms.extend(columns.histograms);
            exemplars.extend(more);
        }
        self.join();
    }

    fn join(&mut self) {
        for (columns, exemplars) in self.0.values_mut() {
            columns.join();
            sort_exemplars(exemplars);
        }
        self.0.retain(|_, (columns, exemplars)| !columns.is_empty() || !exemplars.is_empty());
    }

    pub fn erase(&mut self, selected: &Selected) {
        for ((tenant, labels), (columns, _)) in &mut self.0 {
            if selected.matches(tenant, labels) {
                columns.floats.retain(|sample| !selected.range.contains(sample.timestamp_ms));
                columns.histograms.retain(|point| !selected.range.contains(point.timestamp_ms));
            }
        }
        self.join();
    }

    /// What lies in a range.
    pub fn within(&self, range: TimeRange) -> Self {
        let mut part = self.clone();
        for (columns, exemplars) in part.0.values_mut() {
            columns.floats.retain(|sample| range.contains(sample.timestamp_ms));
            columns.histograms.retain(|point| range.contains(point.timestamp_ms));
            exemplars.retain(|exemplar| range.contains(exemplar.timestamp_ms));
        }
        part.join();
        part
    }
}

pub type SeriesBits = (Vec<(i64, u64, i64)>, Vec<(i64, i64, Vec<u8>)>, Vec<(i64, u64, String)>);

/// For comparisons that NaN does not spoil.
pub fn bits(model: &Model) -> BTreeMap<String, SeriesBits> {
    let series = |((tenant, labels), (columns, exemplars)): (&(TenantId, Labels), &OfSeries)| {
        let floats = columns.floats.iter().map(|s| (s.timestamp_ms, s.value.to_bits(), s.start_ms));
        let histograms = columns
            .histograms
            .iter()
            .map(|point| (point.timestamp_ms, point.start_ms, histogram_canonical_bytes(&point.histogram)));
        let exemplars = exemplars.iter().map(|e| (e.timestamp_ms, e.value.to_bits(), e.labels.to_string()));
        (format!("{tenant} {labels}"), (floats.collect(), histograms.collect(), exemplars.collect()))
    };
    model.0.iter().map(series).collect()
}

/// What a reader finds in blocks, which must be whole.
pub fn of_blocks(blocks: &[NewBlock]) -> Model {
    let mut all = Model::default();
    for block in blocks {
        all.add(of_block(block));
    }
    all
}

fn of_block(block: &NewBlock) -> Model {
    let object = std::sync::Arc::new(block.bytes.clone());
    let bytes = block.bytes.len() as u64;
    let source = BlockSource::open(1, object, bytes, PageCache::new(1 << 20)).expect("own bytes");
    let reader = PartReader::open(source).expect("own bytes");
    reader.verify(&mut |fault| panic!("{fault}"));
    let guard = QueryGuard::unlimited();
    let rows: Vec<u32> = (0..reader.summary().rows).collect();
    let keys: Vec<(TenantId, Labels)> = rows
        .iter()
        .map(|row| reader.tenant_of(*row).cloned().expect("rows have tenants"))
        .zip(reader.labels(&rows, &guard).expect("own bytes"))
        .collect();
    let mut model = Model::default();
    let read = reader.read(&rows, TimeRange::ALL, &guard, &mut |row, samples| {
        let (tenant, labels) = &keys[row as usize];
        let (columns, _) = model.series(tenant, labels);
        for (at, timestamp_ms) in samples.timestamps_ms.iter().enumerate() {
            let start_ms = samples.starts_ms.get(at).copied().unwrap_or(0);
            columns.floats.push(FloatSample {
                timestamp_ms: *timestamp_ms,
                start_ms,
                value: samples.values[at],
            });
        }
        columns.histograms.extend(samples.histograms);
        Ok(())
    });
    read.expect("own bytes");
    for (row, exemplars) in reader.exemplars(&rows, TimeRange::ALL, &guard).expect("own bytes") {
        let (tenant, labels) = &keys[row as usize];
        model.series(tenant, labels).1.extend(exemplars);
    }
    assert_eq!(model.0.len(), keys.len(), "every row has something, and no series has two");
    model
}
