//! The web configuration file in force.

use std::path::Path;
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use tokio_rustls::rustls::ServerConfig;

use super::passwords::Passwords;
use crate::config::web_file::{ClientCertificates, WebFile};
use crate::server::live_file::{self, Loaded};
use crate::server::tls;

/// What the file was turned into. The default is a door without a lock.
#[derive(Default)]
pub struct Door {
    pub tls: Option<Arc<ServerConfig>>,
    /// Whether nobody gets through the handshake without a certificate that was verified.
    pub client_certificates: bool,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `None` where everybody may do everything.
    pub passwords: Option<Passwords>,
}

impl Door {
    /// Reads the file and the certificates that it names.
    pub fn load(path: &Path) -> Result<Loaded<Self>, String> {
        let text = live_file::read_text(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let file = WebFile::parse(&text, folder).map_err(|e| e.to_string())?;
        let mut bytes = text.into_bytes();
        let tls = match &file.tls {
            Some(files) => {
                let pems = tls::Pems::read(files)?;
                bytes.extend(pems.all());
                Some(tls::server_config(files, &pems)?)
            }
            None => None,
        };
        let header = |(name, value): &(String, String)| {
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|e| format!("header {name:?}: {e}"))?;
            let value = HeaderValue::from_str(value).map_err(|e| format!("header {name}: {e}"))?;
            Ok::<_, String>((name, value))
        };
        let headers = file.headers.iter().map(header).collect::<Result<_, _>>()?;
        let passwords =
            if file.credentials.is_empty() { None } else { Some(Passwords::new(file.credentials)?) };
        let client_certificates =
            matches!(&file.tls, Some(files) if matches!(files.clients, ClientCertificates::Required(_)));
        Ok(Loaded { value: Self { tls, client_certificates, headers, passwords }, bytes })
    }

    /// Whether everybody who reaches the port may do everything.
    pub fn is_open(&self) -> bool {
        self.passwords.is_none() && !self.client_certificates
    }
}
