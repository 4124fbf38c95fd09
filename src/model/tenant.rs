//! Tenants: who the data belongs to. Part of every key, on disk and in memory.

use std::fmt;
use std::sync::Arc;

/// The tenant of requests that name none.
pub const ANONYMOUS: &str = "anonymous";

/// Longest tenant name in bytes.
pub const TENANT_BYTES_MAX: usize = 150;

/// A tenant's name: 1..=150 bytes of `[a-zA-Z0-9!\-_.*'()]`, and neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// Why a text is no tenant name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    #[error("tenant name is empty")]
    Empty,
    #[error("tenant name has {0} bytes, more than {TENANT_BYTES_MAX}")]
    TooLong(usize),
    #[error("tenant name {0:?} has a character other than a-z A-Z 0-9 ! - _ . * ' ( )")]
    BadCharacter(String),
    #[error("tenant name {0:?} is not allowed")]
    Reserved(String),
}

impl TenantId {
    /// Parses a tenant name as it stands in `X-Scope-OrgID`.
    pub fn parse(name: &str) -> Result<Self, TenantError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        match name {
            "" => Err(TenantError::Empty),
            "." | ".." => Err(TenantError::Reserved(name.to_owned())),
            _ if name.len() > TENANT_BYTES_MAX => Err(TenantError::TooLong(name.len())),
            _ if !name.chars().all(allowed) => Err(TenantError::BadCharacter(name.to_owned())),
            _ => Ok(Self(name.into())),
        }
    }

    pub fn anonymous() -> Self {
        Self(ANONYMOUS.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_alphabet_are_refused() {
        let check = |name: &str, ok: bool| assert_eq!(TenantId::parse(name).is_ok(), ok, "{name:?}");
        check("anonymous", true);
        check("team-a_1.x*'()!", true);
        check("", false);
        check("..", false);
        check("a/b", false);
        check("é", false);
        check(&"x".repeat(150), true);
        check(&"x".repeat(151), false);
    }
}
