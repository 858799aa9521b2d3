//! Who asks, in whose name, and whether they may. Source: Kubernetes documentation, "Authenticating, User impersonation" and
//! "Authorization Overview"; refusals use the API server's words, because people search for them.

use http::{HeaderMap, header, request::Parts};

use super::Inner;
use crate::{
    auth::{AUTHENTICATED, Attributes, Decision, Origin, UNAUTHENTICATED, User},
    error::{ApiError, ApiResult, Details},
    query::percent_decode,
};

/// Who is behind a request.
pub(super) struct Caller {
    /// Who it acts as.
    pub user: User,
    /// Whose credentials were shown.
    pub authenticated: User,
    /// Whether these differ by impersonation.
    pub impersonated: bool,
    /// Whether the transport itself vouched, so that nothing can be revoked.
    pub trusted: bool,
}

impl Inner {
    /// Authenticates and impersonates. Errors: 401; 403 where impersonation is not allowed.
    pub(super) async fn identify(&self, parts: &Parts, origin: &Origin) -> ApiResult<Caller> {
        let (mut authenticated, trusted) = match &origin.user {
            Some(user) => (user.clone(), true),
            None => {
                let known = self.in_time(self.authenticator.authenticate(parts, origin)).await?;
                (known.unwrap_or_else(User::anonymous), false)
            }
        };
        if authenticated.name != User::anonymous().name {
            add_group(&mut authenticated, AUTHENTICATED);
        }
        let impersonated = self.impersonate(&parts.headers, &authenticated).await?;
        Ok(Caller {
            user: impersonated.clone().unwrap_or_else(|| authenticated.clone()),
            authenticated,
            impersonated: impersonated.is_some(),
            trusted,
        })
    }

    /// The user named by `Impersonate-` headers, each part of which needs the verb `impersonate`.
    async fn impersonate(&self, headers: &HeaderMap, caller: &User) -> ApiResult<Option<User>> {
        let Some(wanted) = impersonation(headers)? else { return Ok(None) };
        for attributes in impersonation_attributes(&wanted) {
            self.authorize(caller, &attributes).await?;
        }
        Ok(Some(complete(wanted)))
    }

    /// Errors: 403 in the API server's words.
    pub(super) async fn authorize(&self, user: &User, attributes: &Attributes) -> ApiResult<()> {
        let decision = self.in_time(async { Ok(self.authorizer.authorize(user, attributes).await) }).await?;
        match decision {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) => Err(refusal(user, attributes, &reason)),
        }
    }
}

/// Takes out everything that proves an identity.
pub(super) fn strip_credentials(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    headers.remove(header::COOKIE);
    headers.remove(header::PROXY_AUTHORIZATION);
}

/// Reads the `Impersonate-` headers; groups are as sent. Errors: 400 where a user is missing or a value is no text.
fn impersonation(headers: &HeaderMap) -> ApiResult<Option<User>> {
    let text = |value: &http::HeaderValue| {
        value
            .to_str()
            .map(str::to_string)
            .map_err(|_| ApiError::bad_request("an Impersonate- header is not plain text"))
    };
    let mut user = User::default();
    let mut asked = false;
    for (name, value) in headers {
        let Some(what) = name.as_str().strip_prefix("impersonate-") else { continue };
        asked = true;
        match what {
            "user" => user.name = text(value)?,
            "uid" => user.uid = text(value)?,
            "group" => user.groups.push(text(value)?),
            other => match other.strip_prefix("extra-") {
                Some(key) => user.extra.entry(percent_decode(key)?.into_owned()).or_default().push(text(value)?),
                None => return Err(ApiError::bad_request(format!("unknown header impersonate-{other}"))),
            },
        }
    }
    if asked && user.name.is_empty() {
        return Err(ApiError::bad_request("Impersonate- headers need an Impersonate-User"));
    }
    Ok(asked.then_some(user))
}

