//! TLS settings, and how they are replaced while connections are open.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, danger::ClientCertVerifier},
    sign::CertifiedKey,
};

/// The first byte of a TLS connection: a handshake record.
pub(super) const HANDSHAKE: u8 = 0x16;

/// The settings for new connections. Store another [`ServerConfig`] to change the certificate; open connections keep theirs.
pub type TlsConfig = Arc<ArcSwap<ServerConfig>>;

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file could not be read.
    #[error("cannot read {path}: {source}")]
    Pem {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate file holds none.
    #[error("{0} holds no certificate")]
    NoCertificate(String),
    /// Certificate and key do not fit together, or are of no use.
    #[error("the certificate cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
}

/// Settings that can be replaced.
pub fn tls_config(config: ServerConfig) -> TlsConfig {
    Arc::new(ArcSwap::from_pointee(config))
}

/// Settings for a certificate chain (leaf first) and its key: TLS 1.2 and 1.3, HTTP/2 preferred.
pub fn server_config(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Settings with the certificate of `served`, whatever it is at the time of each handshake, for clients that `verifier` takes; they
/// are then in [`Origin::certificates`](crate::auth::Origin::certificates).
pub fn clients_proven(served: TlsConfig, verifier: Arc<dyn ClientCertVerifier>) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(Current(served)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificate that other settings have now.
#[derive(Debug)]
struct Current(TlsConfig);

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().cert_resolver.resolve(hello)
    }
}

/// Reads a certificate chain and its key from PEM files.
pub fn load_config(certificates: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let unreadable = |path: &Path, source| TlsError::Pem { path: path.display().to_string(), source };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect)
        .map_err(|source| unreadable(certificates, source))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(certificates.display().to_string()));
    }
    server_config(chain, PrivateKeyDer::from_pem_file(key).map_err(|source| unreadable(key, source))?)
}
