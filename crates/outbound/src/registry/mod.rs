//! Asking an image registry: whether what a webhook says is true, and what there is.
//!
//! Docker Hub and Quay sign nothing and tell no digest; others prove who they are with a token that anybody between may have read.
//! So an event of an unproven sender is only a hint, and the registry itself, at the address that the endpoint configures (never
//! one from a payload), is asked: does this tag exist, and at which digest? In: an `ImageChange`. Out: a [`Confirmation`].
//! Where a registry tells nothing at all, its tags are listed (`pages`) and compared by [`tags`](crate::tags).
//!
//! The address comes from a tenant, so everything goes through the guarded client: redirects are not followed; credentials go to the
//! configured host and to the realm that it names (`challenge`); every answer is capped and has a deadline; and a registry that wants
//! peace gets it (`pace`). Source: the OCI distribution specification, version 1.1.

mod challenge;
mod confirm;
mod error;
mod names;
mod pace;
mod pages;
mod token;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, IF_NONE_MATCH, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use jiff::Timestamp;
use roadstead_reconcile::{Secret, Targets};

pub use self::confirm::Confirmation;
pub use self::error::RegistryError;
pub(crate) use self::names::is_tag;
use self::names::{check_reference, check_repository, digest_of};
use self::pace::Pace;
pub use self::pages::Tags;
use self::token::Tokens;
use crate::guard::{self, Answer, Client, Limits, Oversize, retry_after};

/// Deadline of one question, with the token that it may need.
const DEADLINE: Duration = Duration::from_secs(10);

/// Largest manifest or page of tags that is read, in bytes.
const MAX_BODY: usize = 4 << 20;

/// What one request may cost.
const LIMITS: Limits = Limits { deadline: DEADLINE, max_body: MAX_BODY, on_oversize: Oversize::Fail };

/// Every form of a manifest, so that the registry answers for the one that was pushed instead of converting it.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.v1+prettyjws, application/vnd.oci.artifact.manifest.v1+json, */*;q=0.1";

/// How to reach a registry; from `spec.registry` and the Secrets that it names.
#[derive(Debug)]
pub struct Access<'a> {
    /// Base URL: `https://registry.example.com`, `http://` only where somebody configures that.
    pub url: &'a str,
    /// User and password, or token.
    pub credentials: Option<(String, Secret)>,
    /// Certificates to trust instead of the machine's, PEM.
    pub ca: Option<&'a [u8]>,
    /// Addresses that may be reached.
    pub targets: Targets,
}

/// A registry that can be asked. Cheap to clone; keeps connections and tokens.
#[derive(Clone, Debug)]
pub struct Registry {
    base: Arc<Uri>,
    client: Client,
    tokens: Arc<Tokens>,
    pace: Arc<Pace>,
}

impl Registry {
    /// Prepares; connects only when asked. Reads the machine's certificates if `ca` is none.
    pub fn new(access: Access<'_>) -> Result<Registry, RegistryError> {
        let base = guard::url(access.url.trim_end_matches('/'))?;
        if base.query().is_some() {
            return Err(RegistryError::BadUrl);
        }
        let options = guard::Options { ca: access.ca, max_idle_per_host: 4, ..guard::Options::new(access.targets) };
        let (client, pace) = (Client::new(options)?, Pace::of(&base, access.credentials.as_ref()));
        let tokens = Tokens::new(access.credentials);
        Ok(Registry { base: Arc::new(base), client, tokens: Arc::new(tokens), pace })
    }

    /// What images of the registry are called by: the host and port that it is configured at, e.g. `registry.example.com:5000`. Docker Hub is
    /// `docker.io`, whichever of its addresses is asked.
    pub fn host(&self) -> &str {
        match self.base.authority().map(|authority| authority.as_str()).unwrap_or_default() {
            "registry-1.docker.io" | "index.docker.io" => "docker.io",
            host => host,
        }
    }

    /// Whether a registry answers there at all. Without that, an address with no registry would look like one that has lost everything.
    pub async fn check(&self) -> Result<(), RegistryError> {
        if let Some(wait) = self.pace.wait() {
            return Err(RegistryError::Busy { after: Some(wait) });
        }
        let answer = self.send(self.request("/v2/")?, None).await?;
        match answer.status {
            // It may want a token first; which one depends on the question.
            StatusCode::OK | StatusCode::UNAUTHORIZED => Ok(()),
            StatusCode::TOO_MANY_REQUESTS => judge(answer).map(drop),
            other => Err(RegistryError::Unexpected(format!("{} to /v2/", other.as_u16()))),
        }
    }

