//! Request bodies: how they are encoded, how much and how long is read, and the one kind that the wire itself understands,
//! `DeleteOptions`.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;

use super::{Inner, Upload};
use crate::{
    error::{ApiError, ApiResult},
    options::{DeleteOptions, Media, PatchKind, Payload},
    protobuf,
    query::{Problems, Query},
};

impl Inner {
    /// Reads a body whose encoding has been found acceptable. Errors: 400 for a broken transfer, 408, 413.
    pub(super) async fn read(&self, headers: &HeaderMap, body: Upload, encoding: Encoding) -> ApiResult<Payload> {
        let bytes = self.read_bytes(headers, body).await?;
        Ok(match encoding {
            Encoding::Text(media) => Payload { bytes, media },
            Encoding::Protobuf if bytes.is_empty() => Payload::default(),
            Encoding::Protobuf => Payload { bytes: protobuf::to_json(&bytes)?.into(), media: Media::Json },
        })
    }

    async fn read_bytes(&self, headers: &HeaderMap, body: Upload) -> ApiResult<Bytes> {
        let limit = self.limits.body_bytes;
        let too_large = || ApiError::too_large(format!("the request body is larger than {limit} bytes"));
        if http_body::Body::size_hint(&body).lower() > limit as u64 {
            return Err(too_large());
        }
        let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes());
        if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
            return Err(ApiError::unsupported_media_type("compressed request bodies are not supported"));
        }
        let collect: BoxFuture<'_, _> = Box::pin(Limited::new(body, limit).collect());
        match tokio::time::timeout(self.limits.body_read, collect).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(ApiError::bad_request("the request body could not be read")),
            Err(_) => {
                Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "Timeout", "the request body did not arrive in time"))
            }
        }
    }
}

/// The media type without its parameters, in lower case; empty where none is given.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

fn unsupported(accepted: &str) -> ApiError {
    ApiError::unsupported_media_type(format!(
        "the body of the request was in an unknown format - accepted media types include: {accepted}"
    ))
}

/// How a body arrives; protobuf is turned into JSON before any resource sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Text(Media),
    Protobuf,
}

/// How an object is encoded. Errors: 415, also for protobuf where its kind (`binary`) has no such form.
pub(super) fn object_media(headers: &HeaderMap, binary: bool) -> ApiResult<Encoding> {
    match media_type(headers).as_str() {
        "" | "*/*" | "application/json" => Ok(Encoding::Text(Media::Json)),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Encoding::Text(Media::Yaml)),
        "application/vnd.kubernetes.protobuf" if binary => Ok(Encoding::Protobuf),
        // kube-apiserver names protobuf for every kind.
        _ => Err(unsupported("application/json, application/yaml, application/vnd.kubernetes.protobuf")),
    }
}

/// How a patch is encoded. Errors: 415, also for strategic merge where `strategic` is false.
pub(super) fn patch_kind(headers: &HeaderMap, strategic: bool) -> ApiResult<(PatchKind, Encoding)> {
    match media_type(headers).as_str() {
        "application/json-patch+json" => Ok((PatchKind::Json, Encoding::Text(Media::Json))),
        "application/merge-patch+json" => Ok((PatchKind::Merge, Encoding::Text(Media::Json))),
        "application/strategic-merge-patch+json" if strategic => {
            Ok((PatchKind::Strategic, Encoding::Text(Media::Json)))
        }
        "application/apply-patch+yaml" => Ok((PatchKind::Apply, Encoding::Text(Media::Yaml))),
        _ => {
            let strategic = if strategic { ", application/strategic-merge-patch+json" } else { "" };
            Err(unsupported(&format!(
                "application/json-patch+json, application/merge-patch+json{strategic}, application/apply-patch+yaml"
            )))
        }
    }
}

/// `meta.k8s.io/v1` DeleteOptions as sent.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireDeleteOptions {
    dry_run: Option<Vec<String>>,
    grace_period_seconds: Option<i64>,
    orphan_dependents: Option<bool>,
    preconditions: Option<WirePreconditions>,
    propagation_policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WirePreconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

