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
    ApiError, ApiResult, Context, Key, Payload, Resource, ResourceInfo, Verb, WriteOptions, Written, options::Media,
};
use serde_json::{Map, Value, json};

use crate::{authn::Tokens, authz::Rbac};

const AUTHENTICATION: &str = "authentication.k8s.io";
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

    fn group(self) -> &'static str {
        if matches!(self, Self::Token | Self::SelfSubject) { AUTHENTICATION } else { AUTHORIZATION }
    }
}

/// The resources of all reviews, for the catalog. `definitions` are the OpenAPI schemas of the built-in kinds.
pub fn resources(rbac: &Rbac, tokens: &Tokens, definitions: &Arc<Map<String, Value>>) -> Vec<Arc<dyn Resource>> {
    let resource = |question: Question| -> Arc<dyn Resource> {
        let (kind, group) = (question.kind(), question.group());
        let singular = kind.to_lowercase();
        let package = group.trim_end_matches(".k8s.io");
        let info = ResourceInfo {
            group: group.into(),
            version: "v1".into(),
            kind: kind.into(),
            plural: format!("{singular}s"),
            singular,
            namespaced: question == Question::LocalAccess,
            verbs: vec![Verb::Create],
            schema_name: format!("io.k8s.api.{package}.v1.{kind}"),
            definitions: definitions.clone(),
            ..ResourceInfo::default()
        };
        Arc::new(Review { question, info, rbac: rbac.clone(), tokens: tokens.clone() })
    };
    Question::ALL.map(resource).into()
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
        ("metadata".to_string(), json!({"creationTimestamp": null})),
    ]);
    ordered.extend(fields.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())));
    Ok(Value::Object(ordered))
}
