//! A whole server without a socket: storage in a temporary directory, a clock that stands still but for replicas.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::active_queries::ActiveQueries;
use super::auth::Door;
use super::ha_pairs;
use super::limits::{self, rate::Rates};
use super::live_file::LiveFile;
use super::notifications::Board;
use super::query_pool::{QueryPool, QueryPoolOptions};
use super::{MemoryShares, ServerState, Shared, router};
use crate::clock::{Clock, ManualClock, boot_ms};
use crate::config::{Config, Flags};
use crate::memory::plan::MemoryPlan;
use crate::promql::{Engine, EngineOptions};
use crate::storage::bucket::BucketClient;
use crate::storage::{BucketTiming, ReplicaOptions, Storage, StorageError, StorageOptions};
use crate::telemetry::Metrics;

/// The clock of every test server: 2023-11-14T22:13:20Z.
pub const NOW_MS: i64 = 1_700_000_000_000;

/// A server that is asked directly.
pub struct TestServer {
    pub state: Shared,
    router: Router,
    _folder: tempfile::TempDir,
}

/// Begins at [`NOW_MS`].
struct Going {
    started_ms: u64,
}

impl Clock for Going {
    fn now_ms(&self) -> i64 {
        NOW_MS + (boot_ms() - self.started_ms) as i64
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answered {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }
}

impl TestServer {
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_at(settings, ManualClock::at_ms(NOW_MS)).await
    }

    /// As [`Self::start`], with a clock that the test moves.
    pub async fn start_at(settings: &[(&str, &str)], clock: Arc<ManualClock>) -> Self {
        Self::start_with(settings, clock, Storage::open).ready().await
    }

    /// A replica of this name, in whose life everything happens often, on a clock that goes. What was written becomes
    /// blocks after `cut_age_ms`; what cannot be done at once is refused after half a second.
    pub async fn on_bucket(name: &str, bucket: &BucketClient, cut_age_ms: u64) -> Self {
        Self::starting_on_bucket(name, bucket, cut_age_ms).ready().await
    }

    /// As [`Self::on_bucket`], before it is ready.
    pub fn starting_on_bucket(name: &str, bucket: &BucketClient, cut_age_ms: u64) -> Self {
        let small = ReplicaOptions::small(bucket, name, &Handle::current());
        let timing = BucketTiming {
            write_deadline_ms: 500,
            read_deadline_ms: 500,
            backoff_max_ms: 100,
            ..small.timing
        };
        let replica = ReplicaOptions { timing, cut_age_ms, local_cache_bytes: 16 << 20, ..small };
        let clock = Arc::new(Going { started_ms: boot_ms() });
        Self::start_with(&[], clock, |options| Storage::open_replica(options, replica))
    }

    async fn ready(self) -> Self {
        while self.state.not_ready().is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        self
    }

    fn start_with(
        settings: &[(&str, &str)],
        clock: Arc<dyn Clock>,
        open: impl FnOnce(StorageOptions) -> Result<Storage, StorageError>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("temporary directory");
        let mut values: Vec<_> = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let path = folder.path().to_string_lossy().into_owned();
        values.push(("storage.path".to_owned(), path));
        values.push(("memory.limit".to_owned(), "256MiB".to_owned()));
        values.push(("query.max-concurrency".to_owned(), "2".to_owned()));
        let config = Config::load(&Flags { config_file: None, values }, []).expect("valid settings");

        let memory = MemoryShares::of(&MemoryPlan::of(config.memory_limit_bytes));
        let storage = open(StorageOptions {
            retention_ms: config.storage.retention_ms,
            epoch_age_max_ms: i64::MAX,
            log_file_bytes: 16 << 20,
            merge_grace_ms: i64::MAX,
            memory: Arc::clone(&memory.whole),
            ..StorageOptions::small(&config.storage.path, Arc::clone(&clock))
        })
        .expect("storage opens");
        let metrics = Arc::new(Metrics::new());
        let pool = QueryPoolOptions {
            threads: config.query.concurrency_max,
            queued_max: config.query.queued_max,
            query_bytes_max: config.query.memory_bytes_max,
            memory: Arc::clone(&memory.queries),
        };
        let door = LiveFile::open(config.web.config_file.as_deref(), Door::load).expect("valid file");
        let limits = LiveFile::open(config.limits_file.as_deref(), limits::load).expect("valid file");
        let limits = Arc::new(limits);
        storage.limit_series(limits::series_limit(&limits));
        let ha_pairs = ha_pairs::open(&config, &storage, &clock);
        let state = Arc::new(ServerState {
            door: Arc::new(door),
            limits,
            rates: Rates::default(),
            ha_pairs,
            notifications: Board::default(),
            storage,
            engine: Engine::new(EngineOptions::default()),
            results: memory.results(config.query.result_cache_bytes),
            queries: QueryPool::start(pool, Arc::clone(&metrics)).expect("threads start"),
            active_queries: ActiveQueries::open(folder.path(), config.query.concurrency_max),
            metrics,
            memory,
            memory_watch: None,
            clock,
            started_ms: NOW_MS,
            draining: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            quit: CancellationToken::new(),
            config,
        });
        let router = router(Arc::clone(&state)).expect("settings were valid");
        Self { state, router, _folder: folder }
    }

    /// An answer whose body is not read.
    pub async fn open(&self, path: &str) -> Response {
        let request = Request::get(path).body(Body::empty()).expect("valid request");
        self.router.clone().oneshot(request).await.expect("handlers do not fail")
    }

    pub async fn send(&self, request: Request<Body>) -> Answered {
        let response = self.router.clone().oneshot(request).await.expect("handlers do not fail");
        let (parts, body) = response.into_parts();
        // A stream of events has no end to wait for.
        let is_endless = parts.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let body = if is_endless {
            Vec::new()
        } else {
            axum::body::to_bytes(body, usize::MAX).await.expect("body").to_vec()
        };
        Answered { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answered {
        self.send(Request::get(path).body(Body::empty()).expect("valid request")).await
    }

    /// Any request.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answered {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).expect("valid request")).await
    }

    pub async fn post_form(&self, path: &str, form: &str) -> Answered {
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()));
        self.send(request.expect("valid request")).await
    }
}
