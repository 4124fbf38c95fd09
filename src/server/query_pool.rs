//! The threads that queries run on.
//!
//! Evaluation is synchronous and may take minutes: it must never sit on the threads that move
//! bytes. Owns the bounded queue, the deadline of each query, its cancellation when the client
//! leaves, and its share of memory. Knows nothing of PromQL.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::error::{ApiError, ApiResult};
use crate::error::ErrorKind;
use crate::memory::MemoryBudget;
use crate::querier::QueryGuard;
use crate::telemetry::Metrics;

/// A deeply nested expression recurses; this is address space, not memory.
const STACK_BYTES: usize = 16 << 20;

/// How long after its deadline a query may take to notice.
const GRACE: Duration = Duration::from_secs(1);

/// What bounds the queries of a process.
#[derive(Clone, Debug)]
pub struct QueryPoolOptions {
    pub threads: usize,
    pub queued_max: usize,
    /// Limit of each query's own share of `memory`.
    pub query_bytes_max: u64,
    pub memory: Arc<MemoryBudget>,
}

pub struct QueryPool {
    shared: Arc<PoolState>,
    options: QueryPoolOptions,
}

struct PoolState {
    queue: Mutex<Queue>,
    arrived: Condvar,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

type Job = Box<dyn FnOnce() + Send>;

impl QueryPool {
    pub fn start(options: QueryPoolOptions, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let shared = Arc::new(PoolState { queue: Mutex::default(), arrived: Condvar::new(), metrics });
        for number in 0..options.threads {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("query-{number}"))
                .stack_size(STACK_BYTES)
                .spawn(move || shared.work())?;
        }
        Ok(Self { shared, options })
    }

    /// As [`Self::run_within`], with the limit of memory that every query has.
    pub async fn run<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce(&QueryGuard) -> ApiResult<T> + Send + 'static,
    ) -> ApiResult<(T, Arc<QueryGuard>)> {
        self.run_within(timeout, None, work).await
    }

    /// Runs `work` on a query thread, with a lower limit of memory where the tenant has one of his
    /// own, and waits for it. Dropping the future cancels the query. The
    /// guard comes back with the result: it holds the memory of the answer.
    pub async fn run_within<T: Send + 'static>(
        &self,
        timeout: Duration,
        tenant_bytes_max: Option<u64>,
        work: impl FnOnce(&QueryGuard) -> ApiResult<T> + Send + 'static,
    ) -> ApiResult<(T, Arc<QueryGuard>)> {
        let deadline = Instant::now() + timeout;
        let (name, bytes_max) = match tenant_bytes_max {
            Some(bytes) if bytes < self.options.query_bytes_max => ("query_max_memory of the tenant", bytes),
            _ => ("query", self.options.query_bytes_max),
        };
        let memory = self.options.memory.share(name, bytes_max);
        let guard = Arc::new(QueryGuard::new(Some(deadline), memory));
        let abandoned = CancelOnDrop(Arc::clone(&guard));

        let (answer, answered) = oneshot::channel();
        let job_guard = Arc::clone(&guard);
        self.enqueue(Box::new(move || {
            let result = match job_guard.check() {
                Ok(()) => {
                    catch_unwind(AssertUnwindSafe(|| work(&job_guard))).unwrap_or_else(|_| Err(panicked()))
                }
                Err(_) => Err(timed_out("query queue")),
            };
            drop(job_guard);
            // Nobody listens any more when the client has gone.
            let _ = answer.send(result);
        }))?;
        let result = match tokio::time::timeout(timeout + GRACE, answered).await {
            Ok(answered) => answered.unwrap_or_else(|_| Err(panicked())),
            Err(_) => Err(timed_out("expression evaluation")),
        };
        drop(abandoned);
        result.map(|value| (value, guard))
    }

    fn enqueue(&self, job: Job) -> ApiResult<()> {
        let mut queue = self.shared.queue.lock();
        if queue.jobs.len() >= self.options.queued_max {
            self.shared.metrics.queries_turned_away.inc();
            return Err(ApiError::unavailable(format!(
                "{} queries are waiting already, which is the limit (--query.max-queued)",
                self.options.queued_max
            )));
        }
        queue.jobs.push_back(job);
        self.shared.metrics.queries_queued.inc();
        drop(queue);
        self.shared.arrived.notify_one();
        Ok(())
    }
}

