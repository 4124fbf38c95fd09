//! What a question is put to: a store that has series, a view and rules of retention.
//!
//! Two kinds of store have them: one that stands alone and one that is a replica on a bucket. How a
//! tenant's question is answered from them is [`super::select`]'s and [`super::look_up`]'s.

use std::sync::Arc;

use super::changes::Changes;
use super::head::{MetadataTable, Registry};
use super::retention::Retention;
use super::side_by_side::SideBySide;
use super::view::View;

/// See the module.
pub trait Readable: Send + Sync {
    fn registry(&self) -> &Registry;

    fn metadata(&self) -> &MetadataTable;

    /// What there is now. Whoever also asks the registry holds its view meanwhile, so that nothing is
    /// forgotten in between.
    fn view(&self) -> Arc<View>;

    /// What is too old now.
    fn retention(&self) -> Retention<'_>;

    /// Bytes of texts that all parts together may hold decoded.
    fn text_bytes_max(&self) -> usize;

    /// What has changed, and when.
    fn changes(&self) -> &Changes;

    /// How questions go through parts.
    fn side_by_side(&self) -> &SideBySide;
}
