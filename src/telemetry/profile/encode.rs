//! A profile as the gzipped protobuf that pprof defines (`profile.proto`).
//!
//! Written field by field: eight small messages that will not change, and the compiler of protobuf lives
//! floors above. Numbers are varints, texts stand once in a table and are meant by their number, 0 being the
//! empty one.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::HashMap;

use super::modules::{self, Module};
use super::symbols::{Place, Symbols};
use super::{Column, Profile, ProfileError};

/// Gives the addresses names and writes all of it. Takes seconds of a processor where the program's debug
/// tables are large.
pub fn encode(profile: &Profile) -> Result<Vec<u8>, ProfileError> {
    let failed = |doing| move |source| ProfileError::Io { doing, source };
    let mapped = modules::of_process().map_err(failed("list what is mapped"))?;
    let message = Tables::new(&mapped).message(profile);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&message).and_then(|()| gzip.finish()).map_err(failed("compress the profile"))
}

/// What samples refer to by number.
struct Tables<'m> {
    modules: &'m [Module],
    symbols: Symbols<'m>,
    texts: HashMap<String, u64>,
    text_list: Vec<u8>,
    functions: HashMap<Place, u64>,
    function_list: Vec<u8>,
    locations: HashMap<u64, u64>,
    location_list: Vec<u8>,
}

impl<'m> Tables<'m> {
    fn new(modules: &'m [Module]) -> Self {
        let mut tables = Self {
            modules,
            symbols: Symbols::new(modules),
            texts: HashMap::new(),
            text_list: Vec::new(),
            functions: HashMap::new(),
            function_list: Vec::new(),
            locations: HashMap::new(),
            location_list: Vec::new(),
        };
        tables.text("");
        tables
    }

    fn message(mut self, profile: &Profile) -> Vec<u8> {
        let mut out = Vec::new();
        for column in &profile.columns {
            let column = self.column(*column);
            put_bytes(&mut out, 1, &column);
        }
        for (addresses, figures) in &profile.stacks {
            let locations: Vec<u64> = addresses.iter().map(|address| self.location(*address)).collect();
            let mut sample = Vec::new();
            put_packed(&mut sample, 1, locations);
            put_packed(&mut sample, 2, figures.iter().map(|figure| *figure as u64));
            put_bytes(&mut out, 2, &sample);
        }
        for (at, module) in self.modules.iter().enumerate() {
            let name = self.text(&module.path);
            put_bytes(&mut out, 3, &mapping(at as u64 + 1, module, name));
        }
        put_number(&mut out, 9, (profile.start_ms as u64).wrapping_mul(1_000_000));
        put_number(&mut out, 10, (profile.duration_ms as u64).wrapping_mul(1_000_000));
        if let (Some(column), period) = profile.period {
            let column = self.column(column);
            put_bytes(&mut out, 11, &column);
            put_number(&mut out, 12, period as u64);
        }
        for comment in &profile.comments {
            put_number(&mut out, 13, self.text(comment));
        }
        if let Some(column) = profile.columns.last() {
            put_number(&mut out, 14, self.text(column.name));
        }
        out.extend(self.location_list);
        out.extend(self.function_list);
        out.extend(self.text_list);
        out
    }

    fn column(&mut self, column: Column) -> Vec<u8> {
        let mut message = Vec::new();
        put_number(&mut message, 1, self.text(column.name));
        put_number(&mut message, 2, self.text(column.unit));
        message
    }

    fn text(&mut self, text: &str) -> u64 {
        if let Some(number) = self.texts.get(text) {
            return *number;
        }
        let number = self.texts.len() as u64;
        self.texts.insert(text.to_owned(), number);
        put_bytes(&mut self.text_list, 6, text.as_bytes());
        number
    }

    fn function(&mut self, mut place: Place) -> u64 {
        // A function is one whatever its line.
        place.line = 0;
        if let Some(number) = self.functions.get(&place) {
            return *number;
        }
        let number = self.functions.len() as u64 + 1;
        let mut message = Vec::new();
        put_number(&mut message, 1, number);
        put_number(&mut message, 2, self.text(&place.function));
        put_number(&mut message, 3, self.text(&place.linkage));
        put_number(&mut message, 4, self.text(&place.file));
        put_bytes(&mut self.function_list, 5, &message);
        self.functions.insert(place, number);
        number
    }

    fn location(&mut self, address: u64) -> u64 {
        if let Some(number) = self.locations.get(&address) {
            return *number;
        }
        let number = self.locations.len() as u64 + 1;
        let mut message = Vec::new();
        put_number(&mut message, 1, number);
        if let Some(module) = modules::find(self.modules, address) {
            put_number(&mut message, 2, module as u64 + 1);
        }
        put_number(&mut message, 3, address);
        for place in self.symbols.places(address) {
            let mut line = Vec::new();
            put_number(&mut line, 2, u64::from(place.line));
            put_number(&mut line, 1, self.function(place));
            put_bytes(&mut message, 4, &line);
        }
        put_bytes(&mut self.location_list, 4, &message);
        self.locations.insert(address, number);
        number
    }
}

fn mapping(number: u64, module: &Module, name: u64) -> Vec<u8> {
    let mut message = Vec::new();
    put_number(&mut message, 1, number);
    put_number(&mut message, 2, module.code.start);
    put_number(&mut message, 3, module.code.end);
    put_number(&mut message, 4, module.file_offset);
    put_number(&mut message, 5, name);
    // Functions, files, lines and inlined frames are there: nobody need look for the binary.
    for has in 7..=10 {
        put_number(&mut message, has, 1);
    }
    message
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_number(out: &mut Vec<u8>, field: u8, value: u64) {
    // Absent means 0.
    if value != 0 {
        put_varint(out, u64::from(field) << 3);
        put_varint(out, value);
    }
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_packed(out: &mut Vec<u8>, field: u8, values: impl IntoIterator<Item = u64>) {
    let mut packed = Vec::new();
    for value in values {
        put_varint(&mut packed, value);
    }
    put_bytes(out, field, &packed);
}
