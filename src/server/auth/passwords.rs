//! Checks a password or a token.
//!
//! A bcrypt check takes tens of milliseconds of a core: it runs off the threads that move bytes,
//! few at once, and its result is remembered under a keyed hash of what was checked, so that
//! neither passwords nor their plain hashes lie in memory. Whoever names an unknown user waits for
//! a check as if he were known.

use std::collections::HashSet;
use std::sync::Arc;

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use crate::config::web_file::{Credential, Secret, bcrypt_cost};

/// bcrypt checks at once: guessing passwords must not take all cores.
const CHECKS_AT_ONCE: usize = 2;
/// Results remembered of each kind; right ones are few, wrong ones are anybody's.
const REMEMBERED_MAX: usize = 1024;
/// Longest password or token; bcrypt looks at the first 72 bytes.
const SECRET_BYTES_MAX: usize = 4 << 10;

/// All credentials, and what has been checked of late.
pub struct Passwords {
    credentials: Vec<Arc<Credential>>,
    /// Checked where the user is unknown: the dearest hash of a user there is.
    decoy: Option<String>,
    key: hmac::Key,
    remembered: Mutex<Remembered>,
    checks: Arc<Semaphore>,
}

#[derive(Default)]
struct Remembered {
    right: HashSet<Proof>,
    wrong: HashSet<Proof>,
}

/// A keyed hash of a bcrypt hash and what was held against it.
type Proof = [u8; 32];

impl Passwords {
    pub fn new(credentials: Vec<Credential>) -> Result<Self, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| "the system gives no random numbers".to_owned())?;
        let hashes = credentials.iter().filter_map(|credential| match &credential.secret {
            Secret::Password(hash) => Some(hash),
            _ => None,
        });
        let decoy = hashes.max_by_key(|hash| bcrypt_cost(hash)).cloned();
        Ok(Self {
            credentials: credentials.into_iter().map(Arc::new).collect(),
            decoy,
            key,
            remembered: Mutex::default(),
            checks: Arc::new(Semaphore::new(CHECKS_AT_ONCE)),
        })
    }

    /// The schemes that can let somebody in, as `WWW-Authenticate` has them.
    pub fn challenges(&self) -> impl Iterator<Item = &'static str> {
        let has_token = self.credentials.iter().any(|c| !matches!(c.secret, Secret::Password(_)));
        let basic = self.decoy.is_some().then_some("Basic realm=\"onggi\", charset=\"UTF-8\"");
        basic.into_iter().chain(has_token.then_some("Bearer realm=\"onggi\""))
    }

    /// Who a request is from, by its `Authorization`; `None` where it does not say or is wrong.
    pub async fn identify(&self, authorization: Option<&HeaderValue>) -> Option<Arc<Credential>> {
        let text = authorization?.to_str().ok()?;
        let (scheme, rest) = text.split_once(' ')?;
        let rest = rest.trim();
        if rest.len() > SECRET_BYTES_MAX {
            return None;
        }
        if scheme.eq_ignore_ascii_case("basic") {
            let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
            let (user, password) = pair.split_once(':')?;
            return self.user(user, password).await;
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.bearer(rest).await;
        }
        None
    }

    async fn user(&self, user: &str, password: &str) -> Option<Arc<Credential>> {
        let found = self.credentials.iter().find_map(|credential| match &credential.secret {
            Secret::Password(hash) if credential.name == user => Some((credential, hash)),
            _ => None,
        });
        let hash = found.map_or(self.decoy.as_ref()?, |(_, hash)| hash);
        let is_right = self.check(hash, user, password).await;
        found.filter(|_| is_right).map(|(credential, _)| Arc::clone(credential))
    }

    async fn bearer(&self, token: &str) -> Option<Arc<Credential>> {
        let given = digest(&SHA256, token.as_bytes());
        let mut found = None;
        // All are compared, each in full: time tells nothing about which came close.
        for credential in &self.credentials {
            if let Secret::Sha256Token(known) = &credential.secret
                && is_equal(known, given.as_ref())
            {
                found = Some(Arc::clone(credential));
            }
        }
        if found.is_some() {
            return found;
        }
        for credential in &self.credentials {
            if let Secret::BcryptToken(hash) = &credential.secret
                && self.check(hash, "", token).await
            {
                return Some(Arc::clone(credential));
            }
        }
        None
    }

    /// Whether `secret` is what `hash` was made of.
    async fn check(&self, hash: &str, user: &str, secret: &str) -> bool {
        let proof = self.proof(hash, user, secret);
        {
            let remembered = self.remembered.lock();
            if remembered.right.contains(&proof) {
                return true;
            }
            if remembered.wrong.contains(&proof) {
                return false;
            }
        }
        let Ok(slot) = Arc::clone(&self.checks).acquire_owned().await else { return false };
        let (hash, secret) = (hash.to_owned(), secret.to_owned());
        let verify = move || {
            // Held by the check itself, which goes on where the client has gone.
            let _slot = slot;
            bcrypt::verify(secret, &hash)
        };
        let is_right = match tokio::task::spawn_blocking(verify).await {
            Ok(Ok(is_right)) => is_right,
            Ok(Err(error)) => {
                tracing::debug!(%error, "check password");
                false
            }
            Err(error) => {
                tracing::error!(%error, "check password");
                return false;
            }
        };
        let mut remembered = self.remembered.lock();
        let set = if is_right { &mut remembered.right } else { &mut remembered.wrong };
        if set.len() >= REMEMBERED_MAX {
            set.clear();
        }
        set.insert(proof);
        is_right
    }

    fn proof(&self, hash: &str, user: &str, secret: &str) -> Proof {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [hash, user, secret] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        let mut proof = [0; 32];
        proof.copy_from_slice(context.sign().as_ref());
        proof
    }
}

