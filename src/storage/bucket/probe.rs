//! What a store can do, found out before it is trusted with anything.
//!
//! Owns the questions. Reading what was written, reading a part of it, and listing from after a key are needed; a
//! store without them is refused by the name of what it lacks. That one of many who create the same name wins is
//! reported and used for nothing: several stores that speak S3 let all of them win, and some only when they
//! race, which is why sixteen do.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::store::{Answering, Store, Wanted};
use crate::clock::Clock;
use crate::replication::bucket::{BucketError, Page};
use crate::storage::random_u128;

const RACERS: u8 = 16;
const OVERWRITES: u8 = 3;
/// Large enough that sixteen of them are on their way at the same time.
const RACED_BYTES: usize = 64 << 10;
const OBJECT_BYTES: usize = 4 << 10;
const BYTES_MAX: u64 = 1 << 20;
/// A question is asked so often before its failure says something about the store, and not the way to it.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_secs(10);

/// What became of many who created the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionalCreate {
    /// One of them was told that it had.
    Exclusive,
    /// So many were, of sixteen: the condition is ignored, or checked too early.
    Ignored { winners: usize },
    /// The store has no such thing.
    Unsupported(String),
}

/// A store that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Nothing depends on it.
    pub conditional_create: ConditionalCreate,
    /// The store's clock minus ours, to about a second.
    pub clock_skew_ms: i64,
    pub took: Duration,
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reads and lists what was written, in part and from after a key; conditional create ")?;
        match &self.conditional_create {
            ConditionalCreate::Exclusive => write!(f, "lets one of {RACERS} win")?,
            ConditionalCreate::Ignored { winners } => write!(f, "lets {winners} of {RACERS} win")?,
            ConditionalCreate::Unsupported(_) => f.write_str("is not there")?,
        }
        let seconds = self.took.as_secs_f64();
        write!(f, " (not relied on); its clock is off by {} ms; took {seconds:.2} s", self.clock_skew_ms)
    }
}

/// Why a bucket is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Nothing is known about the store: credentials, the way to it, the store itself.
    #[error("probe the bucket, {doing}: {source}")]
    Failed { doing: &'static str, source: BucketError },
    /// Not for us, however often it is asked.
    #[error("the bucket lacks {what}: {why}")]
    Lacks { what: &'static str, why: String },
}

/// Asks a store, then takes away what was written for that.
pub async fn probe(
    log: &Arc<dyn Store>,
    blocks: &Arc<dyn Store>,
    clock: &dyn Clock,
) -> Result<Capabilities, ProbeError> {
    let began = Instant::now();
    let folder = format!("probe/{:032x}/", random_u128());
    let probe = Probe { log, blocks, clock, folder: &folder };
    let found = timeout(6 * DEADLINE, probe.ask_all()).await;
    let late = || ProbeError::Failed {
        doing: "all of it",
        source: BucketError::Unknown(format!("no end within {:?}", 6 * DEADLINE)),
    };
    let found = found.unwrap_or_else(|_| Err(late()));
    probe.clean_up().await;
    let (conditional_create, clock_skew_ms) = found?;
    Ok(Capabilities { conditional_create, clock_skew_ms, took: began.elapsed() })
}

struct Probe<'a> {
    log: &'a Arc<dyn Store>,
    blocks: &'a Arc<dyn Store>,
    clock: &'a dyn Clock,
    /// Ends in `/`.
    folder: &'a str,
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "race"];

