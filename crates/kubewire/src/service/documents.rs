//! Everything that is not an object: discovery, OpenAPI, health, version.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use serde_json::Value;

use super::{Inner, access::Caller, respond};
use crate::{
    accept,
    auth::Attributes,
    body::Body,
    catalog::Snapshot,
    discovery,
    error::{ApiError, ApiResult},
    health,
    observe::Recorder,
    openapi,
    query::Query,
    route::{Probe, Route},
};

impl Inner {
    /// Answers a path that names no objects. Errors: 403, 404, 405, 406.
    pub(super) async fn document(
        &self,
        parts: &Parts,
        query: &Query,
        route: Route,
        caller: Caller,
        recorder: &mut Option<Recorder>,
    ) -> ApiResult<Response<Body>> {
        let verb = match parts.method {
            Method::HEAD => "get".to_string(),
            ref method => method.as_str().to_ascii_lowercase(),
        };
        let attributes = Attributes { verb, path: parts.uri.path().into(), ..Attributes::default() };
        if let Some(recorder) = recorder {
            recorder.record.attributes = attributes.clone();
        }
        self.authorize(&caller.user, &attributes).await?;
        if route == Route::Unknown {
            return Err(ApiError::no_such_path());
        }
        if route == Route::DeprecatedWatch {
            return Err(ApiError::new(
                StatusCode::NOT_FOUND,
                "NotFound",
                "paths with /watch/ are not served: use ?watch=true on a list",
            ));
        }
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            return Err(ApiError::method_not_allowed(
                "the server does not allow this method on the requested resource",
            ));
        }
        let headers = &parts.headers;
        let snapshot = self.catalog.snapshot();
        match route {
            Route::CoreVersions | Route::Groups => {
                let core = route == Route::CoreVersions;
                match accept::aggregated_discovery(headers)? {
                    Some(version) => Ok(aggregated(&discovery::aggregated(&snapshot, core, version), version, headers)),
                    None if core => Ok(respond::document(&discovery::core_versions(&snapshot, &self.address))),
                    None => Ok(respond::document(&discovery::groups(&snapshot))),
                }
            }
            Route::Group(name) => plain(headers, discovery::group(&snapshot, &name)),
            Route::GroupVersion { group, version } => plain(headers, discovery::resources(&snapshot, &group, &version)),
            Route::Version => {
                accept::plain_json(headers)?;
                // As kube-apiserver writes it, for scripts that read it line by line.
                Ok(respond::json(StatusCode::OK, Body::from(format!("{:#}", self.version))))
            }
            Route::Health { probe, check } => self.probe(probe, check.as_deref(), query).await,
            Route::OpenApiV2 if self.aggregated => plain(headers, Some(openapi::empty_v2())),
            Route::OpenApiV2 => {
                let protobuf = accept::json_or(headers, &[openapi::v2::ASKED, openapi::v2::PROTOBUF])?;
                Ok(if protobuf {
                    tagged(openapi::v2::protobuf(&snapshot), openapi::v2::PROTOBUF, headers)
                } else {
                    tagged(openapi::v2::document(&snapshot).to_string().into_bytes(), "application/json", headers)
                })
            }
            Route::OpenApiIndex => plain(headers, Some(openapi::index(&snapshot, &self.openapi))),
            Route::OpenApi { group, version } => self.open_api(headers, query, &snapshot, &group, &version),
            Route::Resource(_) | Route::DeprecatedWatch | Route::Unknown => Err(ApiError::no_such_path()),
        }
    }

    /// One OpenAPI document. Under the hash that the index names it never changes, and may be kept for ever.
    fn open_api(
        &self,
        headers: &HeaderMap,
        query: &Query,
        snapshot: &Snapshot,
        group: &str,
        version: &str,
    ) -> ApiResult<Response<Body>> {
        accept::plain_json(headers)?;
        let hash = self.openapi.of(snapshot, group, version).ok_or_else(ApiError::no_such_path)?;
        let asked = query.text("hash");
        if !asked.is_empty() && asked != hash {
            let location = format!("/openapi/v3/{}?hash={hash}", openapi::document_name(group, version));
            let mut response = empty(StatusCode::MOVED_PERMANENTLY);
            set(&mut response, header::LOCATION, &location);
            return Ok(response);
        }
        let tag = format!("\"{hash}\"");
        let mut response = if matches_tag(headers, &tag) {
            empty(StatusCode::NOT_MODIFIED)
        } else {
            let text = openapi::document(snapshot, group, version).ok_or_else(ApiError::no_such_path)?;
            respond::json(StatusCode::OK, Body::from(text))
        };
        set(&mut response, header::ETAG, &tag);
        set(&mut response, header::VARY, "Accept");
        if !asked.is_empty() {
            set(&mut response, header::CACHE_CONTROL, "public, immutable, max-age=31536000");
        }
        Ok(response)
    }

    async fn probe(&self, probe: Probe, only: Option<&str>, query: &Query) -> ApiResult<Response<Body>> {
        let mut checks = self.in_time(async { Ok(self.health.check(probe).await) }).await?;
        if let Some(only) = only {
            checks.retain(|check| check.name == only);
            if checks.is_empty() {
                return Err(ApiError::no_such_path());
            }
        }
        Ok(health::answer(probe, &checks, query.flag("verbose")?.unwrap_or(false)))
    }
}

fn plain(headers: &HeaderMap, document: Option<Value>) -> ApiResult<Response<Body>> {
    accept::plain_json(headers)?;
    document.map(|document| respond::document(&document)).ok_or_else(ApiError::no_such_path)
}

/// Aggregated discovery, which clients ask for again with the tag of what they have.
fn aggregated(document: &Value, version: &str, headers: &HeaderMap) -> Response<Body> {
    let media = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    tagged(document.to_string().into_bytes(), &media, headers)
}

/// A document with its hash as its tag; only that for whoever has it already.
fn tagged(document: Vec<u8>, media: &str, headers: &HeaderMap) -> Response<Body> {
    let hash = ring::digest::digest(&ring::digest::SHA256, &document);
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    let tag = format!("\"{hash}\"");
    let mut response = if matches_tag(headers, &tag) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        respond::json(StatusCode::OK, Body::from(document))
    };
    set(&mut response, header::CONTENT_TYPE, media);
    set(&mut response, header::ETAG, &tag);
    set(&mut response, header::VARY, "Accept");
    response
}

fn empty(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Whether `If-None-Match` names `tag`.
fn matches_tag(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).any(|known| known == tag || known == "*")
}
