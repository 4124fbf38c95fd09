//! Reading: one tenant's answer from the head and all parts, joined.
//!
//! Series are found first ([`super::find`]), then read in batches in order of their labels, so that a
//! part is scanned along its own row order and memory stays bounded by a batch. How many series that is
//! follows from what those before took. Every piece of a series, from whichever epoch or part, goes
//! through one join; those that are one row each are [`super::single_rows`]'s. What there is, without
//! samples, tells [`super::look_up`].

use std::sync::Arc;

use super::erase::erase;
use super::found::{Found, Order};
use super::head::SeriesRef;
use super::join::SampleColumns;
use super::look_up::LookUp;
use super::part::{HeldColumns, RESERVED_BYTES, Room, RowSamples};
use super::readable::Readable;
use super::side_by_side::Weight;
use super::single_rows::{Reading, SHARED_ROWS, Wanted};
use super::view::{Hidden, Part, View};
use crate::model::{
    Exemplar, FloatSample, Labels, LabelsMap, Matcher, Metadata, ResetHint, TenantId, TimeRange,
};
use crate::querier::{
    ExemplarSeries, FloatsWanted, HistogramPoint, Moment, Querier, QueryError, QueryGuard, SelectRequest,
    Series, SeriesIter,
};

/// Series read at a time: at first, while nobody knows how long they are, and at most.
const FIRST_BATCH_SERIES: usize = 8;
pub(super) const BATCH_SERIES: usize = 512;

/// More are read at a time where that many take no more memory than so much.
const SHORT_BATCH_SERIES: usize = 4096;
const SHORT_BATCH_BYTES: u64 = 1 << 20;

/// Parts between two looks at how many texts they hold decoded.
const TEXTS_LOOK_PARTS: usize = 32;

/// Answers for one tenant.
pub struct TenantQuerier {
    pub(super) store: Arc<dyn Readable>,
    pub(super) tenant: TenantId,
}

impl TenantQuerier {
    pub fn new(store: Arc<dyn Readable>, tenant: TenantId) -> Self {
        Self { store, tenant }
    }

    /// Reads one batch of series; what they take is what stays reserved, and what is held of columns. Of a batch
    /// that there is no memory for, nothing does.
    fn read_leased(
        &self,
        view: &View,
        batch: &[Found],
        range: TimeRange,
        floats: FloatsWanted,
        held: &HeldColumns<'_>,
        guard: &QueryGuard,
    ) -> Result<Vec<Series>, QueryError> {
        let before = guard.reserved_bytes().saturating_sub(held.bytes());
        let read = self.read(view, batch, range, floats, held, guard);
        let series = match read {
            Err(error @ QueryError::Memory(_)) => {
                guard.reserve_exactly(before + held.bytes())?;
                return Err(error);
            }
            read => read?,
        };
        held.bound(guard.batch_bytes() / 4);
        let kept = held.bytes() + series.iter().map(Series::bytes).sum::<u64>();
        guard.reserve_exactly(before + kept)?;
        Ok(series)
    }

