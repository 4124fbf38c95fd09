//! Label sets in the making, one after the other in the same memory.
//!
//! For those who have many sets to make, with pairs that are canonical already; who has pairs in any
//! order takes a [`LabelsBuilder`](super::LabelsBuilder).

use super::Labels;
use super::packed::{Packing, Repacking};

/// A set of which it is to be seen whether it is needed: its bytes are there before it is made.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuffer(Packing);

impl LabelsBuffer {
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Packing::with_capacity(bytes))
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a pair: its name is above those before it, its value not empty.
    pub fn push(&mut self, name: &str, value: &str) {
        self.0.push(name);
        self.0.push(value);
    }

    /// As [`Labels::as_bytes`].
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub fn labels(&self) -> Labels {
        Labels(self.0.packed())
    }
}

/// Sets of which each shares most pairs with the one before, by number of the pair.
#[derive(Debug, Default)]
pub struct LabelsRow(Repacking);

impl LabelsRow {
    /// How many pairs there are. Name and value of those that come to it are to be set.
    pub fn resize(&mut self, pairs: usize) {
        self.0.resize(2 * pairs);
    }

    pub fn set_name(&mut self, pair: usize, name: &str) {
        self.0.set(2 * pair, name);
    }

    pub fn set_value(&mut self, pair: usize, value: &str) {
        self.0.set(2 * pair + 1, value);
    }

    /// As [`Labels::as_bytes`].
    pub fn as_bytes(&mut self) -> &[u8] {
        self.0.as_bytes()
    }

    pub fn labels(&mut self) -> Labels {
        Labels(self.0.packed())
    }
}