/// The options of a delete: from the body where there is one, else from the query. Errors: 400.
pub(super) fn delete_options(payload: &Payload, query: &Query) -> ApiResult<DeleteOptions> {
    if payload.bytes.iter().all(u8::is_ascii_whitespace) {
        return DeleteOptions::parse(query);
    }
    let unreadable =
        |why: String| ApiError::bad_request(format!("the request body is not a valid DeleteOptions: {why}"));
    let wire: WireDeleteOptions = match payload.media {
        Media::Json => serde_json::from_slice(&payload.bytes).map_err(|error| unreadable(error.to_string()))?,
        Media::Yaml => {
            let text = std::str::from_utf8(&payload.bytes).map_err(|error| unreadable(error.to_string()))?;
            serde_saphyr::from_str(text).map_err(|error| unreadable(error.to_string()))?
        }
    };
    let mut problems = Problems::default();
    let propagation =
        problems.propagation(wire.propagation_policy.as_deref().unwrap_or_default(), wire.orphan_dependents);
    let dry_run: Vec<&str> = wire.dry_run.iter().flatten().map(String::as_str).collect();
    let dry_run = problems.dry_run(&dry_run);
    problems.none("DeleteOptions")?;
    let preconditions = wire.preconditions.unwrap_or_default();
    Ok(DeleteOptions {
        dry_run,
        uid: preconditions.uid,
        resource_version: preconditions.resource_version,
        propagation,
        grace_period_seconds: wire.grace_period_seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Propagation;

    fn headers(content_type: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        headers
    }

    #[test]
    fn media_types() {
        for (text, wanted) in [
            ("", Ok(Encoding::Text(Media::Json))),
            ("application/json; charset=utf-8", Ok(Encoding::Text(Media::Json))),
            ("Application/YAML", Ok(Encoding::Text(Media::Yaml))),
            ("application/vnd.kubernetes.protobuf", Ok(Encoding::Protobuf)),
            ("text/plain", Err(415)),
        ] {
            assert_eq!(object_media(&headers(text), true).map_err(|error| error.code), wanted, "{text}");
        }
        assert_eq!(object_media(&headers("application/vnd.kubernetes.protobuf"), false).unwrap_err().code, 415);
        let kind = |text, strategic| patch_kind(&headers(text), strategic).map(|(kind, _)| kind).map_err(|e| e.code);
        assert_eq!(kind("application/merge-patch+json", false), Ok(PatchKind::Merge));
        assert_eq!(kind("application/apply-patch+yaml", false), Ok(PatchKind::Apply));
        assert_eq!(kind("application/strategic-merge-patch+json", true), Ok(PatchKind::Strategic));
        assert_eq!(kind("application/strategic-merge-patch+json", false), Err(415));
        assert_eq!(kind("application/json", true), Err(415));
    }

    #[test]
    fn delete_options_come_from_the_body_first() {
        let read = |text: &'static str, media, query: &str| {
            let payload = Payload { bytes: text.into(), media };
            delete_options(&payload, &Query::parse(Some(query)).unwrap())
        };
        let body = r#"{"kind":"DeleteOptions","propagationPolicy":"Orphan","preconditions":{"uid":"u","resourceVersion":"5"}}"#;
        let options = read(body, Media::Json, "propagationPolicy=Foreground").unwrap();
        assert_eq!(options.propagation, Some(Propagation::Orphan));
        assert_eq!((options.uid.as_deref(), options.resource_version.as_deref()), (Some("u"), Some("5")));
        assert!(read("dryRun: [All]\ngracePeriodSeconds: 3", Media::Yaml, "").unwrap().dry_run);
        assert_eq!(
            read(" \n", Media::Json, "propagationPolicy=Foreground").unwrap().propagation,
            Some(Propagation::Foreground)
        );
        for (bad, code) in [
            ("{", 400),
            ("5", 400),
            (r#"{"dryRun":["Some"]}"#, 422),
            (r#"{"propagationPolicy":"Odd"}"#, 422),
            (r#"{"propagationPolicy":"Orphan","orphanDependents":true}"#, 422),
        ] {
            assert_eq!(read(bad, Media::Json, "").unwrap_err().code, code, "{bad}");
        }
    }
}
