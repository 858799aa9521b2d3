//! Published vectors, other people's implementations as the measure, and everything that must fail.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use ring::hmac;
use roadstead_api::endpoint::Encoding;

use super::*;
use crate::hex;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn spec(provider: Provider) -> WebhookEndpointSpec {
    WebhookEndpointSpec { provider, ..WebhookEndpointSpec::default() }
}

fn policy(provider: Provider, secrets: &[&str]) -> Policy {
    Policy::compile(&spec(provider), secrets.iter().map(|secret| Secret::new(*secret)).collect()).unwrap()
}

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn check(policy: &Policy, list: &[(&str, &str)], body: &[u8], now: i64) -> Result<Verified, Rejection> {
    let (headers, body) = (headers(list), Bytes::copy_from_slice(body));
    policy.verify(&Incoming { method: &Method::POST, headers: &headers, query: None, body: &body }, at(now))
}

fn sha256(secret: &str, body: &[u8]) -> String {
    hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body).as_ref())
}

const OK: Result<Verified, Rejection> = Ok(Verified::Proven);
const MISSING: Result<Verified, Rejection> = Err(Rejection::MissingSignature);
const BAD: Result<Verified, Rejection> = Err(Rejection::BadSignature);

fn is_malformed(result: Result<Verified, Rejection>) -> bool {
    matches!(result, Err(Rejection::Malformed(_)))
}

/// docs.github.com, "Validating webhook deliveries", "Testing the webhook payload validation".
#[test]
fn github_published_vector() {
    let policy = policy(Provider::Github, &["It's a Secret to Everybody"]);
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(check(&policy, &[("X-Hub-Signature-256", signature)], b"Hello, World!", 0), OK);
    assert_eq!(check(&policy, &[("X-Hub-Signature-256", signature)], b"Hello, World?", 0), BAD);
}

#[test]
fn github_refuses_everything_else() {
    let body = b"{}";
    let good = sha256("new", body);
    let policy = policy(Provider::Github, &["old", "new"]);
    let name = "x-hub-signature-256";
    assert_eq!(check(&policy, &[(name, &format!("sha256={good}"))], body, 0), OK);
    assert_eq!(check(&policy, &[(name, &format!("sha256={}", sha256("old", body)))], body, 0), OK);
    assert_eq!(check(&policy, &[(name, &format!("sha256={}", good.to_uppercase()))], body, 0), OK);
    assert_eq!(check(&policy, &[], body, 0), MISSING);
    assert_eq!(check(&policy, &[(name, "")], body, 0), MISSING);
    assert_eq!(check(&policy, &[(name, "sha256=")], body, 0), MISSING);
    // The old header, even when right.
    let sha1 = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"new"), body);
    assert_eq!(
        check(&policy, &[("x-hub-signature", &format!("sha1={}", hex::encode(sha1.as_ref())))], body, 0),
        MISSING
    );
    assert_eq!(check(&policy, &[(name, &format!("sha256={}", sha256("other", body)))], body, 0), BAD);
    assert_eq!(check(&policy, &[(name, &format!("sha256={}", &good[..62]))], body, 0), BAD);
    assert_eq!(check(&policy, &[(name, &format!("sha256={good}00"))], body, 0), BAD);
    assert!(is_malformed(check(&policy, &[(name, &good)], body, 0)));
    assert!(is_malformed(check(&policy, &[(name, &format!("sha256={}", &good[..63]))], body, 0)));
    assert!(is_malformed(check(&policy, &[(name, &format!("sha256={good} sha256={good}"))], body, 0)));
    let twice = format!("sha256={good}");
    assert!(is_malformed(check(&policy, &[(name, &twice), (name, &twice)], body, 0)));
}

