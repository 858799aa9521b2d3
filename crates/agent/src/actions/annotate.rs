//! `annotate`: writes an annotation whose value changes with each event, so that whoever watches the object looks again.

use async_trait::async_trait;
use bytes::Bytes;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use roadstead_api::{
    names::ANNOTATION_EVENT,
    trigger::{Annotate as Spec, AnnotatePreset},
};
use serde_json::json;

use super::{Action, Done, Failure, Invalid, Site};
use crate::event::Event;

/// The action.
pub struct Annotate {
    site: Site,
    api_version: String,
    kind: String,
    name: String,
    namespace: String,
    annotation: String,
    /// A value that does not depend on the event.
    fixed: Option<&'static str>,
}

impl Annotate {
    /// Reads the spec. Errors: fields are missing or contradict each other.
    pub fn new(spec: &Spec, site: Site) -> Result<Self, Invalid> {
        let namespace = site.target_namespace(spec.namespace.as_deref())?;
        // What the preset says counts where the spec says nothing.
        let (annotation, fixed, api_version, kind) = match spec.preset {
            // https://fluxcd.io/flux/components/kustomize/kustomizations/#triggering-a-reconcile
            Some(AnnotatePreset::Flux) => ("reconcile.fluxcd.io/requestedAt", None, "", ""),
            // https://argo-cd.readthedocs.io/en/stable/user-guide/annotations-and-labels/
            Some(AnnotatePreset::Argocd) => {
                ("argocd.argoproj.io/refresh", Some("normal"), "argoproj.io/v1alpha1", "Application")
            }
            None => ("", None, "", ""),
        };
        let or = |given: &str, preset: &str, field: &str| match (given, preset) {
            ("", "") => Err(Invalid::spec(format!("annotate.{field} is missing"))),
            ("", preset) => Ok(preset.to_string()),
            (given, _) => Ok(given.to_string()),
        };
        Ok(Self {
            api_version: or(&spec.api_version, api_version, "apiVersion")?,
            kind: or(&spec.kind, kind, "kind")?,
            annotation: or(&spec.annotation, annotation, "annotation")?,
            name: or(&spec.name, "", "name")?,
            fixed,
            namespace,
            site,
        })
    }

    fn value(&self, event: &Event) -> String {
        match self.fixed {
            Some(value) => value.to_string(),
            None => format!("{} {}", event.spec.received_at, event.spec.id),
        }
    }
}

#[async_trait]
impl Action for Annotate {
    async fn perform(&self, event: &Event, _body: Bytes) -> Result<Done, Failure> {
        let what = format!("{} {}/{}", self.kind, self.namespace, self.name);
        let kind = self.site.tools.kinds.find(&self.api_version, &self.kind).await;
        let kind = kind.map_err(|error| Failure::api(&format!("{} {}", self.api_version, self.kind), &error))?;
        let api: Api<DynamicObject> = match kind.namespaced {
            true => Api::namespaced_with(self.site.acting.clone(), &self.namespace, &kind.resource),
            false if self.site.tools.allow_cross_namespace => Api::all_with(self.site.acting.clone(), &kind.resource),
            false => {
                return Err(Failure::refused(format!(
                    "{} does not live in a namespace; the agent needs --allow-cross-namespace",
                    self.kind
                )));
            }
        };
        let annotations = json!({ &self.annotation: self.value(event), ANNOTATION_EVENT: event.spec.id });
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        match api.patch(&self.name, &PatchParams::default(), &patch).await {
            Ok(_) => Ok(Done::Acted(format!("{what} annotated"))),
            Err(error) => Err(Failure::api(&what, &error)),
        }
    }
}
