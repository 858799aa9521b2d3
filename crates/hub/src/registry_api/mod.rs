//! Asking a registry whether what a webhook says is true.
//!
//! Docker Hub and Quay sign nothing and tell no digest; others prove who they are with a token that anybody between may have read.
//! So an event of an unproven sender is only a hint, and the registry itself, at the address that the endpoint configures (never
//! one from a payload), is asked: does this tag exist, and at which digest? In: an `ImageChange`. Out: a [`Confirmation`].
//!
//! The address comes from a tenant, so every name is resolved, every address judged by `Targets`, and exactly a judged address is
//! dialled (`connect`). Redirects are not followed; credentials go to the configured host and to the realm that it names
//! (`challenge`); every answer is capped and has a deadline. Source: the OCI distribution specification, version 1.1.

mod challenge;
mod confirm;
mod connect;
mod names;
mod token;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, LINK, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming as Body;
use roadstead_reconcile::Targets;

pub use self::confirm::Confirmation;
use self::connect::{Client, client};
use self::names::{check_reference, check_repository, digest_of};
use self::token::Tokens;
use crate::verify::Secret;

/// Deadline of one request, answer included.
const DEADLINE: Duration = Duration::from_secs(10);

/// Largest manifest or page of tags that is read, in bytes.
const MAX_BODY: usize = 4 << 20;

/// Most tags that are read of a repository.
const MAX_TAGS: usize = 10_000;

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

/// Why a registry could not be asked or did not answer. Never contains credentials or what the answer said.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// `spec.registry.url` is no base URL.
    #[error("spec.registry.url: expected http:// or https://, a host, and no query")]
    BadUrl,
    /// The CA's Secret holds no certificate, or this machine has none.
    #[error("no usable CA certificates: {0}")]
    BadCa(String),
    /// A name that no registry has; never put into a URL.
    #[error("{0} is not a valid {1}")]
    BadName(String, &'static str),
    /// The host cannot be reached or may not be.
    #[error("cannot reach the registry: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("the registry did not answer within {} seconds", DEADLINE.as_secs())]
    Timeout,
    /// Credentials are missing or wrong, or do not suffice.
    #[error("the registry refuses the credentials of spec.registry.secretRef")]
    Denied,
    /// The registry wants a token from an address that must not get the credentials.
    #[error("the registry names a token realm that is neither https nor its own host")]
    BadRealm,
    /// Asked too often.
    #[error("the registry asks to wait{}", .after.map(|after| format!(" {} seconds", after.as_secs())).unwrap_or_default())]
    Busy {
        /// For how long, if it says.
        after: Option<Duration>,
    },
    /// An answer that makes no sense here.
    #[error("the registry answered {0}")]
    Unexpected(String),
}

impl RegistryError {
    /// Whether asking again later can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, RegistryError::Unreachable(_) | RegistryError::Timeout | RegistryError::Busy { .. })
            || matches!(self, RegistryError::Unexpected(status) if status.starts_with('5'))
    }
}

/// A registry that can be asked. Cheap to clone; keeps connections and tokens.
#[derive(Clone, Debug)]
pub struct Registry {
    base: Arc<Uri>,
    client: Client,
    tokens: Arc<Tokens>,
}

impl Registry {
    /// Prepares; connects only when asked. Reads the machine's certificates if `ca` is none.
    pub fn new(access: Access<'_>) -> Result<Registry, RegistryError> {
        let base: Uri = access.url.trim_end_matches('/').parse().map_err(|_| RegistryError::BadUrl)?;
        let known = matches!(base.scheme_str(), Some("http" | "https"));
        let host = base.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if !known || !host || base.query().is_some() {
            return Err(RegistryError::BadUrl);
        }
        let client = client(access.ca, access.targets)?;
        Ok(Registry { base: Arc::new(base), client, tokens: Arc::new(Tokens::new(access.credentials)) })
    }

    /// Digest of the manifest that a tag or digest stands for; None if there is none.
    pub async fn digest(&self, repository: &str, reference: &str) -> Result<Option<String>, RegistryError> {
        let (repository, reference) = (check_repository(repository)?, check_reference(reference)?);
        let path = format!("/v2/{repository}/manifests/{reference}");
        let (status, headers, _) = self.ask(Method::HEAD, repository, &path).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if let Some(digest) = headers.get("docker-content-digest").and_then(|value| value.to_str().ok()) {
            return check_reference(digest).map(|digest| Some(digest.to_owned()));
        }
        // The header is optional. The digest is that of the bytes.
        let (status, _, body) = self.ask(Method::GET, repository, &path).await?;
        Ok((status != StatusCode::NOT_FOUND).then(|| digest_of(&body)))
    }

