//! The file of `--limits.file`: what each tenant may do.
//!
//! `default` holds for every tenant, `tenants` overrides it field by field. A limit that is absent
//! or 0 does not limit. Owns the values only: who counts is storage and the server.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::value;
use crate::model::TenantId;
use crate::model::time::parse_duration_ms;

/// Limits of all tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    default: TenantLimits,
    tenants: BTreeMap<TenantId, TenantLimits>,
}

/// Limits of one tenant; `None` where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantLimits {
    pub active_series: Option<u64>,
    pub samples_per_second: Option<u64>,
    pub labels_per_series: Option<usize>,
    pub label_name_bytes: Option<usize>,
    pub label_value_bytes: Option<usize>,
    /// Clusters of HA pairs.
    pub ha_clusters: Option<usize>,
    pub query_max_memory_bytes: Option<u64>,
    /// The longest stretch of time whose samples one selector of a query may read.
    pub query_max_range_ms: Option<i64>,
}

/// Why the file was refused.
#[derive(Debug, thiserror::Error)]
pub enum LimitsFileError {
    #[error("not of the shape of a limits file: {0}")]
    Yaml(String),
    #[error("{at}: {why}")]
    Value { at: String, why: String },
}

impl Limits {
    pub fn parse(text: &str) -> Result<Self, LimitsFileError> {
        if super::is_blank_yaml(text) {
            return Ok(Self::default());
        }
        let raw: RawFile = serde_saphyr::from_str(text).map_err(|e| LimitsFileError::Yaml(e.to_string()))?;
        let default = raw.default.over(TenantLimits::default(), "default")?;
        let mut tenants = BTreeMap::new();
        for (name, limits) in raw.tenants {
            let at = format!("tenants.{name}");
            let tenant = TenantId::parse(&name)
                .map_err(|e| LimitsFileError::Value { at: at.clone(), why: e.to_string() })?;
            tenants.insert(tenant, limits.over(default, &at)?);
        }
        Ok(Self { default, tenants })
    }

    pub fn of(&self, tenant: &TenantId) -> &TenantLimits {
        self.tenants.get(tenant).unwrap_or(&self.default)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    default: RawLimits,
    #[serde(default)]
    tenants: BTreeMap<String, RawLimits>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    active_series: Option<u64>,
    samples_per_second: Option<u64>,
    labels_per_series: Option<usize>,
    label_name_bytes: Option<usize>,
    label_value_bytes: Option<usize>,
    ha_clusters: Option<usize>,
    query_max_memory: Option<String>,
    query_max_range: Option<String>,
}

impl RawLimits {
    /// These limits, and those of `base` where nothing is said.
    fn over(self, base: TenantLimits, at: &str) -> Result<TenantLimits, LimitsFileError> {
        let refuse = |key: &str, why: String| LimitsFileError::Value { at: format!("{at}.{key}"), why };
        let memory = self.query_max_memory.map(|text| {
            value::bytes(&text).map_err(|why| refuse("query_max_memory", format!("{text:?}: {why}")))
        });
        let range = self.query_max_range.map(|text| {
            let read = if text == "0" { Ok(0) } else { parse_duration_ms(&text).map_err(|e| e.to_string()) };
            read.map_err(|why| refuse("query_max_range", format!("{text:?}: {why}")))
        });
        Ok(TenantLimits {
            active_series: pick(self.active_series, base.active_series),
            samples_per_second: pick(self.samples_per_second, base.samples_per_second),
            labels_per_series: pick(self.labels_per_series, base.labels_per_series),
            label_name_bytes: pick(self.label_name_bytes, base.label_name_bytes),
            label_value_bytes: pick(self.label_value_bytes, base.label_value_bytes),
            ha_clusters: pick(self.ha_clusters, base.ha_clusters),
            query_max_memory_bytes: pick(memory.transpose()?, base.query_max_memory_bytes),
            query_max_range_ms: pick(range.transpose()?, base.query_max_range_ms),
        })
    }
}

fn pick<T: Default + PartialEq>(own: Option<T>, base: Option<T>) -> Option<T> {
    own.or(base).filter(|limit| *limit != T::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_the_default_where_it_says_nothing_and_0_lifts_it() {
        let limits = Limits::parse(
            "default: {active_series: 10, samples_per_second: 5, ha_clusters: 3, query_max_range: 30d}\n\
             tenants:\n  big: {active_series: 0, ha_clusters: 9, query_max_memory: 1GiB}\n",
        )
        .expect("valid");
        let big = limits.of(&TenantId::parse("big").expect("valid"));
        let other = limits.of(&TenantId::parse("other").expect("valid"));

        assert_eq!((big.active_series, other.active_series), (None, Some(10)));
        assert_eq!((big.samples_per_second, other.samples_per_second), (Some(5), Some(5)));
        assert_eq!((big.ha_clusters, other.ha_clusters), (Some(9), Some(3)));
        assert_eq!((big.query_max_memory_bytes, other.query_max_memory_bytes), (Some(1 << 30), None));
        assert_eq!(big.query_max_range_ms, Some(30 * crate::model::time::DAY_MS));
    }

    #[test]
    fn what_does_not_hold_is_named() {
        let check = |text: &str, want: &str| {
            let error = Limits::parse(text).expect_err(text).to_string();
            assert!(error.contains(want), "{text}: {error}");
        };
        check("default: {query_max_memory: lots}", "default.query_max_memory");
        check("tenants: {a: {query_max_range: long}}", "tenants.a.query_max_range");
        check("tenants: {a/b: {}}", "a/b");
        check("default: {active_serie: 1}", "active_serie");
        check("default: {active_series: -1}", "shape");
    }
}
