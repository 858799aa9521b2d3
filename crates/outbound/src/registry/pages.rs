//! Lists that come in pages: the tags of a repository, and the catalog of repositories.
//!
//! Source: OCI distribution specification 1.1, "Listing tags"; distribution.github.io, "Listing repositories".

use http::header::{ETAG, LINK};
use http::{HeaderMap, Method, StatusCode};

use super::names::check_repository;
use super::{Registry, RegistryError};

/// Most tags that are read of a repository, and most repositories of a registry.
const MAX_NAMES: usize = 10_000;

/// What a registry says of a repository's tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// There is no such repository.
    Absent,
    /// They are those of the answer that had this ETag. Their digests may have changed all the same.
    Unchanged,
    /// These.
    Listed {
        /// Names, as the registry orders them.
        tags: Vec<String>,
        /// To ask with the next time; only of a list that has one page.
        etag: Option<String>,
        /// Whether these are all: a list is read up to ten thousand names.
        complete: bool,
    },
}

/// One list of names, and what it says of itself.
struct Listing {
    names: Vec<String>,
    etag: Option<String>,
    complete: bool,
}

enum Listed {
    Absent,
    Unchanged,
    Names(Listing),
}

impl Registry {
    /// Tags of a repository, at most ten thousand; None if there is no such repository.
    pub async fn tags(&self, repository: &str) -> Result<Option<Vec<String>>, RegistryError> {
        match self.tags_since(repository, None).await? {
            Tags::Listed { tags, .. } => Ok(Some(tags)),
            Tags::Absent => Ok(None),
            Tags::Unchanged => Err(RegistryError::Unexpected("304 to a question without a condition".to_owned())),
        }
    }

    /// Tags of a repository, unless the list is still the one with this ETag.
    pub async fn tags_since(&self, repository: &str, etag: Option<&str>) -> Result<Tags, RegistryError> {
        let repository = check_repository(repository)?;
        let path = format!("/v2/{repository}/tags/list");
        let page = |body: &[u8]| {
            #[derive(serde::Deserialize)]
            struct Page {
                tags: Option<Vec<String>>,
            }
            serde_json::from_slice::<Page>(body).ok().map(|page| page.tags.unwrap_or_default())
        };
        Ok(match self.list(&format!("repository:{repository}:pull"), &path, etag, page).await? {
            Listed::Absent => Tags::Absent,
            Listed::Unchanged => Tags::Unchanged,
            Listed::Names(Listing { names, etag, complete }) => Tags::Listed { tags: names, etag, complete },
        })
    }

    /// Repositories of the registry, at most ten thousand, those with names that no repository has left out. None if the registry does not
    /// tell: many give the catalog to administrators only, and the specification does not have it.
    pub async fn catalog(&self) -> Result<Option<Vec<String>>, RegistryError> {
        let page = |body: &[u8]| {
            #[derive(serde::Deserialize)]
            struct Page {
                repositories: Option<Vec<String>>,
            }
            serde_json::from_slice::<Page>(body).ok().map(|page| page.repositories.unwrap_or_default())
        };
        match self.list("registry:catalog:*", "/v2/_catalog", None, page).await {
            Ok(Listed::Names(listing)) => {
                Ok(Some(listing.names.into_iter().filter(|name| check_repository(name).is_ok()).collect()))
            }
            Ok(Listed::Absent | Listed::Unchanged) | Err(RegistryError::Denied) => Ok(None),
            Err(RegistryError::Unexpected(status)) if status.starts_with('4') => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(
        &self,
        scope: &str,
        first: &str,
        etag: Option<&str>,
        page: impl Fn(&[u8]) -> Option<Vec<String>>,
    ) -> Result<Listed, RegistryError> {
        let mut path = format!("{first}?n=1000");
        let mut names = Vec::new();
        let mut pages = 0;
        loop {
            let answer = self.ask(Method::GET, scope, &path, etag.filter(|_| pages == 0)).await?;
            match answer.status {
                StatusCode::NOT_FOUND => return Ok(Listed::Absent),
                StatusCode::NOT_MODIFIED => return Ok(Listed::Unchanged),
                _ => {}
            }
            let page = page(&answer.body)
                .ok_or_else(|| RegistryError::Unexpected("something that is no list of names".to_owned()))?;
            pages += 1;
            let more = !page.is_empty();
            names.extend(page);
            match next_page(&answer.headers) {
                // Only the query is taken from the answer, so that the next request goes where the first went.
                Some(query) if more && names.len() < MAX_NAMES => path = format!("{first}?{query}"),
                next => {
                    let complete = names.len() <= MAX_NAMES && !(more && next.is_some());
                    names.truncate(MAX_NAMES);
                    let etag = answer.headers.get(ETAG).and_then(|value| value.to_str().ok());
                    let etag = etag.filter(|etag| pages == 1 && etag.len() <= 256).map(str::to_owned);
                    return Ok(Listed::Names(Listing { names, etag, complete }));
                }
            }
        }
    }
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
    use http::HeaderValue;

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
}
