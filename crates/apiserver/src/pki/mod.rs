//! A certificate authority of one's own, so that HTTPS works on a bare machine: made at the first start, kept for ten years.
//!
//! Only the authority's key and certificate are on disk. Serving certificates live in memory: they are issued at start for
//! the names that are served then, and again long before they expire, so there is nothing to renew by hand and no serving
//! key to steal from a disk. Kubeconfigs carry the authority's certificate.

mod serving;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jiff::{ToSpan, Zoned, civil::Date};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use ring::digest::{SHA256, digest};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

pub use self::serving::Serving;
use crate::files;

/// How long the authority is good for.
const CA_YEARS: i32 = 10;
/// How long a serving certificate is good for, in days.
const LEAF_DAYS: i32 = 90;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} cannot be used: {reason}; put back the right file, or remove the directory to start a new authority, which \
             ends trust in every kubeconfig handed out", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate could not be made, e.g. for a name that cannot be in one.
    #[error("a certificate could not be made: {0}")]
    Issue(#[from] rcgen::Error),
    /// TLS does not take what was made.
    #[error(transparent)]
    Tls(#[from] roadstead_kubewire::server::TlsError),
}

/// The authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ca")
    }
}

impl Ca {
    /// The authority in `dir` (`ca.crt`, `ca.key`, mode 0600), made if there is none.
    ///
    /// # Errors
    /// When the files are not there in full and cannot be made, or are of no use.
    pub fn open(dir: &Path) -> Result<Self, PkiError> {
        files::private_dir(dir).map_err(at(dir))?;
        let (key_path, cert_path) = (dir.join("ca.key"), dir.join("ca.crt"));
        let key = match read(&key_path)? {
            Some(pem) => KeyPair::from_pem(&pem)
                .map_err(|error| PkiError::Bad { path: key_path.clone(), reason: error.to_string() })?,
            None => {
                let key = KeyPair::generate()?;
                files::write_private(&key_path, key.serialize_pem().as_bytes()).map_err(at(&key_path))?;
                key
            }
        };
        let params = authority(&key)?;
        let pem = match read(&cert_path)? {
            Some(pem) => {
                // The authority's name is derived from its key: a certificate of another one is told by its bytes.
                let ours = CertificateDer::from_pem_slice(pem.as_bytes())
                    .is_ok_and(|der| contains(&der, key.der_bytes()) && contains(&der, common_name(&key).as_bytes()));
                if !ours {
                    return Err(PkiError::Bad {
                        path: cert_path,
                        reason: "it is not the certificate of ca.key".into(),
                    });
                }
                pem
            }
            None => {
                let pem = params.self_signed(&key)?.pem();
                files::write_private(&cert_path, pem.as_bytes()).map_err(at(&cert_path))?;
                pem
            }
        };
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// An authority that is gone with the process, for tests.
    ///
    /// # Errors
    /// Only if the system has no random numbers.
    pub fn in_memory() -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let params = authority(&key)?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// The authority's certificate in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A new serving certificate for DNS names and IP addresses: the chain and its key, good for 90 days.
    ///
    /// # Errors
    /// For a name that cannot be in a certificate.
    pub fn issue_server(
        &self,
        names: &[String],
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), PkiError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "roadstead");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, LEAF_DAYS.days());
        let certificate: Certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
        Ok((vec![certificate.der().clone()], key))
    }
}

fn common_name(key: &KeyPair) -> String {
    let hash = digest(&SHA256, key.der_bytes());
    let hex: String = hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("roadstead-ca-{hex}")
}

/// The authority's certificate, but for its signature. All but the dates follows from the key.
fn authority(key: &KeyPair) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, common_name(key));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    valid(&mut params, CA_YEARS.years());
    Ok(params)
}

/// From yesterday, for clocks that are a little behind, for `span` from today.
fn valid(params: &mut CertificateParams, span: jiff::Span) {
    let today = Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date();
    let time = |date: Date| {
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = time(today.saturating_sub(1.day()));
    params.not_after = time(today.saturating_add(span));
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::Io { path: path.into(), source }),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PkiError {
    let path = path.to_path_buf();
    move |source| PkiError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, sync::Arc};

    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

    use super::*;

    /// Whether a client that trusts `trusted` shakes hands with a server of `ca` under `name`.
    fn trusts(trusted: &str, ca: &Ca, name: &str) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), name.to_string().try_into().unwrap()).unwrap();
        let (chain, key) = ca.issue_server(&["example.com".into(), "127.0.0.1".into()]).unwrap();
        let config = roadstead_kubewire::server::server_config(chain, key).unwrap();
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut &wire[..]).unwrap();
            if server.process_new_packets().is_err() {
                return false;
            }
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut &wire[..]).unwrap();
            if client.process_new_packets().is_err() {
                return false;
            }
        }
        true
    }

    #[test]
    fn clients_that_trust_the_authority_trust_its_certificates_alone() {
        let dir = tempfile::tempdir().unwrap();
        let pki = dir.path().join("pki");
        let first = Ca::open(&pki).unwrap().pem().to_string();
        let again = Ca::open(&pki).unwrap();
        assert_eq!(again.pem(), first);
        assert_eq!(fs::metadata(pki.join("ca.key")).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(trusts(&first, &again, "example.com"));
        assert!(trusts(&first, &again, "127.0.0.1"));
        assert!(!trusts(&first, &again, "other.com"));
        assert!(!trusts(&first, &Ca::in_memory().unwrap(), "example.com"));
    }

    #[test]
    fn half_an_authority_is_completed_and_a_wrong_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        Ca::open(dir.path()).unwrap();
        fs::remove_file(dir.path().join("ca.crt")).unwrap();
        let completed = Ca::open(dir.path()).unwrap();
        assert!(trusts(completed.pem(), &completed, "example.com"));
        fs::write(dir.path().join("ca.crt"), Ca::in_memory().unwrap().pem()).unwrap();
        assert!(Ca::open(dir.path()).unwrap_err().to_string().contains("not the certificate of ca.key"));
        fs::write(dir.path().join("ca.key"), "nonsense").unwrap();
        assert!(matches!(Ca::open(dir.path()), Err(PkiError::Bad { .. })));
    }
}
