//! May they? The access reviews and the list of everything that somebody may.

use std::collections::BTreeMap;

use roadstead_kubewire::{ApiError, ApiResult, Attributes, User, error::Cause};
use serde_json::{Value, json};

use super::AUTHORIZATION;
use crate::{
    authz::Rbac,
    objects::{text, texts},
};

/// SubjectAccessReview: about anybody.
pub fn subject(rbac: &Rbac, review: &Value) -> ApiResult<Value> {
    Ok(answer(rbac, &user_of(review, "SubjectAccessReview")?, &asked(review, "SubjectAccessReview")?))
}

/// LocalSubjectAccessReview: about anybody, in one namespace.
pub fn local(rbac: &Rbac, namespace: &str, review: &Value) -> ApiResult<Value> {
    const KIND: &str = "LocalSubjectAccessReview";
    let asked = asked(review, KIND)?;
    if asked.resource.is_empty() {
        return Err(invalid(KIND, "spec.nonResourceAttributes", "disallowed on this kind of request"));
    }
    if asked.namespace != namespace {
        return Err(invalid(KIND, "spec.resourceAttributes.namespace", "must match metadata.namespace"));
    }
    Ok(answer(rbac, &user_of(review, KIND)?, &asked))
}

/// SelfSubjectAccessReview: about whoever asks.
pub fn own(rbac: &Rbac, user: &User, review: &Value) -> ApiResult<Value> {
    Ok(answer(rbac, user, &asked(review, "SelfSubjectAccessReview")?))
}

/// SelfSubjectRulesReview: all that whoever asks may in a namespace.
pub fn rules(rbac: &Rbac, user: &User, review: &Value) -> ApiResult<Value> {
    let namespace = text(review, "/spec/namespace");
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for rule in rbac.rules_of(user, namespace) {
        if !rule.resources.is_empty() {
            resources.push(json!({
                "verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources,
                "resourceNames": rule.resource_names,
            }));
        }
        if !rule.non_resource_urls.is_empty() {
            paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
        }
    }
    Ok(json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false}))
}

fn answer(rbac: &Rbac, user: &User, asked: &Attributes) -> Value {
    let verdict = rbac.evaluate(user, asked);
    let mut status = json!({"allowed": verdict.allowed});
    if !verdict.reason.is_empty() {
        status["reason"] = json!(verdict.reason);
    }
    status
}

fn user_of(review: &Value, kind: &str) -> ApiResult<User> {
    let extra = review.pointer("/spec/extra").and_then(Value::as_object).into_iter().flatten();
    let extra = extra.map(|(key, values)| (key.clone(), texts(values, "").map(str::to_string).collect()));
    let user = User {
        name: text(review, "/spec/user").into(),
        uid: text(review, "/spec/uid").into(),
        groups: texts(review, "/spec/groups").map(str::to_string).collect(),
        extra: extra.collect::<BTreeMap<_, _>>(),
        expires: None,
    };
    if user.name.is_empty() && user.groups.is_empty() {
        return Err(invalid(kind, "spec.user", "at least one of user or group must be specified"));
    }
    Ok(user)
}

/// What is asked about: exactly one of the two kinds of attributes.
fn asked(review: &Value, kind: &str) -> ApiResult<Attributes> {
    let resource = review.pointer("/spec/resourceAttributes").filter(|attributes| !attributes.is_null());
    let path = review.pointer("/spec/nonResourceAttributes").filter(|attributes| !attributes.is_null());
    let field = |attributes: &Value, name: &str| text(attributes, name).to_string();
    match (resource, path) {
        (Some(asked), None) if !text(asked, "/resource").is_empty() => Ok(Attributes {
            verb: field(asked, "/verb"),
            group: field(asked, "/group"),
            version: field(asked, "/version"),
            resource: field(asked, "/resource"),
            subresource: field(asked, "/subresource"),
            namespace: field(asked, "/namespace"),
            name: field(asked, "/name"),
            path: String::new(),
        }),
        (Some(_), None) => Err(invalid(kind, "spec.resourceAttributes.resource", "a resource must be named")),
        (None, Some(asked)) => {
            Ok(Attributes { verb: field(asked, "/verb"), path: field(asked, "/path"), ..Attributes::default() })
        }
        (Some(_), Some(_)) => Err(invalid(
            kind,
            "spec.nonResourceAttributes",
            "cannot be specified in combination with resourceAttributes",
        )),
        (None, None) => Err(invalid(
            kind,
            "spec.resourceAttributes",
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
    }
}

fn invalid(kind: &str, field: &str, message: &str) -> ApiError {
    let cause =
        Cause { reason: "FieldValueInvalid".into(), message: format!("Invalid value: {message}"), field: field.into() };
    ApiError::invalid(AUTHORIZATION, kind, "", vec![cause])
}