#[test]
fn gitea_and_forgejo_take_their_own_header_first() {
    let body = b"{}";
    let good = sha256("s", body);
    let gitea = policy(Provider::Gitea, &["s"]);
    let forgejo = policy(Provider::Forgejo, &["s"]);
    assert_eq!(check(&gitea, &[("X-Gitea-Signature", &good)], body, 0), OK);
    assert_eq!(check(&gitea, &[("X-Hub-Signature-256", &format!("sha256={good}"))], body, 0), OK);
    assert_eq!(check(&gitea, &[("X-Forgejo-Signature", &good)], body, 0), MISSING);
    assert_eq!(check(&forgejo, &[("X-Forgejo-Signature", &good)], body, 0), OK);
    assert_eq!(check(&forgejo, &[("X-Gitea-Signature", &good)], body, 0), OK);
    // A hook without a secret sends the header empty; an older header does not help it.
    assert_eq!(check(&gitea, &[("X-Gitea-Signature", ""), ("X-Gogs-Signature", &good)], body, 0), MISSING);
    assert_eq!(
        check(&forgejo, &[("X-Forgejo-Signature", &sha256("x", body)), ("X-Gitea-Signature", &good)], body, 0),
        BAD
    );
    // A form is sent, but the document in it is signed.
    let form = [("content-type", "application/x-www-form-urlencoded"), ("X-Gitea-Signature", &*good)];
    assert_eq!(check(&gitea, &form, b"payload=%7B%7D", 0), OK);
    assert_eq!(check(&gitea, &form, b"payload=%7B+%7D", 0), BAD);
    assert_eq!(check(&gitea, &form[1..], b"payload=%7B%7D", 0), BAD);
    let github = policy(Provider::Github, &["s"]);
    let form = [form[0], ("X-Hub-Signature-256", &*format!("sha256={good}"))];
    assert_eq!(check(&github, &form, b"payload=%7B%7D", 0), BAD);
}

#[test]
fn gitlab_takes_its_token_or_a_signature() {
    let body = b"{}";
    let policy = policy(Provider::Gitlab, &["old", "tok"]);
    assert_eq!(check(&policy, &[("X-Gitlab-Token", "tok")], body, 0), OK);
    assert_eq!(check(&policy, &[("X-Gitlab-Token", "old")], body, 0), OK);
    assert_eq!(check(&policy, &[("X-Gitlab-Token", "tok2")], body, 0), BAD);
    assert_eq!(check(&policy, &[("X-Gitlab-Token", "to")], body, 0), BAD);
    assert_eq!(check(&policy, &[("X-Gitlab-Token", "")], body, 0), MISSING);
    assert!(is_malformed(check(&policy, &[("X-Gitlab-Token", "tok"), ("X-Gitlab-Token", "tok")], body, 0)));
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"tok");
    let tag = STANDARD.encode(hmac::sign(&key, b"id-1.1000.{}"));
    let signature = format!("v1,{tag}");
    let signed = [("webhook-id", "id-1"), ("webhook-timestamp", "1000"), ("webhook-signature", signature.as_str())];
    assert_eq!(check(&policy, &signed, body, 1000), OK);
    assert_eq!(check(&policy, &signed, body, 2000), Err(Rejection::StaleTimestamp));
    assert_eq!(check(&policy, &signed, b"[]", 1000), BAD);
}

/// The vectors of the specification's reference libraries.
#[test]
fn standard_published_vectors() {
    let body = br#"{"test": 2432232314}"#;
    let list = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ];
    for secret in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
        assert_eq!(check(&policy(Provider::Standard, &[secret]), &list, body, 1_614_265_330), OK);
    }
}

#[test]
fn standard_agrees_with_the_reference_library() {
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let theirs = standardwebhooks::Webhook::new(secret).unwrap();
    let policy = policy(Provider::Standard, &["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", secret]);
    for (id, body) in [("a", &b""[..]), ("msg_1", b"{}"), ("x-y_z", b"{\"type\":\"order.paid\",\"data\":{}}")] {
        let signature = theirs.sign(id, 1_700_000_000, body).unwrap();
        let list = [("webhook-id", id), ("webhook-timestamp", "1700000000"), ("webhook-signature", &*signature)];
        assert_eq!(check(&policy, &list, body, 1_700_000_300), OK, "{id}");
        assert_eq!(check(&policy, &list, body, 1_699_999_700), OK, "{id}");
        assert_eq!(check(&policy, &list, body, 1_700_000_301), Err(Rejection::StaleTimestamp), "{id}");
        assert_eq!(check(&policy, &list, body, 1_699_999_699), Err(Rejection::StaleTimestamp), "{id}");
    }
}

