//! Composes the process out of its settings, and takes it apart again.
//!
//! The only place that builds components. Start: storage, query threads, socket — each fails with
//! an error that says what could not be done. End, on SIGTERM: not ready, a delay in which load
//! balancers notice, requests in flight finish, storage seals.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ring::rand::SecureRandom;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, ManualClock, SystemClock};
use crate::config::{self, Config};
use crate::memory::MemoryBudget;
use crate::memory::plan::MemoryPlan;
use crate::memory::watch::Watch;
use crate::model::regex::RegexError;
use crate::promql::syntax::{ParseOptions, parse_selector};
use crate::promql::{Engine, EngineOptions};
use crate::server::active_queries::ActiveQueries;
use crate::server::auth::Door;
use crate::server::ha_pairs;
use crate::server::limits::{self, rate::Rates};
use crate::server::live_file::LiveFile;
use crate::server::notifications::Board;
use crate::server::peers::Hints;
use crate::server::query_pool::{QueryPool, QueryPoolOptions};
use crate::server::{Listener, MemoryShares, ServerState, Shared, router};
use crate::storage::bucket::{BucketClient, ReadOnly, Scripts};
use crate::storage::survey::past;
use crate::storage::{
    AppendError, BucketTiming, Readiness, ReplicaOptions, RetentionRule, Storage, StorageError,
    StorageOptions, bucket_format,
};
use crate::telemetry::{Metrics, allocator};

/// How long requests in flight may take to finish.
const FINISH_MAX: Duration = Duration::from_secs(20);

