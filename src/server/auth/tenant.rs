//! The tenant of a request: whose data it means.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::guard::Caller;
use crate::config::web_file::Tenants;
use crate::error::ErrorKind;
use crate::model::TenantId;
use crate::server::error::{ApiError, ApiResult};
use crate::server::state::{ServerState, Shared};

const TENANT_HEADER: &str = "x-scope-orgid";

/// The one way by which handlers learn the tenant.
#[derive(Clone, Debug)]
pub struct Tenant(pub TenantId);

impl FromRequestParts<Shared> for Tenant {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> ApiResult<Self> {
        tenant_of(state, parts).map(Self)
    }
}

/// The tenant that the request names, or the only one that its credential has.
pub fn tenant_of(state: &ServerState, parts: &Parts) -> ApiResult<TenantId> {
    let tenants = parts.extensions.get::<Caller>().map_or(&Tenants::All, |caller| &caller.0.tenants);
    let tenant = match (state.config.tenancy, named(parts)?) {
        (true, Some(name)) => {
            TenantId::parse(name).map_err(|e| ApiError::invalid(format!("X-Scope-OrgID: {e}")))?
        }
        (true, None) => match tenants {
            Tenants::Only(list) if list.len() == 1 => list[0].clone(),
            _ => {
                let why = "the request names no tenant: X-Scope-OrgID is missing (--tenancy.enabled)";
                return Err(ApiError::invalid(why));
            }
        },
        (false, None) => TenantId::anonymous(),
        (false, Some(_)) => {
            let why = "the request carries X-Scope-OrgID, but tenants are not enabled here: \
                       its data would be mixed with that of others";
            return Err(ApiError::invalid(why));
        }
    };
    if tenants.contains(&tenant) {
        return Ok(tenant);
    }
    let why = if state.config.tenancy {
        format!("the credential is not for tenant {tenant}")
    } else {
        "the credential is for named tenants, but tenants are not enabled here".to_owned()
    };
    Err(ApiError::new(ErrorKind::Forbidden, why))
}

fn named(parts: &Parts) -> ApiResult<Option<&str>> {
    let mut values = parts.headers.get_all(TENANT_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::invalid("X-Scope-OrgID is given more than once"));
    }
    value.to_str().map(Some).map_err(|_| ApiError::invalid("X-Scope-OrgID is not ASCII"))
}
