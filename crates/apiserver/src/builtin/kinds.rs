//! The table of built-in kinds: names, verbs, subresources, columns.

use roadstead_kubewire::{Column, ResourceInfo, Subresource, Verb, error::Cause};
use serde_json::Value;

use super::{Kind, blank, cells, defaults, definitions, rules, warnings};

const ALL: [Verb; 8] =
    [Verb::Create, Verb::Delete, Verb::DeleteCollection, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];

/// What most kinds have in common: nothing to default, nothing to check beyond the schema.
fn kind(group: &str, schema_name: &str, plural: &str, namespaced: bool) -> Kind {
    let (path, name) = schema_name.rsplit_once('.').unwrap_or(("", schema_name));
    let version = path.rsplit('.').next().unwrap_or_default();
    let singular = name.to_lowercase();
    Kind {
        info: ResourceInfo {
            group: group.into(),
            version: version.into(),
            kind: name.into(),
            list_kind: format!("{name}List"),
            plural: plural.into(),
            singular,
            namespaced,
            verbs: ALL.to_vec(),
            schema_name: format!("io.k8s.{schema_name}"),
            definitions: definitions(),
            strategic_merge: true,
            ..ResourceInfo::default()
        },
        blank: || Value::Null,
        default: |_| {},
        validate: |_, _| Vec::new(),
        warn: |_, _| Vec::new(),
        cells: None,
    }
}

impl Kind {
    fn short(mut self, names: &[&str]) -> Self {
        self.info.short_names = names.iter().map(|name| name.to_string()).collect();
        self
    }

    /// `kubectl get all` shows it.
    fn in_all(self) -> Self {
        self.in_category("all")
    }

    fn in_category(mut self, category: &str) -> Self {
        self.info.categories.push(category.into());
        self
    }

    /// Not all objects at once.
    fn one_by_one(mut self) -> Self {
        self.info.verbs.retain(|verb| *verb != Verb::DeleteCollection);
        self
    }

    fn status(mut self) -> Self {
        self.info.subresources.push(Subresource {
            name: "status".into(),
            kind: self.info.kind.clone(),
            group_version: None,
            verbs: vec![Verb::Get, Verb::Patch, Verb::Update],
        });
        self
    }

    /// A subresource with one verb; `group` is that of its kind where it is another, in `v1`.
    fn sub(mut self, name: &str, kind: &str, group: Option<&str>, verb: Verb) -> Self {
        self.info.subresources.push(Subresource {
            name: name.into(),
            kind: kind.into(),
            group_version: group.map(|group| (group.to_string(), "v1".to_string())),
            verbs: vec![verb],
        });
        self
    }

    /// `heading kind path`; a heading that begins with `+` is only shown by `-o wide`.
    fn columns(mut self, columns: &[(&str, &str, &str)]) -> Self {
        self.info.columns = columns
            .iter()
            .map(|(name, kind, path)| Column {
                name: name.trim_start_matches('+').to_string(),
                kind: kind.to_string(),
                format: String::new(),
                description: String::new(),
                priority: i32::from(name.starts_with('+')),
                json_path: path.to_string(),
            })
            .collect();
        self
    }

    fn selectable(mut self, paths: &[&str]) -> Self {
        self.info.selectable_fields = paths.iter().map(|path| path.to_string()).collect();
        self
    }

    fn cells(mut self, cells: fn(&Value) -> Vec<Value>) -> Self {
        self.cells = Some(cells);
        self
    }

    fn blank(mut self, blank: fn() -> Value) -> Self {
        self.blank = blank;
        self
    }

    fn default(mut self, default: fn(&mut Value)) -> Self {
        self.default = default;
        self
    }

    fn warn(mut self, warn: fn(&Value, Option<&Value>) -> Vec<String>) -> Self {
        self.warn = warn;
        self
    }

    fn validate(mut self, validate: fn(&Value, Option<&Value>) -> Vec<Cause>) -> Self {
        self.validate = validate;
        self
    }
}

