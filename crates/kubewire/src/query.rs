//! Query strings to the types of [`options`](crate::options). Percent-decoding is strict, values that Kubernetes does not know are
//! refused, parameters that it does not know are ignored, as the API server does. Nothing here panics: the input is hostile.

use std::borrow::Cow;

use crate::{
    error::{ApiError, ApiResult, Cause},
    options::{
        DeleteOptions, FieldValidation, ListOptions, PatchKind, Propagation, VersionMatch, WatchOptions, WriteOptions,
    },
    selector::{FieldSelector, LabelSelector},
};

/// Decodes `%XX`. Errors: 400 for a broken escape or bytes that are not UTF-8.
pub fn percent_decode(text: &str) -> ApiResult<Cow<'_, str>> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let bytes = text.as_bytes();
    let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    if (0..bytes.len()).any(|at| bytes[at] == b'%' && !(is_hex(at + 1) && is_hex(at + 2))) {
        return Err(ApiError::bad_request(format!("invalid URL escape in {text:?}")));
    }
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| ApiError::bad_request("the URL is not valid UTF-8"))
}

/// A decoded query string: names with their first values, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes the part after `?`. Errors: 400 for broken escapes.
    pub fn parse(text: Option<&str>) -> ApiResult<Self> {
        let decode = |part: &str| -> ApiResult<String> { Ok(percent_decode(&part.replace('+', " "))?.into_owned()) };
        let pairs = text.unwrap_or("").split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        pairs.collect::<ApiResult<_>>().map(Self)
    }

    /// The first value of `name`; an absent parameter is `None`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The first value of `name`, where absent and empty are the same.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// A boolean; a parameter without a value is true. Errors: 400.
    pub fn flag(&self, name: &str) -> ApiResult<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some("" | "1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
            Some(other) => Err(bad_value(name, other, "true or false")),
        }
    }

    /// A number that is not negative. Errors: 400.
    pub fn number(&self, name: &str) -> ApiResult<Option<u64>> {
        match self.text(name) {
            "" => Ok(None),
            // kube-apiserver's words.
            text if text.parse::<i64>().is_err() => {
                let text: String = text.chars().take(64).collect();
                Err(ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))
            }
            text => text.parse().map(Some).map_err(|_| bad_value(name, text, "a number that is not negative")),
        }
    }

    fn selectors(&self) -> ApiResult<(LabelSelector, FieldSelector)> {
        let labels = LabelSelector::parse(self.text("labelSelector"));
        let fields = FieldSelector::parse(self.text("fieldSelector"));
        Ok((
            labels.map_err(|error| ApiError::bad_request(error.to_string()))?,
            fields.map_err(|error| ApiError::bad_request(error.to_string()))?,
        ))
    }

    /// `limit`; less than nothing is no limit. Errors: 400.
    fn limit(&self) -> ApiResult<u64> {
        if self.text("limit").parse::<i64>().is_ok_and(|number| number < 0) {
            Ok(0)
        } else {
            Ok(self.number("limit")?.unwrap_or(0))
        }
    }

    /// `resourceVersion`; none is 0. Errors: 400 for what is no version.
    pub fn version(&self) -> ApiResult<u64> {
        version(self.text("resourceVersion"))
    }

    fn version_match(&self) -> VersionMatch {
        match self.text("resourceVersionMatch") {
            "Exact" => VersionMatch::Exact,
            "NotOlderThan" => VersionMatch::NotOlderThan,
            _ => VersionMatch::Unset,
        }
    }

    fn dry_run(&self) -> Vec<&str> {
        self.0.iter().filter(|(name, value)| name == "dryRun" && !value.is_empty()).map(|(_, value)| &**value).collect()
    }
}

/// A resourceVersion as sent; empty is 0.
///
/// # Errors
/// 400 for anything but a number.
pub fn version(text: &str) -> ApiResult<u64> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        let text: String = text.chars().take(64).collect();
        let why = format!("Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
        ApiError::bad_request(format!("resourceVersion: {why}"))
    })
}

fn bad_value(name: &str, value: &str, expected: &str) -> ApiError {
    let value: String = value.chars().take(64).collect();
    ApiError::bad_request(format!("invalid value {value:?} for query parameter {name}: expected {expected}"))
}

/// All that is wrong with the options of a request, in the order in which kube-apiserver looks at them.
#[derive(Default)]
pub(crate) struct Problems(Vec<Cause>);

