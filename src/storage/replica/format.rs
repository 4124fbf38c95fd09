//! FORMAT, the object at the root of a bucket: what is in it, and who may go on with it.
//!
//! Owns its bytes and the judgement. Every start reads it before it reads or writes anything else; the first one
//! makes it, and where several are the first they write the same bytes. It is never written with others.
//!
//! ```text
//! {"format":1,"partitions":64,"partition_hash":"…","versions":{"segment":1,"block":1,"record":1},"features_required":[]}
//! ```
//!
//! Fields that are not known are passed over: what a reader must know is a name among `features_required`.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::partition::{PARTITION_HASH, PARTITIONS};
use crate::encoding::log_file;
use crate::replication::bucket::{Answer, BucketError, Request};
use crate::replication::codec;
use crate::replication::heartbeat::BUCKET_FORMAT;
use crate::replication::names::{ObjectName, Partition};
use crate::storage::block;
use crate::storage::bucket::BucketClient;

/// A larger object is none of ours.
const BYTES_MAX: usize = 64 << 10;
/// The bucket is asked so often before its failure ends the start.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// Names that `features_required` may have.
const FEATURES_KNOWN: [&str; 0] = [];

/// Why a bucket is not used.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("{doing} FORMAT: {source}")]
    Bucket { doing: &'static str, source: BucketError },
    #[error(
        "FORMAT is damaged ({0}): restore it, or copy it from another bucket that the same version made; what \
         else is in the bucket is as it was"
    )]
    Damaged(String),
    #[error(
        "FORMAT says format {found}, this build reads format {known}: use the version that fits the bucket, or \
         another bucket or prefix",
        known = BUCKET_FORMAT
    )]
    Format { found: u32 },
    #[error(
        "FORMAT requires {unknown:?} (features_required), which this build does not know: use a newer one"
    )]
    Features { unknown: Vec<String> },
    #[error(
        "FORMAT says {what} {found}, this build has {ours}: a bucket stays as it was made, use the version that \
         fits it, or another bucket or prefix"
    )]
    Other { what: &'static str, found: String, ours: String },
    #[error("FORMAT says that a {container} has version {found}, this build reads {ours}: use a newer one")]
    Container { container: &'static str, found: u16, ours: u16 },
}

/// What the object says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Format {
    format: u32,
    partitions: Partition,
    partition_hash: String,
    versions: Versions,
    #[serde(default)]
    features_required: Vec<String>,
}

/// Versions of the containers, as the first process wrote them. Each object says its own beside that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Versions {
    segment: u16,
    block: u16,
    record: u16,
}

impl Format {
    fn ours() -> Self {
        Self {
            format: BUCKET_FORMAT,
            partitions: PARTITIONS,
            partition_hash: PARTITION_HASH.to_owned(),
            versions: Versions {
                segment: log_file::FORMAT_VERSION,
                block: block::FORMAT_VERSION,
                record: codec::FORMAT_VERSION,
            },
            features_required: FEATURES_KNOWN.map(str::to_owned).to_vec(),
        }
    }

    fn to_bytes(&self) -> Bytes {
        let mut bytes = serde_json::to_vec(self).expect("numbers and texts always serialize");
        bytes.push(b'\n');
        bytes.into()
    }

    /// Whether this build may go on with a bucket that has this. The format comes before the rest, which another
    /// one may say otherwise.
    fn judge(bytes: &[u8]) -> Result<(), FormatError> {
        #[derive(Deserialize)]
        struct Versioned {
            format: u32,
        }
        if bytes.len() > BYTES_MAX {
            return Err(FormatError::Damaged(format!("it has {} bytes", bytes.len())));
        }
        let damaged = |error: serde_json::Error| FormatError::Damaged(error.to_string());
        let Versioned { format: found } = serde_json::from_slice(bytes).map_err(damaged)?;
        if found != BUCKET_FORMAT {
            return Err(FormatError::Format { found });
        }
        let (found, ours): (Self, Self) = (serde_json::from_slice(bytes).map_err(damaged)?, Self::ours());
        let is_unknown = |name: &String| !FEATURES_KNOWN.contains(&name.as_str());
        let unknown: Vec<String> = found.features_required.into_iter().filter(is_unknown).collect();
        if !unknown.is_empty() {
            return Err(FormatError::Features { unknown });
        }
        let same = |what, found: String, ours: String| {
            if found == ours { Ok(()) } else { Err(FormatError::Other { what, found, ours }) }
        };
        same("partitions", found.partitions.to_string(), ours.partitions.to_string())?;
        same("partition_hash", found.partition_hash, ours.partition_hash)?;
        [
            ("segment", found.versions.segment, ours.versions.segment),
            ("block", found.versions.block, ours.versions.block),
            ("record", found.versions.record, ours.versions.record),
        ]
        .into_iter()
        .try_for_each(|(container, found, ours)| {
            if found <= ours { Ok(()) } else { Err(FormatError::Container { container, found, ours }) }
        })
    }
}

/// Whether the bucket has a FORMAT; an error where this build must not go on with it.
pub async fn check(bucket: &BucketClient) -> Result<bool, FormatError> {
    let failed = |source| FormatError::Bucket { doing: "read", source };
    match tried(bucket, Request::Get { name: ObjectName::Format }).await {
        Ok(Answer::Object(bytes)) => Format::judge(&bytes).map(|()| true),
        Ok(_) => Err(failed(BucketError::Unknown("answered something else".to_owned()))),
        Err(BucketError::NotFound) => Ok(false),
        Err(source) => Err(failed(source)),
    }
}

/// Makes it where [`check`] found none, and looks at what stands there then: another version may have been
/// a little earlier.
pub async fn make(bucket: &BucketClient) -> Result<(), FormatError> {
    let failed = |source| FormatError::Bucket { doing: "write", source };
    let put = Request::Put { name: ObjectName::Format, bytes: Format::ours().to_bytes() };
    tried(bucket, put).await.map_err(failed)?;
    match check(bucket).await? {
        true => Ok(()),
        false => Err(failed(BucketError::Unknown("it is not there, though it was just written".to_owned()))),
    }
}

/// Asks again while nothing is known.
async fn tried(bucket: &BucketClient, request: Request) -> Result<Answer, BucketError> {
    let mut attempt = 1;
    loop {
        match bucket.perform(request.clone()).await {
            Err(BucketError::Unknown(_)) if attempt < ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests;
