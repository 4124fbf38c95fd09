//! The client: what everybody but the probe uses of a bucket.
//!
//! Owns two connections, for the log and for blocks, which must not wait for each other; deadlines; how large an
//! object may be; and the counting. Does not try again: the core has its own pauses, and knows more.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::counters::{Counters, Figures, Operation};
use super::location::{self, OpenError};
use super::probe::{self, Capabilities, ProbeError};
use super::store::{Store, Wanted};
use crate::clock::Clock;
use crate::replication::bucket::{Answer, BucketError, Page, Ranged, Request};
use crate::replication::fresh_ids::FreshIds;
use crate::replication::names::{BLOCKS, ObjectName, RecordId, TombstoneId};

/// Larger blocks are not read.
pub const BLOCK_BYTES_MAX: u64 = 256 << 20;
/// Larger segments, records, deletions and heartbeats are not read.
pub const OBJECT_BYTES_MAX: u64 = 64 << 20;

/// What the core counts on for its log (see [`crate::replication::timing`]): an answer or none by then.
const LOG_DEADLINE: Duration = Duration::from_secs(3);
const BLOCK_DEADLINE: Duration = Duration::from_secs(60);

/// A bucket. Cheap to clone.
#[derive(Clone)]
pub struct BucketClient(Arc<Inner>);

struct Inner {
    url: String,
    log: Arc<dyn Store>,
    blocks: Arc<dyn Store>,
    counters: Counters,
    read_only: Option<ReadOnly>,
}

/// Nothing is written through such a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOnly {
    /// Listings do not show records, deletions and logs that were begun after this, by their makers' clocks.
    pub through_ms: Option<i64>,
}

impl fmt::Debug for BucketClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BucketClient").field(&self.0.url).finish()
    }
}

/// A connection and what may be expected of it.
struct Lane<'a> {
    store: &'a dyn Store,
    deadline: Duration,
    bytes_max: u64,
}

impl BucketClient {
    /// Opens the bucket of a URL: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or
    /// `file:///folder`. Credentials, region, endpoint and whether plain HTTP will do are taken from the
    /// environment: `AWS_*`, `GOOGLE_*`, `AZURE_*`. Asks the bucket nothing yet.
    pub fn open(url: &str) -> Result<Self, OpenError> {
        let location::Stores { log, blocks } = location::open(url, &[])?;
        Ok(Self::over(url, log, blocks))
    }

    /// As [`Self::open`], for whoever only looks: a folder is not made.
    pub fn open_existing(url: &str) -> Result<Self, OpenError> {
        location::must_exist(url)?;
        Self::open(url)
    }

    pub(super) fn over(url: &str, log: Arc<dyn Store>, blocks: Arc<dyn Store>) -> Self {
        let counters = Counters::default();
        Self(Arc::new(Inner { url: url.to_owned(), log, blocks, counters, read_only: None }))
    }

    /// The same bucket, of which nothing is changed: puts and deletes are refused before they are sent.
    pub fn read_only(&self, read_only: ReadOnly) -> Self {
        let Inner { url, log, blocks, .. } = &*self.0;
        let (log, blocks) = (Arc::clone(log), Arc::clone(blocks));
        let (url, counters) = (url.clone(), Counters::default());
        Self(Arc::new(Inner { url, log, blocks, counters, read_only: Some(read_only) }))
    }

    pub fn is_read_only(&self) -> bool {
        self.0.read_only.is_some()
    }

    /// Of which time the bucket is shown; `None` for as it is.
    pub fn through_ms(&self) -> Option<i64> {
        self.0.read_only.and_then(|read_only| read_only.through_ms)
    }