/// Why the process could not come up or not end well.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("open storage in {path}: {source}")]
    Storage { path: PathBuf, source: StorageError },
    #[error("bucket {url} (--bucket.url): {why}")]
    Bucket { url: String, why: String },
    #[error("storage cannot go on: {0}")]
    Failed(String),
    #[error("close storage: {0}")]
    Close(#[source] AppendError),
    #[error("start threads: {0}")]
    Threads(#[source] std::io::Error),
    #[error("listen on {address} (--web.listen-address): {source}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("--web.cors.origin: {0}")]
    Cors(#[from] RegexError),
    #[error("--web.config.file: {0}")]
    WebFile(String),
    #[error("--limits.file: {0}")]
    LimitsFile(String),
    #[error("retention: {selector}: {why}")]
    Retention { selector: String, why: String },
    #[error("listen for signals: {0}")]
    Signals(#[source] std::io::Error),
}

/// A process that answers.
pub struct App {
    state: Shared,
    listener: Listener,
}

impl App {
    /// Brings everything up. Replay of the log goes on behind it.
    pub async fn start(config: Config) -> Result<Self, AppError> {
        Self::start_with_clock(config, Arc::new(SystemClock)).await
    }

    /// As [`Self::start`], on a clock of the caller's.
    pub async fn start_with_clock(config: Config, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        let metrics = Arc::new(Metrics::new());
        let address = config.web.listen_address;
        // Bound first: a second process on the same port should hear so before it opens the data.
        let listener = Listener::bind(
            address,
            config.web.max_connections,
            config.web.read_timeout,
            Arc::clone(&metrics),
        )
        .await
        .map_err(|source| AppError::Listen { address, source })?;
        let state = compose(config, clock, metrics, listener.local_address().ok()).await?;
        Ok(Self { state, listener })
    }

    pub fn local_address(&self) -> std::io::Result<std::net::SocketAddr> {
        self.listener.local_address()
    }

    /// Serves until a signal asks to end.
    pub async fn run(self) -> Result<(), AppError> {
        let mut signals = Signals::listen().map_err(AppError::Signals)?;
        let state = Arc::clone(&self.state);
        let drain = async move {
            if signals.first().await == Ask::Drain {
                let delay = state.config.drain_delay;
                tracing::info!(?delay, "draining: not ready from now on, requests are still taken");
                state.draining.store(true, Ordering::SeqCst);
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    _ = signals.first() => tracing::info!("second signal: drain delay skipped"),
                }
            }
        };
        self.run_until(drain).await
    }

    /// Serves until `end` is over, then finishes and seals.
    pub async fn run_until(self, end: impl Future<Output = ()> + Send) -> Result<(), AppError> {
        let Self { state, listener } = self;
        announce(&state, &listener);
        warn_if_open(&state, &listener);
        let door = Arc::clone(&state.door);
        let listener = listener.with_tls(Box::new(move || door.current().tls.clone()));
        tokio::spawn(Arc::clone(&state.door).follow(state.stopping.clone()));
        tokio::spawn(Arc::clone(&state.limits).follow(state.stopping.clone()));
        let hangup = signal(SignalKind::hangup()).map_err(AppError::Signals)?;
        tokio::spawn(reload_on(hangup, Arc::clone(&state)));
        let router = router(Arc::clone(&state))?;
        let stopping = state.stopping.clone();
        let serving = tokio::spawn(listener.serve(router, stopping.clone(), FINISH_MAX));

        let failed = tokio::select! {
            () = end => None,
            () = state.quit.cancelled() => {
                tracing::info!("asked to leave by /-/quit");
                None
            }
            reason = storage_failure(&state.storage) => Some(reason),
        };
        state.draining.store(true, Ordering::SeqCst);
        tracing::info!("finishing requests");
        stopping.cancel();
        if !serving.await.unwrap_or(false) {
            tracing::warn!(after = ?FINISH_MAX, "some requests did not finish");
        }
        if let Some(reason) = failed {
            return Err(AppError::Failed(reason));
        }
        tracing::info!("closing storage");
        state.storage.close().await.map_err(AppError::Close)?;
        tracing::info!("bye");
        Ok(())
    }
}

/// Waits for storage to find that it cannot go on: a log that cannot be replayed, say. A process that
/// is never going to be ready should not look as if it were only slow.
async fn storage_failure(storage: &Storage) -> String {
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    loop {
        if let Readiness::Failed(reason) = storage.readiness() {
            return reason;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn compose(
    config: Config,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    address: Option<std::net::SocketAddr>,
) -> Result<Shared, AppError> {
    // Before the data is opened: who is turned away by a bad file should be so at once.
    let door = LiveFile::open(config.web.config_file.as_deref(), Door::load).map_err(AppError::WebFile)?;
    let limits = LiveFile::open(config.limits_file.as_deref(), limits::load).map_err(AppError::LimitsFile)?;
    let limits = Arc::new(limits);
    let memory = MemoryShares::of(&MemoryPlan::of(config.memory_limit_bytes));
    let memory_watch =
        Watch::start(Arc::clone(&memory.whole), allocator::purge).map_err(AppError::Threads)?;
    let options = storage_options(&config, Arc::clone(&memory.whole), storage_clock(&config, &clock))?;
    let storage = match &config.bucket {
        None => Storage::open(options),
        Some(bucket) => Storage::open_replica(options, replica_options(bucket, address, &*clock).await?),
    };
    let storage =
        storage.map_err(|source| AppError::Storage { path: config.storage.path.clone(), source })?;
    storage.limit_series(limits::series_limit(&limits));
    let ha_pairs = ha_pairs::open(&config, &storage, &clock);
    let queries = QueryPool::start(
        QueryPoolOptions {
            threads: config.query.concurrency_max,
            queued_max: config.query.queued_max,
            query_bytes_max: config.query.memory_bytes_max,
            memory: Arc::clone(&memory.queries),
        },
        Arc::clone(&metrics),
    )
    .map_err(AppError::Threads)?;
    let active_queries = ActiveQueries::open(&config.storage.path, config.query.concurrency_max);
    let engine = Engine::new(EngineOptions {
        lookback_delta_ms: config.query.lookback_delta_ms,
        max_samples: config.query.samples_max as u64,
        delayed_name_removal: config.query.delayed_name_removal,
        experimental_functions: config.query.experimental_functions,
        ..EngineOptions::default()
    });
    let result_cache_bytes = config.query.result_cache_bytes;
    Ok(Arc::new(ServerState {
        started_ms: clock.now_ms(),
        config,
        door: Arc::new(door),
        limits,
        rates: Rates::default(),
        ha_pairs,
        notifications: Board::default(),
        storage,
        engine,
        results: memory.results(result_cache_bytes),
        queries,
        active_queries,
        metrics,
        memory,
        memory_watch: Some(memory_watch),
        clock,
        draining: AtomicBool::new(false),
        stopping: CancellationToken::new(),
        quit: CancellationToken::new(),
    }))
}

/// Where the past is shown, time stands still for the store: retention is judged then.
fn storage_clock(config: &Config, clock: &Arc<dyn Clock>) -> Arc<dyn Clock> {
    match config.bucket.as_ref().and_then(|bucket| bucket.at_ms) {
        Some(at_ms) => ManualClock::at_ms(at_ms),
        None => Arc::clone(clock),
    }
}

/// A log file is rotated at this part of the memory limit at the latest: a replay flushes between files.
const LOG_FILE_SHARE: u64 = 32;

/// How the store is opened, by the server and by commands on its directory; it leases from `memory`.
pub fn storage_options(
    config: &Config,
    memory: Arc<MemoryBudget>,
    clock: Arc<dyn Clock>,
) -> Result<StorageOptions, AppError> {
    let plan = MemoryPlan::of(config.memory_limit_bytes);
    let size = config.storage.retention_bytes_max;
    Ok(StorageOptions {
        path: config.storage.path.clone(),
        retention_ms: config.storage.retention_ms,
        clock,
        memory,
        head_bytes_max: plan.head_bytes_max,
        cache_bytes: usize::try_from(plan.cache_bytes).unwrap_or(usize::MAX),
        epoch_age_max_ms: config.storage.epoch_age_max_ms,
        epoch_log_bytes_max: config.storage.epoch_log_bytes_max,
        log_file_bytes: config.storage.log_file_bytes.min(plan.limit_bytes / LOG_FILE_SHARE),
        retention_bytes_max: (size > 0).then_some(size),
        retention_rules: retention_rules(config)?,
        merge_grace_ms: i64::try_from(config.storage.merge_grace.as_millis()).unwrap_or(i64::MAX),
        merge_gathered_bytes_max: plan.gathered_bytes_max,
    })
}

/// A batch of so many bytes does not wait for company.
const FLUSH_BYTES: u64 = 1 << 20;

/// Opens the bucket, and finds out whether it can be relied on.
async fn replica_options(
    config: &config::Bucket,
    address: Option<std::net::SocketAddr>,
    clock: &dyn Clock,
) -> Result<ReplicaOptions, AppError> {
    let refuse = |why: String| AppError::Bucket { url: config.url.clone(), why };
    let bucket = match config.read_only {
        true => open_read_only(config).await.map_err(refuse)?,
        false => open_bucket(config, clock).await.map_err(refuse)?,
    };
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let timing = BucketTiming {
        flush_ms: ms(config.flush_interval),
        heartbeat_ms: ms(config.heartbeat_interval),
        refresh_ms: ms(config.refresh_interval),
        sweep_ms: ms(config.sweep_interval),
        ..BucketTiming::default()
    };
    if let Some(flaw) = timing.flaw() {
        return Err(refuse(format!("--bucket.*-interval do not fit each other: {flaw}")));
    }
    let hints = Hints::start().map_err(|error| refuse(error.to_string()))?;
    let port = address.map_or(0, |address| address.port());
    let address = match config.advertise_address.as_str() {
        "" => format!("{}:{port}", config::machine::host_name()),
        address => address.to_owned(),
    };
    let random = || random_token().map_err(|()| refuse("the system has no random numbers".to_owned()));
    let name = match config.read_only {
        // The one that is configured may be that of a replica that writes: its heartbeat is not ours.
        true => format!("read-only-{}", random()?),
        false => config.replica_name.clone(),
    };
    Ok(ReplicaOptions {
        bucket,
        name,
        address,
        token: random()?,
        timing,
        flush_bytes: FLUSH_BYTES,
        cut_age_ms: ms(config.cut_interval),
        local_cache_bytes: config.local_cache_bytes,
        local_retention_ms: i64::try_from(config.local_retention.as_millis()).unwrap_or(i64::MAX),
        tell_peers: Box::new(move |segment, peers| hints.tell(segment, peers)),
        runtime: tokio::runtime::Handle::current(),
    })
}

/// Opens the bucket to work on it, and finds out whether it can be relied on.
async fn open_bucket(config: &config::Bucket, clock: &dyn Clock) -> Result<BucketClient, String> {
    let bucket = BucketClient::open(&config.url).map_err(|error| error.to_string())?;
    // Before anything is written: a bucket that this build does not understand stays as it is.
    let has_format = bucket_format::check(&bucket).await.map_err(|error| error.to_string())?;
    let capabilities = bucket.probe(clock).await.map_err(|error| error.to_string())?;
    tracing::info!(url = config.url, %capabilities, "bucket can be relied on");
    if !has_format {
        bucket_format::make(&bucket).await.map_err(|error| error.to_string())?;
        tracing::info!(url = config.url, "bucket had no FORMAT, it is written");
    }
    Ok(bucket)
}

/// Opens the bucket to look at it, and finds out whether what it was then is still there.
async fn open_read_only(config: &config::Bucket) -> Result<BucketClient, String> {
    let bucket = BucketClient::open_existing(&config.url).map_err(|error| error.to_string())?;
    bucket_format::check(&bucket).await.map_err(|error| error.to_string())?;
    if let Some(at_ms) = config.at_ms {
        let scripts = Scripts { bucket: bucket.clone(), clock: Arc::new(SystemClock) };
        past::judge(&scripts, at_ms)
            .await
            .map_err(|error| format!("it cannot be shown as it was then: {error}"))?;
    }
    tracing::info!(url = config.url, "nothing is written to the bucket");
    Ok(bucket.read_only(ReadOnly { through_ms: config.at_ms }))
}

/// What nobody can guess.
fn random_token() -> Result<String, ()> {
    let mut bytes = [0; 16];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_unspecified| ())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Storage knows matchers, not the language that they are written in.
fn retention_rules(config: &Config) -> Result<Vec<RetentionRule>, AppError> {
    let compile = |rule: &config::RetentionRule| {
        let matchers = parse_selector(&rule.selector, &ParseOptions::default());
        let refuse = |e: String| AppError::Retention { selector: rule.selector.clone(), why: e };
        let matchers = matchers.map_err(|e| refuse(e.to_string()))?;
        Ok(RetentionRule { tenant: rule.tenant.clone(), matchers, keep_ms: rule.keep_ms })
    };
    config.storage.retention_rules.iter().map(compile).collect()
}

/// Says where Prometheus and Grafana should point.
fn announce(state: &ServerState, listener: &Listener) {
    let web = &state.config.web;
    let base = match (web.external_url.as_str(), listener.local_address()) {
        ("", Ok(address)) if address.ip().is_unspecified() => {
            format!("http://localhost:{}{}", address.port(), web.route_prefix)
        }
        ("", Ok(address)) => format!("http://{address}{}", web.route_prefix),
        ("", Err(_)) => format!("http://{}{}", web.listen_address, web.route_prefix),
        (url, _) => url.to_owned(),
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data = %state.config.storage.path.display(),
        memory_limit_bytes = state.config.memory_limit_bytes,
        "onggi is up"
    );
    tracing::info!(url = format!("{base}/api/v1/write"), "point Prometheus here: remote_write");
    tracing::info!(url = base, "point Grafana here: data source of type Prometheus");
}

/// Says loudly where everybody who reaches the port may do everything.
fn warn_if_open(state: &ServerState, listener: &Listener) {
    let is_loopback = listener.local_address().is_ok_and(|address| address.ip().is_loopback());
    if is_loopback || !state.door.current().is_open() {
        return;
    }
    tracing::warn!(
        address = %state.config.web.listen_address,
        "NO AUTHENTICATION: everybody who reaches this port can read and write all data. Name users or \
         tokens in --web.config.file, require client certificates there, or listen on 127.0.0.1"
    );
}

/// Reads the live files again at each SIGHUP.
async fn reload_on(mut hangup: Signal, state: Shared) {
    let stopping = state.stopping.clone();
    while let Some(Some(())) = stopping.run_until_cancelled(hangup.recv()).await {
        let state = Arc::clone(&state);
        let look = move || {
            state.door.look();
            state.limits.look();
        };
        if let Err(error) = tokio::task::spawn_blocking(look).await {
            tracing::error!(%error, "read files again");
        }
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// SIGTERM: leave in good order.
    Drain,
    /// SIGINT: leave.
    Leave,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn first(&mut self) -> Ask {
        tokio::select! {
            _ = self.terminate.recv() => Ask::Drain,
            _ = self.interrupt.recv() => Ask::Leave,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::config::Flags;

    fn config(folder: &std::path::Path, settings: &[(&str, &str)]) -> Config {
        let path = folder.to_string_lossy();
        let fixed =
            [("storage.path", &*path), ("web.listen-address", "127.0.0.1:0"), ("memory.limit", "256MiB")];
        let values = fixed.iter().chain(settings).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Config::load(&Flags { config_file: None, values }, []).expect("valid settings")
    }

    /// Plain HTTP from outside, off the runtime's threads.
    async fn get(address: std::net::SocketAddr, path: &'static str) -> Result<u16, ureq::Error> {
        let ask = move || {
            let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
            agent.get(format!("http://{address}{path}")).call().map(|response| response.status().as_u16())
        };
        tokio::task::spawn_blocking(ask).await.expect("joins")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_comes_up_answers_and_leaves_in_good_order() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let app = App::start(config(folder.path(), &[])).await.expect("starts");
        let address = app.local_address().expect("bound");
        let (end, ended) = oneshot::channel::<()>();
        let running = tokio::spawn(app.run_until(async {
            let _ = ended.await;
        }));

        assert_eq!(get(address, "/-/healthy").await.expect("answers"), 200);
        assert_eq!(get(address, "/nowhere").await.expect("answers"), 404);
        end.send(()).expect("still running");

        running.await.expect("joins").expect("ends well");
        assert!(get(address, "/-/healthy").await.is_err(), "nobody listens any more");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = taken.local_addr().expect("bound").to_string();
        let folder = folder.path().join("data");
        let mut config = config(&folder, &[]);
        config.web.listen_address = address.parse().expect("address");

        let error = App::start(config).await.map(|_| ()).expect_err("port is taken").to_string();

        assert!(error.contains(&address) && error.contains("--web.listen-address"), "{error}");
        assert!(!folder.exists(), "the data was not touched");
    }

    /// A bucket in a folder, and why no replica starts on it.
    async fn refused_bucket(fill: impl FnOnce(&std::path::Path)) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().expect("temporary directory");
        let bucket = folder.path().join("bucket");
        std::fs::create_dir(&bucket).expect("folder");
        fill(&bucket);
        let url = format!("file://{}", bucket.display());
        let config = config(&folder.path().join("data"), &[("bucket.url", url.as_str())]);

        let error = App::start(config).await.map(|_| ()).expect_err("refused").to_string();

        assert!(error.contains(&url) && error.contains("--bucket.url"), "{error}");
        (folder, error)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_bucket_of_another_format_is_named_and_left_as_it_is() {
        let (folder, error) = refused_bucket(|bucket| {
            std::fs::write(bucket.join("FORMAT"), "{\"format\":2}").expect("write FORMAT");
        })
        .await;

        assert!(error.contains("FORMAT says format 2"), "{error}");
        let there = std::fs::read_dir(folder.path().join("bucket")).expect("listed").count();
        assert_eq!(there, 1, "nothing was written beside it");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_bucket_that_cannot_be_relied_on_is_named_with_what_failed() {
        let (folder, error) = refused_bucket(|bucket| {
            std::fs::write(bucket.join("probe"), "in the way").expect("write file");
        })
        .await;

        assert!(error.contains("probe the bucket, put: "), "{error}");
        assert!(!folder.path().join("bucket/FORMAT").exists(), "what is not used is not made ours");
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_a_directory_is_named() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let file = folder.path().join("file");
        std::fs::write(&file, "x").expect("write file");

        let error = App::start(config(&file, &[])).await.map(|_| ()).expect_err("no directory").to_string();

        assert!(error.contains("file"), "{error}");
    }
}
