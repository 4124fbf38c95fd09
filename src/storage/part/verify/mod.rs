//! Verifies a part against itself: everything that its sections say twice must agree.
//!
//! Checksums are the container's. What they cannot see is looked for here: strings out of order, rows
//! twice, records that decode to something other than what was promised, an index that names other
//! rows than the labels do, figures of the header that nobody can count again.
//!
//! - [`symbols`]: the dictionary and the separators that lead to its blocks
//! - [`records`]: which records there are, and the timestamp columns they refer to
//! - [`rows`]: labels, samples, exemplars and time bounds row by row, and the header's sums
//! - [`index`]: the index against what rows say, by sums of hashes, so that no copy of it is held
//!
//! Goes on after a fault where it can: a check that stops at the first names half of the damage.

mod index;
mod records;
mod rows;
mod symbols;

use super::container::{Section, SectionSource};
use super::error::PartError;
use super::reader::PartReader;

/// Takes one fault: where in the part, and what.
pub type Report<'a> = &'a mut dyn FnMut(String);

/// Above every key of every section.
const AFTER_ALL_KEYS: [u8; 32] = [0xff; 32];

impl<S: SectionSource> PartReader<S> {
    /// Reads all of the part and reports what is wrong with it.
    pub fn verify(&self, report: Report<'_>) {
        sections(self, report);
        symbols::verify(self, report);
        records::verify(self, report);
        let expected = rows::verify(self, report);
        index::verify(self, &expected, report);
    }

    /// Every key and value of a section.
    fn scan_all(&self, section: Section, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), PartError> {
        self.source.scan(section, &[], &AFTER_ALL_KEYS, &mut |key, value| {
            visit(key, value);
            Ok(true)
        })
    }
}

/// Sections that must not be empty are not, and together have the bytes that the header counted.
fn sections<S: SectionSource>(reader: &PartReader<S>, report: Report<'_>) {
    let summary = &reader.summary;
    let mut bytes = 0;
    for section in Section::ALL {
        let mut section_bytes = 0;
        let scanned =
            reader.scan_all(section, &mut |key, value| section_bytes += (key.len() + value.len()) as u64);
        if let Err(error) = scanned {
            report(error.to_string());
            return;
        }
        let wanted = match section {
            Section::Header => true,
            Section::Symbols => summary.symbols > 0,
            Section::Series | Section::Index => summary.rows > 0,
            Section::TimestampColumns => summary.timestamp_columns > 0,
            Section::Floats => summary.float_samples > 0,
            Section::Histograms => summary.histogram_samples > 0,
            Section::Exemplars => summary.exemplars > 0,
        };
        if wanted != (section_bytes > 0) {
            let is = if wanted { "missing" } else { "there, though the header says there is nothing in it" };
            report(format!("section {} is {is}", section.as_str()));
        }
        if section != Section::Header {
            bytes += section_bytes;
        }
    }
    if bytes != summary.bytes {
        report(format!("its sections have {bytes} bytes, the header counted {}", summary.bytes));
    }
}