    /// As it was opened; holds no secret.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    pub fn figures(&self) -> Figures {
        self.0.counters.figures()
    }

    /// Performs a request of the core. Answers by the deadline of what it is about; what was asked may happen
    /// after that all the same.
    pub async fn perform(&self, request: Request) -> Result<Answer, BucketError> {
        match request {
            Request::Put { name, .. } | Request::Delete { name } if self.is_read_only() => {
                Err(BucketError::Refused(format!("{name}: this process only reads")))
            }
            Request::Put { name: name @ ObjectName::Node(_), bytes } => {
                let (lane, key, sent) = (self.lane(&name), name.to_string(), bytes.len() as u64);
                let put = lane.store.put_tagged(&key, bytes);
                let tag = self.answer(Operation::Put, &key, lane.deadline, put).await?;
                self.0.counters.sent(sent);
                Ok(Answer::Tagged(tag))
            }
            Request::Put { name, bytes } => {
                let (lane, key, sent) = (self.lane(&name), name.to_string(), bytes.len() as u64);
                let put = lane.store.put(&key, bytes);
                self.answer(Operation::Put, &key, lane.deadline, put).await?;
                self.0.counters.sent(sent);
                Ok(Answer::Done)
            }
            Request::Get { name } => {
                let Ranged { bytes, object_bytes } = self.get(&name, Wanted::All).await?;
                if bytes.len() as u64 != object_bytes {
                    let why = format!("get {name}: {} of {object_bytes} bytes came", bytes.len());
                    return Err(BucketError::Unknown(why));
                }
                Ok(Answer::Object(bytes))
            }
            Request::Size { name } => {
                Ok(Answer::Size(self.get(&name, Wanted::Range(0..1)).await?.object_bytes))
            }
            Request::List { prefix, after } => match self.through_ms() {
                None => self.list(prefix, after.as_deref()).await.map(Answer::Page),
                Some(through_ms) => self.list_through(prefix, after, through_ms).await.map(Answer::Page),
            },
            Request::Delete { name } => {
                let (lane, key) = (self.lane(&name), name.to_string());
                let delete = lane.store.delete(&key);
                self.answer(Operation::Delete, &key, lane.deadline, delete).await?;
                Ok(Answer::Done)
            }
        }
    }

    /// Bytes of an object; the range may reach beyond its end, but not begin there.
    pub async fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Ranged, BucketError> {
        if range.start >= range.end {
            return Err(BucketError::Refused(format!("get {name}: the range {range:?} is empty")));
        }
        self.get(name, Wanted::Range(range)).await
    }

    /// Tries what the protocol needs of the store, with objects of its own that are removed again.
    pub async fn probe(&self, clock: &dyn Clock) -> Result<Capabilities, ProbeError> {
        probe::probe(&self.0.log, &self.0.blocks, clock).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, BucketError> {
        // Of blocks there may be many, and nobody waits for them.
        let lane = if prefix == BLOCKS { self.blocks() } else { self.log() };
        let list = lane.store.list(prefix, after);
        self.answer(Operation::List, prefix, lane.deadline, list).await
    }

    /// A page without what was begun later; an empty one ends the listing.
    async fn list_through(
        &self,
        prefix: &str,
        mut after: Option<String>,
        through_ms: i64,
    ) -> Result<Page, BucketError> {
        loop {
            let mut page = self.list(prefix, after.as_deref()).await?;
            after = page.entries.last().map(|entry| entry.key.clone());
            page.entries.retain(|entry| began_ms(&entry.key).is_none_or(|began| began <= through_ms));
            if !page.entries.is_empty() || !page.more {
                return Ok(page);
            }
        }
    }

    async fn get(&self, name: &ObjectName, wanted: Wanted) -> Result<Ranged, BucketError> {
        let (lane, key) = (self.lane(name), name.to_string());
        let get = lane.store.get(&key, wanted, lane.bytes_max);
        let ranged = self.answer(Operation::Get, &key, lane.deadline, get).await?;
        self.0.counters.received(ranged.bytes.len() as u64);
        Ok(ranged)
    }

    fn lane(&self, name: &ObjectName) -> Lane<'_> {
        match name {
            ObjectName::Block(_) => self.blocks(),
            _ => self.log(),
        }
    }

    fn log(&self) -> Lane<'_> {
        Lane { store: &*self.0.log, deadline: LOG_DEADLINE, bytes_max: OBJECT_BYTES_MAX }
    }

    fn blocks(&self) -> Lane<'_> {
        Lane { store: &*self.0.blocks, deadline: BLOCK_DEADLINE, bytes_max: BLOCK_BYTES_MAX }
    }

    /// Waits for an answer, counts it, and says in an error what was done to what.
    async fn answer<T>(
        &self,
        operation: Operation,
        key: &str,
        deadline: Duration,
        asked: impl Future<Output = Result<T, BucketError>>,
    ) -> Result<T, BucketError> {
        let began = Instant::now();
        let late = || Err(BucketError::Unknown(format!("no answer within {deadline:?}")));
        let outcome = timeout(deadline, asked).await.unwrap_or_else(|_| late());
        self.0.counters.count(operation, &outcome, began.elapsed());
        let doing = super::OPERATIONS[operation as usize];
        outcome.map_err(|error| match error {
            BucketError::NotFound => BucketError::NotFound,
            BucketError::Unknown(why) => BucketError::Unknown(format!("{doing} {key}: {why}")),
            BucketError::Refused(why) => BucketError::Refused(format!("{doing} {key}: {why}")),
        })
    }
}

/// When the making of an object began, where its name tells that.
fn began_ms(key: &str) -> Option<i64> {
    match ObjectName::parse(key)? {
        ObjectName::Record(
            RecordId::Cut { id, .. } | RecordId::Replace { id, .. } | RecordId::Checkpoint { id },
        )
        | ObjectName::Intent(TombstoneId(id))
        | ObjectName::Bound(TombstoneId(id))
        | ObjectName::Families(id) => Some(FreshIds::time_ms(id)),
        ObjectName::Segment(segment) => Some(FreshIds::log_time_ms(segment.log)),
        _ => None,
    }
}
