//! Who the API server's front proxy is, and whom it speaks for. Source: Kubernetes documentation, "Authenticating, Authenticating
//! Proxy", and the flags `--requestheader-...` of kube-apiserver, which publishes them in a ConfigMap.
//!
//! A header counts only on a connection whose certificate is from the named authority, good now, and for an allowed name. The
//! handshake has proven that the client owns it; whether it is still the right one is asked again for each request, because a
//! connection may be older than the last change of the ConfigMap.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, request::Parts};
use percent_encoding::percent_decode_str;
use roadstead_kubewire::{ApiError, ApiResult, Authenticator, Origin, User};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::sync::watch;

use super::subject::common_name;

/// Why the ConfigMap does not say who the front proxy is.
#[derive(Debug, thiserror::Error)]
pub enum FrontProxyError {
    /// The API server was started without `--requestheader-client-ca-file`: then nobody could be believed.
    #[error("it has no {0}: the API server needs --requestheader-client-ca-file")]
    Missing(&'static str),
    /// A list is none, or a name in it cannot be a header's.
    #[error("{0} is not a list of names")]
    NotAList(&'static str),
    /// The certificates cannot be used.
    #[error("requestheader-client-ca-file: {0}")]
    Authority(String),
}

/// What the API server says of its front proxy.
#[derive(Debug)]
pub struct FrontProxy {
    verifier: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
    user: Vec<HeaderName>,
    uid: Vec<HeaderName>,
    group: Vec<HeaderName>,
    extra: Vec<String>,
}

impl FrontProxy {
    /// Reads the ConfigMap's data. Errors: it does not say what is needed.
    pub fn read(data: &BTreeMap<String, String>) -> Result<Self, FrontProxyError> {
        const CA: &str = "requestheader-client-ca-file";
        let pem = data.get(CA).filter(|pem| !pem.trim().is_empty()).ok_or(FrontProxyError::Missing(CA))?;
        let user = headers(data, "requestheader-username-headers")?;
        if user.is_empty() {
            return Err(FrontProxyError::Missing("requestheader-username-headers"));
        }
        Ok(Self {
            verifier: verifier(pem).map_err(FrontProxyError::Authority)?,
            names: list(data, "requestheader-allowed-names")?,
            user,
            uid: headers(data, "requestheader-uid-headers")?,
            group: headers(data, "requestheader-group-headers")?,
            extra: list(data, "requestheader-extra-headers-prefix")?.iter().map(|p| p.to_ascii_lowercase()).collect(),
        })
    }

    /// Names that its certificate may be for; empty: any from its authority.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// For the handshake: takes only certificates of its authority.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.verifier.clone()
    }

    /// Whether the client that showed `certificates` (its own first) is the front proxy, at `now`.
    fn is(&self, certificates: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let Some((own, between)) = certificates.split_first() else { return false };
        if self.verifier.verify_client_cert(own, between, now).is_err() {
            return false;
        }
        self.names.is_empty() || common_name(own).is_some_and(|name| self.names.contains(&name))
    }

    /// The user that the headers name, if any.
    fn user(&self, headers: &HeaderMap) -> Option<User> {
        let first = |names: &[HeaderName]| {
            let mut values = names.iter().filter_map(|name| headers.get(name)?.to_str().ok());
            values.find(|value| !value.is_empty()).map(String::from)
        };
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in headers {
            let Some(key) = self.extra.iter().find_map(|prefix| name.as_str().strip_prefix(prefix.as_str())) else {
                continue;
            };
            let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
            extra.entry(key).or_default().extend(value.to_str().ok().map(String::from));
        }
        let groups = self.group.iter().flat_map(|name| headers.get_all(name));
        Some(User {
            name: first(&self.user)?,
            uid: first(&self.uid).unwrap_or_default(),
            groups: groups.filter_map(|value| value.to_str().ok()).map(String::from).collect(),
            extra,
            expires: None,
        })
    }
}

/// Believes the front proxy about who asks, and nobody else.
pub struct RequestHeaders {
    known: watch::Receiver<Option<Arc<FrontProxy>>>,
}

impl RequestHeaders {
    /// With whatever is known of the front proxy at the time of a request.
    pub fn new(known: watch::Receiver<Option<Arc<FrontProxy>>>) -> Self {
        Self { known }
    }
}

#[async_trait]
impl Authenticator for RequestHeaders {
    async fn authenticate(&self, parts: &Parts, origin: &Origin) -> ApiResult<Option<User>> {
        let proxy = self.known.borrow().clone().ok_or_else(ApiError::unauthorized)?;
        if !proxy.is(&origin.certificates, UnixTime::now()) {
            let peer = origin.peer.map(|peer| peer.to_string());
            tracing::warn!(peer, "refused: the client certificate is not the front proxy's");
            return Err(ApiError::unauthorized());
        }
        // There are no anonymous users here: kube-apiserver names them too.
        proxy.user(&parts.headers).map(Some).ok_or_else(ApiError::unauthorized)
    }
}

fn verifier(pem: &str) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map(|verifier| verifier as Arc<dyn ClientCertVerifier>).map_err(|error| error.to_string())
}

