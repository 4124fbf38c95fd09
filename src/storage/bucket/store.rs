//! One call on one store, and which error is which.
//!
//! Owns the translation: of calls into those of `object_store`, of its errors into the three that the core
//! judges. Deadlines, limits on time and counting are the client's. The trait has an implementation that lies and
//! one that fails, beside the one that works, for tests.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use object_store::list::PaginatedListStore;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult,
};

use super::listing;
use crate::replication::bucket::{BucketError, Page, Ranged};

pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, BucketError>> + Send + 'a>>;

/// Which bytes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    All,
    /// May reach beyond the end of the object, and does not begin there.
    Range(Range<u64>),
    /// The last so many.
    Suffix(u64),
}

/// A store of objects under keys, which are relative to the prefix of the bucket's URL.
pub trait Store: Send + Sync + 'static {
    fn put<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answering<'a, ()>;
    /// As [`Self::put`]; answers the tag with which a listing shows these bytes, where the store has such.
    fn put_tagged<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answering<'a, Option<String>> {
        Box::pin(async move { self.put(key, bytes).await.map(|()| None) })
    }
    /// Writes only where nothing is; says whether it was written. For the probe alone.
    fn create<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answering<'a, bool>;
    /// Refused where what is wanted is more than `bytes_max`, before it is read.
    fn get<'a>(&'a self, key: &'a str, wanted: Wanted, bytes_max: u64) -> Answering<'a, Ranged>;
    /// Keys below `prefix` (which ends in `/`) and after `after`, in their order.
    fn list<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> Answering<'a, Page>;
    /// Fine where there is nothing.
    fn delete<'a>(&'a self, key: &'a str) -> Answering<'a, ()>;
}

/// How a store lists.
#[derive(Clone)]
pub enum Lists {
    /// Pages that begin after a key, by the store itself.
    Pages(Arc<dyn PaginatedListStore>),
    /// Folder by folder, without any order.
    Folders,
}

/// A store of `object_store`.
pub struct Objects {
    pub store: Arc<dyn ObjectStore>,
    pub lists: Lists,
    /// Empty, or ends in `/`.
    pub root: String,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.store, self.root)
    }
}

impl Objects {
    pub fn path(&self, key: &str) -> Result<Path, BucketError> {
        let path = format!("{}{}", self.root, key.trim_end_matches('/'));
        Path::parse(path).map_err(|error| BucketError::Refused(brief(error.to_string())))
    }

    async fn put_with(&self, key: &str, bytes: Bytes, mode: PutMode) -> Result<PutResult, Error> {
        let path = Path::parse(format!("{}{key}", self.root))?;
        let options = PutOptions { mode, ..PutOptions::default() };
        self.store.put_opts(&path, PutPayload::from_bytes(bytes), options).await
    }
}

impl Store for Objects {
    fn put<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answering<'a, ()> {
        Box::pin(
            async move { self.put_with(key, bytes, PutMode::Overwrite).await.map(|_| ()).map_err(judge) },
        )
    }

    fn put_tagged<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answering<'a, Option<String>> {
        Box::pin(async move {
            let put = self.put_with(key, bytes, PutMode::Overwrite).await.map_err(judge)?;
            Ok(put.e_tag.as_deref().map(listing::tag_of))
        })
    }

    fn create<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answering<'a, bool> {
        Box::pin(async move {
            match self.put_with(key, bytes, PutMode::Create).await {
                Ok(_) => Ok(true),
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
                Err(error) => Err(judge(error)),
            }
        })
    }

    fn get<'a>(&'a self, key: &'a str, wanted: Wanted, bytes_max: u64) -> Answering<'a, Ranged> {
        Box::pin(async move {
            let path = self.path(key)?;
            let range = match wanted {
                Wanted::All => None,
                Wanted::Range(range) => Some(GetRange::Bounded(range)),
                Wanted::Suffix(bytes) => Some(GetRange::Suffix(bytes)),
            };
            let options = GetOptions { range, ..GetOptions::default() };
            let answer = self.store.get_opts(&path, options).await.map_err(judge)?;
            let (object_bytes, range) = (answer.meta.size, answer.range.clone());
            let expected_bytes = range.end.saturating_sub(range.start);
            if expected_bytes > bytes_max {
                return Err(BucketError::Refused(format!(
                    "it has {expected_bytes} bytes, more than {bytes_max} are not read"
                )));
            }
            let bytes = answer.bytes().await.map_err(judge)?;
            if bytes.len() as u64 != expected_bytes {
                let why = format!("{} of {expected_bytes} bytes came", bytes.len());
                return Err(BucketError::Unknown(why));
            }
            Ok(Ranged { bytes, object_bytes })
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> Answering<'a, Page> {
        Box::pin(async move {
            match &self.lists {
                Lists::Pages(pages) => listing::by_pages(&**pages, &self.root, prefix, after).await,
                Lists::Folders => listing::by_folders(self, prefix, after).await,
            }
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answering<'a, ()> {
        Box::pin(async move {
            match self.store.delete(&self.path(key)?).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(judge(error)),
            }
        })
    }
}

/// What an error means to the core. What is not a clear answer of the store is unknown: it may have happened.
pub fn judge(error: Error) -> BucketError {
    match error {
        Error::NotFound { .. } => BucketError::NotFound,
        Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::UnknownConfigurationKey { .. }
        | Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. } => BucketError::Refused(brief(error.to_string())),
        _ => BucketError::Unknown(brief(error.to_string())),
    }
}

/// A server may answer an error with a page of any length.
fn brief(mut text: String) -> String {
    const TEXT_BYTES_MAX: usize = 600;
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}
