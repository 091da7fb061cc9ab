//! TLS of both doors, with one certificate.

use crate::error::{Error, Result};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Certificate chain and private key, PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What a client wants to speak inside.
pub(crate) enum Protocol {
    Postgres,
    Http,
}

impl Identity {
    /// # Errors
    /// A file cannot be read, or the key does not fit the certificate.
    pub(crate) fn acceptor(&self, protocol: &Protocol) -> Result<TlsAcceptor> {
        let wrong =
            |what: &'static str, path: &PathBuf, problem: String| Error::Tls { what, path: path.clone(), problem };
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| wrong("certificate", &self.certificate, e.to_string()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| wrong("key", &self.key, e.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong("certificate", &self.certificate, e.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|e| wrong("key", &self.key, e.to_string()))?;
        config.alpn_protocols = match protocol {
            Protocol::Postgres => vec![b"postgresql".to_vec()],
            Protocol::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
