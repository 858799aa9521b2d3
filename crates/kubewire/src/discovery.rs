//! Discovery: which groups, versions and resources there are. Both forms: the older one document per version, and the aggregated
//! one (KEP-3352) that clients prefer. Documents are built from the catalog for each request; they are small, and clients keep them.

use serde_json::{Map, Value, json};

use crate::{
    catalog::Snapshot,
    resource::{ResourceInfo, Subresource, Verb},
};

/// `/api`: the versions of the core group.
pub fn core_versions(snapshot: &Snapshot, address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": versions(snapshot, ""),
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`: the named groups.
pub fn groups(snapshot: &Snapshot) -> Value {
    let groups = group_names(snapshot).into_iter().filter(|name| !name.is_empty());
    let groups: Vec<Value> = groups.map(|name| group_entry(snapshot, name)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/G`, where there is such a group.
pub fn group(snapshot: &Snapshot, name: &str) -> Option<Value> {
    if name.is_empty() || !group_names(snapshot).contains(&name) {
        return None;
    }
    let Value::Object(entry) = group_entry(snapshot, name) else { return None };
    let mut document = Map::from_iter([("kind".to_string(), json!("APIGroup")), ("apiVersion".into(), json!("v1"))]);
    document.extend(entry);
    Some(Value::Object(document))
}

/// `/api/v1` and `/apis/G/V`, where there is such a version.
pub fn resources(snapshot: &Snapshot, group: &str, version: &str) -> Option<Value> {
    let infos = infos(snapshot, group, version);
    let mut resources = Vec::new();
    for info in &infos {
        let mut entry = json!({
            "name": info.plural, "singularName": info.singular, "namespaced": info.namespaced, "kind": info.kind,
            "verbs": verbs(&info.verbs),
        });
        if !info.short_names.is_empty() {
            entry["shortNames"] = json!(info.short_names);
        }
        if !info.categories.is_empty() {
            entry["categories"] = json!(info.categories);
        }
        resources.push(entry);
        for sub in &info.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", info.plural, sub.name), "singularName": "", "namespaced": info.namespaced,
                "kind": sub.kind, "verbs": verbs(&sub.verbs),
            });
            if let Some((group, version)) = &sub.group_version {
                entry["group"] = json!(group);
                entry["version"] = json!(version);
            }
            resources.push(entry);
        }
    }
    let group_version = group_version(group, version);
    (!infos.is_empty())
        .then(|| json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}))
}

/// Aggregated discovery of the core group (`/api`) or of all others (`/apis`), in version `v2` or `v2beta1` of its own API.
pub fn aggregated(snapshot: &Snapshot, core: bool, api_version: &str) -> Value {
    let names = group_names(snapshot).into_iter().filter(|name| name.is_empty() == core);
    let items: Vec<Value> = names
        .map(|name| {
            let metadata = if core { json!({}) } else { json!({"name": name}) };
            let versions: Vec<Value> = versions(snapshot, name)
                .into_iter()
                .map(|version| {
                    let resources: Vec<Value> =
                        infos(snapshot, name, version).into_iter().map(aggregated_resource).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{api_version}"), "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(info: &ResourceInfo) -> Value {
    let mut entry = json!({
        "resource": info.plural,
        "responseKind": {"group": info.group, "version": info.version, "kind": info.kind},
        "scope": if info.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": info.singular,
        "verbs": verbs(&info.verbs),
    });
    if !info.short_names.is_empty() {
        entry["shortNames"] = json!(info.short_names);
    }
    if !info.categories.is_empty() {
        entry["categories"] = json!(info.categories);
    }
    let subresources: Vec<Value> = info.subresources.iter().map(|sub| aggregated_subresource(info, sub)).collect();
    if !subresources.is_empty() {
        entry["subresources"] = Value::from(subresources);
    }
    entry
}

fn aggregated_subresource(info: &ResourceInfo, sub: &Subresource) -> Value {
    let (group, version) =
        sub.group_version.as_ref().map_or((&info.group, &info.version), |(group, version)| (group, version));
    json!({
        "subresource": sub.name,
        "responseKind": {"group": group, "version": version, "kind": sub.kind},
        "verbs": verbs(&sub.verbs),
    })
}

fn group_entry(snapshot: &Snapshot, name: &str) -> Value {
    let entries: Vec<Value> = versions(snapshot, name)
        .into_iter()
        .map(|version| json!({"groupVersion": group_version(name, version), "version": version}))
        .collect();
    json!({"name": name, "versions": entries, "preferredVersion": entries.first()})
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_string() } else { format!("{group}/{version}") }
}

fn group_names(snapshot: &Snapshot) -> Vec<&str> {
    distinct(snapshot.resources.iter().map(|resource| resource.info().group.as_str()))
}

fn versions<'a>(snapshot: &'a Snapshot, group: &str) -> Vec<&'a str> {
    let infos = snapshot.resources.iter().map(|resource| resource.info());
    distinct(infos.filter(|info| info.group == group).map(|info| info.version.as_str()))
}

/// In order of first appearance.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    names.for_each(|name| {
        if !seen.contains(&name) {
            seen.push(name);
        }
    });
    seen
}

fn infos<'a>(snapshot: &'a Snapshot, group: &str, version: &str) -> Vec<&'a ResourceInfo> {
    let infos = snapshot.resources.iter().map(|resource| resource.info());
    let mut infos: Vec<_> = infos.filter(|info| info.group == group && info.version == version).collect();
    infos.sort_by(|one, other| one.plural.cmp(&other.plural));
    infos
}

fn verbs(verbs: &[Verb]) -> Vec<&'static str> {
    verbs.iter().map(|verb| verb.as_str()).collect()
}
