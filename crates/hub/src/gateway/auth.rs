//! Tokens of subscribers: who they are, and what they may ask for.

use std::sync::Arc;

use async_trait::async_trait;
use http::{header, request::Parts};
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use roadstead_api::names::{GROUP, LOG_GROUP, TOKEN_PREFIX};
use roadstead_kubewire::{ApiError, ApiResult, Attributes, Authenticator, Authorizer, Decision, User, auth::Origin};

use crate::{
    control::{
        endpoints::Key,
        subscribers::{Refused, Subscribers, Token, TokenHash},
    },
    events::{Scope, ScopeOf},
    hex,
};

/// Key in [`User::extra`] under which the hash of the token that was shown travels through one request.
const EXTRA_TOKEN: &str = "roadstead.dev/token-sha256";
/// Group of all subscribers.
const GROUP_SUBSCRIBERS: &str = "roadstead:subscribers";

/// SHA-256 of a whole token, prefix included.
fn hash_token(token: &str) -> TokenHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

/// Finds the subscriber whose token is shown.
///
/// Tokens are looked up by their hash: how long that takes tells nothing about a token, which is 256 random bits.
pub struct TokenAuthenticator {
    subscribers: Subscribers,
}

impl TokenAuthenticator {
    /// Over the index of tokens.
    pub fn new(subscribers: Subscribers) -> Self {
        Self { subscribers }
    }
}

#[async_trait]
impl Authenticator for TokenAuthenticator {
    async fn authenticate(&self, parts: &Parts, origin: &Origin) -> ApiResult<Option<User>> {
        let Some(value) = parts.headers.get(header::AUTHORIZATION) else { return Ok(None) };
        if !origin.secure {
            let mut error = ApiError::unauthorized();
            error.message = "tokens are not taken over plain HTTP: use the https address".into();
            return Err(error);
        }
        let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        let hash = match token {
            Some(token) if token.starts_with(TOKEN_PREFIX) => hash_token(token),
            _ => return Err(ApiError::unauthorized()),
        };
        let token = self.subscribers.token(&hash, Timestamp::now()).map_err(|refused| match refused {
            Refused::Invalid => ApiError::unauthorized(),
            Refused::NotYet => ApiError::unavailable("not all subscribers are known yet", 1),
        })?;
        let Key { namespace, name } = &token.grant.subscriber;
        Ok(Some(User {
            name: format!("roadstead:subscriber:{namespace}:{name}"),
            groups: vec![GROUP_SUBSCRIBERS.into(), "system:authenticated".into()],
            extra: [(EXTRA_TOKEN.to_string(), vec![hex::encode(&hash)])].into(),
            ..User::default()
        }))
    }

    async fn revoked(&self, user: &User) {
        if let Some((hash, token)) = shown(&self.subscribers, user) {
            self.subscribers.withdrawn(hash, token).await;
        }
    }
}

/// Decides what a subscriber may ask for. Which events it then sees is up to its scope.
pub(super) struct GrantAuthorizer {
    subscribers: Subscribers,
}

impl GrantAuthorizer {
    pub(super) fn new(subscribers: Subscribers) -> Self {
        Self { subscribers }
    }
}

#[async_trait]
impl Authorizer for GrantAuthorizer {
    async fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        let Some((_, token)) = shown(&self.subscribers, user) else {
            return Decision::Deny("a subscriber's token is needed".into());
        };
        if allowed(&token, attributes) {
            Decision::Allow
        } else {
            Decision::Deny("outside what the subscriber was granted".into())
        }
    }
}

