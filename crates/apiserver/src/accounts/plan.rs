//! What is missing: a pure function over namespaces, service accounts and Secrets.

use serde_json::{Value, json};

use crate::objects::text;

/// The ConfigMap with the authority's certificate that each namespace has.
pub const ROOT_CA: &str = "kube-root-ca.crt";
/// Type of the Secrets that ask for a token.
pub const TOKEN_TYPE: &str = "kubernetes.io/service-account-token";
/// Annotation: whose token.
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
/// Annotation: of which account of that name.
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// The ConfigMap [`ROOT_CA`] as it should be, where `present` is not so.
pub fn root_ca(present: Option<&Value>, pem: &str) -> Option<Value> {
    let right = present.is_some_and(|map| map.pointer("/data/ca.crt").is_some_and(|data| data == pem));
    (!right).then(|| {
        let mut map = present.cloned().unwrap_or_else(|| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ROOT_CA, "annotations": {
                "kubernetes.io/description": "The certificate authority of this API server, for clients in this namespace.",
            }}})
        });
        map["data"] = json!({"ca.crt": pem});
        map
    })
}

/// What to do about a Secret that asks for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// Its account is gone, or another one by now: so must it go.
    Delete,
    /// It waits for its token.
    Token,
}

/// What `secret`, of the type [`TOKEN_TYPE`], needs; `account` is the service account that it names, where there is one.
pub fn need(secret: &Value, account: Option<&Value>) -> Need {
    if !text(secret, "/metadata/deletionTimestamp").is_empty() {
        return Need::Nothing;
    }
    let wanted = annotation(secret, ACCOUNT_UID);
    let Some(account) = account.filter(|account| wanted.is_empty() || text(account, "/metadata/uid") == wanted) else {
        return Need::Delete;
    };
    let complete = ["token", "namespace", "ca.crt"].iter().all(|key| !text(secret, &format!("/data/{key}")).is_empty());
    let known = wanted == text(account, "/metadata/uid");
    if complete && known { Need::Nothing } else { Need::Token }
}

/// The name of the account that a Secret asks a token of.
pub fn account_of(secret: &Value) -> &str {
    annotation(secret, ACCOUNT_NAME)
}

/// `secret` with the token in it.
pub fn filled(secret: &Value, account: &Value, data: Value) -> Value {
    let mut filled = secret.clone();
    filled["metadata"]["annotations"][ACCOUNT_UID] = text(account, "/metadata/uid").into();
    if !filled["data"].is_object() {
        filled["data"] = json!({});
    }
    if let (Some(all), Value::Object(data)) = (filled["data"].as_object_mut(), data) {
        all.extend(data);
    }
    filled
}

fn annotation<'a>(object: &'a Value, name: &str) -> &'a str {
    let annotations = object.pointer("/metadata/annotations");
    annotations.and_then(|all| all.get(name)).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(uid: &str, data: Value) -> Value {
        json!({"metadata": {"annotations": {ACCOUNT_NAME: "robot", ACCOUNT_UID: uid}}, "data": data})
    }

    #[test]
    fn a_secret_gets_a_token_as_long_as_its_account_lives() {
        let account = json!({"metadata": {"name": "robot", "uid": "u"}});
        let whole = json!({"token": "t", "namespace": "n", "ca.crt": "c"});
        for (secret, account, wanted) in [
            (secret("", json!({})), Some(&account), Need::Token),
            (secret("u", json!({"token": "t"})), Some(&account), Need::Token),
            (secret("u", whole.clone()), Some(&account), Need::Nothing),
            (secret("", whole.clone()), Some(&account), Need::Token),
            (secret("other", whole), Some(&account), Need::Delete),
            (secret("", json!({})), None, Need::Delete),
            (json!({"metadata": {"deletionTimestamp": "x"}}), None, Need::Nothing),
        ] {
            assert_eq!(need(&secret, account), wanted, "{secret}");
        }
        let done = filled(&secret("", json!({"mine": "x"})), &account, json!({"token": "t"}));
        assert_eq!((account_of(&done), &done["data"]), ("robot", &json!({"mine": "x", "token": "t"})));
        assert_eq!(done["metadata"]["annotations"][ACCOUNT_UID], "u");
    }

    #[test]
    fn the_authority_is_published_and_kept() {
        let first = root_ca(None, "pem").unwrap();
        assert_eq!(root_ca(Some(&first), "pem"), None);
        let renewed = root_ca(Some(&first), "new").unwrap();
        assert_eq!(renewed["data"]["ca.crt"], "new");
        assert_eq!(renewed["metadata"], first["metadata"]);
    }
}
