//! A series over the step grid: one value per step, in a column.
//!
//! A step without a value holds [`ABSENT_BITS`], a signalling NaN that no arithmetic makes and
//! that [`present`] keeps out of what comes from storage: kernels need no second array to know
//! what is there.

use std::sync::Arc;

use crate::model::{Labels, METRIC_NAME};
use crate::promql::histogram::FloatHistogram;

/// "No float at this step."
pub const ABSENT_BITS: u64 = 0x7ff0_0000_0abe_5e27;
pub const ABSENT: f64 = f64::from_bits(ABSENT_BITS);

pub fn is_absent(value: f64) -> bool {
    value.to_bits() == ABSENT_BITS
}

/// A stored value as it may stand in a column.
pub fn present(value: f64) -> f64 {
    if is_absent(value) { f64::NAN } else { value }
}

/// Histograms per step, where a series has any.
pub type HistogramColumn = Vec<Option<Arc<FloatHistogram>>>;

/// One series over the grid.
#[derive(Clone, Debug)]
pub struct SeriesColumn {
    pub labels: Labels,
    /// The name is to be dropped when the query is done (delayed name removal).
    pub drop_name: bool,
    /// One per step.
    pub floats: Vec<f64>,
    /// One per step, if there are any; never both a float and a histogram at one step.
    pub histograms: Option<HistogramColumn>,
}

/// What a series has at one step.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    Absent,
    Float(f64),
    Histogram(&'a Arc<FloatHistogram>),
}

impl SeriesColumn {
    pub fn floats(labels: Labels, floats: Vec<f64>) -> Self {
        Self { labels, drop_name: false, floats, histograms: None }
    }

    /// A column without any value.
    pub fn absent(labels: Labels, steps: usize) -> Self {
        Self::floats(labels, vec![ABSENT; steps])
    }

    pub fn cell(&self, step: usize) -> Cell<'_> {
        let float = self.floats[step];
        if !is_absent(float) {
            return Cell::Float(float);
        }
        match &self.histograms {
            Some(column) => column[step].as_ref().map_or(Cell::Absent, Cell::Histogram),
            None => Cell::Absent,
        }
    }

    pub fn is_present(&self, step: usize) -> bool {
        !matches!(self.cell(step), Cell::Absent)
    }

    /// Sets a step that has no histogram.
    pub fn set_float(&mut self, step: usize, value: f64) {
        self.floats[step] = value;
    }

    pub fn set_histogram(&mut self, step: usize, value: Arc<FloatHistogram>) {
        let steps = self.floats.len();
        self.histograms.get_or_insert_with(|| vec![None; steps])[step] = Some(value);
    }

    pub fn clear(&mut self, step: usize) {
        self.floats[step] = ABSENT;
        if let Some(column) = &mut self.histograms {
            column[step] = None;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.floats.iter().all(|v| is_absent(*v))
            && self.histograms.as_ref().is_none_or(|column| column.iter().all(Option::is_none))
    }

    /// Samples as the limit counts them.
    pub fn samples(&self) -> u64 {
        let floats = self.floats.iter().filter(|v| !is_absent(**v)).count() as u64;
        let histograms = self
            .histograms
            .as_ref()
            .map_or(0, |column| column.iter().flatten().map(|h| h.sample_weight() as u64).sum());
        floats + histograms
    }

    /// Bytes that it takes; a histogram that goes on over several steps once.
    pub fn bytes(&self) -> u64 {
        let histograms = self.histograms.as_ref().map_or(0, |column| {
            let mut bytes = column.capacity() * 8;
            let mut before: Option<&Arc<FloatHistogram>> = None;
            for histogram in column.iter().flatten() {
                if before.is_none_or(|before| !Arc::ptr_eq(before, histogram)) {
                    bytes += histogram_bytes(histogram);
                }
                before = Some(histogram);
            }
            bytes
        });
        (size_of::<Self>() + self.labels.as_bytes().len() + self.floats.capacity() * 8 + histograms) as u64
    }

    /// The same value at every step of a longer grid; `self` has one step.
    pub fn broadcast(self, steps: usize) -> Self {
        let histograms = match self.histograms {
            Some(column) => column[0].is_some().then(|| vec![column[0].clone(); steps]),
            None => None,
        };
        Self { floats: vec![self.floats[0]; steps], histograms, ..self }
    }

    /// Marks the name as dropped, and drops it unless that is delayed.
    pub fn without_name(mut self, delayed: bool) -> Self {
        if !delayed {
            self.labels = drop_metric_name(&self.labels);
        }
        self.drop_name = true;
        self
    }
}

/// Bytes of a histogram behind its pointer.
pub fn histogram_bytes(histogram: &FloatHistogram) -> usize {
    size_of::<FloatHistogram>() + 16 * histogram.sample_weight()
}

/// Labels that say what a series measures: gone when an operation makes something else of it.
pub const METADATA_LABELS: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

pub fn is_metadata_label(name: &str) -> bool {
    METADATA_LABELS.contains(&name)
}

/// Whether more than the name would go with the name.
pub fn is_typed(labels: &Labels) -> bool {
    let [_, _, last] = METADATA_LABELS;
    let mut others = labels.iter().map(|(name, _)| name).take_while(|name| *name <= last);
    others.any(|name| name != METRIC_NAME && is_metadata_label(name))
}

pub fn drop_metric_name(labels: &Labels) -> Labels {
    labels.filtered(|name| !is_metadata_label(name))
}