impl Problems {
    fn add(&mut self, reason: &str, field: &str, message: String) {
        self.0.push(Cause { reason: reason.into(), message, field: field.into() });
    }

    fn forbid(&mut self, wrong: bool, field: &str, why: &str) {
        if wrong {
            self.add("FieldValueForbidden", field, format!("Forbidden: {why}"));
        }
    }

    fn supported(&mut self, field: &str, value: &str, supported: &[&str]) {
        if !supported.contains(&value) {
            self.unsupported(field, format!("{value:?}"), supported);
        }
    }

    fn unsupported(&mut self, field: &str, value: String, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|name| format!("{name:?}")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", supported.join(", "));
        self.add("FieldValueNotSupported", field, message);
    }

    /// The meaning of `dryRun` values: none is false, `All` is true.
    pub(crate) fn dry_run(&mut self, values: &[&str]) -> bool {
        if values.iter().any(|value| *value != "All") {
            self.unsupported("dryRun", serde_json::json!(values).to_string(), &["All"]);
        }
        !values.is_empty()
    }

    /// Joins `propagationPolicy` (empty: none) with the older `orphanDependents`.
    pub(crate) fn propagation(&mut self, named: &str, orphan: Option<bool>) -> Option<Propagation> {
        const FIELD: &str = "propagationPolicy";
        if named.is_empty() {
            return orphan.map(|orphan| if orphan { Propagation::Orphan } else { Propagation::Background });
        }
        if orphan.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            self.add("FieldValueInvalid", FIELD, format!("Invalid value: {named:?}: {why}"));
        }
        self.supported(FIELD, named, &["Foreground", "Background", "Orphan", "nil"]);
        match named {
            "Orphan" => Some(Propagation::Orphan),
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            _ => None,
        }
    }

    /// Whether there are none. Errors: 422 with all of them; `kind` is what the options are called.
    pub(crate) fn none(self, kind: &str) -> ApiResult<()> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", kind, "", self.0)) }
    }
}

const MATCH: &str = "resourceVersionMatch";
const MATCH_WITH_CONTINUE: &str = "resourceVersionMatch is forbidden when continue is provided";

