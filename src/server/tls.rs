//! TLS: certificates out of files, the configuration of the handshake.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, version};

use super::live_file;
use crate::config::web_file::{ClientCertificates, TlsFiles};

/// The files' contents, read together.
pub struct Pems {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Vec<u8>,
}

impl Pems {
    pub fn read(files: &TlsFiles) -> Result<Self, String> {
        let client_ca = match &files.clients {
            ClientCertificates::NotAsked => Vec::new(),
            ClientCertificates::IfGiven(path) | ClientCertificates::Required(path) => live_file::read(path)?,
        };
        Ok(Self {
            cert: live_file::read(&files.cert_file)?,
            key: live_file::read(&files.key_file)?,
            client_ca,
        })
    }

    /// Everything that was read.
    pub fn all(&self) -> Vec<u8> {
        [&*self.cert, &*self.key, &*self.client_ca].concat()
    }
}

pub fn server_config(files: &TlsFiles, pems: &Pems) -> Result<Arc<ServerConfig>, String> {
    let cert_file = files.cert_file.display();
    let chain = certificates(&pems.cert).map_err(|e| format!("{cert_file}: {e}"))?;
    let key = PrivateKeyDer::from_pem_slice(&pems.key)
        .map_err(|e| format!("{}: no private key: {e}", files.key_file.display()))?;
    let provider = Arc::new(default_provider());
    let versions: &[_] =
        if files.only_tls13 { &[&version::TLS13] } else { &[&version::TLS13, &version::TLS12] };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|e| format!("TLS versions: {e}"))?
        .with_client_cert_verifier(client_verifier(&files.clients, &pems.client_ca)?)
        .with_single_cert(chain, key)
        .map_err(|e| format!("{cert_file} and {}: {e}", files.key_file.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    if found.is_empty() { Err("no certificate".to_owned()) } else { Ok(found) }
}

fn client_verifier(asked: &ClientCertificates, pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let path = match asked {
        ClientCertificates::NotAsked => return Ok(Arc::new(NoClientAuth)),
        ClientCertificates::IfGiven(path) | ClientCertificates::Required(path) => path.display(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).map_err(|e| format!("{path}: {e}"))? {
        roots.add(certificate).map_err(|e| format!("{path}: {e}"))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
    let builder = match asked {
        ClientCertificates::Required(_) => builder,
        _ => builder.allow_unauthenticated(),
    };
    builder
        .build()
        .map(|verifier| verifier as Arc<dyn ClientCertVerifier>)
        .map_err(|e| format!("{path}: {e}"))
}

#[cfg(test)]
mod tests;