const AGE: (&str, &str, &str) = ("Age", "date", ".metadata.creationTimestamp");
const CREATED: (&str, &str, &str) = ("Created At", "string", ".metadata.creationTimestamp");

const WIDE_TEMPLATE: [(&str, &str, &str); 3] = [
    ("+Containers", "string", ".spec.template.spec.containers[*].name"),
    ("+Images", "string", ".spec.template.spec.containers[*].image"),
    ("+Selector", "string", ".spec.selector"),
];

/// The kinds that are stored.
pub(super) fn stored() -> Vec<Kind> {
    [core(), workloads(), rbac(), extensions()].concat()
}

fn core() -> Vec<Kind> {
    vec![
        kind("", "api.core.v1.Namespace", "namespaces", false)
            .short(&["ns"])
            .one_by_one()
            .status()
            .sub("finalize", "Namespace", None, Verb::Update)
            .columns(&[("Status", "string", ".status.phase"), AGE])
            .selectable(&[".status.phase"]),
        kind("", "api.core.v1.Secret", "secrets", true)
            .columns(&[("Type", "string", ".type"), ("Data", "string", ".data"), AGE])
            .selectable(&[".type"])
            .default(defaults::secret)
            .validate(rules::secret)
            .cells(cells::secret),
        kind("", "api.core.v1.ConfigMap", "configmaps", true)
            .short(&["cm"])
            .columns(&[("Data", "string", ".data"), AGE])
            .validate(rules::config_map)
            .cells(cells::config_map),
        kind("", "api.core.v1.Event", "events", true)
            .short(&["ev"])
            .columns(&[
                ("Last Seen", "date", ".lastTimestamp"),
                ("Type", "string", ".type"),
                ("Reason", "string", ".reason"),
                ("Object", "string", ".involvedObject.name"),
                ("Message", "string", ".message"),
                ("+Subobject", "string", ".involvedObject.fieldPath"),
                ("+Source", "string", ".source.component"),
                ("+First Seen", "date", ".firstTimestamp"),
                ("+Count", "integer", ".count"),
            ])
            .selectable(&[
                ".involvedObject.kind",
                ".involvedObject.namespace",
                ".involvedObject.name",
                ".involvedObject.uid",
                ".involvedObject.apiVersion",
                ".involvedObject.resourceVersion",
                ".involvedObject.fieldPath",
                ".reason",
                ".reportingComponent",
                ".source.component",
                ".type",
            ])
            .validate(rules::event)
            .cells(cells::event),
        kind("", "api.core.v1.ServiceAccount", "serviceaccounts", true)
            .short(&["sa"])
            .sub("token", "TokenRequest", Some("authentication.k8s.io"), Verb::Create)
            .columns(&[("Secrets", "string", ".secrets"), AGE])
            .cells(cells::service_account),
        kind("", "api.core.v1.Service", "services", true)
            .short(&["svc"])
            .in_all()
            .status()
            .columns(&[
                ("Type", "string", ".spec.type"),
                ("Cluster-IP", "string", ".spec.clusterIP"),
                ("External-IP", "string", ".spec.externalIPs[*]"),
                ("Port(s)", "string", ".spec.ports[*].port"),
                AGE,
                ("+Selector", "string", ".spec.selector"),
            ])
            .selectable(&[".spec.clusterIP", ".spec.type"])
            .blank(blank::service)
            .default(defaults::service)
            .validate(rules::service)
            .warn(warnings::service)
            .cells(cells::service),
        kind("coordination.k8s.io", "api.coordination.v1.Lease", "leases", true)
            .columns(&[("Holder", "string", ".spec.holderIdentity"), AGE])
            .blank(blank::spec)
            .validate(rules::lease),
    ]
}

