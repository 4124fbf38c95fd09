//! Remote write 2.0, as cheap as it gets: symbols once per request, the rest by number.

use super::population::{Shape, TARGET_LABELS, Target};
use crate::support::wire::{Request, compress, put_bytes, put_varint};

pub const MINUTE_MS: i64 = 60_000;

/// What Prometheus writes when a target is gone.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// A symbol of the labels of a series.
#[derive(Clone, Copy)]
enum Symbol {
    /// The same in every request.
    Common(u64),
    /// The target's value of this label.
    OfTarget(u64),
}

/// Knows the series of a target; writes requests of several targets.
pub struct Encoder {
    shapes: Vec<Shape>,
    common: Vec<&'static str>,
    /// Label pairs of each shape, in order of names.
    references: Vec<Vec<Symbol>>,
}

/// One request under construction.
pub struct Draft {
    symbols: Vec<u8>,
    symbol_count: u64,
    series: Vec<u8>,
    pub samples: u64,
    pub stale_markers: u64,
}

impl Encoder {
    pub fn new(shapes: Vec<Shape>) -> Self {
        let mut encoder = Self { shapes: Vec::new(), common: vec![""], references: Vec::new() };
        let names = TARGET_LABELS.map(|name| encoder.symbol(name));
        for shape in &shapes {
            let mut pairs: Vec<(&str, Symbol, Symbol)> = shape
                .labels
                .iter()
                .map(|(name, value)| {
                    (*name, Symbol::Common(encoder.symbol(name)), Symbol::Common(encoder.symbol(value)))
                })
                .collect();
            let own = TARGET_LABELS.into_iter().zip(names).zip(0..);
            pairs
                .extend(own.map(|((name, number), at)| (name, Symbol::Common(number), Symbol::OfTarget(at))));
            pairs.sort_by_key(|(name, ..)| *name);
            encoder.references.push(pairs.into_iter().flat_map(|(_, name, value)| [name, value]).collect());
        }
        encoder.shapes = shapes;
        encoder
    }

    fn symbol(&mut self, text: &'static str) -> u64 {
        let known = self.common.iter().position(|other| *other == text);
        known.unwrap_or_else(|| {
            self.common.push(text);
            self.common.len() - 1
        }) as u64
    }

    pub fn draft(&self) -> Draft {
        let mut symbols = Vec::new();
        self.common.iter().for_each(|text| put_bytes(&mut symbols, 4, text.as_bytes()));
        let symbol_count = self.common.len() as u64;
        Draft { symbols, symbol_count, series: Vec::new(), samples: 0, stale_markers: 0 }
    }

    /// Adds so many minutes of a target from `from_ms` on.
    pub fn put_minutes(&self, draft: &mut Draft, target: &mut Target, from_ms: i64, minutes: usize) {
        let mut values = Vec::with_capacity(minutes * self.shapes.len());
        for _ in 0..minutes {
            values.extend_from_slice(target.next_minute(&self.shapes));
        }
        let first_ms = from_ms + target.offset_ms;
        let sample = |series: usize, minute: usize| {
            let bits = values[minute * self.shapes.len() + series].to_bits();
            (first_ms + minute as i64 * MINUTE_MS, bits)
        };
        self.put(draft, target, minutes, sample);
        draft.samples += (minutes * self.shapes.len()) as u64;
    }

    /// Adds the end of a target: a staleness marker for each of its series.
    pub fn put_end(&self, draft: &mut Draft, target: &Target, from_ms: i64) {
        self.put(draft, target, 1, |_, _| (from_ms + target.offset_ms, STALE));
        draft.stale_markers += self.shapes.len() as u64;
    }

    fn put(
        &self,
        draft: &mut Draft,
        target: &Target,
        samples: usize,
        sample: impl Fn(usize, usize) -> (i64, u64),
    ) {
        let first_symbol = draft.symbol_count;
        target.labels.iter().for_each(|text| put_bytes(&mut draft.symbols, 4, text.as_bytes()));
        draft.symbol_count += target.labels.len() as u64;
        let (mut message, mut references, mut fields) = (Vec::new(), Vec::new(), Vec::new());
        for (series, symbols) in self.references.iter().enumerate() {
            references.clear();
            message.clear();
            for symbol in symbols {
                let number = match symbol {
                    Symbol::Common(number) => *number,
                    Symbol::OfTarget(at) => first_symbol + at,
                };
                put_varint(&mut references, number);
            }
            put_bytes(&mut message, 1, &references);
            for minute in 0..samples {
                let (timestamp_ms, bits) = sample(series, minute);
                fields.clear();
                fields.push(1 << 3 | 1);
                fields.extend_from_slice(&bits.to_le_bytes());
                fields.push(2 << 3);
                put_varint(&mut fields, timestamp_ms as u64);
                put_bytes(&mut message, 2, &fields);
            }
            put_bytes(&mut draft.series, 5, &message);
        }
    }
}

impl Draft {
    pub fn finish(mut self) -> Request {
        self.symbols.append(&mut self.series);
        let headers = vec![
            ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", "2.0.0"),
        ];
        Request { headers, body: compress(&self.symbols) }
    }
}
