//! Content negotiation: which form of the answer a client asked for. Source: Kubernetes API concepts, "Receiving resources as
//! Tables" and "Resource encoding".

use http::{HeaderMap, header};

use crate::error::{ApiError, ApiResult};

/// What a Table's rows carry beside their cells: `includeObject`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// The object's metadata (the default).
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The object itself.
    Plain,
    /// `meta.k8s.io/v1` Table.
    Table,
    /// `meta.k8s.io/v1` PartialObjectMetadata, or its list.
    Metadata,
}

/// One media range of an `Accept` header.
struct Range<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        let parameters = parts.filter_map(|part| part.split_once('=')).map(|(k, v)| (k.trim(), v.trim())).collect();
        Self { media, parameters }
    }

    fn parameter(&self, name: &str) -> &'a str {
        self.parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    fn is_json(&self) -> bool {
        matches!(self.media.to_ascii_lowercase().as_str(), "application/json" | "application/*" | "*/*")
    }

    /// `q=0` means "not this one".
    fn is_refused(&self) -> bool {
        self.parameter("q").parse::<f32>().is_ok_and(|q| q <= 0.0)
    }
}

/// The media ranges of all `Accept` headers in the client's order; no header accepts anything.
fn ranges(headers: &HeaderMap) -> Vec<Range<'_>> {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges: Vec<_> =
        values.flat_map(|value| value.split(',')).map(str::trim).filter(|r| !r.is_empty()).map(Range::parse).collect();
    if ranges.is_empty() {
        ranges.push(Range::parse("*/*"));
    }
    ranges.retain(|range| !range.is_refused());
    ranges
}

/// The first form of the `Accept` headers that can be served. Errors: 406 where there is none.
pub fn form(headers: &HeaderMap) -> ApiResult<Form> {
    for range in ranges(headers).iter().filter(|range| range.is_json()) {
        let known_version = range.parameter("g") == "meta.k8s.io" && range.parameter("v") == "v1";
        match range.parameter("as") {
            "" => return Ok(Form::Plain),
            "Table" if known_version => return Ok(Form::Table),
            "PartialObjectMetadata" | "PartialObjectMetadataList" if known_version => return Ok(Form::Metadata),
            _ => {}
        }
    }
    Err(not_acceptable())
}

/// The version of aggregated discovery that is asked for before plain discovery: `v2` or `v2beta1`. Errors: 406.
pub fn aggregated_discovery(headers: &HeaderMap) -> ApiResult<Option<&'static str>> {
    for range in ranges(headers).iter().filter(|range| range.is_json()) {
        match (range.parameter("as"), range.parameter("g"), range.parameter("v")) {
            ("", ..) => return Ok(None),
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => return Ok(Some("v2")),
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2beta1") => return Ok(Some("v2beta1")),
            _ => {}
        }
    }
    Err(not_acceptable())
}

/// Whether plain JSON will do. Errors: 406.
pub fn plain_json(headers: &HeaderMap) -> ApiResult<()> {
    let served = ranges(headers).iter().any(|range| range.is_json() && range.parameter("as").is_empty());
    if served { Ok(()) } else { Err(not_acceptable()) }
}

/// Whether one of `others` (media types of a document's own) is wanted rather than plain JSON. Errors: 406.
pub fn json_or(headers: &HeaderMap, others: &[&str]) -> ApiResult<bool> {
    for range in ranges(headers) {
        if others.iter().any(|other| range.media.eq_ignore_ascii_case(other)) {
            return Ok(true);
        }
        if range.is_json() && range.parameter("as").is_empty() {
            return Ok(false);
        }
    }
    Err(not_acceptable())
}

/// Whether the client takes gzip.
pub fn gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = values.flat_map(|value| value.split(',')).map(|text| Range::parse(text.trim()));
    ranges.any(|range| range.media.eq_ignore_ascii_case("gzip") && !range.is_refused())
}

fn not_acceptable() -> ApiError {
    ApiError::new(
        http::StatusCode::NOT_ACCEPTABLE,
        "NotAcceptable",
        "only the following media types are accepted: application/json",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(header::ACCEPT, accept.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_first_form_that_can_be_served_wins() {
        const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
        for (accept, wanted) in [
            ("", Ok(Form::Plain)),
            ("*/*", Ok(Form::Plain)),
            ("application/json", Ok(Form::Plain)),
            (TABLE, Ok(Form::Table)),
            (&format!("{TABLE},application/json"), Ok(Form::Table)),
            ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Ok(Form::Plain)),
            ("application/vnd.kubernetes.protobuf, application/json", Ok(Form::Plain)),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Ok(Form::Metadata)),
            ("application/json; as=PartialObjectMetadata; g=meta.k8s.io; v=v1", Ok(Form::Metadata)),
            ("application/vnd.kubernetes.protobuf", Err(406)),
            ("application/json;as=Table;v=v9;g=meta.k8s.io", Err(406)),
            ("application/json;q=0", Err(406)),
        ] {
            assert_eq!(form(&headers(accept)).map_err(|error| error.code), wanted, "{accept}");
        }
    }

    #[test]
    fn aggregated_discovery_is_told_by_its_version() {
        const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        const BETA: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        for (accept, wanted) in [
            ("application/json".to_string(), None),
            (format!("{V2},{BETA},application/json"), Some("v2")),
            (format!("{BETA},application/json"), Some("v2beta1")),
            (format!("application/json,{V2}"), None),
        ] {
            assert_eq!(aggregated_discovery(&headers(&accept)), Ok(wanted), "{accept}");
        }
    }

    #[test]
    fn gzip_is_taken_at_its_word() {
        for (text, wanted) in [("gzip", true), ("br, gzip;q=0.5", true), ("gzip;q=0", false), ("identity", false)] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, text.parse().unwrap());
            assert_eq!(gzip(&headers), wanted, "{text}");
        }
    }
}