    /// Reads one batch of series. Reserves for all that it takes meanwhile.
    pub(super) fn read(
        &self,
        view: &View,
        batch: &[Found],
        range: TimeRange,
        floats: FloatsWanted,
        held: &HeldColumns<'_>,
        guard: &QueryGuard,
    ) -> Result<Vec<Series>, QueryError> {
        let reading = Reading { view, batch, range, floats, held, guard };
        if reading.is_of_single_rows() {
            return self.read_rows(&reading);
        }
        let mut pieces: Vec<Pieces> = batch.iter().map(|_| Pieces::default()).collect();
        let wanted = reading.wanted_rows();
        let (stretches, weight) = self.stretches(&wanted);
        let of_part = |wanted: &&[Wanted]| {
            let mut found: Vec<(usize, RowSamples)> = Vec::with_capacity(wanted.len());
            self.read_stretch(&reading, wanted, &mut |at, samples| found.push((at, samples)))?;
            Ok::<_, QueryError>(found)
        };
        self.store.side_by_side().each_of(weight, &stretches, of_part, |done| {
            let found = done.into_iter().flat_map(|(_, found)| found);
            found.for_each(|(at, samples)| pieces[at].push(samples));
            Ok(())
        })?;
        let of_head = |(at, found): (usize, &Found)| Some((at, found.head?));
        let in_head: Vec<(usize, SeriesRef)> = batch.iter().enumerate().filter_map(of_head).collect();
        let at_once = in_head.len().div_ceil(self.store.side_by_side().sharers()).max(SHARED_ROWS);
        let stretches: Vec<&[(usize, SeriesRef)]> = in_head.chunks(at_once).collect();
        let of_stretch = |wanted: &&[(usize, SeriesRef)]| self.read_head(&reading, wanted);
        self.store.side_by_side().each_of(Weight::Heavy, &stretches, of_stretch, |done| {
            let found = done.into_iter().flat_map(|(_, found)| found);
            found.for_each(|(at, samples)| pieces[at].push(samples));
            Ok(())
        })?;
        let mut answer = Vec::with_capacity(batch.len());
        let mut copied_bytes = 0;
        for (found, pieces) in batch.iter().zip(pieces) {
            let copied = pieces.copied_bytes();
            guard.reserve(copied.saturating_sub(copied_bytes))?;
            copied_bytes = copied_bytes.max(copied);
            answer.extend(series_of(found, pieces.join(), range));
        }
        guard.release(copied_bytes);
        Ok(answer)
    }

    /// Reads what some series of a batch have in the head, epoch by epoch, with their places there.
    fn read_head(
        &self,
        reading: &Reading<'_, '_>,
        wanted: &[(usize, SeriesRef)],
    ) -> Result<Vec<(usize, RowSamples)>, QueryError> {
        let Reading { view, batch, range, guard, .. } = *reading;
        guard.check()?;
        let hiding = |last_file| -> Vec<&Hidden> {
            view.hidden.iter().map(|h| &**h).filter(|h| h.binds(last_file)).collect()
        };
        let hiding: Vec<Vec<&Hidden>> = view.epochs.iter().map(|epoch| hiding(epoch.last_file)).collect();
        let at_once_bytes = if wanted.len() < SHARED_ROWS { 0 } else { RESERVED_BYTES };
        let mut room = Room::new(guard, at_once_bytes);
        let mut columns = SampleColumns::default();
        let mut found: Vec<(usize, RowSamples)> = Vec::with_capacity(wanted.len());
        for (at, series) in wanted {
            for (epoch, hiding) in view.epochs.iter().zip(&hiding) {
                columns.clear();
                match reading.floats_below(hiding).latest_only {
                    true => epoch.epoch.read_latest(*series, range, &mut columns),
                    false => epoch.epoch.read(*series, range, &mut columns),
                }
                if columns.is_empty() {
                    continue;
                }
                columns.join();
                let mut samples = row_samples(&columns);
                self.hide(hiding, &batch[*at].labels, &mut samples);
                room.take(piece_bytes(&samples))?;
                found.push((*at, samples));
            }
        }
        Ok(found)
    }

    /// Takes away what deletions hide.
    pub(super) fn hide(&self, hiding: &[&Hidden], labels: &Labels, samples: &mut RowSamples) {
        for hidden in hiding.iter().filter(|hidden| hidden.matches(&self.tenant, labels)) {
            erase(samples, hidden.range());
        }
    }

    /// Keeps what parts hold decoded within half of what RocksDB's cache has; to be called with the
    /// place of each part that was read.
    pub(super) fn bound_texts(&self, view: &View, part_at: usize) {
        if part_at.is_multiple_of(TEXTS_LOOK_PARTS) || part_at + 1 == view.parts.len() {
            view.bound_texts(self.store.text_bytes_max());
        }
    }

    pub(super) fn within_retention(&self, range: TimeRange) -> TimeRange {
        let retention = self.store.retention();
        TimeRange::new(range.start_ms.max(retention.oldest_ms()), range.end_ms)
    }
}

