//! Which requests are recorded, and how: one JSON object on one line.
//!
//! Recorded is what changes something, and what was refused for want of rights. Not recorded: reads; reviews, which change
//! nothing; and the ceaseless heartbeats of controllers (leases, events, and statuses written in process), which would push
//! what people did out of the log. A record has no bodies, headers or query values, so no secret can be in it.

use roadstead_kubewire::{User, observe::Record};
use serde_json::{Map, Value, json};

/// The line for `record`, without its newline; `None` if it is not recorded.
pub fn line(record: &Record) -> Option<String> {
    is_recorded(record).then(|| Value::Object(fields(record)).to_string())
}

fn is_recorded(record: &Record) -> bool {
    let asked = &record.attributes;
    if matches!(record.code, 401 | 403) {
        return true;
    }
    let writes = match asked.resource.as_str() {
        "" => !matches!(record.method.as_str(), "GET" | "HEAD" | "OPTIONS"),
        _ => matches!(asked.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection"),
    };
    let only_asks = matches!(asked.group.as_str(), "authentication.k8s.io" | "authorization.k8s.io");
    let heartbeat = matches!(asked.resource.as_str(), "leases" | "events")
        || (asked.subresource == "status" && record.peer.is_none());
    writes && !only_asks && !heartbeat
}

fn fields(record: &Record) -> Map<String, Value> {
    let asked = &record.attributes;
    let mut fields = Map::new();
    fields.insert("time".into(), json!(record.received.to_string()));
    fields.insert("id".into(), json!(record.request_id));
    let name = |user: &Option<User>| user.as_ref().map(|user| user.name.clone()).unwrap_or_default();
    let texts = [
        ("user", name(&record.user)),
        ("impersonator", name(&record.impersonator)),
        ("verb", if asked.verb.is_empty() { record.method.to_lowercase() } else { asked.verb.clone() }),
        ("group", asked.group.clone()),
        ("version", asked.version.clone()),
        ("resource", asked.resource.clone()),
        ("subresource", asked.subresource.clone()),
        ("namespace", asked.namespace.clone()),
        ("name", asked.name.clone()),
        ("path", asked.path.clone()),
        ("peer", record.peer.map(|peer| peer.to_string()).unwrap_or_default()),
        ("agent", record.user_agent.clone()),
    ];
    fields.extend(texts.into_iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| (key.into(), json!(text))));
    if record.dry_run {
        fields.insert("dryRun".into(), json!(true));
    }
    fields.insert("code".into(), json!(record.code));
    fields
}

#[cfg(test)]
mod tests {
    use roadstead_kubewire::Attributes;

    use super::*;

    fn record(verb: &str, group: &str, resource: &str, code: u16) -> Record {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Record {
            method: "POST".into(),
            code,
            attributes: Attributes {
                verb: verb.into(),
                group: group.into(),
                resource: resource.into(),
                subresource: subresource.into(),
                ..Attributes::default()
            },
            ..Record::default()
        }
    }

    #[test]
    fn writes_and_refusals_are_recorded() {
        for (verb, group, resource, code, expected) in [
            ("create", "", "secrets", 201, true),
            ("create", "", "secrets", 409, true),
            ("create", "", "serviceaccounts/token", 201, true),
            ("deletecollection", "roadstead.dev", "triggers", 200, true),
            ("get", "", "secrets", 200, false),
            ("watch", "", "secrets", 200, false),
            ("get", "", "secrets", 403, true),
            ("get", "", "secrets", 401, true),
            ("create", "authorization.k8s.io", "selfsubjectaccessreviews", 201, false),
            ("create", "authorization.k8s.io", "subjectaccessreviews", 403, true),
            ("update", "coordination.k8s.io", "leases", 200, false),
            ("patch", "roadstead.dev", "triggers/status", 200, false),
        ] {
            assert_eq!(line(&record(verb, group, resource, code)).is_some(), expected, "{verb} {resource} {code}");
        }
        let mut remote = record("patch", "roadstead.dev", "triggers/status", 200);
        remote.peer = Some(([127, 0, 0, 1], 9).into());
        assert!(line(&remote).is_some(), "over the network, a status is a write like any other");
    }

    #[test]
    fn a_line_says_who_did_what_to_which_object() {
        let mut record = record("delete", "roadstead.dev", "triggers", 200);
        record.user = Some(User { name: "ann\n\"".into(), ..User::default() });
        record.attributes.namespace = "team".into();
        record.attributes.name = "x".into();
        record.dry_run = true;
        let line = line(&record).unwrap();
        assert!(!line.contains('\n'));
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            read,
            json!({"time": "1970-01-01T00:00:00Z", "id": "", "user": "ann\n\"", "verb": "delete", "group": "roadstead.dev",
                "resource": "triggers", "namespace": "team", "name": "x", "dryRun": true, "code": 200})
        );
    }
}
