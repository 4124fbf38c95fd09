//! Scripts of the core, run to their end against a bucket: where no replica drives them.
//!
//! Owns what a replica's thread does for a script: performing what it asks, having blocks built, and the clock. Reads
//! are tried again, for a script that reads much would give up at the first call that goes wrong; writes are not, scripts
//! know until when they may. How much is asked at once is theirs as well.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::BucketClient;
use crate::clock::{Clock, boot_ms};
use crate::replication::bucket::{Answer, BucketError, Ranged, Request};
use crate::replication::build::{Build, NewBlock};
use crate::replication::names::ObjectName;
use crate::replication::script::{Ask, Desk, Progress, Reply, Script};
use crate::replication::timing::{Moment, Timing};

/// A call that reads is tried so often until its outcome is taken for unknown.
const ATTEMPTS_MAX: u32 = 10;

/// Builds blocks, on the thread that runs the script.
pub type BuildBlocks<'a> = &'a (dyn Fn(&Build) -> Result<Vec<NewBlock>, String> + Sync);

/// What scripts are run against. Cheap to clone.
#[derive(Clone)]
pub struct Scripts {
    pub bucket: BucketClient,
    pub clock: Arc<dyn Clock>,
}

impl Scripts {
    /// Runs a script to its end that asks for no blocks.
    pub async fn run<T, F>(&self, begin: impl FnOnce(Desk) -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.run_building(begin, &|_| Err("nobody builds here".to_owned())).await
    }

    /// Runs a script to its end, and builds the blocks that it asks for.
    pub async fn run_building<T, F>(&self, begin: impl FnOnce(Desk) -> F, build_blocks: BuildBlocks<'_>) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut script = Script::new(begin);
        let mut asking: JoinSet<(u32, Reply)> = JoinSet::new();
        let mut reply = None;
        loop {
            let now = Moment { boot_ms: boot_ms(), wall_ms: self.clock.now_ms() };
            let asked = match script.resume(now, reply.take()) {
                Progress::Done(outcome) => return outcome,
                Progress::Asked(asked) => asked,
            };
            for (ticket, ask) in asked {
                match ask {
                    Ask::Bucket(request) => {
                        let bucket = self.bucket.clone();
                        asking.spawn(async move { (ticket, Reply::Bucket(perform(&bucket, request).await)) });
                    }
                    Ask::Build(build) => {
                        let built = Reply::Built(build_blocks(&build));
                        asking.spawn(async move { (ticket, built) });
                    }
                }
            }
            reply = next(&mut asking, script.alarm_ms()).await;
        }
    }

    /// Reads objects, some at a time; answers in the order of `names`.
    pub async fn get_each(&self, names: Vec<ObjectName>) -> Vec<Result<Bytes, BucketError>> {
        self.run(|desk| async move { desk.get_each(&names).await }).await
    }

    /// Reads a part of an object.
    pub async fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Ranged, BucketError> {
        patiently(|| self.bucket.get_range(name, range.clone())).await
    }
}

/// The next answer; `None` when the alarm goes off first.
async fn next(asking: &mut JoinSet<(u32, Reply)>, alarm_ms: Option<u64>) -> Option<(u32, Reply)> {
    let alarm = async {
        match alarm_ms {
            Some(at_ms) => sleep(Duration::from_millis(at_ms.saturating_sub(boot_ms()))).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        Some(joined) = asking.join_next() => match joined {
            Ok(answered) => Some(answered),
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        },
        () = alarm => None,
    }
}

async fn perform(bucket: &BucketClient, request: Request) -> Result<Answer, BucketError> {
    match request {
        Request::Put { .. } | Request::Delete { .. } => bucket.perform(request).await,
        Request::Get { .. } | Request::Size { .. } | Request::List { .. } => {
            patiently(|| bucket.perform(request.clone())).await
        }
    }
}

/// Reads, again and again while the outcome is unknown.
async fn patiently<T, F>(read: impl Fn() -> F) -> Result<T, BucketError>
where
    F: Future<Output = Result<T, BucketError>>,
{
    for failures in 1..ATTEMPTS_MAX {
        match read().await {
            Err(BucketError::Unknown(_)) => pause(failures).await,
            ended => return ended,
        }
    }
    read().await
}

/// Between two attempts, after so many that failed.
pub async fn pause(failures: u32) {
    sleep(Duration::from_millis(Timing::default().backoff_ms(failures))).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::replication::names::NODES;
    use crate::replication::script::JobError;
    use crate::storage::bucket::faults;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_script_asks_waits_and_ends_also_on_a_bucket_that_fails() {
        let faulty = faults::Faulty::new(faults::plain("memory:"), 5);
        let scripts =
            Scripts { bucket: faults::client(Arc::clone(&faulty) as _), clock: Arc::new(SystemClock) };
        let names: Vec<ObjectName> = (0..40).map(|at| ObjectName::Node(format!("a-{at:02}"))).collect();

        let written = names.clone();
        let put = scripts.run(|desk| async move {
            let timing = Timing { backoff_min_ms: 1, backoff_max_ms: 5, ..Timing::default() };
            for name in &written {
                desk.put_until(&timing, u64::MAX, name, &Bytes::from(name.to_string())).await?;
            }
            Ok::<(), JobError>(())
        });
        assert_eq!(put.await, Ok(()));
        let listed = scripts.run(|desk| async move { desk.list(NODES).await }).await.expect("listed");
        let got = scripts.run(|desk| async move { desk.get_each(&names).await }).await;

        assert_eq!(listed.len(), 40);
        let texts: Vec<String> = listed.into_iter().map(|entry| entry.key).collect();
        assert!(got.into_iter().zip(texts).all(|(object, key)| object == Ok(Bytes::from(key))));
    }

    #[tokio::test]
    async fn a_script_is_given_blocks_where_somebody_builds_and_an_error_where_nobody_does() {
        async fn merge(desk: Desk) -> Result<Vec<NewBlock>, JobError> {
            desk.build(Build::Merge { sources: Vec::new(), aged_at_ms: None }).await
        }
        let bucket = faults::client(faults::plain("memory:"));
        let scripts = Scripts { bucket, clock: Arc::new(SystemClock) };
        let block = NewBlock { window_ms: 0, min_ms: 1, max_ms: 2, bytes: Bytes::from_static(b"block") };

        let built = scripts.run_building(merge, &|_| Ok(vec![block.clone()])).await;
        let refused = scripts.run(merge).await;

        assert_eq!(built, Ok(vec![block]));
        assert_eq!(refused, Err(JobError::Build("nobody builds here".to_owned())));
    }
}
