//! `onggi bucket`: looks at a bucket from outside, whether replicas run on it or not.
//!
//! - [`inspect`] what is in it · [`verify`] is it whole · [`lag`] who is behind · [`cost`] what a month is
//! - [`pull`] makes a data directory of it
//! - [`accept_loss`] gives up a segment that cannot be read, and is the only one that writes
//! - [`text`] how bytes, times and lines are written
//!
//! Which bucket, and how often replicas do what, comes from the same settings as the server's.

mod accept_loss;
mod cost;
mod inspect;
mod lag;
mod pull;
mod text;
mod verify;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{ArgMatches, Command};

use super::{ended, environment, flags};
use crate::clock::SystemClock;
use crate::config::{self, Config};
use crate::replication::freshness::SILENT_ROUNDS_MAX;
use crate::storage::bucket::{BucketClient, Scripts};
use crate::storage::bucket_format;
use crate::telemetry::logging;

pub const NAME: &str = "bucket";

/// Settings that these commands have, but for [`pull`].
const GROUPS: [&str; 1] = ["bucket."];

pub fn command() -> Command {
    let commands =
        [inspect::command(), verify::command(), lag::command(), cost::command(), accept_loss::command()];
    Command::new(NAME)
        .about("Looks at the bucket that replicas share")
        .long_about(
            "Looks at the bucket that replicas share, whether any of them is up or not. Nothing is written but by \
             accept-loss. Credentials, region and endpoint come from the environment, as for the server.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(commands.map(|command| command.args(flags::args_of(&GROUPS))))
        .subcommand(pull::command())
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    let result = match matches.subcommand() {
        // It says more by its status than whether it went well.
        Some((verify::NAME, matches)) => return verify::run(matches),
        Some((inspect::NAME, matches)) => inspect::run(matches),
        Some((lag::NAME, matches)) => lag::run(matches),
        Some((cost::NAME, matches)) => cost::run(matches),
        Some((accept_loss::NAME, matches)) => accept_loss::run(matches),
        Some((pull::NAME, matches)) => pull::run(matches),
        _ => unreachable!("a subcommand is required, and these are all"),
    };
    ended(result)
}

/// A bucket that a command looks at.
struct Opened {
    settings: config::Bucket,
    scripts: Scripts,
    runtime: tokio::runtime::Runtime,
}

impl Opened {
    fn new(matches: &ArgMatches) -> anyhow::Result<Self> {
        Self::of(&Config::load(&flags::given_of(matches, &GROUPS), environment())?)
    }

    /// For a command that has other settings, too.
    fn of(config: &Config) -> anyhow::Result<Self> {
        // Whatever else there is to say stands on standard error, too.
        logging::init(tracing::Level::WARN, config.log.format).context("start logging")?;
        let Some(settings) = config.bucket.clone() else { bail!("which bucket? --bucket.url is missing") };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .thread_name("onggi")
            .build()
            .context("start the async runtime")?;
        // Clients of object stores want to be made within a runtime.
        let opened = runtime.block_on(async { BucketClient::open_existing(&settings.url) });
        let which = || format!("bucket {} (--bucket.url)", settings.url);
        let bucket = opened.with_context(which)?;
        // What this build does not understand it neither judges nor copies.
        runtime.block_on(bucket_format::check(&bucket)).with_context(which)?;
        Ok(Self { scripts: Scripts { bucket, clock: Arc::new(SystemClock) }, settings, runtime })
    }

    /// A replica without a heartbeat for so long does not live.
    fn silent_ms(&self) -> u64 {
        SILENT_ROUNDS_MAX.saturating_mul(millis(self.settings.heartbeat_interval))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