impl Querier for TenantQuerier {
    fn select<'a>(
        &'a self,
        request: &SelectRequest,
        guard: &'a QueryGuard,
    ) -> Result<SeriesIter<'a>, QueryError> {
        let range = self.within_retention(request.range);
        let floats = request.hints.floats;
        let labels = &request.hints.labels;
        let order =
            if request.hints.any_order && labels.leave_order_free() { Order::Any } else { Order::OfLabels };
        let (view, found) = self.find(&request.matchers, range, labels, order, guard)?;
        let held = HeldColumns::new(guard);
        let mut ready: std::vec::IntoIter<Series> = Vec::new().into_iter();
        let mut at = 0;
        let mut size = FIRST_BATCH_SERIES;
        let mut most = usize::MAX;
        let mut failed = false;
        Ok(Box::new(std::iter::from_fn(move || {
            loop {
                if let Some(series) = ready.next() {
                    return Some(Ok(series));
                }
                if failed || at >= found.len() {
                    return None;
                }
                let end = (at + size).min(found.len());
                match self.read_leased(&view, &found[at..end], range, floats, &held, guard) {
                    Ok(batch) => {
                        size = next_batch_series(&batch, size, guard.batch_bytes() / 2).min(most);
                        ready = batch.into_iter();
                    }
                    // They are far longer than those before, and nobody else has what is missing.
                    Err(QueryError::Memory(_)) if end - at > 1 && !guard.has_collided() => {
                        most = ((end - at) / 8).max(1);
                        size = most;
                        continue;
                    }
                    Err(error) => {
                        failed = true;
                        return Some(Err(error));
                    }
                }
                at = end;
            }
        })))
    }

    fn series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        guard: &QueryGuard,
    ) -> Result<Vec<Labels>, QueryError> {
        self.look_up_series(LookUp { matcher_sets, range: self.within_retention(range), limit, guard })
    }

    fn label_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        guard: &QueryGuard,
    ) -> Result<Vec<String>, QueryError> {
        self.look_up_names(LookUp { matcher_sets, range: self.within_retention(range), limit, guard })
    }

    fn label_values(
        &self,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        guard: &QueryGuard,
    ) -> Result<Vec<String>, QueryError> {
        self.look_up_values(name, LookUp { matcher_sets, range: self.within_retention(range), limit, guard })
    }

    fn exemplars(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        guard: &QueryGuard,
    ) -> Result<Vec<ExemplarSeries>, QueryError> {
        let range = self.within_retention(range);
        let mut by_labels: LabelsMap<Vec<Exemplar>> = LabelsMap::default();
        for matchers in matcher_sets {
            let registry = self.store.registry().view();
            let view = self.store.view();
            for series in registry.select(&self.tenant, matchers) {
                let mut exemplars = Vec::new();
                for epoch in &view.epochs {
                    epoch.epoch.read_exemplars(series, range, &mut exemplars);
                }
                if !exemplars.is_empty() {
                    by_labels.entry(registry.labels(series)).or_default().extend(exemplars);
                }
            }
            drop(registry);
            let with_some = view.parts.iter().filter(|part| part.entry.exemplars > 0);
            let parts: Vec<&Part> = with_some.map(|part| &**part).collect();
            let of_part = |part: &&Part| {
                guard.check()?;
                let reader = part.reader()?;
                let rows = reader.select_exemplars(&self.tenant, matchers, range, guard)?;
                let labels = reader.labels(&rows, guard)?;
                let found = reader.exemplars(&rows, range, guard)?.into_iter();
                let labelled = |(row, exemplars): (u32, Vec<Exemplar>)| {
                    (labels[rows.partition_point(|r| *r < row)].clone(), exemplars)
                };
                Ok::<Vec<_>, QueryError>(found.map(labelled).collect())
            };
            self.store.side_by_side().each(&parts, of_part, |done| {
                for (labels, exemplars) in done.into_iter().flat_map(|(_, found)| found) {
                    by_labels.entry(labels).or_default().extend(exemplars);
                }
                Ok(())
            })?;
        }
        let retention = self.store.retention();
        if retention.has_rules_after(range.start_ms) {
            for (labels, exemplars) in &mut by_labels {
                let oldest_ms = retention.oldest_of_ms(&self.tenant, labels);
                exemplars.retain(|exemplar| exemplar.timestamp_ms >= oldest_ms);
            }
        }
        let mut answer: Vec<ExemplarSeries> = by_labels
            .into_iter()
            .filter(|(_, exemplars)| !exemplars.is_empty())
            .map(|(labels, mut exemplars)| {
                sort_exemplars(&mut exemplars);
                ExemplarSeries { labels, exemplars }
            })
            .collect();
        answer.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(answer)
    }

    fn metadata(&self, metric: Option<&str>) -> Result<Vec<Metadata>, QueryError> {
        Ok(self.store.metadata().of_tenant(&self.tenant, metric))
    }

    fn moment(&self) -> Option<Moment> {
        Some(self.store.changes().moment())
    }

    fn changed_since(&self, moment: Moment) -> i64 {
        self.store.changes().since(&self.tenant, moment)
    }

    fn kept_from_ms(&self) -> i64 {
        self.store.retention().oldest_of_any_ms()
    }
}