/// `system:serviceaccount:NAMESPACE:NAME`.
fn service_account(name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// One question for each thing that is impersonated.
fn impersonation_attributes(user: &User) -> Vec<Attributes> {
    let ask = |group: &str, resource: &str, name: &str| Attributes {
        verb: "impersonate".into(),
        group: group.into(),
        version: "v1".into(),
        resource: resource.into(),
        name: name.into(),
        ..Attributes::default()
    };
    let who = match service_account(&user.name) {
        Some((namespace, name)) => Attributes { namespace: namespace.into(), ..ask("", "serviceaccounts", name) },
        None => ask("", "users", &user.name),
    };
    let groups = user.groups.iter().map(|group| ask("", "groups", group));
    let uid = Some(&user.uid).filter(|uid| !uid.is_empty()).map(|uid| ask("authentication.k8s.io", "uids", uid));
    let extras = user.extra.iter().flat_map(|(key, values)| {
        values.iter().map(move |value| Attributes {
            subresource: key.clone(),
            ..ask("authentication.k8s.io", "userextras", value)
        })
    });
    std::iter::once(who).chain(groups).chain(uid).chain(extras).collect()
}

/// Adds the groups that every such user is in.
fn complete(mut user: User) -> User {
    if let Some((namespace, _)) = service_account(&user.name)
        && user.groups.is_empty()
    {
        user.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    if user.name == User::anonymous().name {
        add_group(&mut user, UNAUTHENTICATED);
    } else {
        add_group(&mut user, AUTHENTICATED);
    }
    user
}

fn add_group(user: &mut User, group: &str) {
    if !user.groups.iter().any(|known| known == group) {
        user.groups.push(group.into());
    }
}

/// The 403 for a denied request.
fn refusal(user: &User, attributes: &Attributes, reason: &str) -> ApiError {
    let Attributes { verb, group, resource, subresource, namespace, name, path, .. } = attributes;
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let who = &user.name;
    if resource.is_empty() {
        return ApiError::forbidden(format!("forbidden: User {who:?} cannot {verb} path {path:?}{reason}"));
    }
    let qualified = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
    let object = if name.is_empty() { qualified } else { format!("{qualified} {name:?}") };
    let what = if subresource.is_empty() { resource.clone() } else { format!("{resource}/{subresource}") };
    let place = if namespace.is_empty() {
        "at the cluster scope".to_string()
    } else {
        format!("in the namespace {namespace:?}")
    };
    ApiError::forbidden(format!(
        "{object} is forbidden: User {who:?} cannot {verb} resource {what:?} in API group {group:?} {place}{reason}"
    ))
    .with_details(Details {
        name: name.clone(),
        group: group.clone(),
        kind: resource.clone(),
        ..Details::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), http::HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn each_part_of_an_impersonation_is_a_question() {
        let wanted = impersonation(&headers(&[
            ("impersonate-user", "jane"),
            ("impersonate-group", "dev"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-acme.com%2fproject", "x"),
        ]));
        let wanted = wanted.unwrap().unwrap();
        let asked = impersonation_attributes(&wanted);
        let seen: Vec<_> = asked
            .iter()
            .map(|a| (a.group.as_str(), a.resource.as_str(), a.subresource.as_str(), a.name.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                ("", "users", "", "jane"),
                ("", "groups", "", "dev"),
                ("authentication.k8s.io", "uids", "", "7"),
                ("authentication.k8s.io", "userextras", "acme.com/project", "x"),
            ]
        );
        assert_eq!(complete(wanted).groups, ["dev", "system:authenticated"]);
    }

    #[test]
    fn service_accounts_are_impersonated_as_such() {
        let user = impersonation(&headers(&[("impersonate-user", "system:serviceaccount:prod:deployer")]));
        let user = user.unwrap().unwrap();
        let asked = impersonation_attributes(&user);
        assert_eq!((asked[0].resource.as_str(), asked[0].namespace.as_str()), ("serviceaccounts", "prod"));
        assert_eq!(
            complete(user).groups,
            ["system:serviceaccounts", "system:serviceaccounts:prod", "system:authenticated"]
        );
    }

    #[test]
    fn a_user_must_be_named() {
        assert_eq!(impersonation(&headers(&[])).unwrap(), None);
        assert_eq!(impersonation(&headers(&[("impersonate-group", "system:masters")])).unwrap_err().code, 400);
        let unknown = headers(&[("impersonate-user", "a"), ("impersonate-hat", "b")]);
        assert_eq!(impersonation(&unknown).unwrap_err().code, 400);
    }

    #[test]
    fn refusals_use_the_known_words() {
        let user = User { name: "x".into(), ..User::default() };
        let base = Attributes { verb: "list".into(), resource: "secrets".into(), ..Attributes::default() };
        for (attributes, wanted) in [
            (
                Attributes { namespace: "y".into(), ..base.clone() },
                r#"secrets is forbidden: User "x" cannot list resource "secrets" in API group "" in the namespace "y""#,
            ),
            (
                Attributes {
                    group: "g.io".into(),
                    name: "n".into(),
                    subresource: "status".into(),
                    verb: "get".into(),
                    ..base
                },
                r#"secrets.g.io "n" is forbidden: User "x" cannot get resource "secrets/status" in API group "g.io" at the cluster scope"#,
            ),
            (
                Attributes { verb: "get".into(), path: "/healthz".into(), ..Attributes::default() },
                r#"forbidden: User "x" cannot get path "/healthz""#,
            ),
        ] {
            assert_eq!(refusal(&user, &attributes, "").message, wanted);
        }
    }
}
