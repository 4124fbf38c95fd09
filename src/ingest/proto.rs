//! The wire contracts of `proto/` as generated types.
//!
//! For remote read, tests and benches. Remote write requests are decoded by hand, without these
//! types (see [`super::remote_write`]).

/// Remote write 1.0 and remote read.
#[allow(clippy::all, missing_docs, rustdoc::all, reason = "generated code")]
pub mod prometheus {
    include!(concat!(env!("OUT_DIR"), "/prometheus.rs"));
}

/// Remote write 2.0.
#[allow(clippy::all, missing_docs, rustdoc::all, reason = "generated code")]
pub mod write_v2 {
    include!(concat!(env!("OUT_DIR"), "/io.prometheus.write.v2.rs"));
}
