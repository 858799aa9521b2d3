//! Paths to routes. A path is cut at `/` before it is decoded, so an encoded slash stays inside its segment, where it is refused.

use crate::{
    error::{ApiError, ApiResult},
    query::percent_decode,
};

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Objects.
    Resource(Target),
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/G`.
    Group(String),
    /// `/api/v1` (empty group) or `/apis/G/V`.
    GroupVersion {
        /// API group.
        group: String,
        /// Version.
        version: String,
    },
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3`.
    OpenApiIndex,
    /// `/openapi/v3/api/v1` or `/openapi/v3/apis/G/V`.
    OpenApi {
        /// API group.
        group: String,
        /// Version.
        version: String,
    },
    /// `/healthz`, `/livez`, `/readyz`, and single checks below them.
    Health {
        /// Which of the three.
        probe: Probe,
        /// Name of one check, where the path names one.
        check: Option<String>,
    },
    /// `/version`.
    Version,
    /// `/watch/` below a version: served by Kubernetes for old clients only, refused here.
    DeprecatedWatch,
    /// Nothing.
    Unknown,
}

/// Which question a health check answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `/healthz`: both of the others.
    Health,
    /// `/livez`: a process that should not be restarted.
    Live,
    /// `/readyz`: a process that should get requests.
    Ready,
}

/// The objects that a path names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// API group; empty for core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Namespace, where the path has one.
    pub namespace: Option<String>,
    /// Plural of the resource.
    pub plural: String,
    /// Name of the object; `None` for all of them.
    pub name: Option<String>,
    /// Subresource.
    pub subresource: Option<String>,
}

impl Route {
    /// Reads a path. Errors: 400 for broken escapes and for segments that cannot be names.
    pub fn parse(path: &str) -> ApiResult<Self> {
        let trimmed = path.trim_start_matches('/').trim_end_matches('/');
        let mut segments = Vec::with_capacity(8);
        for segment in trimmed.split('/') {
            segments.push(checked_segment(&percent_decode(segment)?)?);
        }
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        if segments.contains(&"") {
            return Ok(Route::Unknown);
        }
        Ok(match segments.as_slice() {
            ["api"] => Route::CoreVersions,
            ["api", version] => group_version("", version),
            ["api", version, rest @ ..] => resource("", version, rest),
            ["apis"] => Route::Groups,
            ["apis", group] => Route::Group((*group).into()),
            ["apis", group, version] => group_version(group, version),
            ["apis", group, version, rest @ ..] => resource(group, version, rest),
            ["openapi", "v2"] => Route::OpenApiV2,
            ["openapi", "v3"] => Route::OpenApiIndex,
            ["openapi", "v3", "api", version] => open_api("", version),
            ["openapi", "v3", "apis", group, version] => open_api(group, version),
            ["healthz", check @ ..] => health(Probe::Health, check),
            ["livez", check @ ..] => health(Probe::Live, check),
            ["readyz", check @ ..] => health(Probe::Ready, check),
            ["version"] => Route::Version,
            _ => Route::Unknown,
        })
    }
}

/// Refuses what no path segment may be: Kubernetes' path segment names.
fn checked_segment(segment: &str) -> ApiResult<String> {
    if segment == "." || segment == ".." || segment.contains(['/', '%']) || segment.chars().any(char::is_control) {
        return Err(ApiError::bad_request(format!("{segment:?} may not be part of a path")));
    }
    Ok(segment.to_string())
}

fn group_version(group: &str, version: &str) -> Route {
    Route::GroupVersion { group: group.into(), version: version.into() }
}

fn open_api(group: &str, version: &str) -> Route {
    Route::OpenApi { group: group.into(), version: version.into() }
}

fn health(probe: Probe, check: &[&str]) -> Route {
    match check {
        [] => Route::Health { probe, check: None },
        [name] => Route::Health { probe, check: Some((*name).into()) },
        _ => Route::Unknown,
    }
}

