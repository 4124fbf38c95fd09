//! The setting `retention`: which series are kept for less long than the rest.
//!
//! A YAML list, `[{match: '{__name__=~"debug_.*"}', for: 3d, tenant: a}]`. In the configuration file it
//! is the one key whose value is not a plain text. Owns the shape; what a selector means is
//! `promql`'s, which reads it at start.

use serde::{Deserialize, Serialize};

use super::value::{self, Parsed};
use crate::model::TenantId;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// `None`: of every tenant.
    pub tenant: Option<TenantId>,
    /// A series selector.
    pub selector: String,
    pub keep_ms: i64,
}

/// A rule as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    #[serde(rename = "match")]
    selector: String,
    #[serde(rename = "for")]
    keep: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
}

/// Reads the setting's text; an empty one has no rules.
pub fn parse(text: &str) -> Parsed<Vec<RetentionRule>> {
    if super::is_blank_yaml(text) {
        return Ok(Vec::new());
    }
    let raw: Vec<RawRule> = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    raw.into_iter().map(rule).collect()
}

/// The setting's text of rules that stand in a file.
pub(super) fn text_of(rules: &[RawRule]) -> String {
    serde_json::to_string(rules).expect("rules are texts, which JSON, and so YAML, can write")
}

fn rule(raw: RawRule) -> Parsed<RetentionRule> {
    let because = |why: String| format!("rule {:?}: {why}", raw.selector);
    let keep_ms = value::retention_ms(&raw.keep).map_err(|why| because(format!("{:?}: {why}", raw.keep)))?;
    let tenant = raw.tenant.as_deref().map(TenantId::parse).transpose();
    let tenant = tenant.map_err(|e| because(e.to_string()))?;
    Ok(RetentionRule { tenant, selector: raw.selector, keep_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::DAY_MS;

    #[test]
    fn rules_are_a_list_of_selectors_with_ages_and_perhaps_tenants() {
        let rules = parse(r#"[{match: '{__name__=~"debug_.*"}', for: 3d}, {match: up, for: 1w, tenant: a}]"#);
        let rules = rules.expect("valid");
        assert_eq!(rules[0].selector, r#"{__name__=~"debug_.*"}"#);
        assert_eq!((rules[0].keep_ms, &rules[0].tenant), (3 * DAY_MS, &None));
        assert_eq!(rules[1].tenant, Some(TenantId::parse("a").expect("tenant")));
        assert_eq!(parse("").expect("none"), []);
    }

    #[test]
    fn what_a_rule_cannot_say_is_named() {
        let check = |text: &str, want: &str| {
            let why = parse(text).expect_err(text);
            assert!(why.contains(want), "{text}: {why}");
        };
        check("[{match: up, for: 1s}]", "1s");
        check("[{match: up, for: soon}]", "soon");
        check("[{match: up, for: 1d, tenant: a/b}]", "a/b");
        check("[{match: up}]", "for");
        check("[{match: up, for: 1d, until: now}]", "until");
        check("up", "");
    }
}
