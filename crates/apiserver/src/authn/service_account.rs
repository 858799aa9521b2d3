//! Tokens of service accounts: issued for a TokenRequest, good only as long as the account lives.
//!
//! In: a TokenRequest, or a token. Out: a token, or the user behind it. Each use looks the account up: a deleted account, or a
//! new one under the old name, ends the token at once. A token may be bound to a Secret or Pod and dies with it.
//! Source of names and limits: Kubernetes' TokenRequest (authentication.k8s.io/v1) and its service account tokens.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use roadstead_kubewire::{ApiError, ApiResult, Key, User, error::Cause};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::jwt::SigningKey;
use crate::{
    authz::index::service_account_user,
    objects::{Objects, text, texts},
};

/// Issuer of the tokens, and the audience of this API server.
pub const ISSUER: &str = "https://kubernetes.default.svc";

/// Shortest and default life of a token, in seconds; the longest is what Kubernetes allows.
const MIN_SECONDS: i64 = 600;
const DEFAULT_SECONDS: i64 = 3600;
const MAX_SECONDS: i64 = 1 << 32;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    private: Private,
    nbf: i64,
    sub: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Private {
    namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Reference>,
    serviceaccount: Reference,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reference {
    name: String,
    uid: String,
}

/// Issues and checks tokens of service accounts.
pub struct ServiceAccounts {
    key: SigningKey,
    objects: Arc<dyn Objects>,
}

impl ServiceAccounts {
    /// Tokens signed with `key` for the accounts in `objects`.
    pub fn new(key: SigningKey, objects: Arc<dyn Objects>) -> Self {
        Self { key, objects }
    }

    /// Answers a TokenRequest for the account at `key`: the request with its status. Errors: 404 without the account, 400 and
    /// 422 for a bad request, 409 when the bound object is another one.
    pub fn request(&self, key: &Key, request: &Value, now: Timestamp) -> ApiResult<Value> {
        let account = self
            .objects
            .get("", "serviceaccounts", key)
            .filter(|account| !is_deleting(account))
            .ok_or_else(|| ApiError::not_found("", "serviceaccounts", &key.name))?;
        for (pointer, expected) in [("/metadata/name", &key.name), ("/metadata/namespace", &key.namespace)] {
            let given = text(request, pointer);
            if !given.is_empty() && given != expected {
                let message = format!("{} of the request ({given}) is not that of the path", &pointer[1..]);
                return Err(ApiError::bad_request(message));
            }
        }
        let seconds = lifetime(request)?;
        let mut audiences: Vec<String> = texts(request, "/spec/audiences").map(str::to_string).collect();
        if audiences.is_empty() {
            audiences.push(ISSUER.into());
        }
        let bound = self.bound(key, request)?;
        let (issued, expires) = (now.as_second(), now.as_second() + seconds);
        let (pod, secret) = match bound {
            Some(("pods", reference)) => (Some(reference), None),
            Some((_, reference)) => (None, Some(reference)),
            None => (None, None),
        };
        let serviceaccount = Reference { name: key.name.clone(), uid: text(&account, "/metadata/uid").into() };
        let claims = Claims {
            aud: audiences.clone(),
            exp: expires,
            iat: issued,
            iss: ISSUER.into(),
            jti: uuid::Uuid::new_v4().to_string(),
            private: Private { namespace: key.namespace.clone(), pod, secret, serviceaccount },
            nbf: issued,
            sub: service_account_user(&key.namespace, &key.name),
        };
        let token = self.key.sign(&claims).map_err(|_| ApiError::internal("the token could not be written"))?;
        let expiration = Timestamp::from_second(expires).unwrap_or(Timestamp::MAX);
        let mut answer = json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": key.name, "namespace": key.namespace, "creationTimestamp": whole_seconds(now)},
            "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": null},
            "status": {"token": token, "expirationTimestamp": whole_seconds(expiration)},
        });
        answer["spec"]["boundObjectRef"] = request.pointer("/spec/boundObjectRef").cloned().unwrap_or_default();
        Ok(answer)
    }

    /// A token of `account` that lasts as long as the account and `secret`, in which it is kept. Errors: 500.
    pub fn lasting(&self, account: &Value, secret: &Value) -> ApiResult<String> {
        let reference = |object: &Value| Reference {
            name: text(object, "/metadata/name").into(),
            uid: text(object, "/metadata/uid").into(),
        };
        let namespace = text(account, "/metadata/namespace");
        let claims = Claims {
            aud: vec![ISSUER.into()],
            exp: i64::MAX,
            iat: 0,
            iss: ISSUER.into(),
            jti: String::new(),
            private: Private {
                namespace: namespace.into(),
                pod: None,
                secret: Some(reference(secret)),
                serviceaccount: reference(account),
            },
            nbf: 0,
            sub: service_account_user(namespace, text(account, "/metadata/name")),
        };
        self.key.sign(&claims).map_err(|_| ApiError::internal("the token could not be written"))
    }

    /// The object that the token is to be bound to: its plural, name and uid.
    fn bound(&self, key: &Key, request: &Value) -> ApiResult<Option<(&'static str, Reference)>> {
        let Some(wanted) = request.pointer("/spec/boundObjectRef").filter(|wanted| !wanted.is_null()) else {
            return Ok(None);
        };
        let plural = match (text(wanted, "/apiVersion"), text(wanted, "/kind")) {
            ("v1", "Secret") => "secrets",
            ("v1", "Pod") => "pods",
            (version, kind) => {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for {version} {kind}: only Secret and Pod"
                )));
            }
        };
        let name = text(wanted, "/name");
        let found = self
            .objects
            .get("", plural, &Key::new(&key.namespace, name))
            .ok_or_else(|| ApiError::not_found("", plural, name))?;
        let (uid, wanted_uid) = (text(&found, "/metadata/uid"), text(wanted, "/uid"));
        if !wanted_uid.is_empty() && wanted_uid != uid {
            let why = format!("the uid in the bound object reference ({wanted_uid}) is not that of the object ({uid})");
            return Err(ApiError::conflict("", plural, name, &why));
        }
        Ok(Some((plural, Reference { name: name.into(), uid: uid.into() })))
    }

    /// The user of a good token and those of `audiences` that it is meant for; `None` for every other token.
    pub fn verify(&self, token: &str, audiences: &[String], now: Timestamp) -> Option<(User, Vec<String>)> {
        let claims: Claims = self.key.verify(token)?;
        let now = now.as_second();
        if claims.iss != ISSUER || now >= claims.exp || now < claims.nbf {
            return None;
        }
        let audiences: Vec<String> = audiences.iter().filter(|wanted| claims.aud.contains(wanted)).cloned().collect();
        let Private { namespace, pod, secret, serviceaccount } = &claims.private;
        if audiences.is_empty() || !self.lives("serviceaccounts", namespace, serviceaccount) {
            return None;
        }
        for (plural, reference) in [("pods", pod), ("secrets", secret)] {
            if reference.as_ref().is_some_and(|reference| !self.lives(plural, namespace, reference)) {
                return None;
            }
        }
        // A token that does not expire has no id either, as in Kubernetes.
        let id = (!claims.jti.is_empty())
            .then(|| ("authentication.kubernetes.io/credential-id".into(), vec![format!("JTI={}", claims.jti)]));
        let user = User {
            name: service_account_user(namespace, &serviceaccount.name),
            uid: serviceaccount.uid.clone(),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".into(),
            ],
            extra: BTreeMap::from_iter(id),
            expires: Timestamp::from_second(claims.exp).ok(),
        };
        Some((user, audiences))
    }

    fn lives(&self, plural: &str, namespace: &str, reference: &Reference) -> bool {
        let found = self.objects.get("", plural, &Key::new(namespace, &reference.name));
        found.is_some_and(|object| text(&object, "/metadata/uid") == reference.uid && !is_deleting(&object))
    }

    /// Resolves when the account behind `user` is gone; never for other users.
    pub async fn gone(&self, user: &User) {
        let mut parts = user.name.strip_prefix("system:serviceaccount:").unwrap_or_default().splitn(2, ':');
        if let (Some(namespace), Some(name)) = (parts.next(), parts.next()) {
            let reference = Reference { name: name.into(), uid: user.uid.clone() };
            let mut changes = self.objects.changes("", "serviceaccounts");
            while self.lives("serviceaccounts", namespace, &reference) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
            return;
        }
        std::future::pending().await
    }
}

fn is_deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string)
}

/// RFC 3339 in whole seconds, as Kubernetes writes times.
pub(crate) fn whole_seconds(time: Timestamp) -> String {
    let fraction = SignedDuration::from_nanos(time.subsec_nanosecond().into());
    time.checked_sub(fraction).unwrap_or(time).to_string()
}

fn lifetime(request: &Value) -> ApiResult<i64> {
    let seconds = match request.pointer("/spec/expirationSeconds").filter(|seconds| !seconds.is_null()) {
        None => return Ok(DEFAULT_SECONDS),
        Some(seconds) => seconds.as_i64(),
    };
    let problem = match seconds {
        None => "must be a number of seconds",
        Some(seconds) if seconds < MIN_SECONDS => "may not specify a duration less than 10 minutes",
        Some(seconds) if seconds > MAX_SECONDS => "may not specify a duration larger than 2^32 seconds",
        Some(seconds) => return Ok(seconds),
    };
    let cause = Cause {
        reason: "FieldValueInvalid".into(),
        message: format!("Invalid value: {}: {problem}", request["spec"]["expirationSeconds"]),
        field: "spec.expirationSeconds".into(),
    };
    Err(ApiError::invalid("authentication.k8s.io", "TokenRequest", "", vec![cause]))
}
