//! Several replicas on one bucket, as processes behind a real HAProxy.
//!
//! - [`agreement`]: what one acknowledges all answer; deletions; a folder that is gone
//! - [`adoption`]: a folder that stood alone joins, and one is made of the bucket
//! - [`outage`]: the bucket is away
//! - [`ha_pairs`]: senders of the same that reach different replicas
//! - [`keeping`]: how long the bucket keeps what: rules of retention, metadata
//! - [`failures`]: zombies, twins, damaged and removed objects
//! - [`loops`]: what each says of itself and of the others; whose bucket it does not touch
//! - [`disturbances`]: killed, paused, ended and wiped at random, the store away, under load; a rolling restart, and
//!   one from an older binary
//! - [`figures`]: what it costs, measured
//! - [`row`], [`bucket`], [`garage`], [`balancer`], [`traffic`], [`scraper`]: what these stand on
//!
//! The buckets are folders unless `ONGGI_STORE` or `ONGGI_BUCKET_URL` names another one.
//!
//! # Which test shows which failure
//!
//! *Simulation* is `replication::simulation`, with a rule of `replication::rules` where breaking that rule shows the
//! failure; *driver* is `storage::replica::driver::tests`, the product's thread over `object_store` in memory behind
//! faults; *disturbances* is the test of that name here.
//!
//! | failure | shown by |
//! |---|---|
//! | a replica dies in the middle of a write | disturbances (`Kill`); driver `a_replica_that_was_killed_comes_back…`, `faulty_bucket`; simulation `AckAfterPut` |
//! | a write timed out and succeeded | driver `faulty_bucket` (`After`, `Twice`); simulation (answers lost); `writer` tests |
//! | a write lands late | driver `faulty_bucket` (`Late`); simulation `StopResending`, `PublishInTime`, `DeadStaysDead` |
//! | 5xx, then 412 from an own retry | cannot be: `replication::bucket::Request` has no conditional write; `create` is the probe's alone |
//! | a zombie wakes | `failures::a_zombie_that_wakes…`; disturbances (`Pause`); simulation `AgeEndsWithLook`, `CutOnlyListed` |
//! | a copied folder, a clone that starts | `failures::a_copied_folder_under_the_same_name…`; simulation `FreshLog` |
//! | a running machine is cloned | both end: `by_hand::processes` `of_a_machine_that_is_cloned…`; driver `a_replica_whose_log_somebody_else_writes…` |
//! | clocks are wrong | simulation `TrustedClock` (rates and offsets differ in every seed) |
//! | the bucket slows down, or is away | `outage`; disturbances (`Store`); driver `without_the_bucket_writes_are_refused…` |
//! | a slow tailer | `reader` `a_missing_segment_is_asked_for_until…`, `a_sleeper_drops…`; simulation (long nights) |
//! | two compact the same | `catalogue` `overlapping_replacements…`; simulation (owners are not respected in most seeds) |
//! | a listing breaks off | simulation `CompleteListing`; driver `faulty_bucket`; `storage::bucket` (pages) |
//! | a listing is stale | simulation (`list_lags`); the probe refuses such a store by name |
//! | no conditional write | `storage::bucket` (`EverybodyCreates`, `NobodyMayCreate`); Garage ignores it (`make garage-test`) |
//! | a damaged segment | `failures::a_damaged_segment_is_a_503…`; `reader` `a_damaged_segment_is_read_again…`; `server::api::tests::replica` `what_a_damaged_segment_is_not_about…`; simulation `DamagedIsNotApplied` |
//! | a start, a strong read, a lag over a damaged segment | the same, and `storage::replica::tests` `a_damaged_segment_that_says_of_what_times…`; `freshness` `what_is_quarantined…`; `reads` `nobody_waits_for_what_is_quarantined…` |
//! | a segment that makes no sense | `storage::replica::tests` `a_segment_that_makes_no_sense…`; `make fuzz` for the decoders |
//! | a segment that kills who applies it | `storage::replica::tests` `a_segment_during_which_the_process_has_ended…`; `poison`; `reader` `what_starts_quarantined…` |
//! | a human or a lifecycle rule deletes | `failures::a_block_that_somebody_removed…`; `by_hand` `…stops_all_collecting`; simulation `BlocksVerified` |
//! | a store that is not read-after-write | `storage::bucket` (`ListsLate`, `ReadsOld`, `ForgetsWrites`): refused by name |

mod adoption;
mod agreement;
mod balancer;
mod bucket;
mod disturbances;
mod failures;
mod figures;
mod garage;
mod ha_pairs;
mod keeping;
mod loops;
mod outage;
mod row;
mod scraper;
mod traffic;
