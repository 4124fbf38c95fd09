//! Settings: where they come from, what they are called, what they may be.
//!
//! [`table`] is the one list of settings: names, defaults, help. [`source`] merges flags,
//! environment, file and defaults into texts that know where they came from. [`value`] reads one
//! text as one kind of value. [`machine`] finds the default of the memory limit. This file turns
//! the texts into [`Config`], once, at start; nothing reads a setting by name after that.
//! [`retention_rules`] is the one setting that is a list.
//! [`web_file`] and [`limits_file`] are what the files behind two of the settings may say; those are
//! read again while the server runs.
//!
//! The command line itself is `cli`'s: this module only says which flags there are.

pub mod limits_file;
pub mod machine;
pub mod retention_rules;
pub mod source;
pub mod table;
pub mod value;
pub mod web_file;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use retention_rules::RetentionRule;
pub use source::{ConfigError, Effective, Flags, Origin};

use source::Raw;

/// Every setting, validated.
#[derive(Clone, Debug)]
pub struct Config {
    pub web: Web,
    pub storage: Storage,
    /// Where replicas meet; `None` where the process stands alone.
    pub bucket: Option<Bucket>,
    pub remote_write: RemoteWrite,
    /// `None` where nobody looks for HA pairs.
    pub ha: Option<Ha>,
    pub query: Query,
    pub memory_limit_bytes: u64,
    pub drain_delay: Duration,
    /// Whether requests name the tenant whose data they mean.
    pub tenancy: bool,
    /// File of the tenants' limits.
    pub limits_file: Option<PathBuf>,
    pub log: Log,
    /// The settings as texts, in order of names, with where each came from.
    pub effective: Vec<Effective>,
}

#[derive(Clone, Debug)]
pub struct Web {
    pub listen_address: SocketAddr,
    /// Without a slash at the end; empty where nobody said how we are reached from outside.
    pub external_url: String,
    /// Empty, or a path that begins with a slash and does not end with one.
    pub route_prefix: String,
    pub max_connections: usize,
    pub read_timeout: Duration,
    /// As it was given; a fully anchored regular expression.
    pub cors_origin: String,
    pub page_title: String,
    pub admin_api: bool,
    pub lifecycle: bool,
    /// File of certificates and credentials.
    pub config_file: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct Storage {
    pub path: PathBuf,
    pub retention_ms: i64,
    pub epoch_age_max_ms: i64,
    pub epoch_log_bytes_max: u64,
    pub log_file_bytes: u64,
    /// 0: without limit.
    pub retention_bytes_max: u64,
    pub retention_rules: Vec<RetentionRule>,
    pub merge_grace: Duration,
}

/// A bucket that replicas share, and this one of them.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub url: String,
    pub cut_interval: Duration,
    pub flush_interval: Duration,
    pub heartbeat_interval: Duration,
    pub refresh_interval: Duration,
    pub sweep_interval: Duration,
    pub replica_name: String,
    /// Empty where nobody said it.
    pub advertise_address: String,
    /// Of blocks on the local disk; 0: none.
    pub local_cache_bytes: u64,
    pub local_retention: Duration,
    /// Nothing is written to it.
    pub read_only: bool,
    /// As it was then; only with `read_only`.
    pub at_ms: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct RemoteWrite {
    /// Limit of a decompressed body.
    pub body_bytes_max: u64,
}

/// Pairs of senders that bring the same.
#[derive(Clone, Debug)]
pub struct Ha {
    pub cluster_label: String,
    pub replica_label: String,
    pub failover_after: Duration,
}

#[derive(Clone, Debug)]
pub struct Query {
    pub timeout: Duration,
    pub samples_max: usize,
    pub concurrency_max: usize,
    pub queued_max: usize,
    /// What one query may lease.
    pub memory_bytes_max: u64,
    /// For results that are kept; 0: none.
    pub result_cache_bytes: u64,
    pub lookback_delta_ms: i64,
    /// Queries beyond it are logged.
    pub slow: Duration,
    pub experimental_functions: bool,
    pub delayed_name_removal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Logfmt,
    Json,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub level: tracing::Level,
    pub format: LogFormat,
}

impl Config {
    /// Merges and validates. `flags` are those given on the command line, `environment` is the
    /// whole environment of the process: foreign variables are passed over.
    pub fn load(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let raw = Raw::merge(flags, environment)?;
        Self::validate(&raw)
    }

