//! Questions about identity and permission that are asked by creating an object; nothing is stored.
//!
//! In: TokenReview and SelfSubjectReview (authentication.k8s.io/v1), the access and rules reviews (authorization.k8s.io/v1). Out:
//! the same object with its status. `kubectl auth can-i`, `can-i --list` and `whoami` live on these, and servers that trust
//! this one's tokens. [`token_request`] is the `token` subresource of service accounts.

mod access;
mod identity;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use roadstead_kubewire::{
    ApiError, ApiResult, Context, Key, Payload, Resource, ResourceInfo, WriteOptions, Written, options::Media,
};
use serde_json::{Map, Value, json};

use crate::{
    authn::{Tokens, service_account::whole_seconds},
    authz::Rbac,
    builtin,
};

const AUTHORIZATION: &str = "authorization.k8s.io";

/// Which question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Token,
    SelfSubject,
    Access,
    LocalAccess,
    SelfAccess,
    SelfRules,
}

impl Question {
    const ALL: [Self; 6] =
        [Self::Token, Self::SelfSubject, Self::Access, Self::LocalAccess, Self::SelfAccess, Self::SelfRules];

    fn kind(self) -> &'static str {
        match self {
            Self::Token => "TokenReview",
            Self::SelfSubject => "SelfSubjectReview",
            Self::Access => "SubjectAccessReview",
            Self::LocalAccess => "LocalSubjectAccessReview",
            Self::SelfAccess => "SelfSubjectAccessReview",
            Self::SelfRules => "SelfSubjectRulesReview",
        }
    }
}

/// The resources of all reviews, for the catalog.
pub fn resources(rbac: &Rbac, tokens: &Tokens) -> Vec<Arc<dyn Resource>> {
    let resource = |kind: builtin::Kind| -> Option<Arc<dyn Resource>> {
        let question = Question::ALL.into_iter().find(|question| question.kind() == kind.info.kind)?;
        Some(Arc::new(Review { question, info: kind.info, rbac: rbac.clone(), tokens: tokens.clone() }))
    };
    builtin::reviews().into_iter().filter_map(resource).collect()
}

struct Review {
    question: Question,
    info: ResourceInfo,
    rbac: Rbac,
    tokens: Tokens,
}

impl Review {
    fn status(&self, cx: &Context, namespace: Option<&str>, review: &Value) -> ApiResult<Value> {
        match self.question {
            Question::Token => identity::token(&self.tokens, review, Timestamp::now()),
            Question::SelfSubject => Ok(json!({"userInfo": identity::user_info(&cx.user)})),
            Question::Access => access::subject(&self.rbac, review),
            Question::LocalAccess => access::local(&self.rbac, namespace.unwrap_or_default(), review),
            Question::SelfAccess => access::own(&self.rbac, &cx.user, review),
            Question::SelfRules => access::rules(&self.rbac, &cx.user, review),
        }
    }
}

#[async_trait]
impl Resource for Review {
    fn info(&self) -> &ResourceInfo {
        &self.info
    }

    async fn create(
        &self,
        cx: &Context,
        namespace: Option<&str>,
        payload: Payload,
        _options: &WriteOptions,
    ) -> ApiResult<Written> {
        let mut review = parse(&payload, &self.info.api_version(), &self.info.kind)?;
        review["status"] = self.status(cx, namespace, &review)?;
        if self.question == Question::SelfSubject {
            review["metadata"]["creationTimestamp"] = whole_seconds(Timestamp::now()).into();
        }
        Ok(Written::created(review.to_string().into()))
    }
}

/// Answers `POST serviceaccounts/<name>/token`.
pub fn token_request(tokens: &Tokens, key: &Key, payload: &Payload) -> ApiResult<Written> {
    let request = parse(payload, "authentication.k8s.io/v1", "TokenRequest")?;
    let answer = tokens.accounts().request(key, &request, Timestamp::now())?;
    Ok(Written::created(answer.to_string().into()))
}

/// Reads an object of the kind that is expected.
fn parse(payload: &Payload, api_version: &str, kind: &str) -> ApiResult<Value> {
    if payload.media != Media::Json {
        return Err(ApiError::unsupported_media_type(format!("a {kind} is read as JSON only")));
    }
    let object: Value = serde_json::from_slice(&payload.bytes)
        .map_err(|error| ApiError::bad_request(format!("the {kind} is not JSON: {error}")))?;
    let Some(fields) = object.as_object() else {
        return Err(ApiError::bad_request(format!("the {kind} is not a JSON object")));
    };
    for (field, expected) in [("apiVersion", api_version), ("kind", kind)] {
        if fields.get(field).is_some_and(|given| given != expected) {
            let given = &fields[field];
            return Err(ApiError::bad_request(format!("{field} is {given}, and {expected:?} was expected")));
        }
    }
    // Always first and always there, whatever the client left out.
    let mut ordered = Map::from_iter([
        ("kind".to_string(), json!(kind)),
        ("apiVersion".to_string(), json!(api_version)),
        ("metadata".to_string(), json!({})),
    ]);
    ordered.extend(fields.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())));
    Ok(Value::Object(ordered))
}
