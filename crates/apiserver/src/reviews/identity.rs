//! Who is it? TokenReview, and the user as SelfSubjectReview shows it.

use jiff::Timestamp;
use roadstead_kubewire::{ApiError, ApiResult, User};
use serde_json::{Value, json};

use crate::{
    authn::{ISSUER, Tokens},
    objects::{text, texts},
};

/// Status of a TokenReview. The token is good if it holds for any of the audiences asked for, by default for this server.
pub fn token(tokens: &Tokens, review: &Value, now: Timestamp) -> ApiResult<Value> {
    let token = text(review, "/spec/token");
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let mut audiences: Vec<String> = texts(review, "/spec/audiences").map(str::to_string).collect();
    if audiences.is_empty() {
        audiences.push(ISSUER.into());
    }
    Ok(match tokens.verify(token, &audiences, now) {
        Some(verified) => {
            json!({"authenticated": true, "user": user_info(&verified.user), "audiences": verified.audiences})
        }
        None => json!({"user": {}, "error": "invalid bearer token"}),
    })
}

/// A `UserInfo` (authentication.k8s.io/v1).
pub fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}
