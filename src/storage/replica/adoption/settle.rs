//! Makes parts of what a store that stood alone has in its log: it is opened, flushed and closed as its own
//! server would do it.
//!
//! Nothing is let go: what is too old is left out when it is read. Late parts are split along the days, since
//! each would be read once for every day that it has something of.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::AdoptionError;
use crate::model::time::YEAR_MS;
use crate::storage::background;
use crate::storage::directory::Directory;
use crate::storage::engine::Engine;
use crate::storage::error::AppendError;
use crate::storage::merge::{self, Merger};
use crate::storage::options::{Readiness, StorageOptions};

/// The longest retention there is: nothing is dropped.
const KEEP_ALL_MS: i64 = 100 * YEAR_MS;
/// Of the head's memory and of the cache, since the replica has both of its own.
const SHARE: u64 = 4;
const CACHE_BYTES_MIN: usize = 1 << 20;
const LOOK: Duration = Duration::from_millis(20);

pub fn into_parts(
    directory: Directory,
    options: &StorageOptions,
    runtime: &Handle,
    stop: &CancellationToken,
) -> Result<(), AdoptionError> {
    let (engine, backlog) = Engine::open_in(directory, modest(options))?;
    let background = background::start(&engine, backlog)?;
    let merger = Merger::start(&engine)?;
    let settled = async {
        loop {
            match engine.readiness() {
                Readiness::Ready => break,
                Readiness::Failed(reason) => return Err(AdoptionError::Failed(reason)),
                _ => tokio::time::sleep(LOOK).await,
            }
        }
        background.ask(background::Request::Settle).await.map_err(failed)?;
        if let Err(error) = merger.ask(merge::Request::Split).await {
            // They are read as they are, more often.
            warn!(%error, "late parts are not split");
        }
        engine.refuse_writes();
        merger.stop();
        background.ask(background::Request::Close).await.map_err(failed)
    };
    // When it is stopped, threads end after what they are doing.
    runtime.block_on(stop.run_until_cancelled(settled)).unwrap_or(Err(AdoptionError::Stopped))
}

fn modest(options: &StorageOptions) -> StorageOptions {
    StorageOptions {
        retention_ms: KEEP_ALL_MS,
        retention_bytes_max: None,
        retention_rules: Vec::new(),
        head_bytes_max: options.head_bytes_max / SHARE,
        cache_bytes: (options.cache_bytes / SHARE as usize).max(CACHE_BYTES_MIN),
        ..options.clone()
    }
}

fn failed(error: AppendError) -> AdoptionError {
    match error {
        AppendError::Unavailable(why) => AdoptionError::Later(why),
        AppendError::Internal(why) => AdoptionError::Failed(why),
    }
}
