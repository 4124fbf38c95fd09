//! The threads that queries run on.
//!
//! Evaluation is synchronous and may take minutes: it must never sit on the threads that move
//! bytes. Owns the bounded queue, the deadline of each query, its cancellation when the client
//! leaves, and its share of memory. Knows nothing of PromQL.
//!
//! Queries that together want more memory than there is do not fail: whoever is refused what others
//! hold lets go of everything and waits for its turn, and those with a turn begin anew one after the
//! other. Who has the turn waits for memory while it holds some; nobody else does, so that no two wait
//! for each other. Beside it all others run, and small ones never notice.

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
    /// Those that want memory that others hold.
    colliding: VecDeque<Job>,
    /// Whether one of them has its turn.
    turn_taken: bool,
    closed: bool,
}

/// Called again with its turn where it has collided.
type Job = Box<dyn FnMut(Turn) -> Outcome + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// As any other query.
    Beside,
    /// The only one that may wait for memory.
    Own,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Answered,
    Collided,
}

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
        work: impl FnMut(&QueryGuard) -> ApiResult<T> + Send + 'static,
    ) -> ApiResult<(T, Arc<QueryGuard>)> {
        self.run_within(timeout, None, work).await
    }

    /// Runs `work` on a query thread, with a lower limit of memory where the tenant has one of his
    /// own, and waits for it. Dropping the future cancels the query. `work` is
    /// called a second time where it collided with other queries. The guard comes back with the
    /// result: it holds the memory of the answer.
    pub async fn run_within<T: Send + 'static>(
        &self,
        timeout: Duration,
        tenant_bytes_max: Option<u64>,
        mut work: impl FnMut(&QueryGuard) -> ApiResult<T> + Send + 'static,
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
        let mut job = Some((Arc::clone(&guard), answer));
        self.enqueue(Box::new(move |turn| {
            let Some((guard, answer)) = job.take() else { return Outcome::Answered };
            guard.set_patient(turn == Turn::Own);
            let result = match guard.check() {
                Ok(()) => catch_unwind(AssertUnwindSafe(|| work(&guard))).unwrap_or_else(|_| Err(panicked())),
                Err(_) => Err(timed_out("query queue")),
            };
            if turn == Turn::Beside && result.is_err() && guard.has_collided() {
                guard.begin_anew();
                job = Some((guard, answer));
                return Outcome::Collided;
            }
            // The turn ends with the evaluation, not with the answer.
            guard.set_patient(false);
            drop(guard);
            // Nobody listens any more when the client has gone.
            let _ = answer.send(result);
            Outcome::Answered
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
        if queue.jobs.len() + queue.colliding.len() >= self.options.queued_max {
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
        while let Some((mut job, turn)) = self.next() {
            self.metrics.queries_queued.dec();
            self.metrics.queries_running.inc();
            let outcome = job(turn);
            self.metrics.queries_running.dec();
            let mut queue = self.queue.lock();
            if turn == Turn::Own {
                queue.turn_taken = false;
            }
            if outcome == Outcome::Collided {
                self.metrics.queries_collided.inc();
                self.metrics.queries_queued.inc();
                queue.colliding.push_back(job);
            }
        }
    }

    /// Whose turn it is; this very thread looks again after each query, so that none is forgotten.
    fn next(&self) -> Option<(Job, Turn)> {
        let mut queue = self.queue.lock();
        loop {
            if !queue.turn_taken
                && let Some(job) = queue.colliding.pop_front()
            {
                queue.turn_taken = true;
                return Some((job, Turn::Own));
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some((job, Turn::Beside));
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

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_collides_with_others_has_its_turn_and_whoever_is_too_large_alone_is_refused() {
        let memory = MemoryBudget::new("test", 100);
        let options = QueryPoolOptions { threads: 4, queued_max: 64, query_bytes_max: 80, memory };
        let pool = Arc::new(QueryPool::start(options, Arc::new(Metrics::new())).expect("threads start"));
        let ask = |bytes: u64| {
            let pool = Arc::clone(&pool);
            // In two steps, so that all of them hold something when they are refused.
            let work = move |guard: &QueryGuard| {
                guard.reserve(bytes / 2)?;
                std::thread::yield_now();
                guard.reserve(bytes - bytes / 2)?;
                Ok(guard.reserved_bytes())
            };
            tokio::spawn(async move { pool.run(LONG, work).await.map(|(held, _)| held) })
        };

        let asked: Vec<_> = (0..40).map(|_| ask(80)).collect();
        for answered in asked {
            assert_eq!(answered.await.expect("joins").expect("has its turn"), 80);
        }

        let refused = ask(81).await.expect("joins").expect_err("more than a query may hold");
        assert!(refused.message.contains("\"query\""), "{}", refused.message);
        assert_eq!(pool.options.memory.used_bytes(), 0);
    }

    #[tokio::test]
    async fn who_has_the_turn_waits_for_what_others_hold_and_is_refused_by_name_in_the_end() {
        let pool = pool(1, 1);
        let answer_held = pool.options.memory.share("answer", 1000).lease(950).expect("fits");
        let want = |guard: &QueryGuard| Ok(guard.reserve(60)?);

        let error = pool.run(Duration::from_millis(50), want).await.map(|_| ()).expect_err("never free");
        assert!(error.message.contains("memory budget \"test\""), "{}", error.message);

        drop(answer_held);
        assert!(pool.run(LONG, want).await.is_ok());
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
