//! Runs scripts of the core against a bucket, without a replica around them.
//!
//! Owns what a replica's thread does for a script: performing what it asks, and the clock. Reads whose outcome is
//! unknown are tried again here, since nobody else does; writes are the script's own business.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::clock::{Clock, boot_ms};
use crate::replication::bucket::{Answer, BucketError, Request};
use crate::replication::build::{Build, NewBlock};
use crate::replication::names::ObjectName;
use crate::replication::script::{Ask, Desk, Progress, Reply, Script};
use crate::replication::timing::{Moment, Timing};
use crate::storage::bucket::BucketClient;

/// A read is asked for so often until its outcome is taken for unknown.
const READ_ATTEMPTS_MAX: u32 = 5;

/// Makes blocks for a script.
pub type BuildBlocks<'a> = &'a dyn Fn(&Build) -> Result<Vec<NewBlock>, String>;

/// See the module.
pub struct Runner {
    bucket: BucketClient,
    clock: Arc<dyn Clock>,
}

impl Runner {
    pub fn new(bucket: BucketClient, clock: Arc<dyn Clock>) -> Self {
        Self { bucket, clock }
    }

    pub fn url(&self) -> &str {
        self.bucket.url()
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Runs a script that makes no blocks.
    pub async fn read<T, F>(&self, begin: impl FnOnce(Desk) -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.run(begin, &|_| Err("nothing is built here".to_owned())).await
    }

    /// Runs a script to its end. Blocks are made on the calling thread.
    pub async fn run<T, F>(&self, begin: impl FnOnce(Desk) -> F, build_blocks: BuildBlocks<'_>) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut script = Script::new(begin);
        let mut waiting: JoinSet<(u32, Reply)> = JoinSet::new();
        let mut reply = None;
        loop {
            let moment = Moment { boot_ms: boot_ms(), wall_ms: self.clock.now_ms() };
            let asked = match script.resume(moment, reply.take()) {
                Progress::Done(outcome) => return outcome,
                Progress::Asked(asked) => asked,
            };
            for (ticket, ask) in asked {
                match ask {
                    Ask::Bucket(request) => {
                        let bucket = self.bucket.clone();
                        let perform = async move { Reply::Bucket(perform(&bucket, request).await) };
                        waiting.spawn(async move { (ticket, perform.await) });
                    }
                    Ask::Build(build) => {
                        let built = build_blocks(&build);
                        waiting.spawn(async move { (ticket, Reply::Built(built)) });
                    }
                }
            }
            reply = next(&mut waiting, script.alarm_ms()).await;
        }
    }

    /// Reads objects, some at a time; answers in the order of `names`.
    pub async fn get_each(&self, names: Vec<ObjectName>) -> Vec<Result<Bytes, BucketError>> {
        self.read(|desk| async move { desk.get_each(&names).await }).await
    }
}

/// The next answer, or nothing when it is time for the script to go on without.
async fn next(waiting: &mut JoinSet<(u32, Reply)>, alarm_ms: Option<u64>) -> Option<(u32, Reply)> {
    let alarm = async {
        match alarm_ms {
            Some(at_ms) => sleep(Duration::from_millis(at_ms.saturating_sub(boot_ms()).max(1))).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        joined = waiting.join_next(), if !waiting.is_empty() => match joined? {
            Ok(answered) => Some(answered),
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        },
        () = alarm => None,
    }
}

async fn perform(bucket: &BucketClient, request: Request) -> Result<Answer, BucketError> {
    let is_read = !matches!(request, Request::Put { .. } | Request::Delete { .. });
    let attempts_max = if is_read { READ_ATTEMPTS_MAX } else { 1 };
    let timing = Timing::default();
    for failures in 1.. {
        match bucket.perform(request.clone()).await {
            Err(BucketError::Unknown(_)) if failures < attempts_max => {
                sleep(Duration::from_millis(timing.backoff_ms(failures))).await;
            }
            outcome => return outcome,
        }
    }
    unreachable!("the last attempt's outcome is returned")
}
