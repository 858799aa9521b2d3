//! `WWW-Authenticate` of registries: `Basic`, or `Bearer` with a realm where a token is to be had.
//!
//! Source: RFC 9110, section 11, and distribution.github.io, "Token authentication".

use http::{HeaderValue, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::RegistryError;

/// What a registry wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from this realm for this service.
    Bearer {
        /// URL of the token server.
        realm: String,
        /// Name that the token server knows the registry by.
        service: String,
    },
}

/// The strongest challenge that is understood.
pub(super) fn parse(headers: &[HeaderValue]) -> Option<Challenge> {
    let mut basic = None;
    for header in headers.iter().filter_map(|value| value.to_str().ok()) {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            basic = Some(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer") {
            let (mut realm, mut service) = (None, String::new());
            for (name, value) in parameters(rest) {
                match name.to_ascii_lowercase().as_str() {
                    "realm" => realm = Some(value),
                    "service" => service = value,
                    _ => {}
                }
            }
            if let Some(realm) = realm {
                return Some(Challenge::Bearer { realm, service });
            }
        }
    }
    basic
}

/// `name="value"` pairs; stops at the first that is none.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start_matches([',', ' ']);
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            None => after.split_once(',').unwrap_or((after, "")),
            Some(quoted) => match quoted.split_once('"') {
                None => break,
                Some(split) => split,
            },
        };
        pairs.push((name.trim().to_owned(), value.trim().to_owned()));
        rest = after.trim_start_matches([',', ' ']);
        if pairs.len() == 16 {
            break;
        }
    }
    pairs
}

/// Where to fetch a token: the realm with service and scope. The credentials go there, so it must be https, or, for a registry
/// that is itself configured without TLS, the same host.
pub(super) fn token_uri(realm: &str, service: &str, scope: &str, base: &Uri) -> Result<Uri, RegistryError> {
    let uri: Uri = realm.parse().map_err(|_| RegistryError::BadRealm)?;
    let plain = base.scheme_str() == Some("http") && uri.authority() == base.authority();
    let named = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    match uri.scheme_str() {
        Some("https") if named => {}
        Some("http") if named && plain => {}
        _ => return Err(RegistryError::BadRealm),
    }
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let separator = if uri.query().is_some() { '&' } else { '?' };
    format!("{realm}{separator}service={}&scope={}", encode(service), encode(scope))
        .parse()
        .map_err(|_| RegistryError::BadRealm)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: &str) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.into() })
    }

    #[test]
    fn reads_challenges() {
        for (headers, expected) in [
            (
                &[
                    r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull""#,
                ][..],
                bearer("https://auth.docker.io/token", "registry.docker.io"),
            ),
            (&[r#"bearer service=x , realm=https://a.example/t"#], bearer("https://a.example/t", "x")),
            (&[r#"Basic realm="r""#], Some(Challenge::Basic)),
            (&["Basic"], Some(Challenge::Basic)),
            (&[r#"Basic realm="r""#, r#"Bearer realm="https://a.example/t""#], bearer("https://a.example/t", "")),
            (&[r#"Bearer service="x""#], None),
            (&["Negotiate"], None),
            (&[r#"Bearer realm="unclosed"#], None),
            (&[], None),
        ] {
            let headers: Vec<_> = headers.iter().map(|text| HeaderValue::from_str(text).unwrap()).collect();
            assert_eq!(parse(&headers), expected, "{headers:?}");
        }
    }

    /// Realms that nearly are what they should be.
    const REALMS: &str = "((https?|ftp)://)?(user@)?(registry\\.example\\.com:5000|[a-z.]{0,10})[/?#a-z@:]{0,12}";

    proptest! {
        #[test]
        fn whatever_a_registry_says_credentials_go_nowhere_else(header in "\\PC{0,80}", realm in REALMS) {
            let said = [header.clone(), format!("Bearer realm=\"{realm}\",service={header}"), format!("bearer {header}")];
            let headers: Vec<_> = said.iter().filter_map(|text| HeaderValue::from_str(text).ok()).collect();
            let base = "http://registry.example.com:5000".parse().unwrap();
            if let Some(Challenge::Bearer { realm, service }) = parse(&headers)
                && let Ok(uri) = token_uri(&realm, &service, "repository:a:pull", &base)
            {
                let same = uri.authority() == base.authority();
                prop_assert!(uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && same), "{}", uri);
                prop_assert!(uri.authority().is_some_and(|authority| !authority.as_str().contains('@')));
            }
        }
    }

    #[test]
    fn credentials_go_to_https_or_to_the_same_plain_host() {
        for (realm, base, good) in [
            ("https://auth.example.com/token", "https://registry.example.com", true),
            ("https://auth.example.com/token?a=b", "http://127.0.0.1:5000", true),
            ("http://127.0.0.1:5000/token", "http://127.0.0.1:5000", true),
            ("http://127.0.0.1:5001/token", "http://127.0.0.1:5000", false),
            ("http://registry.example.com/token", "https://registry.example.com", false),
            ("https://user@auth.example.com/token", "https://registry.example.com", false),
            ("ftp://a/b", "https://registry.example.com", false),
            ("/token", "https://registry.example.com", false),
        ] {
            let uri = token_uri(realm, "a b", "repository:x:pull", &base.parse().unwrap());
            assert_eq!(uri.is_ok(), good, "{realm} {base}");
            if let Ok(uri) = uri {
                assert!(uri.query().unwrap().ends_with("service=a%20b&scope=repository%3Ax%3Apull"), "{uri}");
            }
        }
    }
}
