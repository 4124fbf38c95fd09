//! A bucket from outside: what is in it, whether it is whole, how far behind its replicas are, what it costs.
//!
//! No replica need be running, and any number may: whatever is listed may be gone a moment later, which is judged by
//! the catalogue and not by its age. Nothing is written, except where an operator gives a segment up.
//!
//! - [`objects`] lists and reads, through scripts of the core
//! - pure, of a survey: [`inventory`] what there is · [`lag`] who is behind · [`cost`] what a month is
//! - [`past`]: whether what the bucket was is still there
//! - [`verify`] every byte · [`loss`] the operator's way out of a segment that cannot be read
//!
//! Memory: the names of all objects and all records of the catalogue, as a replica has them, and while objects are
//! verified some tens of megabytes of segments, or one block.

pub mod cost;
pub mod inventory;
pub mod lag;
pub mod loss;
pub mod objects;
pub mod past;
pub mod verify;

#[cfg(test)]
mod tests;

pub use objects::Survey;
