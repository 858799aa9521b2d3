//! Whom to trust, and how TLS sessions are remembered.

use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::error::Error;

/// Hosts whose sessions are remembered; the longest unused goes first.
const SESSIONS: usize = 1024;

/// Trusts the authorities in `ca`, or the machine's. ALPN is left to the connector.
pub(super) fn config(ca: Option<&[u8]>) -> Result<ClientConfig, Error> {
    let bad = |error: &dyn std::fmt::Display| Error::BadCa(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?;
    let builder = match ca {
        None => builder.with_native_roots().map_err(|error| bad(&error))?,
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
            }
            if roots.is_empty() {
                return Err(bad(&"the Secret has no certificate"));
            }
            builder.with_root_certificates(roots)
        }
    };
    let mut config = builder.with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(config)
}
