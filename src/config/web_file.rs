//! The file of `--web.config.file`: how the door is locked, in the shape that Prometheus has for it.
//!
//! Beside Prometheus' sections it may have `users`, which binds a user of `basic_auth_users` to
//! tenants and rights, and `tokens`, which does the same for bearer tokens. Owns what the file may
//! say; checking a password is `server::auth`'s, opening the certificates `server::tls`'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::model::TenantId;

/// Dearest bcrypt cost that is accepted: 2^15 rounds take seconds, and every wrong password costs them.
const BCRYPT_COST_MAX: u32 = 15;
/// A bearer token names no user: each bcrypt hash has to be tried.
const BCRYPT_TOKENS_MAX: usize = 8;
/// Headers that may be set, as in Prometheus.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "X-XSS-Protection",
    "Strict-Transport-Security",
];

/// The file, validated.
#[derive(Clone, Debug, Default)]
pub struct WebFile {
    pub tls: Option<TlsFiles>,
    /// Added to every answer.
    pub headers: Vec<(String, String)>,
    pub credentials: Vec<Credential>,
}

/// Where certificates are and what is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub clients: ClientCertificates,
    /// Whether TLS 1.2 is too old.
    pub only_tls13: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    NotAsked,
    /// Verified against these authorities where a client has one.
    IfGiven(PathBuf),
    Required(PathBuf),
}

/// Who may come in, by what, and what for.
#[derive(Clone, Debug)]
pub struct Credential {
    pub name: String,
    pub secret: Secret,
    pub tenants: Tenants,
    pub rights: Rights,
}

#[derive(Clone, Debug)]
pub enum Secret {
    /// bcrypt of a password that comes with the name.
    Password(String),
    BcryptToken(String),
    Sha256Token([u8; 32]),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    All,
    Only(Vec<TenantId>),
}

impl Tenants {
    pub fn contains(&self, tenant: &TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Only(list) => list.contains(tenant),
        }
    }
}

/// What a credential is good for. Admin has the other two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    pub read: bool,
    pub write: bool,
    pub admin: bool,
}

impl Rights {
    pub const ALL: Self = Self { read: true, write: true, admin: true };
}

/// Why the file was refused.
#[derive(Debug, thiserror::Error)]
pub enum WebFileError {
    #[error("not of the shape of a web configuration file: {0}")]
    Yaml(String),
    #[error("{at}: {why}")]
    Value { at: String, why: String },
}

fn refuse<T>(at: impl Into<String>, why: impl Into<String>) -> Result<T, WebFileError> {
    Err(WebFileError::Value { at: at.into(), why: why.into() })
}