    fn validate(raw: &Raw) -> Result<Self, ConfigError> {
        let external_url = raw.get("web.external-url", value::external_url)?;
        let route_prefix = match raw.text("web.route-prefix") {
            "" => value::path_of_url(&external_url),
            _ => raw.get("web.route-prefix", value::route_prefix)?,
        };
        let memory_limit_bytes = match raw.text("memory.limit") {
            "" => machine::default_memory_limit_bytes(),
            _ => raw.get("memory.limit", value::memory_limit)?,
        };
        let memory_bytes_max = match raw.text("query.max-memory") {
            "" => memory_limit_bytes / 4,
            _ => raw.get("query.max-memory", value::positive_bytes)?,
        };
        let result_cache_bytes = match raw.text("query.result-cache-size") {
            "" => memory_limit_bytes / 32,
            _ => raw.get("query.result-cache-size", value::bytes)?,
        };
        let features = raw.get("enable-feature", value::features)?;
        raw.get("web.enable-remote-write-receiver", value::always_on)?;

        let config = Self {
            web: Web {
                listen_address: raw.get("web.listen-address", value::listen_address)?,
                external_url,
                route_prefix,
                max_connections: raw.get("web.max-connections", value::count)?,
                read_timeout: raw.get("web.read-timeout", value::positive_duration)?,
                cors_origin: raw.get("web.cors.origin", value::regex)?,
                page_title: raw.text("web.page-title").to_owned(),
                admin_api: raw.get("web.enable-admin-api", value::switch)?,
                lifecycle: raw.get("web.enable-lifecycle", value::switch)?,
                config_file: value::optional_path(raw.text("web.config.file")),
            },
            storage: Storage {
                path: raw.get("storage.path", value::path)?,
                retention_ms: raw.get("storage.retention", value::retention_ms)?,
                epoch_age_max_ms: raw.get("storage.epoch-max-age", value::epoch_age_ms)?,
                epoch_log_bytes_max: raw.get("storage.epoch-max-bytes", value::log_bytes)?,
                log_file_bytes: raw.get("storage.log-file-bytes", value::log_bytes)?,
                retention_bytes_max: raw.get("storage.retention.size", |text| {
                    let bytes = value::bytes(text)?;
                    let on_bucket = bytes > 0 && !raw.text("bucket.url").is_empty();
                    if on_bucket { Err("a bucket is bounded by age only".to_owned()) } else { Ok(bytes) }
                })?,
                retention_rules: raw.get("retention", retention_rules::parse)?,
                merge_grace: raw.get("storage.merge-grace", value::duration)?,
            },
            bucket: Self::bucket(raw)?,
            remote_write: RemoteWrite {
                body_bytes_max: raw.get("remote-write.max-body-bytes", value::positive_bytes)?,
            },
            ha: Self::ha(raw)?,
            query: Query {
                timeout: raw.get("query.timeout", value::positive_duration)?,
                samples_max: raw.get("query.max-samples", value::count)?,
                concurrency_max: raw.get("query.max-concurrency", value::concurrency)?,
                queued_max: raw.get("query.max-queued", value::count)?,
                memory_bytes_max,
                result_cache_bytes,
                lookback_delta_ms: raw.get("query.lookback-delta", value::lookback_ms)?,
                slow: raw.get("query.log-slower-than", value::duration)?,
                experimental_functions: features.experimental_functions,
                delayed_name_removal: features.delayed_name_removal,
            },
            memory_limit_bytes,
            drain_delay: raw.get("shutdown.drain-delay", value::duration)?,
            tenancy: raw.get("tenancy.enabled", value::switch)?,
            limits_file: value::optional_path(raw.text("limits.file")),
            log: Log {
                level: raw.get("log.level", value::log_level)?,
                format: raw.get("log.format", value::log_format)?,
            },
            effective: raw.effective(),
        };
        raw.assert_all_read();
        Ok(config)
    }

    fn ha(raw: &Raw) -> Result<Option<Ha>, ConfigError> {
        let cluster_label = raw.get("ha.cluster-label", value::label_name)?;
        let failover_after = raw.get("ha.failover-after", value::positive_duration)?;
        let other_than_cluster = |text: &str| match text {
            "" => Ok(None),
            _ if text == cluster_label => Err("it is the label of the cluster".to_owned()),
            _ => value::label_name(text).map(Some),
        };
        let replica_label = raw.get("ha.replica-label", other_than_cluster)?;
        Ok(replica_label.map(|replica_label| Ha { cluster_label, replica_label, failover_after }))
    }

    fn bucket(raw: &Raw) -> Result<Option<Bucket>, ConfigError> {
        let url = raw.text("bucket.url").to_owned();
        let read_only = raw.get("read-only", |text| match value::switch(text)? {
            true if url.is_empty() => Err("--bucket.url is missing".to_owned()),
            read_only => Ok(read_only),
        })?;
        let at_ms = raw.get("at", |text| match text {
            "" => Ok(None),
            _ if !read_only => Err("--read-only is missing".to_owned()),
            _ => value::time_ms(text).map(Some),
        })?;
        let bucket = Bucket {
            cut_interval: raw.get("bucket.cut-interval", value::positive_duration)?,
            flush_interval: raw.get("bucket.flush-interval", value::positive_duration)?,
            heartbeat_interval: raw.get("bucket.heartbeat-interval", value::positive_duration)?,
            refresh_interval: raw.get("bucket.refresh-interval", value::positive_duration)?,
            sweep_interval: raw.get("bucket.sweep-interval", value::positive_duration)?,
            replica_name: match raw.text("replica.name") {
                "" => machine::host_name(),
                _ => raw.get("replica.name", value::replica_name)?,
            },
            advertise_address: raw.text("replica.advertise-address").to_owned(),
            local_cache_bytes: raw.get("storage.local-cache-size", value::bytes)?,
            local_retention: raw.get("storage.local-retention", value::duration)?,
            read_only,
            at_ms,
            url,
        };
        Ok((!bucket.url.is_empty()).then_some(bucket))
    }
}

/// Whether a YAML text says nothing: the parser refuses such a document.
fn is_blank_yaml(text: &str) -> bool {
    let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    text.lines().all(blank)
}

#[cfg(test)]
mod tests;