impl Probe<'_> {
    async fn ask_all(&self) -> Result<(ConditionalCreate, i64), ProbeError> {
        let clock_skew_ms = self.write_and_list().await?;
        self.overwrite().await?;
        self.read_parts().await?;
        self.list_from().await?;
        self.delete().await?;
        Ok((self.race().await?, clock_skew_ms))
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    async fn put(&self, name: &str, bytes: &Bytes) -> Result<(), ProbeError> {
        let key = self.key(name);
        let put = tried(|| self.log.put(&key, bytes.clone())).await;
        put.map_err(|source| ProbeError::Failed { doing: "put", source })
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, ProbeError> {
        let key = self.key(name);
        match tried(|| self.log.get(&key, Wanted::All, BYTES_MAX)).await {
            Ok(ranged) => Ok(Some(ranged.bytes)),
            Err(BucketError::NotFound) => Ok(None),
            Err(source) => Err(ProbeError::Failed { doing: "get", source }),
        }
    }

    /// Each object is read and listed as soon as it is written. Gives how far the store's clock is ahead.
    async fn write_and_list(&self) -> Result<i64, ProbeError> {
        let mut skew_ms = 0;
        for (count, name) in (1..).zip(&NAMES[..4]) {
            let before_ms = self.clock.now_ms();
            self.put(name, &object(0)).await?;
            let between_ms = before_ms + self.clock.now_ms().saturating_sub(before_ms) / 2;
            check("read after write", self.get(name).await? == Some(object(0)), "other bytes came, or none")?;
            let listed = tried(|| self.log.list(self.folder, None)).await;
            let listed = listed.map_err(|source| ProbeError::Failed { doing: "list", source })?;
            let why = format!("of {count} objects {} were listed", listed.entries.len());
            check("listing after write", self.names(&listed) == NAMES[..count], why)?;
            let newest = listed.entries.last().map_or(between_ms, |entry| entry.modified_ms);
            skew_ms = newest.saturating_sub(between_ms);
        }
        Ok(skew_ms)
    }

    async fn overwrite(&self) -> Result<(), ProbeError> {
        for version in 1..=OVERWRITES {
            self.put("a", &object(version)).await?;
            let is_new = self.get("a").await? == Some(object(version));
            check("read after overwrite", is_new, "other bytes came than were written last")?;
        }
        Ok(())
    }

    async fn read_parts(&self) -> Result<(), ProbeError> {
        let (key, whole) = (self.key("a"), object(OVERWRITES));
        let end = OBJECT_BYTES as u64;
        let parts = [
            ("ranged reads", Wanted::Range(100..300), whole.slice(100..300)),
            ("ranged reads", Wanted::Range(end - 10..end + 100), whole.slice(OBJECT_BYTES - 10..)),
            ("reads of an object's end", Wanted::Suffix(50), whole.slice(OBJECT_BYTES - 50..)),
        ];
        for (what, wanted, want) in parts {
            let lacks = |why| ProbeError::Lacks { what, why };
            let part = tried(|| self.blocks.get(&key, wanted.clone(), BYTES_MAX)).await;
            let part = part.map_err(|error| lacks(format!("{wanted:?}: {error}")))?;
            let why = format!("{wanted:?} of {end} bytes gave {} of {}", part.bytes.len(), part.object_bytes);
            check(what, (part.bytes, part.object_bytes) == (want, end), why)?;
        }
        Ok(())
    }

    async fn list_from(&self) -> Result<(), ProbeError> {
        let what = "listing from after a key";
        let key = self.key("a");
        let listed = tried(|| self.log.list(self.folder, Some(&key))).await;
        let listed = listed.map_err(|error| ProbeError::Lacks { what, why: error.to_string() })?;
        let names = self.names(&listed);
        check(what, names == NAMES[1..4] && !listed.more, format!("after a of a, b, c, d came {names:?}"))
    }

    async fn delete(&self) -> Result<(), ProbeError> {
        let key = self.key("a");
        for _ in ["there", "not there any more"] {
            let deleted = tried(|| self.log.delete(&key)).await;
            deleted.map_err(|source| ProbeError::Failed { doing: "delete", source })?;
        }
        check("read after delete", self.get("a").await?.is_none(), "it is still there")
    }

    /// Sixteen create the same name at the same time.
    async fn race(&self) -> Result<ConditionalCreate, ProbeError> {
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            let (store, key) = (Arc::clone(self.log), self.key("race"));
            let bytes = Bytes::from(vec![racer; RACED_BYTES]);
            racers.spawn(async move { timeout(DEADLINE, store.create(&key, bytes)).await });
        }
        let (mut winners, mut unsupported) = (0, None);
        while let Some(racer) = racers.join_next().await {
            match racer {
                Ok(Ok(Ok(true))) => winners += 1,
                Ok(Ok(Err(BucketError::Refused(why)))) => unsupported = Some(why),
                // One that lost, or whose answer is not known: it is none that was told it had won.
                Ok(_) => {}
                Err(panicked) => warn!(%panicked, "a racer of the bucket's probe ended early"),
            }
        }
        Ok(match (winners, unsupported) {
            (0, Some(why)) => ConditionalCreate::Unsupported(why),
            (1, _) => ConditionalCreate::Exclusive,
            (winners, _) => ConditionalCreate::Ignored { winners },
        })
    }

    fn names<'p>(&self, page: &'p Page) -> Vec<&'p str> {
        let name = |key: &'p str| key.strip_prefix(self.folder).unwrap_or(key);
        page.entries.iter().map(|entry| name(&entry.key)).collect()
    }

    async fn clean_up(&self) {
        for name in NAMES {
            let key = self.key(name);
            if let Err(error) = tried(|| self.log.delete(&key)).await {
                warn!(key, %error, "an object of the bucket's probe stays; it may be deleted");
            }
        }
    }
}

/// Bytes in which every part of 256 bytes differs from the next.
fn object(version: u8) -> Bytes {
    (0..OBJECT_BYTES)
        .map(|at| (at as u8) ^ ((at >> 8) as u8).wrapping_mul(31) ^ version.wrapping_mul(101))
        .collect()
}

fn check(what: &'static str, holds: bool, why: impl Into<String>) -> Result<(), ProbeError> {
    if holds { Ok(()) } else { Err(ProbeError::Lacks { what, why: why.into() }) }
}

/// Asks again while nothing is known.
async fn tried<'a, T>(ask: impl Fn() -> Answering<'a, T>) -> Result<T, BucketError> {
    let mut attempt = 1;
    loop {
        let late = || Err(BucketError::Unknown(format!("no answer within {DEADLINE:?}")));
        match timeout(DEADLINE, ask()).await.unwrap_or_else(|_| late()) {
            Err(BucketError::Unknown(_)) if attempt < ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
        sleep(PAUSE).await;
    }
}
