//! Limits of tenants: the file in force, and the counting that only the server can do.
//!
//! - [`rate`]: samples per second
//! - [`querier`]: how much time a query may reach over
//!
//! Limits on labels are judged by `ingest::validate`, on active series by storage; both get their
//! figures from here.

pub mod querier;
pub mod rate;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use crate::config::limits_file::{Limits, TenantLimits};
use crate::ingest::LabelLimits;
use crate::model::TenantId;
use crate::server::live_file::{self, LiveFile, Loaded};
use crate::storage::SeriesLimit;

/// Reads the file.
pub fn load(path: &Path) -> Result<Loaded<Limits>, String> {
    let text = live_file::read_text(path)?;
    let value = Limits::parse(&text).map_err(|e| e.to_string())?;
    Ok(Loaded { value, bytes: text.into_bytes() })
}

/// The limit of active series as storage asks for it.
pub fn series_limit(file: &Arc<LiveFile<Limits>>) -> SeriesLimit {
    let file = Arc::clone(file);
    Arc::new(move |tenant: &TenantId| file.current().of(tenant).active_series)
}

pub fn of_labels(limits: &TenantLimits) -> LabelLimits {
    LabelLimits {
        labels_per_series: limits.labels_per_series,
        name_bytes: limits.label_name_bytes,
        value_bytes: limits.label_value_bytes,
    }
}
