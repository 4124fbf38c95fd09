//! What a batch holds on to whose series were recognised before it was judged.
//!
//! Recognised series have numbers in place of labels, and must stay what they are until the batch is in
//! the log: as long as this lives, the epoch that they were marked with is not flushed, so that nothing of
//! it is forgotten and no number comes to stand for another series. Owns that promise; which series there
//! are is the registry's.

use std::fmt;
use std::sync::Arc;

use super::engine::Engine;
use super::head::epoch::Applying;
use crate::model::Labels;
use crate::model::series_batch::KnownSeries;

/// See the module.
pub struct Recognised {
    engine: Arc<Engine>,
    held: Applying,
}

impl Recognised {
    /// Of series that are marked as used in the epoch that is held.
    pub fn new(engine: Arc<Engine>, held: Applying) -> Self {
        Self { engine, held }
    }
}

impl KnownSeries for Recognised {
    fn labels(&self, known: u32) -> Labels {
        self.engine.registry.series(known).labels
    }
}

impl fmt::Debug for Recognised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recognised").field("epoch", &self.held.epoch().number).finish_non_exhaustive()
    }
}