/// A JSON list of strings; one that is not there is empty.
fn list(data: &BTreeMap<String, String>, key: &'static str) -> Result<Vec<String>, FrontProxyError> {
    match data.get(key).map(String::as_str).filter(|text| !text.is_empty()) {
        Some(text) => serde_json::from_str(text).map_err(|_| FrontProxyError::NotAList(key)),
        None => Ok(Vec::new()),
    }
}

fn headers(data: &BTreeMap<String, String>, key: &'static str) -> Result<Vec<HeaderName>, FrontProxyError> {
    let names = list(data, key)?;
    names.iter().map(|name| name.parse().map_err(|_| FrontProxyError::NotAList(key))).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    use super::*;

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn client(ca: &CertifiedIssuer<'static, KeyPair>, name: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(&KeyPair::generate().unwrap(), ca).unwrap().into()
    }

    fn data(pem: &str, names: &str) -> BTreeMap<String, String> {
        let pairs = [
            ("requestheader-client-ca-file", pem),
            ("requestheader-allowed-names", names),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
            ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
        ];
        pairs.map(|(key, value)| (key.to_string(), value.to_string())).into()
    }

    #[test]
    fn only_the_named_proxy_of_the_authority_is_believed() {
        let (ca, other) = (authority(), authority());
        let named = FrontProxy::read(&data(&ca.pem(), r#"["front"]"#)).unwrap();
        let any = FrontProxy::read(&data(&ca.pem(), "[]")).unwrap();
        let now = UnixTime::now();
        for (certificates, by_name, by_authority) in [
            (vec![client(&ca, "front")], true, true),
            (vec![client(&ca, "else")], false, true),
            (vec![client(&other, "front")], false, false),
            (vec![], false, false),
        ] {
            assert_eq!((named.is(&certificates, now), any.is(&certificates, now)), (by_name, by_authority));
        }
        let late = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1 << 40));
        assert!(!named.is(&[client(&ca, "front")], late), "run out");
    }

    #[test]
    fn headers_name_the_user_with_all_that_belongs_to_it() {
        let proxy = FrontProxy::read(&data(&authority().pem(), "[]")).unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(proxy.user(&headers), None);
        for (name, value) in [
            ("x-remote-user", "jane"),
            ("x-remote-uid", "7"),
            ("x-remote-group", "dev"),
            ("x-remote-group", "system:authenticated"),
            ("x-remote-extra-acme.com%2fproject", "a"),
            ("x-remote-extra-acme.com%2fproject", "b"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let user = proxy.user(&headers).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "7"));
        assert_eq!(user.groups, ["dev", "system:authenticated"]);
        assert_eq!(user.extra["acme.com/project"], ["a", "b"]);
    }

    #[test]
    fn a_map_that_names_nobody_is_refused() {
        let good = data(&authority().pem(), "[]");
        for (key, value, said) in [
            ("requestheader-client-ca-file", "", "--requestheader-client-ca-file"),
            ("requestheader-client-ca-file", "x", "requestheader-client-ca-file"),
            ("requestheader-username-headers", "[]", "username-headers"),
            ("requestheader-allowed-names", "front", "is not a list"),
            ("requestheader-group-headers", r#"["a b"]"#, "is not a list"),
        ] {
            let mut bad = good.clone();
            bad.insert(key.into(), value.into());
            let error = FrontProxy::read(&bad).unwrap_err().to_string();
            assert!(error.contains(said), "{key}={value}: {error}");
        }
    }
}
