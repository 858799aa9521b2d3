//! Typed Go clients send protobuf: what kubectl makes that way must be what it makes from the same object in JSON.

use serde_json::Value;

use crate::plane::{ADMIN, Plane, kubectl};

/// The object as it is served, without what differs from one creation to the next.
async fn essence(plane: &Plane, path: &str, name: &str) -> Value {
    let request = http::Request::get(format!("{path}/{name}")).body(Vec::new()).unwrap();
    let mut object: Value = plane.admin().request(request).await.unwrap();
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["name", "uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        metadata.remove(field);
    }
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        labels.remove("kubernetes.io/metadata.name");
    }
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_and_json_make_the_same_objects() {
    let plane = Plane::start().await;
    let admin = plane.kubeconfig(ADMIN).await;
    for (kind, path, rest) in [
        (
            "secret",
            "/api/v1/namespaces/default/secrets",
            &["generic", "--from-literal=a=\u{1f980}", "--type=example.com/odd"][..],
        ),
        ("service", "/api/v1/namespaces/default/services", &["nodeport", "--tcp=80:http", "--node-port=30080"]),
        (
            "deployment",
            "/apis/apps/v1/namespaces/default/deployments",
            &["--image=web:1", "--replicas=0", "--port=8080", "--", "run", ""],
        ),
        (
            "rolebinding",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
            &["--clusterrole=view", "--user=ann", "--serviceaccount=default:bot"],
        ),
        (
            "clusterrolebinding",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            &["--clusterrole=view", "--group=all"],
        ),
    ] {
        // A sub-kind such as `generic` comes before the name.
        let (sub, rest) = match rest {
            [sub, rest @ ..] if !sub.starts_with('-') => (Some(*sub), rest),
            rest => (None, rest),
        };
        let create: Vec<&str> =
            ["create", kind].into_iter().chain(sub).chain(["x"]).chain(rest.iter().copied()).collect();
        let run = async |extra: &[&str]| {
            let mut arguments = create.clone();
            arguments.splice(2..2, extra.iter().copied());
            let (output, text) = kubectl(&admin, &arguments).await;
            assert!(output.status.success(), "{arguments:?} {}", String::from_utf8_lossy(&output.stderr));
            text
        };
        let mut rendered: Value = serde_json::from_str(&run(&["--dry-run=client", "-o", "json"]).await).unwrap();
        run(&[]).await;
        rendered["metadata"]["name"] = "y".into();
        let file = plane.directory.path().join("object.json");
        std::fs::write(&file, rendered.to_string()).unwrap();
        let (output, _) = kubectl(&admin, &["create", "-f", file.to_str().unwrap()]).await;
        assert!(output.status.success(), "{rendered} {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(essence(&plane, path, "x").await, essence(&plane, path, "y").await, "{kind}");
    }
    plane.stop().await;
}
