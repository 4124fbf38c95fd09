//! Frames of segments into a registry and an epoch.
//!
//! Owns what of a frame is entered: series, samples, exemplars, without what deletions select. Metadata
//! has a place of its own, and is no part of blocks. Where frames come from is the caller's business.

use std::collections::{BTreeSet, HashMap};

use super::selection::Selected;
use crate::model::time::DAY_MS;
use crate::model::{Labels, TimeRange};
use crate::storage::head::epoch::{Epoch, EpochWriter};
use crate::storage::head::registry::LoggedLabels;
use crate::storage::head::{Registry, SeriesRef};
use crate::storage::log::{DecodedFrame, FreshDecoder, LoggedMetadata};

/// Enters one frame after another.
pub struct Frames<'a> {
    registry: &'a Registry,
    epoch: &'a Epoch,
    decoder: FreshDecoder,
    frame: DecodedFrame,
    labels: LoggedLabels,
    /// By number in the frame.
    series: Vec<SeriesRef>,
    days: Days,
}

/// What a series' samples lose, by number of the series in its frame; most lose nothing.
type Erased = HashMap<u32, Vec<TimeRange>>;

impl<'a> Frames<'a> {
    pub fn new(registry: &'a Registry, epoch: &'a Epoch) -> Self {
        Self {
            registry,
            epoch,
            decoder: FreshDecoder::default(),
            frame: DecodedFrame::default(),
            labels: LoggedLabels::default(),
            series: Vec::new(),
            days: Days::default(),
        }
    }

    /// Enters the payload of a fresh frame; the error says what of it makes no sense. Selected samples are
    /// left out. Exemplars stay, as they do in every store.
    pub fn enter(&mut self, payload: &[u8], deletions: &[Selected]) -> Result<(), String> {
        self.decoder.decode(payload, &mut self.frame).map_err(|error| error.to_string())?;
        if let Some(tombstone) = self.frame.tombstones.first() {
            // Deletions are objects of their own; one in a segment is not of our making.
            return Err(format!("deletion {:032x} does not belong here", tombstone.id));
        }
        self.enter_series();
        let erased = if deletions.is_empty() { Erased::new() } else { self.erased_by(deletions) };
        self.enter_samples(&erased)
    }

    /// What the last frame says of metric families.
    pub fn metadata(&self) -> &[LoggedMetadata] {
        &self.frame.metadata
    }

    /// The days that have a sample or an exemplar, counted from 1970.
    pub fn into_days(self) -> BTreeSet<i64> {
        self.days.all
    }

    fn enter_series(&mut self) {
        self.series.clear();
        self.labels.replace(&mut self.frame.new_labels);
        for (tenant, series) in self.frame.new_series.runs() {
            self.registry.restore(&mut self.labels, tenant, series, self.epoch.number, &mut self.series);
        }
    }

    fn erased_by(&self, deletions: &[Selected]) -> Erased {
        let mut erased = Erased::new();
        let mut number = 0;
        for (tenant, series) in self.frame.new_series.runs() {
            for pairs in series {
                let texts = pairs.iter().map(|pair| self.labels.label(*pair));
                let labels = Labels::from_sorted(texts);
                let hiding = deletions.iter().filter(|selected| selected.matches(tenant, &labels));
                let ranges: Vec<TimeRange> = hiding.map(|selected| selected.range).collect();
                if !ranges.is_empty() {
                    erased.insert(number, ranges);
                }
                number += 1;
            }
        }
        erased
    }

    fn enter_samples(&mut self, erased: &Erased) -> Result<(), String> {
        let known = |number: u32| {
            let series = self.series.get(number as usize).copied();
            series.ok_or_else(|| format!("series {number} is not defined in its frame"))
        };
        let is_kept = |number: u32, timestamp_ms: i64| {
            let ranges = erased.get(&number);
            !ranges.is_some_and(|ranges| ranges.iter().any(|range| range.contains(timestamp_ms)))
        };
        let (frame, days) = (&self.frame, &mut self.days);
        let mut writer = EpochWriter::new(self.epoch, self.registry);
        for (number, sample) in &frame.floats {
            let series = known(*number)?;
            if is_kept(*number, sample.timestamp_ms) {
                days.add(sample.timestamp_ms);
                writer.push_float(series, *sample);
            }
        }
        for (number, sample) in &frame.histograms {
            let series = known(*number)?;
            if is_kept(*number, sample.timestamp_ms) {
                days.add(sample.timestamp_ms);
                writer.push_histogram(series, sample);
            }
        }
        for (number, exemplar) in &frame.exemplars {
            let series = known(*number)?;
            days.add(exemplar.timestamp_ms);
            writer.push_exemplar(series, exemplar);
        }
        Ok(())
    }
}

/// Days that were met.
struct Days {
    all: BTreeSet<i64>,
    /// The day that was met last: mostly it is met again.
    last: TimeRange,
}

impl Default for Days {
    fn default() -> Self {
        Self { all: BTreeSet::new(), last: TimeRange::new(i64::MAX, i64::MIN) }
    }
}

impl Days {
    fn add(&mut self, timestamp_ms: i64) {
        if self.last.contains(timestamp_ms) {
            return;
        }
        let day = timestamp_ms.div_euclid(DAY_MS);
        self.all.insert(day);
        self.last = day_range(day);
    }
}

/// All times of a day that there are, both ends included; none of a day that no time is on.
pub fn day_range(day: i64) -> TimeRange {
    let start_ms = i128::from(day) * i128::from(DAY_MS);
    let end_ms = start_ms + i128::from(DAY_MS) - 1;
    let (first_ms, last_ms) = (i128::from(i64::MIN), i128::from(i64::MAX));
    if end_ms < first_ms || last_ms < start_ms {
        return TimeRange::new(i64::MAX, i64::MIN);
    }
    TimeRange::new(start_ms.max(first_ms) as i64, end_ms.min(last_ms) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_on_its_day_and_no_other() {
        for timestamp_ms in
            [i64::MIN, i64::MIN + DAY_MS, -DAY_MS - 1, -1, 0, DAY_MS, i64::MAX - DAY_MS, i64::MAX]
        {
            let day = timestamp_ms.div_euclid(DAY_MS);
            assert!(day_range(day).contains(timestamp_ms), "{timestamp_ms}");
            assert!(!day_range(day + 1).contains(timestamp_ms), "{timestamp_ms}");
            assert!(!day_range(day - 1).contains(timestamp_ms), "{timestamp_ms}");
        }
        assert!(day_range(i64::MIN).is_empty() && day_range(i64::MAX).is_empty());
    }
}
