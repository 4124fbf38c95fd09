//! The one table of routes and the right that each asks for.
//!
//! A route that is not here asks for [`Need::Process`]: forgetting one closes it.

use crate::config::web_file::{Credential, Tenants};

/// What a route asks of whoever calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Open,
    /// To be somebody: what is there does not exist, or says nothing.
    Known,
    Read,
    Write,
    Admin,
    /// Admin of all tenants: it concerns the whole process.
    Process,
}

impl Need {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open | Self::Known => "nothing",
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
            Self::Process => "admin of all tenants",
        }
    }

    pub fn is_met_by(self, credential: &Credential) -> bool {
        let rights = credential.rights;
        match self {
            Self::Open | Self::Known => true,
            Self::Read => rights.read,
            Self::Write => rights.write,
            Self::Admin => rights.admin,
            Self::Process => rights.admin && credential.tenants == Tenants::All,
        }
    }
}

/// Handlers by the names that [`crate::server::middleware::handler_name`] gives them.
pub const NEEDS: &[(&str, Need)] = &[
    ("/-/healthy", Need::Open),
    ("/-/ready", Need::Open),
    // It asks for a token of its own.
    ("/internal/replica/hint", Need::Open),
    ("/-/quit", Need::Process),
    ("/", Need::Known),
    ("/version", Need::Known),
    ("/metrics", Need::Read),
    ("/federate", Need::Read),
    ("/api/v1/write", Need::Write),
    ("/api/v1/push", Need::Write),
    ("/api/v1/receive", Need::Write),
    ("/api/v1/read", Need::Read),
    ("/api/v1/query", Need::Read),
    ("/api/v1/query_range", Need::Read),
    ("/api/v1/query_exemplars", Need::Read),
    ("/api/v1/format_query", Need::Read),
    ("/api/v1/parse_query", Need::Read),
    ("/api/v1/series", Need::Read),
    ("/api/v1/labels", Need::Read),
    ("/api/v1/label/{name}/values", Need::Read),
    ("/api/v1/metadata", Need::Read),
    ("/api/v1/targets/metadata", Need::Read),
    ("/api/v1/status/buildinfo", Need::Read),
    ("/api/v1/status/runtimeinfo", Need::Read),
    ("/api/v1/status/flags", Need::Read),
    ("/api/v1/status/config", Need::Read),
    ("/api/v1/status/tsdb", Need::Read),
    ("/api/v1/status/walreplay", Need::Read),
    ("/api/v1/features", Need::Read),
    ("/api/v1/openapi.yaml", Need::Known),
    ("/api/v1/rules", Need::Read),
    ("/api/v1/alerts", Need::Read),
    ("/api/v1/targets", Need::Read),
    ("/api/v1/scrape_pools", Need::Read),
    ("/api/v1/alertmanagers", Need::Read),
    ("/api/v1/notifications", Need::Read),
    ("/api/v1/notifications/live", Need::Read),
    ("/debug/pprof/", Need::Process),
    ("/debug/pprof/{name}", Need::Process),
    ("/api/v1/admin/tsdb/delete_series", Need::Admin),
    ("/api/v1/admin/tsdb/snapshot", Need::Process),
    ("/api/v1/admin/tsdb/clean_tombstones", Need::Admin),
    ("/api/v1/admin/tsdb/settle", Need::Process),
];

/// What a route asks for; `None` is a path that no route has.
pub fn need_of(handler: Option<&str>) -> Need {
    let Some(handler) = handler else { return Need::Known };
    NEEDS.iter().find(|(name, _)| *name == handler).map_or(Need::Process, |(_, need)| *need)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_was_forgotten_is_closed() {
        assert_eq!(need_of(Some("/api/v1/query")), Need::Read);
        assert_eq!(need_of(Some("/api/v1/brand_new")), Need::Process);
        assert_eq!(need_of(None), Need::Known);
    }
}