/// Sorts exemplars by time and leaves each once.
pub(super) fn sort_exemplars(exemplars: &mut Vec<Exemplar>) {
    exemplars.sort_by(|a, b| {
        (a.timestamp_ms, a.labels.as_bytes(), a.value.to_bits()).cmp(&(
            b.timestamp_ms,
            b.labels.as_bytes(),
            b.value.to_bits(),
        ))
    });
    exemplars.dedup();
}

/// How many series to read after a batch of `size`: as many as `bytes_max` holds if they are like
/// the longest of it, but not many more at once.
fn next_batch_series(batch: &[Series], size: usize, bytes_max: u64) -> usize {
    let longest = batch.iter().map(Series::bytes).max().unwrap_or(0).max(1);
    let fitting = |bytes: u64| usize::try_from(bytes / longest).unwrap_or(usize::MAX);
    let most = fitting(SHORT_BATCH_BYTES).clamp(BATCH_SERIES, SHORT_BATCH_SERIES);
    fitting(bytes_max).clamp(1, most.min(size * 8))
}

/// A series of what its places have; `None` where nothing is left of it.
pub(super) fn series_of(found: &Found, mut samples: RowSamples, range: TimeRange) -> Option<Series> {
    drop_claims(&mut samples.histograms);
    if found.oldest_ms > range.start_ms {
        erase(&mut samples, TimeRange::new(i64::MIN, found.oldest_ms - 1));
    }
    let is_something = !samples.is_empty();
    let RowSamples { timestamps_ms, values, starts_ms, histograms } = samples;
    is_something.then(|| Series {
        labels: found.labels.clone(),
        timestamps_ms,
        values,
        starts_ms,
        histograms,
    })
}

/// What places have of a series: mostly it is one that has all of it.
#[derive(Default)]
struct Pieces {
    first: Option<RowSamples>,
    others: Vec<RowSamples>,
}

impl Pieces {
    fn push(&mut self, piece: RowSamples) {
        match self.first {
            None => self.first = Some(piece),
            Some(_) => self.others.push(piece),
        }
    }

    /// Several are copied into one: memory that it takes while they are there.
    fn copied_bytes(&self) -> u64 {
        if self.others.is_empty() { 0 } else { self.first.iter().chain(&self.others).map(piece_bytes).sum() }
    }

    fn join(self) -> RowSamples {
        let Self { first, others: mut pieces } = self;
        let Some(mut first) = first else { return RowSamples::default() };
        if pieces.is_empty() {
            shrink(&mut first);
            return first;
        }
        pieces.insert(0, first);
        join_pieces(pieces)
    }
}

/// To what it holds.
pub(super) fn shrink(samples: &mut RowSamples) {
    samples.timestamps_ms.shrink_to_fit();
    samples.values.shrink_to_fit();
}

