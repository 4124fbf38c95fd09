//! A URL and the environment become stores.
//!
//! Owns which URLs there are, and the settings of the two connections: the log's fails early and is never tried
//! again below the core, which has pauses of its own; that of blocks is patient.

use std::fs;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::list::PaginatedListStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};

use super::store::{Lists, Objects, Store};
use crate::storage::durable;

/// Why a bucket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("bucket URL {url:?}: {reason}")]
    Url { url: String, reason: String },
    #[error("set up the client of {url}: {source}")]
    Client { url: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{action} {}: {source}", path.display())]
    Folder { action: &'static str, path: PathBuf, source: std::io::Error },
}

/// The two connections to one bucket.
pub struct Stores {
    pub log: Arc<dyn Store>,
    pub blocks: Arc<dyn Store>,
}

/// How long a connection waits, and how often it tries.
struct Patience {
    connect: Duration,
    request: Duration,
    retries: usize,
    retry: Duration,
}

const FOR_LOG: Patience = Patience {
    connect: Duration::from_secs(1),
    request: Duration::from_secs(3),
    retries: 0,
    retry: Duration::from_secs(3),
};
const FOR_BLOCKS: Patience = Patience {
    connect: Duration::from_secs(5),
    request: Duration::from_secs(30),
    retries: 3,
    retry: Duration::from_secs(30),
};

/// Refuses a folder that is not there, which [`open`] makes.
pub fn must_exist(url: &str) -> Result<(), OpenError> {
    match url.strip_prefix("file://").map(FilePath::new) {
        Some(folder) if !folder.is_dir() => Err(OpenError::Folder {
            action: "find the bucket's folder",
            path: folder.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        }),
        _ => Ok(()),
    }
}

/// Opens what the URL names; `settings` win over the environment.
pub fn open(url: &str, settings: &[(&str, &str)]) -> Result<Stores, OpenError> {
    let wrong = |reason: &str| OpenError::Url { url: url.to_owned(), reason: reason.to_owned() };
    let (scheme, rest) = url.split_once(':').ok_or_else(|| wrong("it has no scheme"))?;
    if scheme == "memory" {
        let objects =
            Objects { store: Arc::new(InMemory::new()), lists: Lists::Folders, root: String::new() };
        let store: Arc<dyn Store> = Arc::new(objects);
        return Ok(Stores { log: Arc::clone(&store), blocks: store });
    }
    let rest = rest.strip_prefix("//").ok_or_else(|| wrong("// must follow the scheme"))?;
    if scheme == "file" {
        let folder = FilePath::new(rest);
        if !folder.is_absolute() {
            return Err(wrong("the path of a folder begins with a third slash: file:///folder"));
        }
        return in_folder(url, folder);
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() || !bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        return Err(wrong("the name of the bucket is missing, or has other than letters, digits, - . _"));
    }
    let prefix = prefix.trim_matches('/');
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/=".contains(&b);
    if !prefix.bytes().all(is_plain) || Path::parse(prefix).is_err() {
        return Err(wrong("the prefix has other than letters, digits, - . _ = and single slashes"));
    }
    let root = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    trust_ring();
    let both = |open: &dyn Fn(&Patience) -> Result<Remote, object_store::Error>| {
        let connect = |patience| {
            let (store, pages) = open(patience)
                .map_err(|source| OpenError::Client { url: url.to_owned(), source: source.into() })?;
            let objects = Objects { store, lists: Lists::Pages(pages), root: root.clone() };
            Ok::<Arc<dyn Store>, OpenError>(Arc::new(objects))
        };
        Ok(Stores { log: connect(&FOR_LOG)?, blocks: connect(&FOR_BLOCKS)? })
    };
    match scheme {
        "s3" => both(&|patience| amazon(bucket, settings, patience)),
        "gs" => both(&|patience| google(bucket, settings, patience)),
        "az" => both(&|patience| azure(bucket, settings, patience)),
        _ => Err(wrong("there are s3://, gs://, az:// and file://")),
    }
}

type Remote = (Arc<dyn ObjectStore>, Arc<dyn PaginatedListStore>);

fn remote<T: ObjectStore + PaginatedListStore>(store: T) -> Remote {
    let store = Arc::new(store);
    (Arc::clone(&store) as Arc<dyn ObjectStore>, store)
}

fn amazon(
    bucket: &str,
    settings: &[(&str, &str)],
    patience: &Patience,
) -> Result<Remote, object_store::Error> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    for (key, value) in settings {
        builder = builder.with_config(key.parse()?, *value);
    }
    for (key, value) in patience.settings() {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    // One object at a time is deleted, for which the plain call is understood by more stores.
    let builder = builder.with_disable_bulk_delete(true);
    builder.with_retry(patience.retries()).build().map(remote)
}

fn google(
    bucket: &str,
    settings: &[(&str, &str)],
    patience: &Patience,
) -> Result<Remote, object_store::Error> {
    let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
    for (key, value) in settings {
        builder = builder.with_config(key.parse()?, *value);
    }
    for (key, value) in patience.settings() {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    builder.with_retry(patience.retries()).build().map(remote)
}

fn azure(
    container: &str,
    settings: &[(&str, &str)],
    patience: &Patience,
) -> Result<Remote, object_store::Error> {
    let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(container);
    for (key, value) in settings {
        builder = builder.with_config(key.parse()?, *value);
    }
    for (key, value) in patience.settings() {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    builder.with_retry(patience.retries()).build().map(remote)
}

impl Patience {
    /// Single settings, so that those of the environment stay beside them.
    fn settings(&self) -> [(ClientConfigKey, String); 2] {
        let millis = |duration: Duration| format!("{} ms", duration.as_millis());
        [
            (ClientConfigKey::ConnectTimeout, millis(self.connect)),
            (ClientConfigKey::Timeout, millis(self.request)),
        ]
    }

    fn retries(&self) -> RetryConfig {
        RetryConfig { max_retries: self.retries, retry_timeout: self.retry, ..RetryConfig::default() }
    }
}

/// A folder, whose files and names are synced before a put is answered. Empty folders stay: taking one away
/// would race with whoever writes into it.
fn in_folder(url: &str, folder: &FilePath) -> Result<Stores, OpenError> {
    let failed = |action| move |source| OpenError::Folder { action, path: folder.to_owned(), source };
    if !folder.is_dir() {
        let there = folder.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(FilePath::new("/"));
        fs::create_dir_all(folder).map_err(failed("create the bucket's folder"))?;
        let made = folder.ancestors().take_while(|ancestor| *ancestor != there);
        for name in made.filter_map(FilePath::parent) {
            durable::sync_folder(name).map_err(failed("sync the name of the bucket's folder"))?;
        }
    }
    let store = LocalFileSystem::new_with_prefix(folder)
        .map_err(|source| OpenError::Client { url: url.to_owned(), source: source.into() })?;
    let store = store.with_fsync(true).with_automatic_cleanup(false);
    let store: Arc<dyn Store> =
        Arc::new(Objects { store: Arc::new(store), lists: Lists::Folders, root: String::new() });
    Ok(Stores { log: Arc::clone(&store), blocks: store })
}

/// The HTTP client is built without a provider of cryptography, and takes the process' own.
fn trust_ring() {
    // An error says that there is one already.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
}
