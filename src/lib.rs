//! # Onggi
//!
//! A Prometheus-compatible backend in one binary: it takes remote write, keeps samples for years
//! in a RocksDB-backed columnar store, and answers PromQL over the Prometheus HTTP API. This page
//! is the architecture chapter: where it and the code differ, one of them has a defect.
//!
//! ## The hourglass
//!
//! ```text
//!  remote write 1.0/2.0                                Grafana · PromQL API
//!              └──────────┐                                  ┌────────┘
//!                    SeriesBatch                     Querier (select)
//!                         └────────────┐      ┌──────────────┘
//!                                   storage::Storage
//!                                          │
//!         head · log · part · local (RocksDB) · flush · merge · replay
//! ```
//!
//! Every protocol turns into one [`model::SeriesBatch`]; every reader asks one
//! [`querier::Querier`]. A new protocol touches only [`ingest`], a new storage tier only
//! [`storage`]; [`promql`] knows neither.
//!
//! ## Floors
//!
//! A file imports from lower floors and from its own folder, never from higher; a test holds this
//! against the sources.
//!
//! | floor | modules | what lives there |
//! |---|---|---|
//! | 6 | `main` [`app`] [`cli`] | compose; the only place that knows everything |
//! | 5 | [`server`] | HTTP: routes, extractors, bodies, status codes; axum lives only here |
//! | 4 | [`ingest`] | protocols → `SeriesBatch`; prost and snap |
//! | 3 | [`storage`] [`promql`] | remember; compute. These two do not know each other |
//! | 2 | [`querier`] [`replication`] | the seam where they meet; the protocol of replicas on a bucket |
//! | 1 | [`chunk`] [`encoding`] | compressed samples; bytes |
//! | 0 | [`model`] [`config`] [`error`] [`clock`] [`memory`] [`telemetry`] [`cpu`] | words, values, ground services |
//!
//! Much of the design is what is absent: `promql` has no tenant and no storage in it; `storage`
//! has no lookback, offset or `@`; only `storage::local` names RocksDB; only `server` names status
//! codes; only [`clock`] asks for the wall-clock time; the submodules of `storage` are private, so
//! that the compiler refuses short cuts.
//!
//! ## The way of a write
//!
//! The server reads a bounded body and has [`ingest`] decode it without an allocation per label
//! and validate it: what a second sender of an HA pair brings is left out ([`ingest::ha_pairs`]), labels
//! become canonical, bad series are taken out, counted and named, the good ones go on. Most series came
//! before in the same bytes: [`storage::Storage::recognise`] gives those their ids, and their labels are neither
//! walked over, read nor judged again: where they end is guessed from behind, and who knows the bytes proves it.
//! [`storage::Storage::append`] resolves the other labels to ids, hands the batch to the log and
//! waits until the frame that holds it is synced; then the samples become visible in the head and
//! the answer goes out. Nothing is acknowledged before it is durable, and nothing is dropped
//! without being counted and named in the answer, but duplicates of an HA pair, which a metric counts.
//!
//! ## One log, and everything else is made of it
//!
//! There is one durable log: files of frames, a frame being what one group commit made durable.
//! While one `fdatasync` runs, the next group gathers; there is no timer. A file is self-contained:
//! the series it defines are referred to by its own later frames only.
//!
//! The *head* is the log in memory: a registry of active series and, per *epoch*, the samples of a
//! range of log files. An epoch is sealed by age, memory or log size and flushed:
//!
//! 1. its series, sorted by tenant, metric name and labels (`le` last, by number), are written into parts
//!    (SST files);
//! 2. the files are ingested into RocksDB, whose own WAL is off, always;
//! 3. one catalogue batch names the parts and the log files they cover, and is flushed; then its
//!    number is noted beside the database, so that a start can tell whether the catalogue lost one;
//! 4. the read view swaps the epoch for its parts;
//! 5. series that nothing newer uses are forgotten, and covered log files are deleted.
//!
//! A crash between any two steps repeats the rest. A part that the catalogue does not name is
//! garbage at the next start; a log file that it does not cover is replayed, on a chain of threads: one
//! reads and decodes, one enters series, others put samples into the epoch. Writes are taken
//! while the replay runs, queries wait for it. RocksDB itself counts on more than POSIX promises after a
//! power cut: before it opens its folder, the start finds the state of the last noted commit in it and
//! proves that state whole, or says what is missing.
//!
//! A failed sync ends the process: what the disk holds is unknown then, and a retry would hide it.
//! A torn frame is tolerated at the end of the newest log file only; anywhere else a bad checksum
//! is an error that names the file, and nothing is skipped.
//!
//! ## Parts grow together, and what is deleted goes
//!
//! A flush makes a part per recent window of two hours, and one late part for whatever is older. When
//! a window is over its parts become one, when a day is over its windows do; late parts are split
//! along the days. A pure planner says what is due, an executor reads the inputs as one sorted stream
//! through the join and writes the output like a flush: files, ingestion, one catalogue batch that
//! names the new and no longer the old, swap of the view. Inputs are dropped when the last reader lets
//! go. Merges have a thread of their own that steps aside for flushes and for the log.
//!
//! A deletion hides at once what stood in the log up to then; merges leave it out, and when nothing
//! that it meant is left its tombstone goes. What is written again afterwards is newer, and stays.
//! Retention hides by age, for all or by rules, and drops whole parts by age and by size. Writes are
//! refused while the disk still has a reserve, which flushes, merges and retention may use.
//!
//! What stands on disk is of version 1, which every later version reads: [`storage`]'s pages draw it, from
//! the directory to the bits of a column, and `tests/fixtures/v1` holds it.
//!
//! ## Memory is one budget
//!
//! What stands is set aside; head, flushes, merges, replays, requests and queries lease before they
//! allocate ([`memory`]). A thread compares the leases with what the process holds, and the difference
//! counts as leased. When it runs short, new series, queries and merges give way to samples of known
//! series, each with an error that says so.
//!
//! ## Identity and the join
//!
//! A series is its tenant and its canonical labels: sorted by name, empty values dropped. Ids are
//! local: to the process in memory, to the file in the log, to the part on disk. The head keeps
//! every label of a tenant once, by number; a series is a list of such numbers, and the lists are
//! compared, so that no sender can merge two series. In front of that stands a cache for remote
//! write 1.0: the bytes that a series' labels came in, known by a 128-bit hash under a secret of the
//! process and tried first at the series that followed last time. What no epoch uses any more is
//! forgotten, with its texts and numbers.
//!
//! The cache is asked before anything is judged. So the hash is one of the tenant and of the limits on
//! labels, too: bytes are recognised where they were judged to be good by the same limits, and under other
//! limits nothing is. That a label was taken off, of a sender of an HA pair, is in the hash as well: such
//! labels are not judged again, but read, for the pair is looked at each time. A series by 2.0, whose symbols
//! change with every request, is recognised where its labels, as they come, are exactly those of a series that
//! was judged alike. A batch of recognised series holds its epoch, so that their ids stay theirs until it is
//! in the log; what the log needs labels for has them from the head. Each segment of a replica has all labels again: to
//! write them it has the series as numbers of their pairs, looks at the text of a pair once a frame, and finds the
//! partition beside the series.
//!
//! Samples are taken in any order inside retention. Of two samples of one series at one time the
//! maximum in a fixed total order stays, so that order of arrival, retries and replays change
//! nothing; Prometheus keeps the first and refuses the second, and this is a deliberate deviation.
//!
//! ## Replicas
//!
//! With `--bucket.url` a process is one of several on one bucket. [`replication`] decides: state machines
//! without input or output, which know no sample, no HTTP and no store, proven by simulation; its page is the
//! protocol. `storage::replica` drives them, on one thread that turns requests, answers and time into events
//! and actions into calls, and is what they call the storage:
//!
//! ```text
//!  append ──► open batch ──freeze──► segment ──PUT──► bucket ◄──GET── the other replicas' segments
//!                                       └── held: a file, and samples in an epoch ──┘
//!                                             │ cut                              ▲ ranged GETs
//!                                             └──► blocks in the bucket ── page cache ── select
//! ```
//!
//! A block is a part in another container: pages of rows, an index and a footer in one immutable object, read by
//! ranges through one bounded cache of decoded pages. Questions see held segments and blocks through the
//! same view and the same join as head and parts. What is on the replica's own disk is held segments, and may be
//! deleted at any time: RocksDB is not part of a replica, so that all of them share the work of merging
//! and none has to do it again. Between questions and the bucket stand pages in memory and pieces on disk, both bounded;
//! once a question had to wait for the bucket, its parts are read side by side. What a replica wrote itself enters its
//! head as it came, under pinned ids; what others wrote is fetched while there is room for it, and its series are tried
//! in the order in which they followed each other in frames before. Metadata of metrics has
//! objects of its own, since blocks have none. A replica to which nothing happens looks less often.
//!
//! A folder of a store that stood alone is adopted: cut into blocks beside writes; a pull is the way back.
//! `storage::survey` looks at a bucket from outside. `FORMAT` says who may use a bucket, and heartbeats say which format
//! each replica reads, so that one version runs beside the next. Only `storage::bucket` names `object_store`; before anything else it finds out,
//! by racing requests, whether the store keeps what the protocol relies on.
//!
//! ## The way of a question
//!
//! [`promql::Engine`] parses (the grammar is promql-parser's, between tokens and checks of ours; what it
//! cannot read, or may not see, our own grammar reads), finds the absolute time range of each selector, fetches all selectors
//! through the `Querier`, and evaluates synchronously over columns of steps, series by series, reading on meanwhile.
//! `storage` answers a selector from one read view: active series by the registry's index, parts by
//! theirs, all pieces of a series through the one join; labels that nobody looks at are told by numbers. A query runs on a thread of its own, which
//! others help where they are free, with a deadline, a memory budget and a way to be cancelled; a
//! wrong or too large question is an error, never a partial answer.
//!
//! A dashboard asks the same again over a window that has moved on. Steps that were evaluated before are taken again
//! ([`promql::reuse`]) where their expression is one whose steps are proven to stand alone, and nothing that they saw
//! has changed: the store notes of every batch, once it is visible, its earliest time, and so of deletions and of what
//! comes or goes with blocks, so that nothing is guessed about how late samples may be. What is kept is given up before
//! anybody is refused memory.

pub mod app;
pub mod chunk;
pub mod cli;
pub mod clock;
pub mod config;
pub mod cpu;
pub mod encoding;
pub mod error;
pub mod ingest;
pub mod memory;
pub mod model;
pub mod promql;
pub mod querier;
pub mod replication;
pub mod server;
pub mod storage;
pub mod telemetry;
