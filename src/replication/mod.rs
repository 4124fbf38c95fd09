#![doc = include_str!("protocol.md")]
//!
//! # The files of this module
//!
//! This is the core; the server does not drive it yet. It does no input or output: [`replica`] takes events
//! and gives actions, and time is in the event.
//!
//! - what there is: [`names`] of objects, [`segment_set`] exact sets, [`fresh_ids`]
//! - bytes: [`segment`] the log's container, [`record`] cuts, replacements, checkpoints, [`tombstone`],
//!   [`heartbeat`], [`codec`] their envelope
//! - the log: [`writer`], [`reader`]
//! - the catalogue: [`catalogue`] what records say together, [`view`] how it is read
//! - the work: [`maintenance`] what is due, [`jobs`] how it is done, [`build`] what the storage does for it,
//!   [`observations`] what was seen for how long
//! - the answers: [`reads`] that wait, [`freshness`] how far behind, [`replica::rest`] how often it looks
//! - around: [`bucket`] five calls and their errors, [`script`] work of many steps, [`timing`] every limit,
//!   [`rules`] by name
//! - the proof: `simulation`, these very state machines over a faulty bucket, with an auditor

pub mod bucket;
pub mod build;
pub mod catalogue;
pub mod codec;
pub mod fresh_ids;
pub mod freshness;
pub mod heartbeat;
pub mod jobs;
pub mod maintenance;
pub mod names;
pub mod observations;
pub mod reader;
pub mod reads;
pub mod record;
pub mod replica;
pub mod rules;
pub mod script;
pub mod segment;
pub mod segment_set;
#[cfg(test)]
pub mod simulation;
pub mod timing;
pub mod tombstone;
pub mod view;
pub mod writer;