fn workloads() -> Vec<Kind> {
    let [names, images, selector] = WIDE_TEMPLATE;
    vec![
        kind("apps", "api.apps.v1.Deployment", "deployments", true)
            .short(&["deploy"])
            .in_all()
            .status()
            .columns(&[
                ("Ready", "string", ".status.readyReplicas"),
                ("Up-to-date", "string", ".status.updatedReplicas"),
                ("Available", "string", ".status.availableReplicas"),
                AGE,
                names,
                images,
                selector,
            ])
            .blank(blank::deployment)
            .default(defaults::deployment)
            .validate(rules::deployment)
            .warn(warnings::deployment)
            .cells(cells::deployment),
        kind("apps", "api.apps.v1.StatefulSet", "statefulsets", true)
            .short(&["sts"])
            .in_all()
            .status()
            .columns(&[("Ready", "string", ".status.readyReplicas"), AGE, names, images])
            .blank(blank::stateful_set)
            .default(defaults::stateful_set)
            .validate(rules::stateful_set)
            .warn(warnings::workload)
            .cells(cells::stateful_set),
        kind("apps", "api.apps.v1.DaemonSet", "daemonsets", true)
            .short(&["ds"])
            .in_all()
            .status()
            .columns(&[
                ("Desired", "integer", ".status.desiredNumberScheduled"),
                ("Current", "integer", ".status.currentNumberScheduled"),
                ("Ready", "integer", ".status.numberReady"),
                ("Up-to-date", "integer", ".status.updatedNumberScheduled"),
                ("Available", "integer", ".status.numberAvailable"),
                ("Node Selector", "string", ".spec.template.spec.nodeSelector"),
                AGE,
                names,
                images,
                selector,
            ])
            .blank(blank::daemon_set)
            .default(defaults::daemon_set)
            .validate(rules::daemon_set)
            .warn(warnings::workload)
            .cells(cells::daemon_set),
    ]
}

fn rbac() -> Vec<Kind> {
    let kind = |name: &str, plural: &str, namespaced| {
        kind("rbac.authorization.k8s.io", &format!("api.rbac.v1.{name}"), plural, namespaced)
    };
    let binding = |kind: Kind| {
        kind.columns(&[
            ("Role", "string", ".roleRef.name"),
            AGE,
            ("+Users", "string", ".subjects"),
            ("+Groups", "string", ".subjects"),
            ("+ServiceAccounts", "string", ".subjects"),
        ])
        .cells(cells::role_binding)
    };
    vec![
        kind("Role", "roles", true).columns(&[CREATED]).blank(blank::role),
        kind("ClusterRole", "clusterroles", false).columns(&[CREATED]).blank(blank::role),
        binding(kind("RoleBinding", "rolebindings", true)),
        binding(kind("ClusterRoleBinding", "clusterrolebindings", false)),
    ]
}

fn extensions() -> Vec<Kind> {
    let definition = "apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition";
    let crd = kind("apiextensions.k8s.io", definition, "customresourcedefinitions", false);
    vec![
        crd.short(&["crd", "crds"]).in_category("api-extensions").status().columns(&[CREATED]).blank(blank::definition),
    ]
}

/// The kinds that are only asked.
pub(super) fn reviews() -> Vec<Kind> {
    let review = |group: &str, name: &str, plural: &str, namespaced| {
        let mut kind = kind(&format!("{group}.k8s.io"), &format!("api.{group}.v1.{name}"), plural, namespaced);
        kind.info.verbs = vec![Verb::Create];
        kind.info.strategic_merge = false;
        kind
    };
    vec![
        review("authentication", "TokenReview", "tokenreviews", false),
        review("authentication", "SelfSubjectReview", "selfsubjectreviews", false),
        review("authorization", "SubjectAccessReview", "subjectaccessreviews", false),
        review("authorization", "SelfSubjectAccessReview", "selfsubjectaccessreviews", false),
        review("authorization", "SelfSubjectRulesReview", "selfsubjectrulesreviews", false),
        review("authorization", "LocalSubjectAccessReview", "localsubjectaccessreviews", true),
    ]
}