    /// Tags of a repository, at most ten thousand; None if there is no such repository.
    pub async fn tags(&self, repository: &str) -> Result<Option<Vec<String>>, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let repository = check_repository(repository)?;
        let first = format!("/v2/{repository}/tags/list");
        let mut path = format!("{first}?n=1000");
        let mut tags = Vec::new();
        loop {
            let (status, headers, body) = self.ask(Method::GET, repository, &path).await?;
            if status == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let page: Page = serde_json::from_slice(&body)
                .map_err(|_| RegistryError::Unexpected("something that is no list of tags".to_owned()))?;
            let page = page.tags.unwrap_or_default();
            let more = !page.is_empty();
            tags.extend(page);
            match next_page(&headers) {
                // Only the query is taken from the answer, so that the next request goes where the first went.
                Some(query) if more && tags.len() < MAX_TAGS => path = format!("{first}?{query}"),
                _ => break,
            }
        }
        tags.truncate(MAX_TAGS);
        Ok(Some(tags))
    }

    /// One request; with a token or password, if the registry asks for one.
    async fn ask(
        &self,
        method: Method,
        repository: &str,
        path: &str,
    ) -> Result<(StatusCode, HeaderMap, Bytes), RegistryError> {
        let scope = format!("repository:{repository}:pull");
        let uri: Uri = format!("{}{path}", self.base.to_string().trim_end_matches('/'))
            .parse()
            .map_err(|_| RegistryError::BadUrl)?;
        let asking = async {
            let known = self.tokens.known(&scope);
            let first = self.send(method.clone(), uri.clone(), known).await?;
            if first.status() != StatusCode::UNAUTHORIZED {
                return self.read(first).await;
            }
            let challenges: Vec<_> = first.headers().get_all(WWW_AUTHENTICATE).iter().cloned().collect();
            drop(first);
            let answer = self.tokens.answer(&self.client, &self.base, &challenges, &scope).await?;
            let second = self.send(method, uri, Some(answer)).await?;
            self.read(second).await
        };
        tokio::time::timeout(DEADLINE, asking).await.map_err(|_| RegistryError::Timeout)?
    }

    async fn send(
        &self,
        method: Method,
        uri: Uri,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Body>, RegistryError> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(MANIFESTS));
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.client.request(request).await.map_err(|error| RegistryError::Unreachable(connect::reason(&error)))
    }

    /// An answer that is a yes or a no; everything else is an error.
    async fn read(&self, response: Response<Body>) -> Result<(StatusCode, HeaderMap, Bytes), RegistryError> {
        let (parts, body) = response.into_parts();
        match parts.status {
            StatusCode::OK => Ok((parts.status, parts.headers, read_body(body).await?)),
            StatusCode::NOT_FOUND => Ok((parts.status, parts.headers, Bytes::new())),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(RegistryError::Denied),
            StatusCode::TOO_MANY_REQUESTS => {
                let seconds = parts.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                Err(RegistryError::Busy { after: seconds.map(|seconds: u32| Duration::from_secs(seconds.into())) })
            }
            other => Err(RegistryError::Unexpected(other.as_u16().to_string())),
        }
    }
}

/// The whole body, up to the cap.
async fn read_body(body: Body) -> Result<Bytes, RegistryError> {
    let collected = Limited::new(body, MAX_BODY).collect().await;
    collected
        .map(|body| body.to_bytes())
        .map_err(|_| RegistryError::Unexpected(format!("more than {MAX_BODY} bytes, or broke off")))
}

/// Query of the next page, from `Link: </v2/name/tags/list?n=..&last=..>; rel="next"`.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    let next = rest.to_ascii_lowercase().contains("rel=\"next\"") || rest.to_ascii_lowercase().contains("rel=next");
    let (_, query) = target.split_once('?')?;
    (next && !query.is_empty() && !query.contains('#')).then(|| query.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_nothing_of_a_link_but_its_query() {
        for (link, expected) in [
            (r#"</v2/a/tags/list?last=b&n=1000>; rel="next""#, Some("last=b&n=1000")),
            (r#"<https://elsewhere.example.com/x?last=b>; rel="next""#, Some("last=b")),
            ("</v2/a/tags/list?last=b>; rel=next", Some("last=b")),
            (r#"</v2/a/tags/list?last=b>; rel="prev""#, None),
            (r#"</v2/a/tags/list>; rel="next""#, None),
            (r#"</v2/a/tags/list?a#b>; rel="next""#, None),
            ("nonsense", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, HeaderValue::from_static(link));
            assert_eq!(next_page(&headers).as_deref(), expected, "{link}");
        }
        assert_eq!(next_page(&HeaderMap::new()), None);
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
