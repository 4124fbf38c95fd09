//! Requests turned into values: parameters and what they mean.
//!
//! [`params`] merges URL and form body; [`form`] decodes them; [`value`] reads times, durations
//! and limits; [`selector`] reads `match[]` and time ranges.

pub mod form;
pub mod params;
pub mod selector;
pub mod value;

pub use params::Params;
