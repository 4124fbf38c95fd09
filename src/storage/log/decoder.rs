//! Decodes the payload of a frame into records.
//!
//! Owns which sections there are and that they say what the summary promises. Reads no file.

use crate::encoding::frame::take_section;
use crate::model::series_batch::HistogramSample;
use crate::model::{Exemplar, FloatSample};

use super::defined::{DefinedLabels, DefinedSeries};
use super::floats::{decode_floats, decode_starts};
use super::frame::tag;
use super::histograms::decode_histograms;
use super::layout::FRAME_BYTES_MAX;
use super::malformed::{Malformed, Weight};
use super::records::{self, LoggedMetadata, Tombstone};
use super::summary::Summary;
use super::tables::Tables;

/// What a frame holds. To be used again for the next frame: the columns keep their memory.
///
/// Series are named by their number in the file. The order of samples is that in which requests
/// brought them.
#[derive(Debug, Default)]
pub struct DecodedFrame {
    pub partition: u16,
    /// Where the frame stands in its file.
    pub offset: u64,
    /// Whether the numbers of series start again from 0: what they meant before is over.
    pub fresh: bool,
    pub summary: Summary,
    pub new_labels: DefinedLabels,
    pub new_series: DefinedSeries,
    pub floats: Vec<(u32, FloatSample)>,
    pub histograms: Vec<(u32, HistogramSample)>,
    pub exemplars: Vec<(u32, Exemplar)>,
    pub metadata: Vec<LoggedMetadata>,
    /// They hide what stands in this frame and in earlier ones.
    pub tombstones: Vec<Tombstone>,
}

impl DecodedFrame {
    pub(super) fn clear(&mut self) {
        self.new_labels.clear();
        self.new_series.clear();
        self.floats.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata.clear();
        self.tombstones.clear();
    }

    fn counts(&self) -> [u64; 6] {
        [
            self.new_series.len() as u64,
            self.floats.len() as u64,
            self.histograms.len() as u64,
            self.exemplars.len() as u64,
            self.metadata.len() as u64,
            self.tombstones.len() as u64,
        ]
    }
}

/// Why a payload cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    #[error("section {section} of the frame: {why}")]
    Malformed { section: &'static str, why: Malformed },
    #[error("a section with tag {0}, which this build does not know")]
    UnknownSection(u8),
}

/// Takes the summary that every payload starts with.
pub fn take_summary(payload: &mut &[u8]) -> Result<Summary, PayloadError> {
    let malformed = |why| PayloadError::Malformed { section: "summary", why };
    let (tag, mut section) = take_section(payload).map_err(|why| malformed(why.into()))?;
    if tag != tag::SUMMARY {
        return Err(malformed(Malformed::What("it does not come first")));
    }
    let summary = Summary::take(&mut section).map_err(malformed)?;
    if section.is_empty() { Ok(summary) } else { Err(malformed(Malformed::What("it is too long"))) }
}

/// About how much memory a payload takes when it is decoded, the payload included; what it claims is
/// believed up to what a frame may take.
pub fn decoded_bytes(payload: &[u8]) -> u64 {
    // A byte of what is no float becomes about so many.
    const GROWTH: u64 = 8;
    let floats = take_summary(&mut { payload }).map_or(0, |summary| summary.floats);
    let float_bytes = floats.saturating_mul(size_of::<(u32, FloatSample)>() as u64);
    float_bytes.saturating_add(GROWTH * payload.len() as u64).min(FRAME_BYTES_MAX)
}

/// Decodes the payload of a fresh frame, which refers to no other, into `frame`.
pub fn decode_fresh(payload: &[u8], frame: &mut DecodedFrame) -> Result<(), PayloadError> {
    FreshDecoder::default().decode(payload, frame)
}

/// Decodes fresh frames one after the other, in memory that serves again.
#[derive(Debug, Default)]
pub struct FreshDecoder {
    tables: Tables,
}

impl FreshDecoder {
    /// As [`decode_fresh`].
    pub fn decode(&mut self, payload: &[u8], frame: &mut DecodedFrame) -> Result<(), PayloadError> {
        frame.fresh = true;
        frame.clear();
        self.tables.clear();
        decode_sections(payload, &mut self.tables, frame)?;
        // All that the tables have is the frame's own.
        self.tables.swap_labels(&mut frame.new_labels);
        Ok(())
    }
}

/// Decodes a payload into `frame`, whose columns are cleared first.
pub fn decode_payload(
    payload: &[u8],
    tables: &mut Tables,
    frame: &mut DecodedFrame,
) -> Result<(), PayloadError> {
    frame.clear();
    let (symbols, pairs) = (tables.labels().symbols(), tables.labels().pairs());
    decode_sections(payload, tables, frame)?;
    frame.new_labels.append_since(tables.labels(), symbols, pairs);
    Ok(())
}

/// Decodes all but the labels that are new, which stand in the tables.
fn decode_sections(
    mut payload: &[u8],
    tables: &mut Tables,
    frame: &mut DecodedFrame,
) -> Result<(), PayloadError> {
    frame.summary = take_summary(&mut payload)?;
    let mut weight = Weight::default();
    let mut previous = tag::SUMMARY;
    while !payload.is_empty() {
        let envelope = |why| PayloadError::Malformed { section: "frame", why };
        let (tag, section) = take_section(&mut payload).map_err(|why| envelope(why.into()))?;
        if tag & !tag::OPTIONAL <= previous {
            return Err(envelope(Malformed::What("sections are not in order")));
        }
        previous = tag & !tag::OPTIONAL;
        let Some(name) = section_name(tag) else {
            if tag & tag::OPTIONAL != 0 {
                continue;
            }
            return Err(PayloadError::UnknownSection(tag));
        };
        decode_section(tag, section, tables, &mut weight, frame)
            .map_err(|why| PayloadError::Malformed { section: name, why })?;
    }
    if frame.counts() != frame.summary.counts() {
        let why = Malformed::What("it does not match the records");
        return Err(PayloadError::Malformed { section: "summary", why });
    }
    Ok(())
}

fn section_name(tag: u8) -> Option<&'static str> {
    Some(match tag {
        tag::SYMBOLS => "symbols",
        tag::SERIES => "series",
        tag::FLOATS => "floats",
        tag::STARTS => "start timestamps",
        tag::HISTOGRAMS => "histograms",
        tag::EXEMPLARS => "exemplars",
        tag::METADATA => "metadata",
        tag::TOMBSTONES => "tombstones",
        _ => return None,
    })
}

fn decode_section(
    tag: u8,
    section: &[u8],
    tables: &mut Tables,
    weight: &mut Weight,
    frame: &mut DecodedFrame,
) -> Result<(), Malformed> {
    match tag {
        tag::SYMBOLS => tables.decode_symbols(section),
        tag::SERIES => tables.decode_series(section, weight, &mut frame.new_series),
        tag::FLOATS => decode_floats(section, tables.series(), weight, &mut frame.floats),
        tag::STARTS => decode_starts(section, &mut frame.floats),
        tag::HISTOGRAMS => decode_histograms(section, tables.series(), weight, &mut frame.histograms),
        tag::EXEMPLARS => records::decode_exemplars(section, tables, weight, &mut frame.exemplars),
        tag::METADATA => records::decode_metadata(section, tables, weight, &mut frame.metadata),
        _ => records::decode_tombstones(section, tables, weight, &mut frame.tombstones),
    }
}
