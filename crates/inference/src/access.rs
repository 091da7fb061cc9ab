//! Who may ask: TLS on the sockets, and a bearer token.

use crate::error::{Error, ErrorKind, Result};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::Digest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tonic::Status;

/// Shortest token that is taken: a guess must be hopeless.
const TOKEN_LENGTH_MIN: usize = 16;

/// A secret that callers name as `authorization: Bearer <token>`. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// # Errors
    /// `Settings` for one of fewer than 16 characters, or with characters that a header cannot carry.
    pub fn new(text: &str) -> Result<Token> {
        let text = text.trim();
        if text.len() < TOKEN_LENGTH_MIN || !text.bytes().all(|b| b.is_ascii_graphic()) {
            let message = format!(
                "the token of the stage services must have at least {TOKEN_LENGTH_MIN} characters, letters, digits and signs"
            );
            return Err(Error::new(ErrorKind::Settings, message));
        }
        Ok(Token(text.to_owned()))
    }

    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Compared by digest, so that the time taken tells nothing of how much of a guess was right.
    fn is_named_in(&self, headers: &HeaderMap) -> bool {
        let named = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let named =
            named.and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
        named.is_some_and(|(_, token)| Digest::of(token.trim().as_bytes()) == Digest::of(self.0.as_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Certificate chain and private key of a service, PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Identity {
    /// What accepts TLS connections as this identity, offering `protocols` (ALPN).
    pub(crate) fn acceptor(&self, protocols: &[&str]) -> Result<TlsAcceptor> {
        let wrong = |path: &Path, reason: String| {
            Error::new(ErrorKind::Settings, format!("TLS file {}: {reason}", path.display()))
        };
        let chain: Vec<CertificateDer> = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .map_err(|error| wrong(&self.certificate, error.to_string()))?;
        if chain.is_empty() {
            return Err(wrong(&self.certificate, "holds no certificate".into()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| wrong(&self.key, error.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&self.certificate, error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| wrong(&self.certificate, format!("certificate and key do not fit: {error}")))?;
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Lets gRPC calls pass that name the token, and those that ask for health.
pub(crate) async fn guard_grpc(State(token): State<Token>, request: Request, next: Next) -> Response {
    let health = ["/inference.GRPCInferenceService/ServerLive", "/inference.GRPCInferenceService/ServerReady"];
    if health.contains(&request.uri().path()) || token.is_named_in(request.headers()) {
        next.run(request).await
    } else {
        Status::unauthenticated("name the token of this service as `authorization: Bearer <token>`").into_http()
    }
}

/// Lets HTTP calls pass that name the token.
pub(crate) async fn guard_http(State(token): State<Token>, request: Request, next: Next) -> Response {
    if token.is_named_in(request.headers()) {
        return next.run(request).await;
    }
    let body = axum::Json(serde_json::json!({
        "error": "name the token of this service as `Authorization: Bearer <token>`"
    }));
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_compared_and_never_printed() {
        let token = Token::new("0123456789abcdef\n").unwrap();
        assert_eq!(format!("{token:?}"), "Token(..)");
        let named = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            token.is_named_in(&headers)
        };
        assert!(named("Bearer 0123456789abcdef") && named("bearer  0123456789abcdef"));
        assert!(!named("Bearer 0123456789abcdeg") && !named("Basic 0123456789abcdef") && !named("0123456789abcdef"));
        assert!(!token.is_named_in(&HeaderMap::new()));
        for wrong in ["short", "with spaces in between", ""] {
            assert_eq!(Token::new(wrong).unwrap_err().kind(), ErrorKind::Settings);
        }
    }
}