/// Takes as long wherever the two differ.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::web_file::{Rights, Tenants};

    fn credential(name: &str, secret: Secret) -> Credential {
        Credential { name: name.to_owned(), secret, tenants: Tenants::All, rights: Rights::ALL }
    }

    fn passwords() -> Passwords {
        let hash = |text: &str| bcrypt::hash(text, 4).expect("hashes");
        let mut token = [0; 32];
        token.copy_from_slice(digest(&SHA256, b"long-token").as_ref());
        Passwords::new(vec![
            credential("alice", Secret::Password(hash("open:sesame"))),
            credential("quick", Secret::Sha256Token(token)),
            credential("slow", Secret::BcryptToken(hash("slow-token"))),
        ])
        .expect("random numbers")
    }

    #[tokio::test]
    async fn only_the_right_secret_opens() {
        let passwords = passwords();
        let check = async |authorization: &str, want: Option<&str>| {
            let header = HeaderValue::from_str(authorization).expect("valid header");
            // The second answer is the remembered one.
            for _ in 0..2 {
                let found = passwords.identify(Some(&header)).await;
                assert_eq!(found.as_ref().map(|c| c.name.as_str()), want, "{authorization}");
            }
        };
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        check(&basic("alice:open:sesame"), Some("alice")).await;
        check(&basic("alice:open"), None).await;
        check(&basic("bob:open:sesame"), None).await;
        check(&basic("alice"), None).await;
        check(&basic("alice:nul\0byte"), None).await;
        check("Basic !!", None).await;
        check("bearer long-token", Some("quick")).await;
        check("Bearer slow-token", Some("slow")).await;
        check("Bearer long-toke", None).await;
        check("Bearer", None).await;
        check("Digest x", None).await;
        check(&format!("Bearer {}", "x".repeat(SECRET_BYTES_MAX + 1)), None).await;
        assert!(passwords.identify(None).await.is_none());
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let passwords = passwords();
        for number in 0..REMEMBERED_MAX + 10 {
            passwords.remembered.lock().wrong.insert(passwords.proof("", "", &number.to_string()));
        }
        assert!(passwords.user("alice", "wrong").await.is_none());
        assert!(passwords.remembered.lock().wrong.len() <= REMEMBERED_MAX);
    }
}
