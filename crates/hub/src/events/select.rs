//! From selectors to a [`Selection`] of the log: what names endpoints narrows the endpoints, so that a watcher of one is not woken by
//! others; the rest becomes a filter over records.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use roadstead_api::names::{LABEL_ENDPOINT, LABEL_TYPE, label_value, parse_event_name};
use roadstead_kubewire::selector::{FieldSelector, LabelSelector, Requirement};

use super::Scope;
use crate::log::{Endpoints, Filter, Record, Selection};

/// Fields that a selector may use, beside `metadata.name` and `metadata.namespace`.
pub(super) const SELECTABLE: [&str; 3] = [".spec.endpoint", ".spec.type", ".spec.id"];

/// What a request selects, within what its user may see.
pub(super) fn selection(
    scope: Scope,
    namespace: Option<&str>,
    labels: &LabelSelector,
    fields: &FieldSelector,
) -> Selection {
    let endpoints = narrow(scope.within(namespace.or(fields.exact("metadata.namespace"))), labels, fields);
    Selection { endpoints, filter: filter(labels, fields) }
}

/// Takes away the endpoints that cannot match. May keep some: the filter decides.
fn narrow(endpoints: Endpoints, labels: &LabelSelector, fields: &FieldSelector) -> Endpoints {
    let mut wanted: Vec<Vec<String>> = Vec::new();
    wanted.extend(fields.exact("spec.endpoint").map(|name| vec![name.to_string()]));
    wanted.extend(fields.exact("metadata.name").map(|name| {
        // A name that is none of an event matches nothing.
        parse_event_name(name).map(|(endpoint, _)| vec![endpoint.to_string()]).unwrap_or_default()
    }));
    wanted.extend(labels.0.iter().filter_map(|requirement| match requirement {
        Requirement::In(key, values) if key == LABEL_ENDPOINT => Some(values.clone()),
        _ => None,
    }));
    wanted.into_iter().fold(endpoints, |endpoints, mut names| match endpoints {
        Endpoints::All => Endpoints::All,
        Endpoints::Namespace(namespace) => {
            names.sort();
            names.dedup();
            Endpoints::Named(names.into_iter().map(|name| (namespace.clone(), name)).collect())
        }
        Endpoints::Named(list) => Endpoints::Named(list.into_iter().filter(|(_, name)| names.contains(name)).collect()),
    })
}

fn filter(labels: &LabelSelector, fields: &FieldSelector) -> Option<Filter> {
    if labels.0.is_empty() && fields.0.is_empty() {
        return None;
    }
    let (labels, fields) = (labels.clone(), fields.clone());
    Some(Arc::new(move |record: &Record| {
        fields.matches(|path| field(record, path)) && (labels.0.is_empty() || labels.matches(&labels_of(record)))
    }))
}

fn field<'a>(record: &'a Record, path: &str) -> Option<Cow<'a, str>> {
    match path {
        "metadata.name" => Some(record.name().into()),
        "metadata.namespace" => Some(record.stream().namespace.as_str().into()),
        "spec.endpoint" => Some(record.stream().name.as_str().into()),
        "spec.type" => Some((*record.kind).into()),
        "spec.id" => Some((*record.id).into()),
        _ => None,
    }
}

fn labels_of(record: &Record) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_ENDPOINT.to_string(), record.stream().name.clone()),
        (LABEL_TYPE.to_string(), label_value(&record.kind)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Endpoints {
        Endpoints::Named(names.iter().map(|name| ("ns".into(), (*name).into())).collect())
    }

    #[test]
    fn selectors_narrow_the_endpoints() {
        let scope = || {
            Scope::Endpoints(vec![("ns".into(), "a".into()), ("ns".into(), "b".into()), ("other".into(), "a".into())])
        };
        let field = |path: &str, value: &str| FieldSelector(vec![(path.into(), value.into(), true)]);
        let label = |values: &[&str]| {
            LabelSelector(vec![Requirement::In(LABEL_ENDPOINT.into(), values.iter().map(|v| (*v).into()).collect())])
        };
        let none = || (LabelSelector::default(), FieldSelector::default());
        let by_field = |path, value| (LabelSelector::default(), field(path, value));
        let by_label = |values| (label(values), FieldSelector::default());
        let cases = [
            (Scope::Everything, None, none(), Endpoints::All),
            (Scope::Everything, Some("ns"), none(), Endpoints::Namespace("ns".into())),
            (Scope::Everything, None, by_field("metadata.namespace", "ns"), Endpoints::Namespace("ns".into())),
            (Scope::Everything, Some("ns"), by_field("spec.endpoint", "a"), named(&["a"])),
            (Scope::Everything, Some("ns"), by_field("metadata.name", "a-00000000000000000007"), named(&["a"])),
            (Scope::Everything, Some("ns"), by_field("metadata.name", "nonsense"), named(&[])),
            (Scope::Everything, Some("ns"), by_field("spec.type", "push"), Endpoints::Namespace("ns".into())),
            (Scope::Everything, Some("ns"), by_label(&["b", "a", "b"]), named(&["a", "b"])),
            (scope(), Some("ns"), none(), named(&["a", "b"])),
            (scope(), Some("ns"), by_field("spec.endpoint", "c"), named(&[])),
            (scope(), Some("ns"), by_label(&["b", "c"]), named(&["b"])),
            (scope(), Some("third"), none(), named(&[])),
        ];
        for (scope, namespace, (labels, fields), expected) in cases {
            assert_eq!(
                selection(scope.clone(), namespace, &labels, &fields).endpoints,
                expected,
                "{scope:?} {fields:?}"
            );
        }
    }
}
