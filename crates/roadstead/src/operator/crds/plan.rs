//! What to do about one CustomResourceDefinition. Pure.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use roadstead_api::names::LABEL_VERSION;
use semver::Version;

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Apply ours.
    Apply,
    /// It is ours, and the API server does not serve it yet, for this reason.
    Wait(String),
    /// It is from this newer version.
    Leave(Version),
    /// Nothing.
    Done,
}

/// Decides. `live` is what the cluster has; `applied` the resourceVersion that our last apply was answered with. Another one means
/// that somebody wrote since, if only the API server the status: applying again changes nothing where nothing is to be changed.
pub fn plan(own: &Version, live: Option<&CustomResourceDefinition>, applied: Option<&str>) -> Step {
    let Some(live) = live else { return Step::Apply };
    match version(live) {
        Some(theirs) if theirs > *own => return Step::Leave(theirs),
        _ => {}
    }
    if live.metadata.resource_version.as_deref() != applied {
        return Step::Apply;
    }
    match served(live) {
        Ok(()) => Step::Done,
        Err(why) => Step::Wait(why),
    }
}

/// The version that a definition says it is from. One that says none is older than all.
fn version(crd: &CustomResourceDefinition) -> Option<Version> {
    crd.labels().get(LABEL_VERSION).and_then(|text| Version::parse(text).ok())
}

/// Whether it is served. Errors: why not.
fn served(crd: &CustomResourceDefinition) -> Result<(), String> {
    let conditions = crd.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut why = "the API server has not taken it up yet".to_string();
    for condition in conditions {
        match (condition.type_.as_str(), condition.status.as_str()) {
            ("Established", "True") => return Ok(()),
            ("NamesAccepted", "False") => why = condition.message.clone().unwrap_or(why),
            _ => {}
        }
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceDefinitionCondition, CustomResourceDefinitionStatus,
    };

    use super::*;

    fn crd(label: &str, conditions: &[(&str, &str)]) -> CustomResourceDefinition {
        let mut crd = roadstead_api::crds().remove(0);
        crd.metadata.labels = (!label.is_empty()).then(|| [(LABEL_VERSION.to_string(), label.to_string())].into());
        crd.metadata.resource_version = Some("7".into());
        let condition = |(kind, status): &(&str, &str)| CustomResourceDefinitionCondition {
            type_: kind.to_string(),
            status: status.to_string(),
            message: Some(format!("{kind} is {status}")),
            ..Default::default()
        };
        let conditions = Some(conditions.iter().map(condition).collect());
        crd.status = Some(CustomResourceDefinitionStatus { conditions, ..Default::default() });
        crd
    }

    #[test]
    fn only_ever_forwards() {
        let own = Version::new(0, 2, 0);
        let up = [("Established", "True")];
        let decide = |label, applied| plan(&own, Some(&crd(label, &up)), applied);
        assert_eq!(plan(&own, None, None), Step::Apply, "missing");
        assert_eq!(plan(&own, None, Some("7")), Step::Apply, "deleted since");
        for older in ["", "0.1.9", "0.2.0", "0.2.0-rc.1", "v0.3.0"] {
            assert_eq!(decide(older, None), Step::Apply, "{older:?}");
        }
        for newer in ["0.2.1", "0.10.0", "1.0.0-rc.1"] {
            assert_eq!(decide(newer, None), Step::Leave(newer.parse().unwrap()));
            assert_eq!(decide(newer, Some("7")), Step::Leave(newer.parse().unwrap()), "even if it was ours");
        }
        assert_eq!(decide("0.2.0", Some("7")), Step::Done);
        assert_eq!(decide("0.2.0", Some("6")), Step::Apply, "somebody wrote since");
    }

    #[test]
    fn done_is_what_is_served() {
        let own = Version::new(0, 2, 0);
        let step = |conditions: &[(&str, &str)]| plan(&own, Some(&crd("0.2.0", conditions)), Some("7"));
        assert!(matches!(step(&[]), Step::Wait(why) if why.contains("not taken it up")));
        assert_eq!(step(&[("NamesAccepted", "True"), ("Established", "True")]), Step::Done);
        let refused = step(&[("NamesAccepted", "False"), ("Established", "False")]);
        assert_eq!(refused, Step::Wait("NamesAccepted is False".into()));
    }

    #[test]
    fn what_is_built_in_says_its_version() {
        for crd in roadstead_api::crds() {
            assert_eq!(version(&crd), Some(env!("CARGO_PKG_VERSION").parse().unwrap()), "{}", crd.name_any());
        }
    }
}
