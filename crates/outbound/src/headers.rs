//! Headers that come from a Secret, and answers that may repeat them.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use k8s_openapi::api::core::v1::Secret;

/// Headers of one hop (RFC 9110, section 7.6.1), and those that belong to the connection and are made anew.
pub const OF_CONNECTION: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::CONTENT_LENGTH,
];

/// The headers that the Secret `name` holds: keys are names. Values are marked as sensitive.
///
/// # Errors
/// For people, without the value: a key that is no header, one of the connection, or one of `reserved`.
pub fn from_secret(secret: &Secret, name: &str, reserved: &[HeaderName]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (key, value) in secret.data.iter().flatten() {
        // Files and `kubectl create secret --from-file` leave a line end behind.
        let value = value.0.trim_ascii_end();
        let (Ok(header), Ok(mut value)) = (HeaderName::try_from(key), HeaderValue::from_bytes(value)) else {
            return Err(format!("Secret {name}: key {key:?} and its value do not make a header"));
        };
        if OF_CONNECTION.contains(&header) {
            return Err(format!("Secret {name}: header {header} is the connection's own"));
        }
        if reserved.contains(&header) {
            return Err(format!("Secret {name}: header {header} is set by Roadstead"));
        }
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

/// The text of an answer on one line.
pub fn snippet(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_string()
}

/// Takes out what the answer repeats of secret headers.
pub fn redact(mut text: String, secrets: &HeaderMap) -> String {
    for value in secrets.values().filter_map(|value| std::str::from_utf8(value.as_bytes()).ok()) {
        // With a scheme in front, the rest alone is the secret too.
        for secret in [value, value.rsplit(' ').next().unwrap_or_default()] {
            if secret.len() >= 4 {
                text = text.replace(secret, "***");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(entries: &[(&str, &str)]) -> Secret {
        let entry = |(key, value): &(&str, &str)| (key.to_string(), ByteString(value.as_bytes().to_vec()));
        Secret { data: Some(entries.iter().map(entry).collect()), ..Secret::default() }
    }

    #[test]
    fn keys_are_names_and_line_ends_go() {
        let headers = from_secret(&secret(&[("Authorization", "Bearer new\n"), ("x-team", "a")]), "s", &[]).unwrap();
        assert_eq!(headers["authorization"], "Bearer new");
        assert_eq!(headers["x-team"], "a");
        assert!(!format!("{headers:?}").contains("new"));
    }

    #[test]
    fn secrets_that_make_no_header_are_refused_without_their_value() {
        let reserved = [HeaderName::from_static("webhook-id")];
        for (key, value) in
            [("bad key", "hunter2"), ("x-ok", "hunter2\u{1}"), ("host", "hunter2"), ("Webhook-Id", "hunter2")]
        {
            let message = from_secret(&secret(&[(key, value)]), "s", &reserved).unwrap_err();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn echoed_secrets_are_taken_out() {
        let headers = from_secret(&secret(&[("authorization", "Bearer hunter2")]), "s", &[]).unwrap();
        assert_eq!(redact("no: Bearer hunter2, hunter2!".into(), &headers), "no: ***, ***!");
    }

    #[test]
    fn snippets_are_one_line() {
        assert_eq!(snippet(b" a\nb\x00\xff \n"), "a b \u{fffd}");
    }
}