#[test]
fn standard_takes_any_good_signature_of_several() {
    let theirs = standardwebhooks::Webhook::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
    let good = theirs.sign("m", 50, b"{}").unwrap();
    let policy = policy(Provider::Standard, &["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]);
    let with = |signature: &str| {
        check(&policy, &[("webhook-id", "m"), ("webhook-timestamp", "50"), ("webhook-signature", signature)], b"{}", 50)
    };
    assert_eq!(with(&good), OK);
    assert_eq!(with(&format!("v1,AAAA v2,xyz {good}")), OK);
    assert_eq!(with(&format!("{good} v1,AAAA")), OK);
    assert_eq!(with("v1,AAAA"), BAD);
    assert_eq!(with("v1,not base64"), BAD);
    assert_eq!(with(&good.replacen("v1,", "v1a,", 1)), BAD);
    assert!(is_malformed(with(&good.replacen("v1,", "v2,", 1))));
    assert!(is_malformed(with(&good["v1,".len()..])));
    let flood = format!("{}{good}", "v1,AAAA ".repeat(16));
    assert_eq!(with(&flood), BAD);
    assert_eq!(with(""), MISSING);
    let dotted = [("webhook-id", "m.50"), ("webhook-timestamp", "50"), ("webhook-signature", good.as_str())];
    assert!(is_malformed(check(&policy, &dotted, b"{}", 50)));
    let dateless = [("webhook-id", "m"), ("webhook-signature", good.as_str())];
    assert_eq!(check(&policy, &dateless, b"{}", 50), MISSING);
}

/// Key and signature made with OpenSSL 3.
#[test]
fn standard_takes_ed25519() {
    let policy = policy(Provider::Standard, &["whpk_u8mbG8yybNOmXb005IJ+yxevmwQgfoKd79obgId3YsE="]);
    let body = br#"{"type":"contact.created"}"#;
    let good = "v1a,pvMIUBYJ+W2yZ9CZ9wUKbZUqVEoowaeGtS8Dz3z8yRWLT7SB3V21ooDjfm7EvIRVv8mvaG9fIY034OWxrXiXAg==";
    let with = |signature: &str, body: &[u8]| {
        let id = ("webhook-id", "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W");
        check(
            &policy,
            &[id, ("webhook-timestamp", "1674087231"), ("webhook-signature", signature)],
            body,
            1_674_087_231,
        )
    };
    assert_eq!(with(good, body), OK);
    assert_eq!(with(&format!("v1,AAAA {good}"), body), OK);
    assert_eq!(with(good, b"{}"), BAD);
    assert_eq!(with(&good.replacen("v1a", "v1", 1), body), BAD);
    assert_eq!(with(&good.replacen("pvM", "pvN", 1), body), BAD);
}

#[test]
fn registries_take_authorization_in_every_form() {
    let policy = policy(Provider::Distribution, &["s3cret", "user:pw"]);
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    for good in ["s3cret", "Bearer s3cret", "bearer s3cret", &basic("any:s3cret"), &basic("user:pw"), &basic("s3cret")]
    {
        assert_eq!(check(&policy, &[("Authorization", good)], b"", 0), OK, "{good}");
    }
    for bad in ["s3cre", "Bearer s3cret2", "Token s3cret", "Bearer", &basic("user:pwd"), &basic("s3cret:x"), "Basic !"]
    {
        assert_eq!(check(&policy, &[("Authorization", bad)], b"", 0), BAD, "{bad}");
    }
    assert_eq!(check(&policy, &[], b"", 0), MISSING);
}

fn generic(verify: Verify) -> Policy {
    let spec = WebhookEndpointSpec { verify: Some(verify), ..spec(Provider::Generic) };
    Policy::compile(&spec, vec![Secret::new("k")]).unwrap()
}

#[test]
fn generic_signs_as_configured() {
    let body = b"hello";
    for (algorithm, ring) in [
        (Algorithm::Sha1, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        (Algorithm::Sha256, hmac::HMAC_SHA256),
        (Algorithm::Sha384, hmac::HMAC_SHA384),
        (Algorithm::Sha512, hmac::HMAC_SHA512),
    ] {
        let tag = hmac::sign(&hmac::Key::new(ring, b"k"), body);
        for (encoding, text) in
            [(Encoding::Hex, hex::encode(tag.as_ref())), (Encoding::Base64, STANDARD.encode(tag.as_ref()))]
        {
            let policy = generic(Verify {
                header: "X-Sig".into(),
                algorithm,
                encoding,
                prefix: "sig=".into(),
                ..Verify::default()
            });
            let value = format!("sig={text}");
            assert_eq!(check(&policy, &[("x-sig", &value)], body, 0), OK, "{algorithm:?} {encoding:?}");
            assert_eq!(check(&policy, &[("x-sig", &value)], b"hellp", 0), BAD, "{algorithm:?} {encoding:?}");
            assert!(is_malformed(check(&policy, &[("x-sig", &text)], body, 0)));
        }
    }
}

#[test]
fn generic_signs_a_time_too() {
    let policy = generic(Verify {
        header: "X-Sig".into(),
        timestamp_header: Some("X-Time".into()),
        tolerance: Some("10s".into()),
        ..Verify::default()
    });
    let value = sha256("k", b"100.body");
    let list = [("x-sig", value.as_str()), ("x-time", "100")];
    assert_eq!(check(&policy, &list, b"body", 110), OK);
    assert_eq!(check(&policy, &list, b"body", 111), Err(Rejection::StaleTimestamp));
    assert_eq!(check(&policy, &[list[0], ("x-time", "101")], b"body", 100), BAD);
    assert_eq!(check(&policy, &list[..1], b"body", 100), MISSING);
    assert!(is_malformed(check(&policy, &[list[0], ("x-time", "today")], b"body", 100)));
}

#[test]
fn generic_takes_a_token_after_its_prefix() {
    let verify =
        Verify { header: "X-Key".into(), algorithm: Algorithm::Token, prefix: "Key ".into(), ..Verify::default() };
    let policy = generic(verify);
    assert_eq!(policy.token_header().map(HeaderName::as_str), Some("x-key"));
    assert_eq!(check(&policy, &[("x-key", "Key k")], b"", 0), OK);
    assert_eq!(check(&policy, &[("x-key", "Key kk")], b"", 0), BAD);
    assert!(is_malformed(check(&policy, &[("x-key", "k")], b"", 0)));
}

#[test]
fn the_url_alone_is_enough_only_when_the_endpoint_says_so() {
    let spec = WebhookEndpointSpec { authentication: Authentication::UrlOnly, ..spec(Provider::Dockerhub) };
    let policy = Policy::compile(&spec, vec![]).unwrap();
    assert_eq!(check(&policy, &[], b"", 0), Ok(Verified::UrlOnly));
    let policy = Policy::compile(&spec, vec![Secret::new("s")]).unwrap();
    assert_eq!(check(&policy, &[("Authorization", "Bearer s")], b"", 0), OK);
    assert_eq!(check(&policy, &[("Authorization", "Bearer x")], b"", 0), Ok(Verified::UrlOnly));
}

#[test]
fn what_cannot_be_checked_is_refused_at_once() {
    let compile = |spec: &WebhookEndpointSpec, secrets: &[&str]| {
        Policy::compile(spec, secrets.iter().map(|secret| Secret::new(*secret)).collect()).err()
    };
    for provider in Provider::ALL {
        assert_eq!(compile(&spec(provider), &[]), Some(PolicyError::NoSecret), "{provider:?}");
        assert_eq!(compile(&spec(provider), &["x", "\n"]), Some(PolicyError::EmptySecret(1)), "{provider:?}");
    }
    assert_eq!(compile(&spec(Provider::Generic), &["x"]), Some(PolicyError::NoVerify));
    for bad in ["whsec_!", "whsec_", "whpk_AAAA", "not base64!"] {
        let error = compile(&spec(Provider::Standard), &[bad]).unwrap();
        assert!(matches!(error, PolicyError::BadSecret { index: 0, .. }), "{bad}");
        assert!(bad == "whsec_" || !error.to_string().contains(bad), "{bad}");
    }
    let with = |provider, verify| WebhookEndpointSpec { verify: Some(verify), ..spec(provider) };
    let hmac = Verify { header: "x-sig".into(), ..Verify::default() };
    let token = Verify { algorithm: Algorithm::Token, ..hmac.clone() };
    assert_eq!(compile(&with(Provider::Github, token.clone()), &["x"]), Some(PolicyError::VerifyNotAllowed("github")));
    assert_eq!(compile(&with(Provider::Zot, hmac.clone()), &["x"]), Some(PolicyError::VerifyNotAllowed("zot")));
    assert_eq!(compile(&with(Provider::Zot, token), &["x"]), None);
    for field in ["header", "timestampHeader", "idHeader", "typeHeader"] {
        let mut verify = hmac.clone();
        match field {
            "header" => verify.header = "no header".into(),
            "timestampHeader" => verify.timestamp_header = Some(String::new()),
            "idHeader" => verify.id_header = Some("a:b".into()),
            _ => verify.type_header = Some("é".into()),
        }
        let error = compile(&with(Provider::Generic, verify), &["x"]);
        assert!(matches!(&error, Some(PolicyError::BadHeader { field: at, .. }) if *at == field), "{error:?}");
    }
}

#[test]
fn debug_output_has_no_secret() {
    for provider in Provider::ALL {
        let mut spec = spec(provider);
        if provider == Provider::Generic {
            spec.verify = Some(Verify { header: "x".into(), ..Verify::default() });
        }
        let policy = Policy::compile(&spec, vec![Secret::new("aHVudGVyMg==")]).unwrap();
        let shown = format!("{policy:?}");
        assert!(!shown.contains("aHVudGVyMg") && !shown.contains("hunter2") && !shown.contains("104"), "{shown}");
    }
}

proptest! {
    #[test]
    fn any_flipped_bit_fails(body in prop::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index, bit in 0..8u8) {
        let policy = policy(Provider::Github, &["s"]);
        let signature = format!("sha256={}", sha256("s", &body));
        prop_assert_eq!(check(&policy, &[("x-hub-signature-256", &signature)], &body, 0), OK);
        let mut changed = body.clone();
        changed[at.index(body.len())] ^= 1 << bit;
        prop_assert_eq!(check(&policy, &[("x-hub-signature-256", &signature)], &changed, 0), BAD);
    }

    #[test]
    fn any_changed_signature_fails(at in 0..64usize, to in "[0-9a-f]") {
        let policy = policy(Provider::Github, &["s"]);
        let good = sha256("s", b"body");
        let mut changed = good.clone();
        changed.replace_range(at..=at, &to);
        let result = check(&policy, &[("x-hub-signature-256", &format!("sha256={changed}"))], b"body", 0);
        prop_assert_eq!(result, if changed == good { OK } else { BAD });
    }

    #[test]
    fn no_header_makes_it_panic(value in "[ -~]{0,80}", provider in prop::sample::select(Provider::ALL.to_vec())) {
        let mut spec = spec(provider);
        spec.authentication = Authentication::UrlOnly;
        let secrets = if provider == Provider::Generic { vec![] } else { vec![Secret::new("AAAA")] };
        let policy = Policy::compile(&spec, secrets).unwrap();
        for name in ["x-hub-signature-256", "x-gitea-signature", "x-gitlab-token", "authorization", "webhook-signature"] {
            let list = [("webhook-id", value.as_str()), ("webhook-timestamp", "1"), (name, value.as_str())];
            let _ = check(&policy, &list, b"payload=%", 0);
        }
    }
}