impl WebFile {
    /// Reads the text of a file in `folder`, which relative paths start from.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, WebFileError> {
        if super::is_blank_yaml(text) {
            return Ok(Self::default());
        }
        let raw: RawFile = serde_saphyr::from_str(text).map_err(|e| WebFileError::Yaml(e.to_string()))?;
        let mut credentials = users(raw.basic_auth_users, raw.users)?;
        credentials.extend(tokens(raw.tokens)?);
        let tls = raw.tls_server_config.map(|tls| tls.validate(folder)).transpose()?;
        let headers = raw.http_server_config.headers.into_iter().collect::<Vec<_>>();
        for (name, value) in &headers {
            let at = format!("http_server_config.headers.{name}");
            if !HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                return refuse(at, format!("only these headers can be set: {}", HEADERS.join(", ")));
            }
            if !value.bytes().all(|b| (0x20..0x7f).contains(&b)) {
                return refuse(at, "its value is not printable ASCII");
            }
        }
        Ok(Self { tls, headers, credentials })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    tls_server_config: Option<RawTls>,
    #[serde(default)]
    http_server_config: RawHttp,
    #[serde(default)]
    basic_auth_users: BTreeMap<String, String>,
    #[serde(default)]
    users: BTreeMap<String, RawUser>,
    #[serde(default)]
    tokens: Vec<RawToken>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    #[serde(default)]
    cert_file: String,
    #[serde(default)]
    key_file: String,
    #[serde(default)]
    client_auth_type: String,
    #[serde(default)]
    client_ca_file: String,
    #[serde(default)]
    min_version: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHttp {
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUser {
    tenants: Option<OneOrMany>,
    rights: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToken {
    name: String,
    sha256: Option<String>,
    bcrypt: Option<String>,
    tenants: Option<OneOrMany>,
    rights: OneOrMany,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

impl RawTls {
    fn validate(self, folder: &Path) -> Result<TlsFiles, WebFileError> {
        let at = |key: &str| format!("tls_server_config.{key}");
        if self.cert_file.is_empty() || self.key_file.is_empty() {
            return refuse(at("cert_file"), "cert_file and key_file must both be given");
        }
        let ca_file = folder.join(&self.client_ca_file);
        let has_ca = !self.client_ca_file.is_empty();
        let clients = match (self.client_auth_type.as_str(), has_ca) {
            ("" | "NoClientCert", false) => ClientCertificates::NotAsked,
            ("" | "NoClientCert", true) => {
                return refuse(at("client_ca_file"), "client_auth_type does not ask for certificates");
            }
            ("VerifyClientCertIfGiven", true) => ClientCertificates::IfGiven(ca_file),
            ("RequireAndVerifyClientCert", true) => ClientCertificates::Required(ca_file),
            ("VerifyClientCertIfGiven" | "RequireAndVerifyClientCert", false) => {
                return refuse(at("client_ca_file"), "needed to verify certificates of clients");
            }
            ("RequestClientCert" | "RequireAnyClientCert", _) => {
                let why = "certificates that nobody verifies prove nothing and are not supported: \
                           use VerifyClientCertIfGiven or RequireAndVerifyClientCert";
                return refuse(at("client_auth_type"), why);
            }
            (other, _) => return refuse(at("client_auth_type"), format!("unknown type {other:?}")),
        };
        let only_tls13 = match self.min_version.as_str() {
            "" | "TLS12" => false,
            "TLS13" => true,
            other => return refuse(at("min_version"), format!("{other:?} is neither TLS12 nor TLS13")),
        };
        let (cert_file, key_file) = (folder.join(self.cert_file), folder.join(self.key_file));
        Ok(TlsFiles { cert_file, key_file, clients, only_tls13 })
    }
}

/// Users as Prometheus knows them may do everything, unless `users` binds them.
fn users(
    passwords: BTreeMap<String, String>,
    mut bounds: BTreeMap<String, RawUser>,
) -> Result<Vec<Credential>, WebFileError> {
    let mut credentials = Vec::new();
    for (name, hash) in passwords {
        check_bcrypt(&format!("basic_auth_users.{name}"), &hash)?;
        if name.is_empty() || name.contains(':') {
            return refuse("basic_auth_users", format!("{name:?} is no user name"));
        }
        let bound = bounds.remove(&name);
        let at = format!("users.{name}");
        let (tenants, rights) = match bound {
            Some(user) => (
                parse_tenants(&at, user.tenants)?,
                user.rights.map_or(Ok(Rights::ALL), |rights| parse_rights(&at, rights))?,
            ),
            None => (Tenants::All, Rights::ALL),
        };
        credentials.push(Credential { name, secret: Secret::Password(hash), tenants, rights });
    }
    match bounds.keys().next() {
        Some(name) => refuse(format!("users.{name}"), "basic_auth_users has no such user"),
        None => Ok(credentials),
    }
}

fn tokens(raw: Vec<RawToken>) -> Result<Vec<Credential>, WebFileError> {
    let mut credentials: Vec<Credential> = Vec::new();
    for RawToken { name, sha256, bcrypt, tenants, rights } in raw {
        let at = format!("tokens.{name}");
        if name.is_empty() || credentials.iter().any(|other| other.name == name) {
            return refuse(at, "a token needs a name of its own");
        }
        let secret = match (sha256, bcrypt) {
            (Some(hex), None) => match parse_sha256(&hex) {
                Some(digest) => Secret::Sha256Token(digest),
                None => return refuse(at, "sha256 is not 64 hexadecimal digits"),
            },
            (None, Some(hash)) => {
                check_bcrypt(&at, &hash)?;
                Secret::BcryptToken(hash)
            }
            _ => return refuse(at, "exactly one of sha256 and bcrypt must be given"),
        };
        let (tenants, rights) = (parse_tenants(&at, tenants)?, parse_rights(&at, rights)?);
        credentials.push(Credential { name, secret, tenants, rights });
    }
    let slow = credentials.iter().filter(|c| matches!(c.secret, Secret::BcryptToken(_))).count();
    if slow > BCRYPT_TOKENS_MAX {
        let why = format!(
            "{slow} tokens by bcrypt, more than {BCRYPT_TOKENS_MAX}: each is tried for every \
                           wrong token. Long random tokens are as safe by sha256"
        );
        return refuse("tokens", why);
    }
    Ok(credentials)
}

fn parse_tenants(at: &str, given: Option<OneOrMany>) -> Result<Tenants, WebFileError> {
    let Some(given) = given else { return Ok(Tenants::All) };
    let is_list = matches!(given, OneOrMany::Many(_));
    let names = given.into_vec();
    if !is_list && names == ["all"] {
        return Ok(Tenants::All);
    }
    if names.is_empty() {
        return refuse(format!("{at}.tenants"), "the list is empty: leave it out for all tenants");
    }
    let parse = |name: &String| {
        let value = |e: crate::model::tenant::TenantError| WebFileError::Value {
            at: format!("{at}.tenants"),
            why: e.to_string(),
        };
        TenantId::parse(name).map_err(value)
    };
    Ok(Tenants::Only(names.iter().map(parse).collect::<Result<_, _>>()?))
}

fn parse_rights(at: &str, given: OneOrMany) -> Result<Rights, WebFileError> {
    let mut rights = Rights::default();
    for right in given.into_vec() {
        match right.as_str() {
            "read" => rights.read = true,
            "write" => rights.write = true,
            "admin" => rights = Rights::ALL,
            other => {
                return refuse(format!("{at}.rights"), format!("{other:?} is not read, write or admin"));
            }
        }
    }
    if rights == Rights::default() {
        return refuse(format!("{at}.rights"), "it has none of read, write and admin");
    }
    Ok(rights)
}

/// `$2y$10$` and 53 characters.
fn check_bcrypt(at: &str, hash: &str) -> Result<(), WebFileError> {
    let cost = bcrypt_cost(hash);
    let body = hash.get(7..).unwrap_or_default();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'/';
    match cost {
        Some(4..=BCRYPT_COST_MAX) if body.len() == 53 && body.bytes().all(plain) => Ok(()),
        Some(cost) if cost > BCRYPT_COST_MAX => {
            refuse(at, format!("its bcrypt cost of {cost} is above {BCRYPT_COST_MAX}"))
        }
        _ => refuse(at, "it is not a bcrypt hash"),
    }
}

/// The cost that a bcrypt hash names.
pub fn bcrypt_cost(hash: &str) -> Option<u32> {
    let rest = ["$2a$", "$2b$", "$2y$", "$2x$"].iter().find_map(|version| hash.strip_prefix(version))?;
    rest.split_once('$')?.0.parse().ok()
}

fn parse_sha256(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0u8; 32];
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyz01234";

    fn parse(text: &str) -> Result<WebFile, String> {
        WebFile::parse(text, Path::new("/etc/onggi")).map_err(|e| e.to_string())
    }

    #[test]
    fn prometheus_files_are_read_and_our_sections_bind() {
        let digest = "ab".repeat(32);
        let file = parse(&format!(
            "tls_server_config:\n  cert_file: a.crt\n  key_file: /k/a.key\n  min_version: TLS13\n\
             http_server_config:\n  headers:\n    X-Frame-Options: deny\n\
             basic_auth_users:\n  alice: {HASH}\n  bob: {HASH}\n\
             users:\n  bob:\n    tenants: [a, b]\n    rights: [read, write]\n\
             tokens:\n  - name: agent\n    sha256: {digest}\n    tenants: all\n    rights: write\n"
        ))
        .expect("valid");

        let tls = file.tls.expect("has TLS");
        assert_eq!(tls.cert_file, Path::new("/etc/onggi/a.crt"));
        assert_eq!(tls.key_file, Path::new("/k/a.key"));
        assert!(tls.only_tls13);
        assert_eq!(file.headers, [("X-Frame-Options".to_owned(), "deny".to_owned())]);
        let [alice, bob, agent] = &file.credentials[..] else { panic!("three") };
        assert_eq!((&alice.tenants, alice.rights), (&Tenants::All, Rights::ALL));
        assert_eq!(bob.rights, Rights { read: true, write: true, admin: false });
        assert!(bob.tenants.contains(&TenantId::parse("b").expect("valid")));
        assert!(!bob.tenants.contains(&TenantId::anonymous()));
        assert!(agent.rights.write && !agent.rights.read);
        assert!(matches!(agent.secret, Secret::Sha256Token(digest) if digest == [0xab; 32]));
    }

    #[test]
    fn what_does_not_hold_is_named() {
        let check = |text: &str, want: &str| {
            let error = parse(text).map(|_| ()).expect_err(text);
            assert!(error.contains(want), "{text}: {error}");
        };
        check("basic_auth_users: {alice: secret}", "basic_auth_users.alice");
        check(&format!("basic_auth_users: {{alice: {}}}", HASH.replace("04", "31")), "cost of 31");
        check("users: {carol: {rights: read}}", "users.carol");
        check("tokens: [{name: a, sha256: zz, rights: read}]", "tokens.a");
        check(&format!("tokens: [{{name: a, bcrypt: {HASH}, rights: root}}]"), "\"root\"");
        check(&format!("tokens: [{{name: a, bcrypt: {HASH}, rights: read, tenants: [a/b]}}]"), "a/b");
        check(&format!("tokens: [{{name: a, bcrypt: {HASH}, rights: read, tenants: []}}]"), "empty");
        check("tls_server_config: {cert_file: a}", "key_file");
        check("tls_server_config: {cert_file: a, key_file: b, client_auth_type: X}", "\"X\"");
        check("tls_server_config: {cert_file: a, key_file: b, min_version: TLS10}", "TLS10");
        check(
            "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert}",
            "client_ca_file",
        );
        check("http_server_config: {headers: {Set-Cookie: a}}", "Set-Cookie");
        check("tls_sever_config: {}", "tls_sever_config");
        check("- a", "shape");
    }

    #[test]
    fn an_empty_file_locks_nothing() {
        let file = parse("# nothing yet\n").expect("valid");
        assert!(file.tls.is_none() && file.credentials.is_empty());
    }
}
