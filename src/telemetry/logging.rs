//! The form of log lines: logfmt or JSON, to standard error.

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::LogFormat;

/// Installs the process' log writer. Fails where one is installed already.
pub fn init(level: Level, format: LogFormat) -> Result<(), TryInitError> {
    let lines = match format {
        LogFormat::Logfmt => tracing_logfmt::builder()
            .with_span_name(false)
            .with_span_path(false)
            .layer()
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(std::io::stderr)
            .boxed(),
    };
    Registry::default().with(lines.with_filter(LevelFilter::from_level(level))).try_init()
}