/// `namespaces/X` is the Namespace X; `namespaces/X/status` and `/finalize` are its subresources; else what follows lives in X.
fn resource(group: &str, version: &str, rest: &[&str]) -> Route {
    let target = |namespace: Option<&str>, plural: &str, name: Option<&str>, sub: Option<&str>| {
        Route::Resource(Target {
            group: group.into(),
            version: version.into(),
            namespace: namespace.map(str::to_string),
            plural: plural.into(),
            name: name.map(str::to_string),
            subresource: sub.map(str::to_string),
        })
    };
    match rest {
        ["watch", _, ..] => Route::DeprecatedWatch,
        ["namespaces", name, sub @ ("status" | "finalize")] => target(None, "namespaces", Some(name), Some(sub)),
        ["namespaces", namespace, plural] => target(Some(namespace), plural, None, None),
        ["namespaces", namespace, plural, name] => target(Some(namespace), plural, Some(name), None),
        ["namespaces", namespace, plural, name, sub] => target(Some(namespace), plural, Some(name), Some(sub)),
        [plural] => target(None, plural, None, None),
        [plural, name] => target(None, plural, Some(name), None),
        [plural, name, sub] => target(None, plural, Some(name), Some(sub)),
        _ => Route::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(group: &str, parts: [&str; 4]) -> Route {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_string());
        let [namespace, plural, name, subresource] = parts;
        Route::Resource(Target {
            group: group.into(),
            version: "v1".into(),
            namespace: some(namespace),
            plural: plural.into(),
            name: some(name),
            subresource: some(subresource),
        })
    }

    #[test]
    fn paths() {
        for (path, wanted) in [
            ("/api", Route::CoreVersions),
            ("/api/", Route::CoreVersions),
            ("/api/v1", group_version("", "v1")),
            ("/apis", Route::Groups),
            ("/apis/apps", Route::Group("apps".into())),
            ("/apis/apps/v1", group_version("apps", "v1")),
            ("/api/v1/secrets", target("", ["", "secrets", "", ""])),
            ("/api/v1/namespaces", target("", ["", "namespaces", "", ""])),
            ("/api/v1/namespaces/x", target("", ["", "namespaces", "x", ""])),
            ("/api/v1/namespaces/x/status", target("", ["", "namespaces", "x", "status"])),
            ("/api/v1/namespaces/x/finalize", target("", ["", "namespaces", "x", "finalize"])),
            ("/api/v1/namespaces/x/secrets", target("", ["x", "secrets", "", ""])),
            ("/api/v1/namespaces/x/secrets/y", target("", ["x", "secrets", "y", ""])),
            ("/apis/apps/v1/namespaces/x/deployments/y/scale", target("apps", ["x", "deployments", "y", "scale"])),
            ("/apis/g/v1/things/system%3Ay", target("g", ["", "things", "system:y", ""])),
            ("/api/v1/watch/secrets", Route::DeprecatedWatch),
            ("/api/v1/namespaces//secrets", Route::Unknown),
            ("/api/v1/namespaces/x/pods/y/proxy/z", Route::Unknown),
            ("/openapi/v3", Route::OpenApiIndex),
            ("/openapi/v3/apis/apps/v1", open_api("apps", "v1")),
            ("/openapi/v2", Route::OpenApiV2),
            ("/openapi/v1", Route::Unknown),
            ("/readyz", Route::Health { probe: Probe::Ready, check: None }),
            ("/livez/ping", Route::Health { probe: Probe::Live, check: Some("ping".into()) }),
            ("/version", Route::Version),
            ("/", Route::Unknown),
        ] {
            assert_eq!(Route::parse(path), Ok(wanted), "{path}");
        }
    }

    #[test]
    fn segments_that_are_no_names_are_refused() {
        for path in ["/api/v1/secrets/..", "/api/v1/secrets/%2e%2E", "/api/v1/secrets/a%2fb", "/a%", "/a%25b", "/a%00"]
        {
            assert_eq!(Route::parse(path).unwrap_err().code, 400, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_answered(path in "(/([a-z.%]{0,8}|api|apis|v1|namespaces|\\PC{0,4})){0,8}") {
            let _ = Route::parse(&path);
        }
    }
}
