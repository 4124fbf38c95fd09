//! A data directory opened by a command instead of a server.
//!
//! Settings come from where the server's come from, so that both mean the same. Only retention is not
//! the store's business here: a command that was started without the server's flag must not drop what
//! the server keeps.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Arg, ArgMatches};
use tokio::runtime::Runtime;

use super::{descriptors, environment, flags};
use crate::app;
use crate::clock::Clock;
use crate::config::Config;
use crate::memory::MemoryBudget;
use crate::model::TenantId;
use crate::model::tenant::ANONYMOUS;
use crate::model::time::YEAR_MS;
use crate::storage::{Readiness, Storage, StorageOptions};
use crate::telemetry::logging;

const DIRECTORY: &str = "directory";
const TENANT: &str = "tenant";

/// Groups of settings that a command on a directory has.
const GROUPS: [&str; 2] = ["storage.", "memory."];

/// The longest retention there is: nothing is dropped, nothing hidden.
const KEEP_ALL_MS: i64 = 100 * YEAR_MS;

/// The data directory, the tenant and the settings of the store.
pub fn args() -> impl Iterator<Item = Arg> {
    let directory = Arg::new(DIRECTORY).value_name("DIR").required(true).help("The data directory");
    let tenant = Arg::new(TENANT)
        .long(TENANT)
        .value_name("NAME")
        .default_value(ANONYMOUS)
        .help("Whose data it is, for servers with --tenancy.enabled");
    [directory, tenant].into_iter().chain(flags::args_of(&GROUPS))
}

pub fn tenant(matches: &ArgMatches) -> anyhow::Result<TenantId> {
    let name = matches.get_one::<String>(TENANT).expect("the argument has a default");
    TenantId::parse(name).context("--tenant")
}

/// The settings that are in force for the directory.
pub fn config(matches: &ArgMatches) -> anyhow::Result<Config> {
    let mut given = flags::given_of(matches, &GROUPS);
    let directory = matches.get_one::<String>(DIRECTORY).expect("the argument is required");
    given.values.retain(|(name, _)| !matches!(name.as_str(), "storage.path" | "storage.tsdb.path"));
    given.values.push(("storage.path".to_owned(), directory.clone()));
    Ok(Config::load(&given, environment())?)
}

/// An open store and what it runs on.
pub struct Offline {
    pub runtime: Runtime,
    pub storage: Storage,
}

/// A command on a directory at rest lets nothing go.
fn keeping_all(options: StorageOptions) -> StorageOptions {
    StorageOptions {
        retention_ms: KEEP_ALL_MS,
        retention_bytes_max: None,
        retention_rules: Vec::new(),
        ..options
    }
}

impl Offline {
    /// Opens the directory and waits until all of it can be asked.
    pub fn open(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        // Whatever else there is to say stands on standard error, too.
        logging::init(tracing::Level::WARN, config.log.format).context("start logging")?;
        if let Err(error) = descriptors::raise_limit() {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
        let memory = MemoryBudget::new("process", config.memory_limit_bytes);
        Self::open_quietly(app::storage_options(config, memory, clock)?)
    }

    /// As [`Self::open`], without touching the process.
    pub fn open_quietly(options: StorageOptions) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .thread_name("onggi")
            .build()
            .context("start the async runtime")?;
        let path = options.path.clone();
        let storage =
            Storage::open(keeping_all(options)).with_context(|| format!("open {}", path.display()))?;
        let offline = Self { runtime, storage };
        offline.wait_until_ready()?;
        Ok(offline)
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        loop {
            match self.storage.readiness() {
                Readiness::Ready => return Ok(()),
                Readiness::Failed(reason) => bail!("{reason}"),
                _ => {
                    // Within the runtime: a timer wants to know whose it is.
                    self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
                }
            }
        }
    }

    /// Writes what is in memory into parts.
    pub fn close(self) -> anyhow::Result<()> {
        self.runtime.block_on(self.storage.close()).context("close the store")
    }
}