    /// Digest of the manifest that a tag or digest stands for; None if there is none. A HEAD, which Docker Hub does not count as a pull.
    pub async fn digest(&self, repository: &str, reference: &str) -> Result<Option<String>, RegistryError> {
        let (repository, reference) = (check_repository(repository)?, check_reference(reference)?);
        let (scope, path) =
            (format!("repository:{repository}:pull"), format!("/v2/{repository}/manifests/{reference}"));
        let answer = self.ask(Method::HEAD, &scope, &path, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if let Some(digest) = answer.headers.get("docker-content-digest").and_then(|value| value.to_str().ok()) {
            return check_reference(digest).map(|digest| Some(digest.to_owned()));
        }
        // The header is optional. The digest is that of the bytes.
        let answer = self.ask(Method::GET, &scope, &path, None).await?;
        Ok((answer.status != StatusCode::NOT_FOUND).then(|| digest_of(&answer.body)))
    }

    /// One question; with a token or password, if the registry asks for one. The answer is 200, 304 or 404.
    async fn ask(&self, method: Method, scope: &str, path: &str, etag: Option<&str>) -> Result<Answer, RegistryError> {
        if let Some(wait) = self.pace.wait() {
            return Err(RegistryError::Busy { after: Some(wait) });
        }
        let mut request = self.request(path)?;
        *request.method_mut() = method;
        if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
            request.headers_mut().insert(IF_NONE_MATCH, etag);
        }
        let asking = async {
            let first = self.send(request.clone(), self.tokens.known(scope)).await?;
            if first.status != StatusCode::UNAUTHORIZED {
                return judge(first);
            }
            let challenges: Vec<_> = first.headers.get_all(WWW_AUTHENTICATE).iter().cloned().collect();
            let token = self.tokens.answer(&self.client, &self.base, &challenges, scope).await?;
            judge(self.send(request, Some(token)).await?)
        };
        tokio::time::timeout(DEADLINE, asking).await.map_err(|_| RegistryError::Timeout)?
    }

    fn request(&self, path: &str) -> Result<Request<Bytes>, RegistryError> {
        let uri = format!("{}{path}", self.base.to_string().trim_end_matches('/'));
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri.parse().map_err(|_| RegistryError::BadUrl)?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(MANIFESTS));
        Ok(request)
    }

    async fn send(
        &self,
        mut request: Request<Bytes>,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, RegistryError> {
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let answer = self.client.send(request, LIMITS).await?;
        self.pace.observe(answer.status, &answer.headers);
        Ok(answer)
    }
}

/// An answer that is a yes or a no; everything else is an error.
fn judge(answer: Answer) -> Result<Answer, RegistryError> {
    match answer.status {
        StatusCode::OK | StatusCode::NOT_FOUND | StatusCode::NOT_MODIFIED => Ok(answer),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(RegistryError::Denied),
        StatusCode::TOO_MANY_REQUESTS => {
            Err(RegistryError::Busy { after: retry_after(&answer.headers, Timestamp::now()) })
        }
        other => Err(RegistryError::Unexpected(other.as_u16().to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_called_by_the_host_that_is_configured() {
        for (url, host) in [
            ("https://registry.example.com:5000/", "registry.example.com:5000"),
            ("https://registry-1.docker.io", "docker.io"),
            ("https://docker.io.example.com", "docker.io.example.com"),
        ] {
            let access = Access { url, credentials: None, ca: None, targets: Targets::default() };
            assert_eq!(Registry::new(access).unwrap().host(), host);
        }
    }

    #[test]
    fn only_base_urls_are_taken() {
        let new = |url| Registry::new(Access { url, credentials: None, ca: None, targets: Targets::default() });
        for bad in [
            "",
            "registry.example.com",
            "ftp://a",
            "https://",
            "https://user:pw@a",
            "https://a?b=c",
            "file:///etc/passwd",
        ] {
            assert!(matches!(new(bad), Err(RegistryError::BadUrl)), "{bad}");
        }
        let bad_ca = Access { url: "https://a", credentials: None, ca: Some(b"x"), targets: Targets::default() };
        assert!(matches!(Registry::new(bad_ca), Err(RegistryError::BadCa(_))));
    }
}
