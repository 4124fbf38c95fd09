//! `onggi serve`: the server.

use anyhow::Context as _;
use clap::{ArgMatches, Command};

use super::{descriptors, environment, flags};
use crate::app::App;
use crate::config::Config;
use crate::telemetry::logging;

pub const NAME: &str = "serve";

pub fn command() -> Command {
    Command::new(NAME)
        .about("Runs the server")
        .long_about(
            "Runs the server. Every setting can be given as a flag, as a key of the YAML file that \
             --config.file names, or as an environment variable; a flag beats the environment, the \
             environment beats the file.",
        )
        .args(flags::args())
}

pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let config = Config::load(&flags::given(matches), environment())?;
    logging::init(config.log.level, config.log.format).context("start logging")?;
    if let Err(error) = descriptors::raise_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("onggi")
        .build()
        .context("start the async runtime")?;
    runtime.block_on(async {
        let app = App::start(config).await?;
        app.run().await?;
        Ok(())
    })
}