/// The table of what a token allows.
fn allowed(token: &Token, asked: &Attributes) -> bool {
    let reads = matches!(asked.verb.as_str(), "get" | "list" | "watch");
    if asked.resource.is_empty() {
        let discovery = ["/api", "/apis", "/openapi/v2", "/openapi/v3", "/version", "/readyz", "/livez", "/healthz"];
        let under =
            |base: &str| asked.path == base || asked.path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
        return matches!(asked.verb.as_str(), "get" | "head") && discovery.into_iter().any(under);
    }
    let in_scope = |namespace: &str| token.grant.scope.iter().any(|key| key.namespace == namespace);
    let somewhere = asked.namespace.is_empty() || in_scope(&asked.namespace);
    match (asked.group.as_str(), asked.resource.as_str(), asked.subresource.as_str()) {
        (LOG_GROUP, "webhookevents", "") => reads && somewhere,
        (LOG_GROUP, "webhookevents", "body") => asked.verb == "get" && somewhere,
        (GROUP, "webhookendpoints", "" | "status") => reads && somewhere,
        (GROUP, "subscribers", sub) => {
            let own = token.grant.subscriber.namespace == asked.namespace && token.grant.subscriber.name == asked.name;
            own && matches!((asked.verb.as_str(), sub), ("get", "" | "status") | ("patch", "status"))
        }
        _ => false,
    }
}

/// The token that `user` showed, if it is still good.
pub(super) fn shown(subscribers: &Subscribers, user: &User) -> Option<(TokenHash, Token)> {
    let hash: TokenHash = hex::decode(user.extra.get(EXTRA_TOKEN)?.first()?)?.try_into().ok()?;
    Some((hash, subscribers.token(&hash, Timestamp::now()).ok()?))
}

/// The events that a user may see.
pub(super) fn scope_of(subscribers: Subscribers) -> ScopeOf {
    Arc::new(move |user| {
        let scope = shown(&subscribers, user).map(|(_, token)| token.grant.scope.clone()).unwrap_or_default();
        Scope::Endpoints(scope.into_iter().map(|key| (key.namespace, key.name)).collect())
    })
}

#[cfg(test)]
mod tests {
    use crate::control::subscribers::Grant;

    use super::*;

    fn token() -> Token {
        let key = |namespace: &str, name: &str| Key { namespace: namespace.into(), name: name.into() };
        let grant =
            Grant { subscriber: key("team", "edge"), scope: [key("team", "shop"), key("shared", "images")].into() };
        Token { grant: Arc::new(grant), expires_at: None }
    }

    fn ask(verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn a_subscriber_reads_its_own_and_nothing_else() {
        for (verb, group, resource, namespace, name, expected) in [
            ("list", LOG_GROUP, "webhookevents", "team", "", true),
            ("watch", LOG_GROUP, "webhookevents", "shared", "", true),
            ("watch", LOG_GROUP, "webhookevents", "", "", true),
            ("get", LOG_GROUP, "webhookevents/body", "team", "shop-1", true),
            ("list", LOG_GROUP, "webhookevents", "other", "", false),
            ("delete", LOG_GROUP, "webhookevents", "team", "x", false),
            ("list", GROUP, "webhookendpoints", "team", "", true),
            ("patch", GROUP, "webhookendpoints", "team", "shop", false),
            ("get", GROUP, "subscribers", "team", "edge", true),
            ("patch", GROUP, "subscribers/status", "team", "edge", true),
            ("patch", GROUP, "subscribers", "team", "edge", false),
            ("patch", GROUP, "subscribers/status", "team", "another", false),
            ("list", GROUP, "subscribers", "team", "", false),
            ("get", "", "secrets", "team", "x", false),
            ("list", "", "namespaces", "", "", false),
        ] {
            assert_eq!(
                allowed(&token(), &ask(verb, group, resource, namespace, name)),
                expected,
                "{verb} {resource} in {namespace}"
            );
        }
    }

    #[test]
    fn discovery_is_open_to_subscribers_and_other_paths_are_not() {
        for (path, expected) in [
            ("/apis", true),
            ("/apis/log.roadstead.dev/v1alpha1", true),
            ("/openapi/v3", true),
            ("/metrics", false),
            ("/apisx", false),
        ] {
            let asked = Attributes { verb: "get".into(), path: path.into(), ..Attributes::default() };
            assert_eq!(allowed(&token(), &asked), expected, "{path}");
        }
    }
}
