//! Scripts of the core, run to their end by themselves: where no replica drives them.
//!
//! Owns that questions are asked and answered, and that reading is tried again: a script that reads much gives up
//! at the first call that goes wrong. Writing is not, scripts know until when they may. How much is asked at once
//! is theirs as well. Nothing here has blocks built: such a question is refused.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::{Clock, boot_ms};
use crate::replication::bucket::{Answer, BucketError, Ranged, Request};
use crate::replication::names::ObjectName;
use crate::replication::script::{Ask, Desk, Progress, Reply, Script};
use crate::replication::timing::{Moment, Timing};
use crate::storage::bucket::BucketClient;

/// What scripts are run against. Cheap to clone.
#[derive(Clone)]
pub struct Scripts {
    pub bucket: BucketClient,
    pub clock: Arc<dyn Clock>,
}

/// A call that reads is tried so often.
const ATTEMPTS_MAX: u32 = 10;

type Answered = (u32, Result<Answer, BucketError>);

impl Scripts {
    pub async fn run<T, F>(&self, begin: impl FnOnce(Desk) -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut script = Script::new(begin);
        let mut asking: JoinSet<Answered> = JoinSet::new();
        let mut reply = None;
        loop {
            let now = Moment { boot_ms: boot_ms(), wall_ms: self.clock.now_ms() };
            let asked = match script.resume(now, reply.take()) {
                Progress::Done(outcome) => return outcome,
                Progress::Asked(asked) => asked,
            };
            for (question, ask) in asked {
                match ask {
                    Ask::Bucket(request) => {
                        let bucket = self.bucket.clone();
                        asking.spawn(async move { (question, perform(&bucket, request).await) });
                    }
                    Ask::Build(_) => {
                        reply = Some((question, Reply::Built(Err("nobody builds here".to_owned()))));
                    }
                }
            }
            if reply.is_none() {
                let alarm_ms = script.alarm_ms().map(|at_ms| at_ms.saturating_sub(boot_ms()));
                reply = next(&mut asking, alarm_ms).await;
            }
        }
    }
}

/// The next answer; `None` when the alarm goes off first.
async fn next(asking: &mut JoinSet<Answered>, alarm_ms: Option<u64>) -> Option<(u32, Reply)> {
    let alarm = async {
        match alarm_ms {
            Some(wait_ms) => tokio::time::sleep(Duration::from_millis(wait_ms)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        Some(joined) = asking.join_next() => match joined {
            Ok((question, answer)) => Some((question, Reply::Bucket(answer))),
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        },
        () = alarm => None,
    }
}

/// Performs a request; one that only reads again and again while its outcome is unknown.
pub async fn perform(bucket: &BucketClient, request: Request) -> Result<Answer, BucketError> {
    let reads = matches!(request, Request::Get { .. } | Request::Size { .. } | Request::List { .. });
    for failures in 1..ATTEMPTS_MAX {
        match bucket.perform(request.clone()).await {
            Err(BucketError::Unknown(_)) if reads => pause(failures).await,
            ended => return ended,
        }
    }
    bucket.perform(request).await
}

/// Reads a part of an object, again and again while the outcome is unknown.
pub async fn get_range(
    bucket: &BucketClient,
    name: &ObjectName,
    range: Range<u64>,
) -> Result<Ranged, BucketError> {
    for failures in 1..ATTEMPTS_MAX {
        match bucket.get_range(name, range.clone()).await {
            Err(BucketError::Unknown(_)) => pause(failures).await,
            ended => return ended,
        }
    }
    bucket.get_range(name, range).await
}

/// Between two attempts, after so many that failed.
pub async fn pause(failures: u32) {
    tokio::time::sleep(Duration::from_millis(Timing::default().backoff_ms(failures))).await;
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

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
}