impl Drop for QueryPool {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.arrived.notify_all();
    }
}

impl PoolState {
    fn work(&self) {
        while let Some(job) = self.next() {
            self.metrics.queries_queued.dec();
            self.metrics.queries_running.inc();
            job();
            self.metrics.queries_running.dec();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            self.arrived.wait(&mut queue);
        }
    }
}

fn timed_out(stage: &str) -> ApiError {
    ApiError::new(ErrorKind::Timeout, format!("query timed out in {stage}"))
}

fn panicked() -> ApiError {
    ApiError::new(ErrorKind::Internal, "the query ended by a panic: this is a bug, please report the query")
}

/// Cancels the query when its request is dropped: hyper does so when the client leaves.
struct CancelOnDrop(Arc<QueryGuard>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn pool(threads: usize, queued_max: usize) -> QueryPool {
        let memory = MemoryBudget::new("test", 1000);
        let options = QueryPoolOptions { threads, queued_max, query_bytes_max: 100, memory };
        QueryPool::start(options, Arc::new(Metrics::new())).expect("threads start")
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_query_gets_its_share_of_memory_and_keeps_it_with_its_answer() {
        let pool = pool(1, 1);
        let (value, guard) = pool
            .run(LONG, |guard| {
                assert!(guard.reserve(101).is_err(), "beyond one query's share");
                guard.reserve(90)?;
                Ok(7)
            })
            .await
            .expect("runs");
        assert_eq!((value, guard.reserved_bytes(), pool.options.memory.used_bytes()), (7, 90, 90));
        drop(guard);
        assert_eq!(pool.options.memory.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_the_thread_goes_on() {
        let pool = pool(1, 1);
        let failed = pool.run(LONG, |_| -> ApiResult<()> { panic!("on purpose") }).await;
        assert_eq!(failed.map(|_| ()).expect_err("panicked").kind, ErrorKind::Internal);
        assert!(pool.run(LONG, |_| Ok(())).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_full_queue_turns_away_and_a_dropped_request_cancels() {
        let pool = Arc::new(pool(1, 1));
        let (started, has_started) = mpsc::channel();
        let (release, wait) = mpsc::channel::<()>();
        let (ended, has_ended) = mpsc::channel();
        let busy = {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move {
                let work = move |guard: &QueryGuard| {
                    started.send(()).expect("test listens");
                    let _ = wait.recv();
                    ended.send(guard.check().is_err()).expect("test listens");
                    Ok(())
                };
                pool.run(LONG, work).await.map(|_| ())
            })
        };
        has_started.recv().expect("first query runs");
        let waiting = {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move { pool.run(LONG, |_| Ok(())).await.map(|_| ()) })
        };
        while pool.shared.queue.lock().jobs.is_empty() {
            tokio::task::yield_now().await;
        }

        let refused = pool.run(LONG, |_| Ok(())).await.map(|_| ()).expect_err("queue is full");
        assert_eq!(refused.kind, ErrorKind::Unavailable);

        busy.abort();
        assert!(busy.await.is_err());
        release.send(()).expect("query waits");
        assert!(has_ended.recv().expect("query ends"), "the guard says canceled");
        assert!(waiting.await.expect("joins").is_ok());
    }

    #[tokio::test]
    async fn who_waits_past_his_deadline_is_told_so() {
        let pool = pool(1, 1);
        let error = pool.run(Duration::ZERO, |_| Ok(())).await.map(|_| ()).expect_err("too late");
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::Timeout, "query timed out in query queue")
        );
    }
}
