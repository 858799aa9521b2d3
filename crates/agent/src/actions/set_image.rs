//! `setImage`: sets a container's image to what a registry event names.
//!
//! For each container the workload remembers which event set it (annotation `roadstead.dev/set-image`), so that an
//! event that comes again after a restart cannot turn a newer image back.

use async_trait::async_trait;
use bytes::Bytes;
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use roadstead_api::{
    event::ImageChange,
    names::{ANNOTATION_EVENT, ANNOTATION_SET_IMAGE},
    trigger::SetImage as Spec,
};
use serde_json::{Map, Value, json};

use super::{
    Action, Done, Failure, Invalid, Site,
    image::{Choice, ImageRef, Policy},
};
use crate::event::Event;

/// Kinds with a pod template at `spec.template`, all of `apps/v1`, with their plurals.
const KINDS: [(&str, &str); 3] =
    [("Deployment", "deployments"), ("StatefulSet", "statefulsets"), ("DaemonSet", "daemonsets")];
/// Attempts while others write the same object.
const CONFLICTS: u32 = 5;

/// The action.
pub struct SetImage {
    site: Site,
    api: Api<DynamicObject>,
    /// `Deployment default/web`.
    what: String,
    name: String,
    container: String,
    policy: Policy,
}

impl SetImage {
    /// Reads the spec. Errors: an unknown kind, a bad policy, another namespace.
    pub fn new(spec: &Spec, site: Site) -> Result<Self, Invalid> {
        let Some((kind, plural)) = KINDS.iter().find(|(kind, _)| *kind == spec.kind) else {
            let known: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
            return Err(Invalid::spec(format!("setImage.kind {:?} is not one of {}", spec.kind, known.join(", "))));
        };
        let namespace = site.target_namespace(spec.namespace.as_deref())?;
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("apps", "v1", kind), plural);
        Ok(Self {
            api: Api::namespaced_with(site.acting.clone(), &namespace, &resource),
            what: format!("{kind} {namespace}/{}", spec.name),
            name: spec.name.clone(),
            container: spec.container.clone(),
            policy: Policy::new(&spec.policy).map_err(|error| Invalid::spec(format!("setImage.{error}")))?,
            site,
        })
    }

    /// What to write for the workload as it is: a patch and the new image, or the reason why nothing.
    fn decide(&self, workload: &DynamicObject, event: &Event, change: &ImageChange) -> Result<Step, Failure> {
        let pod = &workload.data["spec"]["template"]["spec"];
        let found = ["containers", "initContainers"].into_iter().find_map(|list| {
            let containers = pod[list].as_array()?;
            let container = containers.iter().find(|container| container["name"] == self.container.as_str())?;
            Some((list, container["image"].as_str().unwrap_or_default()))
        });
        let Some((list, image)) = found else {
            return Err(Failure::refused(format!("{} has no container {:?}", self.what, self.container)));
        };
        let Some(current) = ImageRef::parse(image) else {
            return Err(Failure::refused(format!("{} has no image in container {:?}", self.what, self.container)));
        };
        let new = match self.policy.choose(&current, change) {
            Choice::Keep(reason) => return Ok(Step::Keep(reason)),
            Choice::Set(new) if new == image => return Ok(Step::Keep(format!("{new} is set already"))),
            Choice::Set(new) => new,
        };
        let noted = workload.annotations().get(ANNOTATION_SET_IMAGE);
        let mut notes: Map<String, Value> = noted.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        if let Some(note) = notes.get(&self.container)
            && is_superseded(note, &self.site.source, event.position)
        {
            return Ok(Step::Keep("a later event has set the image".into()));
        }
        let note = json!({"source": self.site.source, "position": event.position});
        notes.insert(self.container.clone(), note);
        let annotations =
            json!({ANNOTATION_EVENT: event.spec.id, ANNOTATION_SET_IMAGE: Value::Object(notes).to_string()});
        let patch = json!({
            // With the version that was read: if somebody wrote in between, the answer is 409 and all is read again.
            "metadata": {"resourceVersion": workload.resource_version(), "annotations": annotations},
            "spec": {"template": {"spec": {list: [{"name": self.container, "image": new}]}}},
        });
        Ok(Step::Patch(patch, new))
    }
}

/// Whether the noted event is this one or a later one of the same endpoint. Positions in the hub's log only move forward,
/// also where an endpoint that is made anew counts its sequences from 1. A note without a position, as earlier versions
/// wrote it, gives way to any event.
fn is_superseded(note: &Value, source: &str, position: u64) -> bool {
    note["source"] == source && note["position"].as_u64().is_some_and(|noted| noted >= position)
}

/// What follows from a workload and an event.
#[derive(Debug, PartialEq)]
enum Step {
    /// Leave it, for this reason.
    Keep(String),
    /// Write this strategic merge patch, which sets this image.
    Patch(Value, String),
}

#[async_trait]
impl Action for SetImage {
    async fn perform(&self, event: &Event, _body: Bytes) -> Result<Done, Failure> {
        let Some(change) = &event.spec.image else {
            return Ok(Done::Unneeded("the event is not about an image".into()));
        };
        for _ in 0..CONFLICTS {
            let workload = self.api.get(&self.name).await.map_err(|error| Failure::api(&self.what, &error))?;
            let (patch, new) = match self.decide(&workload, event, change)? {
                Step::Keep(reason) => return Ok(Done::Unneeded(reason)),
                Step::Patch(patch, new) => (patch, new),
            };
            match self.api.patch(&self.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
                Ok(_) => return Ok(Done::Acted(format!("{}: {} set to {new}", self.what, self.container))),
                Err(kube::Error::Api(status)) if status.is_conflict() => continue,
                Err(error) => return Err(Failure::api(&self.what, &error)),
            }
        }
        Err(Failure::transient(format!("{} is written by others all the time", self.what)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_noted_position_of_the_same_endpoint_holds_an_event_back() {
        for (note, expected) in [
            (json!({"source": "main/default/shop", "position": 8}), true),
            (json!({"source": "main/default/shop", "position": 7}), true),
            (json!({"source": "main/default/shop", "position": 6}), false),
            (json!({"source": "main/default/other", "position": 8}), false),
            // Before there were positions.
            (json!({"source": "main/default/shop", "sequence": 8}), false),
            (json!({"source": "main/default/shop", "position": "8"}), false),
            (json!("nonsense"), false),
        ] {
            assert_eq!(is_superseded(&note, "main/default/shop", 7), expected, "{note}");
        }
    }
}
