//! The one integration binary: proofs that need a real process.
//!
//! - [`smoke`]: write, read back, the pages around
//! - [`kill`], [`crash`]: what was acknowledged survives SIGKILL and power cuts
//! - [`snapshot`]: a copy that is served beside the original
//! - [`backlog`], [`equivalence`]: any order, any batching, both protocols
//! - [`grafana`]: what its data source asks
//! - [`dashboard`]: what was evaluated before gives the bytes of an answer that is evaluated anew
//! - [`isolation`], [`memory`]: one query beside others, all of them within a limit of memory
//! - [`explosion`]: the same while somebody sends millions of new series
//! - [`ha_pairs`]: two senders of the same, our own and real ones
//! - [`hostile`], [`drain`], [`overload`], [`full_disk`], [`directories`]: the bad days
//! - [`reload`]: the files of the door and of the limits, changed under the running server
//! - [`check`], [`import`]: the commands on a directory at rest; no flipped bit becomes an answer
//! - [`bucket`]: the commands on a bucket, beside its replica and without it
//! - [`pinned`]: directories of released versions are read
//! - [`profiles`]: what pprof reads of a working server
//! - [`pace`]: a measurement: writes while merges run beside them
//! - [`peers_bench`]: the comparison with Prometheus and VictoriaMetrics, in small
//! - [`long`]: churn and a year of history, in simulated time
//! - [`soak`]: an hour of writes with churn beside questions takes no more at its end
//! - [`prometheus`]: a real Prometheus sends, and both answer alike
//! - [`remote_read`]: a real Prometheus asks through this server and hears what this server says
//! - [`replicas`]: three on one bucket behind a real HAProxy, disturbed at random
//! - [`floors`]: which file may import which
#![expect(clippy::disallowed_methods, reason = "tests wait for processes, and live on the machine's clock")]
#![expect(clippy::disallowed_types, reason = "a poisoned lock is what a failed test should leave behind")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking, helpers included")]

mod backlog;
mod bucket;
mod check;
mod crash;
mod dashboard;
mod directories;
mod drain;
mod equivalence;
mod explosion;
mod floors;
mod full_disk;
mod grafana;
mod ha_pairs;
mod hostile;
mod import;
mod isolation;
mod kill;
mod long;
mod memory;
mod overload;
mod pace;
mod peers_bench;
mod pinned;
mod profiles;
mod prometheus;
mod reload;
mod remote_read;
mod replicas;
mod smoke;
mod snapshot;
mod soak;
mod support;
