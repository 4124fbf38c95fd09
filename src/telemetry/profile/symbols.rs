//! Addresses as functions and lines.
//!
//! Reads the debug tables of the files that are mapped, each when it is first asked for. They take some
//! tens of megabytes for as long as this lives, which is one profile.

use addr2line::Loader;
use std::collections::HashMap;

use super::modules::{self, Module};

/// A function at an address, and where it stands in the sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    pub function: String,
    /// As the linker knows it.
    pub linkage: String,
    /// Empty where it is not known.
    pub file: String,
    pub line: u32,
}

/// See the module.
pub struct Symbols<'m> {
    modules: &'m [Module],
    /// `None` is a file that could not be read: it was tried.
    loaders: HashMap<usize, Option<Loader>>,
}

impl<'m> Symbols<'m> {
    pub fn new(modules: &'m [Module]) -> Self {
        Self { modules, loaders: HashMap::new() }
    }

    /// What runs at an address: functions that were built into others first. Empty where nothing is known.
    pub fn places(&mut self, address: u64) -> Vec<Place> {
        let Some(at) = modules::find(self.modules, address) else { return Vec::new() };
        let module = &self.modules[at];
        let loader = self.loaders.entry(at).or_insert_with(|| Loader::new(modules::file_of(module)).ok());
        let Some(loader) = loader else { return Vec::new() };
        let meant = address.wrapping_sub(module.bias);
        let mut places = framed(loader, meant);
        // Line tables know functions by their last names only; the linker knows the whole name of the outermost.
        if let Some(symbol) = loader.find_symbol(meant) {
            let outermost = places.pop().unwrap_or_default();
            places.push(Place {
                function: addr2line::demangle_auto(symbol.into(), None).into_owned(),
                linkage: symbol.to_owned(),
                ..outermost
            });
        }
        places.retain(|place| !place.function.is_empty());
        places
    }
}

fn framed(loader: &Loader, meant: u64) -> Vec<Place> {
    let mut places = Vec::new();
    let Ok(mut frames) = loader.find_frames(meant) else { return places };
    while let Ok(Some(frame)) = frames.next() {
        let mut place = Place::default();
        if let Some(function) = &frame.function {
            place.function = function.demangle().map_or_else(|_| String::new(), |name| name.into_owned());
            place.linkage = function.raw_name().map_or_else(|_| String::new(), |name| name.into_owned());
        }
        if let Some(location) = &frame.location {
            place.file = location.file.unwrap_or_default().to_owned();
            place.line = location.line.unwrap_or(0);
        }
        places.push(place);
    }
    places
}
