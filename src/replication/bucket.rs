//! The bucket as the core sees it: five calls, and errors that it judges.
//!
//! Owns the shape of a request and of its answer. Whoever drives the core performs requests against a
//! [`Bucket`], however long that takes, and brings the answers back as events. Knows no store: that a
//! conditional write exists is not even expressible here.

use std::ops::Range;

use bytes::Bytes;

use super::names::ObjectName;

/// Most keys of a page of a listing.
pub const PAGE_KEYS_MAX: usize = 1000;

/// What an answer says that is not the wanted one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// The store said that there is nothing under this name.
    #[error("no such object")]
    NotFound,
    /// Nothing is known: no answer, an answer in 5xx, a time-out. What was asked for may have happened, or
    /// may happen later.
    #[error("outcome is unknown: {0}")]
    Unknown(String),
    /// The store refused (credentials, quota, policy); asking again soon is of no use.
    #[error("refused: {0}")]
    Refused(String),
}

/// Part of an object, and how long all of it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranged {
    pub bytes: Bytes,
    pub object_bytes: u64,
}

/// One object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub bytes: u64,
    /// When it was written, by the bucket's clock.
    pub modified_ms: i64,
    /// Of a heartbeat: what tells this content from any other, where the store says so. Nothing else is written again.
    pub tag: Option<String>,
}

/// Part of a listing, in the order of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Whether more follow after the last of these.
    pub more: bool,
}

/// An object store: puts are atomic and overwrite, and that is all that is asked of it.
pub trait Bucket {
    fn put(&mut self, key: &str, bytes: &Bytes) -> Result<(), BucketError>;
    fn get(&mut self, key: &str) -> Result<Bytes, BucketError>;
    /// Bytes of the object within `range`, which may reach beyond its end.
    fn get_range(&mut self, key: &str, range: Range<u64>) -> Result<Ranged, BucketError>;
    /// Keys that begin with `prefix` and come after `after`, at most [`PAGE_KEYS_MAX`].
    fn list(&mut self, prefix: &str, after: Option<&str>) -> Result<Page, BucketError>;
    /// What tells these bytes of a heartbeat from any others, if it says so in answers to puts and in listings.
    fn tag_of(&self, _bytes: &Bytes) -> Option<String> {
        None
    }
    /// Removes the object; fine where there is none.
    fn delete(&mut self, key: &str) -> Result<(), BucketError>;
}

/// What the core asks of the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Put {
        name: ObjectName,
        bytes: Bytes,
    },
    Get {
        name: ObjectName,
    },
    /// How long the object is; answered by a ranged read of its first byte.
    Size {
        name: ObjectName,
    },
    List {
        prefix: &'static str,
        after: Option<String>,
    },
    Delete {
        name: ObjectName,
    },
}

/// What the bucket answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    /// A heartbeat was written, and a listing shows it with this.
    Tagged(Option<String>),
    Object(Bytes),
    Size(u64),
    Page(Page),
}

/// Performs a request.
pub fn perform(bucket: &mut impl Bucket, request: &Request) -> Result<Answer, BucketError> {
    match request {
        Request::Put { name: name @ ObjectName::Node(_), bytes } => {
            bucket.put(&name.to_string(), bytes).map(|()| Answer::Tagged(bucket.tag_of(bytes)))
        }
        Request::Put { name, bytes } => bucket.put(&name.to_string(), bytes).map(|()| Answer::Done),
        Request::Get { name } => bucket.get(&name.to_string()).map(Answer::Object),
        Request::Size { name } => {
            bucket.get_range(&name.to_string(), 0..1).map(|ranged| Answer::Size(ranged.object_bytes))
        }
        Request::List { prefix, after } => bucket.list(prefix, after.as_deref()).map(Answer::Page),
        Request::Delete { name } => bucket.delete(&name.to_string()).map(|()| Answer::Done),
    }
}