impl ListOptions {
    /// Reads the query of a list. Errors: 400, or 422 for combinations that Kubernetes forbids.
    pub fn parse(query: &Query) -> ApiResult<Self> {
        let (labels, fields) = query.selectors()?;
        let options = Self {
            labels,
            fields,
            limit: query.limit()?,
            continue_token: Some(query.text("continue")).filter(|token| !token.is_empty()).map(str::to_string),
            resource_version: query.text("resourceVersion").to_string(),
            version_match: query.version_match(),
        };
        let (version, continued) = (options.resource_version.as_str(), options.continue_token.is_some());
        let mut problems = Problems::default();
        let named = query.text(MATCH);
        if !named.is_empty() {
            let without = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            problems.forbid(version.is_empty(), MATCH, without);
            problems.forbid(continued, MATCH, MATCH_WITH_CONTINUE);
            problems.supported(MATCH, named, &["Exact", "NotOlderThan", ""]);
            let exact = options.version_match == VersionMatch::Exact && version == "0";
            problems.forbid(exact, MATCH, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        let initial = query.flag("sendInitialEvents")?.is_some();
        problems.forbid(initial, "sendInitialEvents", "sendInitialEvents is forbidden for list");
        problems.none("ListOptions")?;
        if continued && !version.is_empty() && version != "0" {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        Ok(options)
    }
}

impl WatchOptions {
    /// Reads the query of a watch. Errors: 400, or 422 for combinations that Kubernetes forbids.
    pub fn parse(query: &Query) -> ApiResult<Self> {
        let (labels, fields) = query.selectors()?;
        let options = Self {
            labels,
            fields,
            resource_version: query.text("resourceVersion").to_string(),
            version_match: query.version_match(),
            send_initial_events: query.flag("sendInitialEvents")?,
            bookmarks: query.flag("allowWatchBookmarks")?.unwrap_or(false),
            timeout_seconds: query.number("timeoutSeconds")?,
        };
        let mut problems = Problems::default();
        let (named, initial) = (query.text(MATCH), options.send_initial_events.is_some());
        let requires = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        problems.forbid(initial && options.version_match != VersionMatch::NotOlderThan, MATCH, requires);
        if !named.is_empty() {
            let without = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            problems.forbid(!initial, MATCH, without);
            problems.supported(MATCH, named, &["NotOlderThan"]);
            problems.forbid(!query.text("continue").is_empty(), MATCH, MATCH_WITH_CONTINUE);
        }
        problems.none("ListOptions")?;
        Ok(options)
    }
}

impl WriteOptions {
    /// Reads the query of a create, update or patch (`patch` names its kind). `user_agent` gives the field manager where none
    /// is named. Errors: 400, or 422 where server-side apply lacks a field manager or `force` is not allowed.
    pub fn parse(query: &Query, patch: Option<PatchKind>, user_agent: Option<&str>) -> ApiResult<Self> {
        let kind = if patch.is_some() { "PatchOptions" } else { "CreateOptions" };
        Self::parse_as(kind, query, patch, user_agent)
    }

    /// The same; `kind` is what errors call the options: `CreateOptions`, `UpdateOptions` or `PatchOptions`.
    pub fn parse_as(kind: &str, query: &Query, patch: Option<PatchKind>, user_agent: Option<&str>) -> ApiResult<Self> {
        let (manager, validation) = (query.text("fieldManager"), query.text("fieldValidation"));
        let force = query.flag("force")?;
        let mut problems = Problems::default();
        if patch == Some(PatchKind::Apply) {
            if manager.is_empty() {
                let message = "Required value: is required for apply patch".into();
                problems.add("FieldValueRequired", "fieldManager", message);
            }
        } else if patch.is_some() {
            problems.forbid(force.is_some(), "force", "may not be specified for non-apply patch");
        }
        if manager.len() > 128 {
            let message = "Too long: may not be more than 128 bytes".into();
            problems.add("FieldValueTooLong", "fieldManager", message);
        }
        for (at, c) in manager.char_indices().filter(|(_, c)| c.is_control()) {
            let code = u32::from(c);
            let message = format!("Invalid value: {manager:?}: invalid character U+{code:04X} (at position {at})");
            problems.add("FieldValueInvalid", "fieldManager", message);
        }
        let dry_run = problems.dry_run(&query.dry_run());
        problems.supported("fieldValidation", validation, &["", "Ignore", "Strict", "Warn"]);
        problems.none(kind)?;
        let field_validation = match validation {
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            _ => FieldValidation::Warn,
        };
        let field_manager = if manager.is_empty() { manager_from(user_agent) } else { manager.to_string() };
        Ok(Self { dry_run, field_manager, field_validation, force: force.unwrap_or(false) })
    }
}

/// The part of a user agent before `/`, as the API server takes it.
fn manager_from(user_agent: Option<&str>) -> String {
    let program = user_agent.unwrap_or("").split('/').next().unwrap_or("");
    let program: String = program.chars().filter(|c| !c.is_control()).take(64).collect();
    if program.is_empty() { "unknown".into() } else { program }
}

impl DeleteOptions {
    /// Reads the query of a delete whose body is empty. Errors: 400.
    pub fn parse(query: &Query) -> ApiResult<Self> {
        let grace = match query.text("gracePeriodSeconds") {
            "" => None,
            text => Some(text.parse().map_err(|_| bad_value("gracePeriodSeconds", text, "a number of seconds"))?),
        };
        let orphan = query.flag("orphanDependents")?;
        let mut problems = Problems::default();
        let propagation = problems.propagation(query.text("propagationPolicy"), orphan);
        let dry_run = problems.dry_run(&query.dry_run());
        problems.none("DeleteOptions")?;
        Ok(Self { dry_run, uid: None, resource_version: None, propagation, grace_period_seconds: grace })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(Some(text)).unwrap()
    }

    fn code<T>(result: ApiResult<T>) -> u16 {
        result.map_or_else(|error| error.code, |_| 200)
    }

    #[test]
    fn decoding_is_strict() {
        let parsed = query("a=1&b=x+y&c=%2F%C3%A4&d&a=2&&e=%3D=");
        assert_eq!(parsed.get("a"), Some("1"));
        assert_eq!(
            (parsed.text("b"), parsed.text("c"), parsed.get("d"), parsed.text("e")),
            ("x y", "/ä", Some(""), "==")
        );
        for bad in ["a=%", "a=%2", "a=%zz", "%f=1", "a=%ff"] {
            assert_eq!(code(Query::parse(Some(bad))), 400, "{bad}");
        }
    }

    #[test]
    fn lists_follow_the_api_servers_rules() {
        for (text, wanted) in [
            ("", 200),
            ("limit=5&continue=abc", 200),
            ("resourceVersion=5&resourceVersionMatch=Exact", 200),
            ("resourceVersion=0&resourceVersionMatch=NotOlderThan", 200),
            ("limit=-1", 200),
            ("limit=many", 400),
            ("labelSelector=a%20b", 400),
            ("fieldSelector=a", 400),
            ("resourceVersion=5&continue=abc", 400),
            ("resourceVersionMatch=Exact", 422),
            ("resourceVersion=0&resourceVersionMatch=Exact", 422),
            ("resourceVersion=5&resourceVersionMatch=Newest", 422),
            ("resourceVersion=5&resourceVersionMatch=Exact&continue=abc", 422),
            ("sendInitialEvents=true", 422),
        ] {
            assert_eq!(code(ListOptions::parse(&query(text))), wanted, "{text}");
        }
    }

    #[test]
    fn versions_are_numbers() {
        for (text, wanted) in [("", Ok(0)), ("7", Ok(7)), ("x", Err(400)), ("-1", Err(400)), ("7.0", Err(400))] {
            assert_eq!(version(text).map_err(|error| error.code), wanted, "{text}");
        }
    }

    #[test]
    fn watches_follow_the_api_servers_rules() {
        for (text, wanted) in [
            ("timeoutSeconds=5&allowWatchBookmarks=true", 200),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 200),
            ("sendInitialEvents=true", 422),
            ("sendInitialEvents=true&resourceVersionMatch=Exact", 422),
            ("resourceVersionMatch=NotOlderThan", 422),
            ("timeoutSeconds=soon", 400),
            ("allowWatchBookmarks=perhaps", 400),
        ] {
            assert_eq!(code(WatchOptions::parse(&query(text))), wanted, "{text}");
        }
    }

    #[test]
    fn writes_follow_the_api_servers_rules() {
        use PatchKind::{Apply, Merge};
        for (text, patch, wanted) in [
            ("dryRun=All&fieldValidation=Strict", None, 200),
            ("fieldManager=me&force=true", Some(Apply), 200),
            ("", Some(Apply), 422),
            ("force=true", Some(Merge), 422),
            ("dryRun=Some", None, 422),
            ("fieldValidation=Loud", None, 422),
            ("fieldManager=a%0Ab", None, 422),
        ] {
            assert_eq!(code(WriteOptions::parse(&query(text), patch, None)), wanted, "{text}");
        }
        let all =
            WriteOptions::parse(&query("dryRun=All&dryRun=Odd&fieldValidation=Loud"), Some(Apply), None).unwrap_err();
        let fields: Vec<_> = all.details.unwrap().causes.into_iter().map(|cause| cause.field).collect();
        assert_eq!(fields, ["fieldManager", "dryRun", "fieldValidation"], "all that is wrong is told");
        assert!(all.message.contains(r#"["All","Odd"]"#), "{}", all.message);
        let manager = |agent| WriteOptions::parse(&query(""), None, agent).unwrap().field_manager;
        assert_eq!(manager(Some("kubectl/v1.32 (linux)")), "kubectl");
        assert_eq!(manager(None), "unknown");
    }

    #[test]
    fn deletes_read_propagation_both_ways() {
        let propagation = |text| DeleteOptions::parse(&query(text)).map(|options| options.propagation);
        assert_eq!(propagation("propagationPolicy=Foreground"), Ok(Some(Propagation::Foreground)));
        assert_eq!(propagation("orphanDependents=true"), Ok(Some(Propagation::Orphan)));
        assert_eq!(code(propagation("orphanDependents=true&propagationPolicy=Orphan")), 422);
        assert_eq!(code(propagation("propagationPolicy=Slow")), 422);
        assert_eq!(code(propagation("gracePeriodSeconds=x")), 400);
    }

    proptest! {
        #[test]
        fn any_query_is_answered(text in "\\PC*|([a-zA-Z]{0,20}[=&%+0-9a-f]{0,6}){0,8}") {
            if let Ok(query) = Query::parse(Some(&text)) {
                let _ = (ListOptions::parse(&query), WatchOptions::parse(&query), DeleteOptions::parse(&query));
                let _ = WriteOptions::parse(&query, Some(PatchKind::Apply), Some(&text));
            }
        }

        #[test]
        fn encoded_values_are_read_back(value in "\\PC*") {
            let encoded = percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC);
            let query = query(&format!("q={encoded}"));
            prop_assert_eq!(query.get("q"), Some(value.as_str()));
        }
    }
}
