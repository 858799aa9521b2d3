//! Which tokens open the door, and when they stop doing so.

use roadstead_kubewire::Key;
use serde_json::{Value, json};

use super::{jwt::SigningKey, *};
use crate::objects::memory::Memory;

struct House {
    memory: Arc<Memory>,
    tokens: Tokens,
}

fn object(name: &str, uid: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "team", "uid": uid}})
}

fn house() -> House {
    let memory = Arc::new(Memory::default());
    memory.put("", "serviceaccounts", object("bot", "u1"));
    memory.put("", "secrets", object("lease", "s1"));
    let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
    let accounts = Arc::new(ServiceAccounts::new(key, memory.clone()));
    let sha256 = digest(&SHA256, b"the admin's").as_ref().try_into().unwrap();
    let admin = User { name: "system:admin".into(), groups: vec!["system:masters".into()], ..User::default() };
    House { memory, tokens: Tokens::new(vec![FixedToken { sha256, user: admin }], accounts) }
}

fn bot() -> Key {
    Key::new("team", "bot")
}

impl House {
    fn token(&self, spec: Value) -> String {
        let request = json!({"spec": spec});
        let answer = self.tokens.accounts().request(&bot(), &request, Timestamp::now()).unwrap();
        answer["status"]["token"].as_str().unwrap().to_string()
    }

    fn opens(&self, token: &str) -> Option<String> {
        let verified = self.tokens.verify(token, &[ISSUER.to_string()], Timestamp::now());
        verified.map(|verified| verified.user.name)
    }

    async fn ask(&self, headers: &[&str], origin: Origin) -> ApiResult<Option<String>> {
        let request =
            headers.iter().fold(http::Request::builder(), |request, value| request.header("Authorization", *value));
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Ok(self.tokens.authenticate(&parts, &origin).await?.map(|user| user.name))
    }
}

#[test]
fn a_token_is_good_while_its_account_lives() {
    let house = house();
    let token = house.token(json!({}));
    assert_eq!(house.opens(&token).as_deref(), Some("system:serviceaccount:team:bot"));
    house.memory.remove("", "serviceaccounts", &bot());
    assert_eq!(house.opens(&token), None);
    house.memory.put("", "serviceaccounts", object("bot", "u2"));
    assert_eq!(house.opens(&token), None, "another account under the same name");
    house.memory.put("", "serviceaccounts", object("bot", "u1"));
    assert!(house.opens(&token).is_some());
    let mut deleting = object("bot", "u1");
    deleting["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    house.memory.put("", "serviceaccounts", deleting);
    assert_eq!(house.opens(&token), None);
}

#[test]
fn a_bound_token_dies_with_what_it_is_bound_to() {
    let house = house();
    let token = house.token(json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "lease"}}));
    assert!(house.opens(&token).is_some());
    house.memory.put("", "secrets", object("lease", "s2"));
    assert_eq!(house.opens(&token), None);
}

#[test]
fn time_and_audience_limit_a_token() {
    let house = house();
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let request = json!({"spec": {"audiences": ["vault", ISSUER], "expirationSeconds": 600}});
    let answer = house.tokens.accounts().request(&bot(), &request, start).unwrap();
    assert_eq!(answer["status"]["expirationTimestamp"], "2026-01-01T00:10:00Z");
    let token = answer["status"]["token"].as_str().unwrap();
    for (audiences, seconds, expected) in [
        (&[ISSUER][..], 0, Some(vec![ISSUER])),
        (&["x", "vault"], 599, Some(vec!["vault"])),
        (&[ISSUER], 600, None),
        (&[ISSUER], -1, None),
        (&["x"], 0, None),
        (&[], 0, None),
    ] {
        let audiences: Vec<String> = audiences.iter().map(|audience| audience.to_string()).collect();
        let now = start + jiff::SignedDuration::from_secs(seconds);
        let found = house.tokens.verify(token, &audiences, now).map(|verified| verified.audiences);
        assert_eq!(
            found,
            expected.map(|list| list.into_iter().map(str::to_string).collect()),
            "{audiences:?} {seconds}"
        );
    }
    let elsewhere = house.token(json!({"audiences": ["vault"]}));
    assert_eq!(house.opens(&elsewhere), None, "a token for somebody else is none for us");
}

#[test]
fn bad_requests_are_refused() {
    let house = house();
    let bound = |kind: &str, name: &str, uid: &str| json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid}}});
    for (request, code) in [
        (json!({"spec": {"expirationSeconds": 599}}), 422),
        (json!({"spec": {"expirationSeconds": "600"}}), 422),
        (json!({"spec": {"expirationSeconds": 1_i64 << 33}}), 422),
        (json!({"metadata": {"name": "other"}}), 400),
        (bound("ConfigMap", "x", ""), 400),
        (bound("Secret", "missing", ""), 404),
        (bound("Secret", "lease", "s9"), 409),
    ] {
        let error = house.tokens.accounts().request(&bot(), &request, Timestamp::now()).unwrap_err();
        assert_eq!(error.code, code, "{request} {error}");
    }
    let missing = house.tokens.accounts().request(&Key::new("team", "x"), &json!({}), Timestamp::now());
    assert_eq!(missing.unwrap_err().message, "serviceaccounts \"x\" not found");
}

#[tokio::test]
async fn the_door() {
    let house = house();
    let token = format!("Bearer {}", house.token(json!({})));
    let tls = Origin { secure: true, ..Origin::default() };
    let clear = Origin::default();
    let process = Origin { secure: true, user: Some(User::system()), ..Origin::default() };
    let bot = "system:serviceaccount:team:bot";
    for (headers, origin, expected) in [
        (&[][..], &tls, Ok(None)),
        (&[], &clear, Ok(None)),
        (&[], &process, Ok(Some("system:admin"))),
        (&["Bearer the admin's"], &tls, Ok(Some("system:admin"))),
        (&["bearer  the admin's"], &tls, Ok(Some("system:admin"))),
        (&[&token], &tls, Ok(Some(bot))),
        (&[&token], &process, Ok(Some(bot))),
        (&["Bearer the admin's"], &clear, Err(401)),
        (&[&token], &clear, Err(401)),
        (&["Bearer the admin"], &tls, Err(401)),
        (&["Bearer x"], &process, Err(401)),
        (&["Bearer "], &tls, Err(401)),
        (&["Bearer"], &tls, Err(401)),
        (&["Basic dTpw"], &tls, Err(401)),
        (&[&token, &token], &tls, Err(401)),
    ] {
        let found = house.ask(headers, origin.clone()).await.map_err(|error| error.code);
        assert_eq!(found, expected.map(|user| user.map(str::to_string)), "{headers:?} {origin:?}");
    }
    let error = house.ask(&[&token], clear).await.unwrap_err();
    assert!(error.message.contains("unencrypted") && !error.message.contains(&token[7..]), "{error}");
}

#[tokio::test]
async fn an_account_that_goes_is_told() {
    let house = house();
    let verified = house.tokens.verify(&house.token(json!({})), &[ISSUER.to_string()], Timestamp::now()).unwrap();
    let mut revoked = std::pin::pin!(house.tokens.revoked(&verified.user));
    assert!(futures::poll!(&mut revoked).is_pending());
    house.memory.put("", "serviceaccounts", object("other", "u5"));
    assert!(futures::poll!(&mut revoked).is_pending());
    house.memory.remove("", "serviceaccounts", &bot());
    tokio::time::timeout(std::time::Duration::from_secs(10), revoked).await.unwrap();
    assert!(futures::poll!(std::pin::pin!(house.tokens.revoked(&User::system()))).is_pending());
}
