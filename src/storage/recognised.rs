//! What a batch holds on to whose series were recognised before it was judged.
//!
//! Recognised series have numbers in place of labels, and must stay what they are until the batch is in
//! the log: as long as this lives, nothing is forgotten that is marked with the epoch that is held, and no number comes
//! to stand for another series. A store that stands alone does not flush that epoch meanwhile, a replica has it pinned.
//! Owns that promise; which series there are is the registry's.

use std::fmt;
use std::sync::Arc;

use super::readable::Readable;
use crate::model::Labels;
use crate::model::series_batch::{KnownSeries, LabelsSize};

/// See the module.
pub struct Recognised<H> {
    store: Arc<dyn Readable>,
    _held: H,
}

impl<H> Recognised<H> {
    /// Of series that are marked as used in the epoch that `held` holds.
    pub fn new(store: Arc<dyn Readable>, held: H) -> Self {
        Self { store, _held: held }
    }
}

impl<H: Send + Sync> KnownSeries for Recognised<H> {
    fn labels(&self, known: u32) -> Labels {
        self.store.registry().series(known).labels
    }

    fn size(&self, known: u32) -> LabelsSize {
        self.store.registry().labels_size(known)
    }
}

impl<H> fmt::Debug for Recognised<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recognised").finish_non_exhaustive()
    }
}