/// Joins the pieces of one series. Pieces that follow each other in time, the usual case, are
/// only strung together.
pub(super) fn join_pieces(mut pieces: Vec<RowSamples>) -> RowSamples {
    if pieces.len() <= 1 {
        let mut only = pieces.pop().unwrap_or_default();
        shrink(&mut only);
        return only;
    }
    pieces.sort_by_key(first_ms);
    let apart = pieces.windows(2).all(|pair| last_ms(&pair[0]) < first_ms(&pair[1]));
    if apart {
        return concatenate(pieces);
    }
    let mut columns = SampleColumns::default();
    for piece in pieces {
        columns.floats.extend(floats_of(&piece));
        columns.histograms.extend(piece.histograms);
    }
    columns.join();
    row_samples(&columns)
}

fn concatenate(pieces: Vec<RowSamples>) -> RowSamples {
    let any_start = pieces.iter().any(|piece| !piece.starts_ms.is_empty());
    let samples = pieces.iter().map(|piece| piece.timestamps_ms.len()).sum::<usize>();
    let mut pieces = pieces.into_iter();
    let mut all = pieces.next().unwrap_or_default();
    let more = samples - all.timestamps_ms.len();
    all.timestamps_ms.reserve_exact(more);
    all.values.reserve_exact(more);
    if any_start && all.starts_ms.is_empty() {
        all.starts_ms.resize(all.timestamps_ms.len(), 0);
    }
    for piece in pieces {
        all.timestamps_ms.extend_from_slice(&piece.timestamps_ms);
        all.values.extend_from_slice(&piece.values);
        all.starts_ms.extend_from_slice(&piece.starts_ms);
        if any_start {
            all.starts_ms.resize(all.timestamps_ms.len(), 0);
        }
        all.histograms.extend(piece.histograms);
    }
    all
}

fn first_ms(piece: &RowSamples) -> i64 {
    let histogram = piece.histograms.first().map(|point| point.timestamp_ms);
    piece.timestamps_ms.first().copied().into_iter().chain(histogram).min().unwrap_or(i64::MIN)
}

fn last_ms(piece: &RowSamples) -> i64 {
    let histogram = piece.histograms.last().map(|point| point.timestamp_ms);
    piece.timestamps_ms.last().copied().into_iter().chain(histogram).max().unwrap_or(i64::MIN)
}

fn floats_of(piece: &RowSamples) -> impl Iterator<Item = FloatSample> + '_ {
    piece.timestamps_ms.iter().zip(&piece.values).enumerate().map(|(at, (timestamp_ms, value))| FloatSample {
        timestamp_ms: *timestamp_ms,
        start_ms: piece.starts_ms.get(at).copied().unwrap_or(0),
        value: *value,
    })
}

/// Forgets what senders claim about counter resets, as Prometheus does: samples come in any order,
/// and whether a counter was reset is seen by comparing neighbours. That it is a gauge stays.
fn drop_claims(histograms: &mut [HistogramPoint]) {
    for point in histograms {
        if matches!(point.histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset) {
            Arc::make_mut(&mut point.histogram).reset_hint = ResetHint::Unknown;
        }
    }
}

/// Columns of joined samples.
pub(super) fn row_samples(columns: &SampleColumns) -> RowSamples {
    let any_start = columns.floats.iter().any(|sample| sample.start_ms != 0);
    RowSamples {
        timestamps_ms: columns.floats.iter().map(|sample| sample.timestamp_ms).collect(),
        values: columns.floats.iter().map(|sample| sample.value).collect(),
        starts_ms: if any_start {
            columns.floats.iter().map(|sample| sample.start_ms).collect()
        } else {
            Vec::new()
        },
        histograms: columns.histograms.clone(),
    }
}

fn piece_bytes(piece: &RowSamples) -> u64 {
    let floats = 16 * piece.timestamps_ms.len() + 8 * piece.starts_ms.len();
    (floats + 400 * piece.histograms.len()) as u64
}
