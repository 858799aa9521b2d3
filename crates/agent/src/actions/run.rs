//! `run`: creates a resource for each event, once: its name is derived from trigger and event.

use async_trait::async_trait;
use bytes::Bytes;
use kube::{
    Api,
    api::{DynamicObject, PostParams},
    core::TypeMeta,
};
use ring::digest;
use roadstead_api::{
    names::{ANNOTATION_EVENT, LABEL_TRIGGER, label_value},
    trigger::Run as Spec,
};
use serde_json::{Value, json};

use super::{Action, Done, Failure, Invalid, Site, template::Template};
use crate::event::Event;

/// Longest name of an object (a DNS subdomain).
const MAX_NAME: usize = 253;

/// The action.
pub struct Run {
    site: Site,
    api_version: String,
    kind: String,
    template: Template,
    /// What the name begins with; `None` where the template makes the whole name from the event.
    prefix: Option<String>,
}

impl Run {
    /// Reads the spec. Errors: what is missing or wrong in the template.
    pub fn new(spec: &Spec, site: Site) -> Result<Self, Invalid> {
        let text = |field: &str| match spec.template[field].as_str() {
            Some(text) if !text.is_empty() && !text.contains("${") => Ok(text.to_string()),
            _ => Err(Invalid::spec(format!("run.template.{field} must be given, without ${{...}}"))),
        };
        let metadata = &spec.template["metadata"];
        if let Some(namespace) = metadata["namespace"].as_str().filter(|namespace| !namespace.contains("${")) {
            site.target_namespace(Some(namespace))?;
        }
        let prefix = match (metadata["name"].as_str(), metadata["generateName"].as_str()) {
            (Some(name), _) if name.contains("${") => None,
            (Some(name), _) => Some(name.to_string()),
            (None, Some(prefix)) => Some(prefix.trim_end_matches('-').to_string()),
            (None, None) => Some(site.trigger.clone()),
        };
        let template =
            Template::compile(&spec.template).map_err(|error| Invalid::spec(format!("run.template: {error}")))?;
        Ok(Self { api_version: text("apiVersion")?, kind: text("kind")?, template, prefix, site })
    }

    /// The object for an event. Errors: an expression fails, or the result is not allowed.
    fn object(&self, event: &Event, namespaced: bool) -> Result<DynamicObject, String> {
        let mut object = self.template.render(&event.spec.filter_view())?;
        let metadata = &mut object["metadata"];
        if metadata.is_null() {
            *metadata = json!({});
        }
        let namespace = match (namespaced, metadata["namespace"].as_str()) {
            (true, asked) => Some(self.site.target_namespace(asked).map_err(|invalid| invalid.message)?),
            (false, _) if self.site.tools.allow_cross_namespace => None,
            (false, _) => {
                return Err(format!(
                    "{} does not live in a namespace; the agent needs --allow-cross-namespace",
                    self.kind
                ));
            }
        };
        let name = match &self.prefix {
            Some(prefix) => self.name(prefix, &event.spec.id),
            None => metadata["name"].as_str().map(String::from).ok_or("metadata.name is not a string")?,
        };
        metadata["annotations"][ANNOTATION_EVENT] = json!(event.spec.id);
        metadata["labels"][LABEL_TRIGGER] = json!(label_value(&self.site.trigger));
        let mut metadata: kube::core::ObjectMeta =
            serde_json::from_value(metadata.take()).map_err(|error| format!("metadata: {error}"))?;
        metadata.name = Some(name);
        metadata.namespace = namespace;
        metadata.generate_name = None;
        let types = Some(TypeMeta { api_version: self.api_version.clone(), kind: self.kind.clone() });
        if let Value::Object(fields) = &mut object {
            for field in ["apiVersion", "kind", "metadata"] {
                fields.remove(field);
            }
        }
        Ok(DynamicObject { types, metadata, data: object })
    }

    /// `prefix-` and ten hex digits of SHA-256 over trigger, endpoint and event id.
    fn name(&self, prefix: &str, id: &str) -> String {
        let identity = format!("{}/{}\n{}\n{id}", self.site.namespace, self.site.trigger, self.site.source);
        let hash = digest::digest(&digest::SHA256, identity.as_bytes());
        let hex: String = hash.as_ref()[..5].iter().map(|byte| format!("{byte:02x}")).collect();
        let cut = prefix.floor_char_boundary(MAX_NAME - 11);
        format!("{}-{hex}", &prefix[..cut])
    }
}

#[async_trait]
impl Action for Run {
    async fn perform(&self, event: &Event, _body: Bytes) -> Result<Done, Failure> {
        let kind = self.site.tools.kinds.find(&self.api_version, &self.kind).await;
        let kind = kind.map_err(|error| Failure::api(&format!("{} {}", self.api_version, self.kind), &error))?;
        let object = self.object(event, kind.namespaced).map_err(Failure::refused)?;
        let acting = self.site.acting.clone();
        let api: Api<DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(acting, namespace, &kind.resource),
            None => Api::all_with(acting, &kind.resource),
        };
        let what = format!("{} {}", self.kind, object.metadata.name.as_deref().unwrap_or_default());
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => Ok(Done::Acted(format!("{what} created"))),
            // The name comes from the event: it was created for it before.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                Ok(Done::Acted(format!("{what} exists already")))
            }
            Err(error) => Err(Failure::api(&what, &error)),
        }
    }
}
