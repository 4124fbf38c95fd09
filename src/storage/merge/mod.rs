//! Merging: many small parts become few large ones, one per day in the end.
//!
//! ```text
//!  L0  what a flush wrote: two hours each, and late parts of any time
//!  L1  two hours, once they are over
//!  L2  a day, once it is over
//! ```
//! On the way what is deleted or too old is left out, and what late parts hold finds its window.
//!
//! - deciding: [`plan`] parts → jobs, pure · [`erasing`] what deletions and rules still hide, and
//!   which deletions are done
//! - doing: [`execute`] one job, restartable at every step · [`stream`] the series of all inputs in
//!   order, joined · [`cursor`] one input · [`pace`] how hard, and when to stop
//! - [`worker`] the thread that does it, and retention
//!
//! The order of a job is that of a flush: write → ingest → one catalogue batch, flushed → swap the
//! view. A part that the catalogue does not name is garbage; inputs are dropped when the last reader
//! lets go of them.

mod cursor;
mod erasing;
mod execute;
mod pace;
mod plan;
mod stream;
mod worker;

#[cfg(test)]
mod tests;

pub use cursor::{Input, Tally};
pub use erasing::is_about;
pub use execute::{PartInput, working_bytes};
pub use plan::OF_DAY;
pub use stream::MergedSeries;
pub use worker::{Merger, Request};
