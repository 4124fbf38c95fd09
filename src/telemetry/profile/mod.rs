//! Where the time and the memory of this process go, as pprof profiles.
//!
//! - [`cpu`]: stacks of running threads, gathered while somebody waits; [`sampler`] is the signal
//!   handler that takes them, [`unwind`] walks them
//! - [`heap`]: what jemalloc's own sampling knows of live allocations
//! - [`modules`]: files that are mapped as code, and where; [`symbols`]: addresses as functions and lines
//! - [`mod@encode`]: the gzipped protobuf that `go tool pprof`, Grafana and others read
//!
//! A handler of `SIGPROF` interrupts a thread anywhere: within `malloc`, within the loader while it holds
//! the lock of `dl_iterate_phdr`. Unwinders and their caches take both, so that profilers which unwind in
//! the handler have hung and crashed the processes that they looked at. Here the handler does nothing of
//! the kind: it copies registers and a stretch of stack into a slot that is there already, by a system
//! call that answers an error where a pointer leads nowhere, and an ordinary thread does the rest. Frame
//! pointers, the other way out, would have to be compiled into every library.
//!
//! Owns no file and no address of the API: what is too long or asked for twice is refused by whoever asks.

pub mod cpu;
pub mod encode;
pub mod heap;
mod modules;
mod sampler;
mod symbols;
#[cfg(test)]
mod tests;
mod unwind;

pub use cpu::Recording;
pub use encode::encode;

use std::collections::HashMap;

/// Stacks with what was counted of each.
#[derive(Debug, Default)]
pub struct Profile {
    /// What the columns of [`Self::stacks`] mean.
    pub columns: Vec<Column>,
    /// By the addresses of a stack, innermost first, as they are looked up: of a caller, an address within
    /// its call.
    pub stacks: HashMap<Box<[u64]>, Vec<i64>>,
    /// What a sample stands for, and in which column's words.
    pub period: (Option<Column>, i64),
    pub start_ms: i64,
    pub duration_ms: i64,
    /// For whoever reads it, for instance what is missing.
    pub comments: Vec<String>,
}

/// The meaning of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub unit: &'static str,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("another CPU profile is being recorded")]
    Busy,
    #[error(
        "no heap profile: the process was started with jemalloc's profiling off (MALLOC_CONF=prof:false)"
    )]
    HeapOff,
    #[error("{doing}: {source}")]
    Io { doing: &'static str, source: std::io::Error },
    #[error("allocator, {doing}: {why}")]
    Allocator { doing: &'static str, why: String },
    #[error("the allocator's profile has a line that makes no sense: {0:?}")]
    Line(String),
}
