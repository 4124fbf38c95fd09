//! Samples of a simulated run: small numbers in the real container.
//!
//! Owns their bytes in frames and blocks, and their join: of two values at one place the greater stays. Every
//! value is written once, so that a value says which write it came from.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::encoding::frame::{put_section, take_section};
use crate::encoding::varint::{put_i64, put_u64, take_i64, take_u64};
use crate::replication::names::Partition;
use crate::replication::tombstone::Selection;

/// A series and a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub series: u8,
    pub at_ms: i64,
}

pub type Samples = BTreeMap<Place, u64>;

pub const SERIES: u8 = 6;
pub const PARTITIONS: Partition = 2;
pub const WINDOW_MS: i64 = 200_000;

impl Place {
    pub fn partition(&self) -> Partition {
        u16::from(self.series) % PARTITIONS
    }

    pub fn window_ms(&self) -> i64 {
        self.at_ms.div_euclid(WINDOW_MS) * WINDOW_MS
    }

    pub fn is_selected(&self, selection: &Selection) -> bool {
        selection.matchers[..] == [self.series]
            && (selection.start_ms..=selection.end_ms).contains(&self.at_ms)
    }
}

pub fn join(into: &mut Samples, from: impl IntoIterator<Item = (Place, u64)>) {
    for (place, value) in from {
        let held = into.entry(place).or_insert(value);
        *held = (*held).max(value);
    }
}

/// The samples that none of the selections means.
pub fn without<'a>(
    samples: &'a Samples,
    selections: &'a [Selection],
) -> impl Iterator<Item = (Place, u64)> + 'a {
    let is_kept = |place: &Place| !selections.iter().any(|selection| place.is_selected(selection));
    samples.iter().filter(move |(place, _)| is_kept(place)).map(|(place, value)| (*place, *value))
}

/// The payload of a frame: a summary as the log writes it, then the samples.
pub fn payload_of(samples: &Samples) -> Bytes {
    let mut summary = Vec::new();
    for count in [0, samples.len() as u64, 0, 0, 0, 0] {
        put_u64(&mut summary, count);
    }
    if let (Some((first, _)), Some((last, _))) = (samples.first_key_value(), samples.last_key_value()) {
        put_i64(&mut summary, first.at_ms.min(last.at_ms));
        put_u64(&mut summary, first.at_ms.abs_diff(last.at_ms));
    }
    let mut payload = Vec::new();
    put_section(&mut payload, 1, &summary);
    put_section(&mut payload, 4, &bytes_of(samples));
    payload.into()
}

pub fn of_payload(payload: &[u8]) -> Samples {
    let mut rest = payload;
    take_section(&mut rest).expect("a summary");
    match rest {
        [] => Samples::new(),
        _ => of_bytes(take_section(&mut rest).expect("samples").1),
    }
}

/// The bytes of a block.
pub fn bytes_of(samples: &Samples) -> Bytes {
    let mut bytes = Vec::new();
    for (place, value) in samples {
        bytes.push(place.series);
        put_i64(&mut bytes, place.at_ms);
        put_u64(&mut bytes, *value);
    }
    bytes.into()
}

pub fn of_bytes(mut rest: &[u8]) -> Samples {
    let mut samples = Samples::new();
    while let Some((series, ahead)) = rest.split_first() {
        rest = ahead;
        let at_ms = take_i64(&mut rest).expect("a time");
        samples.insert(Place { series: *series, at_ms }, take_u64(&mut rest).expect("a value"));
    }
    samples
}
