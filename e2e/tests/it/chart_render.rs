//! The Helm chart as helm renders it, without a cluster: security, rights, switches, and values that are refused.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_e2e::{
    Result, ensure,
    helm::{Helm, chart, name, of_kind, parse, path, values_file, values_files},
    tools,
};
use serde_json::{Value, json};

/// Objects of each values file of the chart.
fn all() -> Result<Vec<(String, Vec<Value>)>> {
    let helm = Helm::offline()?;
    values_files()?.into_iter().map(|(name, file)| Ok((name, helm.objects(&["-f", path(&file)?])?))).collect()
}

/// Pod templates among the objects.
fn pods(objects: &[Value]) -> Vec<(&Value, &Value)> {
    let workloads = objects.iter().filter(|o| o["kind"] == "Deployment" || o["kind"] == "StatefulSet");
    workloads.map(|workload| (workload, &workload["spec"]["template"])).collect()
}

#[test]
fn chart_passes_lint() -> Result<()> {
    let (helm, chart) = (Helm::offline()?, chart());
    for (name, file) in values_files()? {
        let said = helm.say(&["lint", "--strict", path(&chart)?, "-f", path(&file)?])?;
        ensure!(said.code == 0, "{name}: {}{}", said.out, said.err);
    }
    Ok(())
}

#[test]
fn chart_pods_are_restricted() -> Result<()> {
    for (values, objects) in all()? {
        ensure!(!pods(&objects).is_empty(), "{values}: nothing runs");
        for (workload, template) in pods(&objects) {
            let (what, pod) = (format!("{values}: {}", name(workload)), &template["spec"]);
            let security = &pod["securityContext"];
            ensure!(security["runAsNonRoot"] == true && security["runAsUser"] == 65532, "{what}: {security}");
            ensure!(security["seccompProfile"] == json!({"type": "RuntimeDefault"}), "{what}: {security}");
            for key in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
                ensure!(pod[key].is_null(), "{what}: {key}");
            }
            for volume in pod["volumes"].as_array().into_iter().flatten() {
                ensure!(volume["hostPath"].is_null(), "{what}: {volume}");
            }
            ensure!(pod["serviceAccountName"].as_str().is_some_and(|account| account != "default"), "{what}: account");
            // What the roles need to end in order.
            ensure!(pod["terminationGracePeriodSeconds"].as_u64() >= Some(30), "{what}: grace");
            for container in pod["containers"].as_array().into_iter().flatten() {
                let expected = json!({
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                });
                ensure!(container["securityContext"] == expected, "{what}: {}", container["securityContext"]);
                for (probe, page) in
                    [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
                {
                    let get = json!({"path": page, "port": "admin"});
                    ensure!(container[probe]["httpGet"] == get, "{what}: {probe}");
                }
                ensure!(container["resources"]["requests"]["memory"].is_string(), "{what}: resources");
                ensure!(container["resources"]["limits"]["memory"].is_string(), "{what}: resources");
            }
        }
    }
    Ok(())
}

#[test]
fn chart_arguments_are_the_binary_s() -> Result<()> {
    let program = tools::roadstead()?;
    for (values, objects) in all()? {
        for (workload, template) in pods(&objects) {
            let arguments: Vec<&str> = template["spec"]["containers"][0]["args"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let (verb, flags) = arguments.split_first().expect("a role has arguments");
            // With every value checked, but nothing started: clap looks at `--help` last.
            let output = std::process::Command::new(&program).arg(verb).args(flags).arg("--help").output()?;
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            ensure!(output.status.success(), "{values}: {}: {err}", name(workload));
            for flag in flags {
                let flag = flag.split('=').next().unwrap_or(flag);
                ensure!(out.contains(flag), "{values}: `roadstead {verb}` knows no {flag}");
            }
        }
    }
    Ok(())
}

/// What a role may do: resource with group, names if bound to some, and verbs.
fn rights(role: &Value) -> BTreeSet<String> {
    let words = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for resource in words(&rule["resources"]) {
            let mut verbs = words(&rule["verbs"]);
            verbs.sort();
            let names = words(&rule["resourceNames"]);
            let only = if names.is_empty() { String::new() } else { format!(" {}", names.join(",")) };
            rights.insert(format!("{}/{resource}{only}: {}", words(&rule["apiGroups"]).join(","), verbs.join(" ")));
        }
    }
    rights
}

#[test]
fn chart_rights_are_these_and_no_more() -> Result<()> {
    let helm = Helm::offline()?;
    let both = ["-f", path(&values_file("namespaced"))?, "--set", "watchNamespaces=null"].map(String::from);
    let objects = helm.objects(&both.each_ref().map(String::as_str))?;
    let found: BTreeMap<String, BTreeSet<String>> = of_kind(&objects, "ClusterRole")
        .into_iter()
        .chain(of_kind(&objects, "Role"))
        .map(|role| (name(role), rights(role)))
        .collect();
    let expected = [
        (
            "ClusterRole/default:tide-roadstead-hub",
            &[
                "/events: create patch",
                "/secrets: get list watch",
                "roadstead.dev/registrywebhooks/status: patch",
                "roadstead.dev/registrywebhooks: get list watch",
                "roadstead.dev/subscribers/status: patch",
                "roadstead.dev/subscribers: get list watch",
                "roadstead.dev/webhookendpoints/status: patch",
                "roadstead.dev/webhookendpoints: get list watch",
            ][..],
        ),
        ("Role/tide-roadstead-hub-own", &["/configmaps roadstead-hub: create patch"]),
        ("ClusterRole/default:tide-roadstead-hub-cluster", &["/namespaces kube-system: get"]),
        (
            "ClusterRole/default:tide-roadstead-agent",
            &[
                "/events: create patch",
                "/secrets: get",
                "/serviceaccounts default: impersonate",
                "roadstead.dev/deadletters/status: patch",
                "roadstead.dev/deadletters: create delete",
                "roadstead.dev/deadletters: get list watch",
                "roadstead.dev/triggers/status: patch",
                "roadstead.dev/triggers: get list watch",
            ],
        ),
        (
            "Role/tide-roadstead-agent-own",
            &[
                "/events: create patch",
                "coordination.k8s.io/leases tide-roadstead-agent: get update",
                "coordination.k8s.io/leases: create",
            ],
        ),
        (
            "Role/tide-roadstead-operator-own",
            &[
                "/events: create patch",
                "coordination.k8s.io/leases tide-roadstead-operator: get update",
                "coordination.k8s.io/leases: create",
            ],
        ),
        ("Role/tide-roadstead-operator-default", &["/events: create patch"]),
        (
            "ClusterRole/default:tide-roadstead-operator-cluster",
            &["apiextensions.k8s.io/customresourcedefinitions deadletters.roadstead.dev,\
               registrywebhooks.roadstead.dev,subscribers.roadstead.dev,triggers.roadstead.dev,webhookendpoints.roadstead.dev: create get patch"],
        ),
    ];
    let expected: BTreeMap<String, BTreeSet<String>> = expected
        .into_iter()
        .map(|(role, rights)| (role.to_string(), rights.iter().map(|right| right.to_string()).collect()))
        .collect();
    assert_eq!(found, expected);
    Ok(())
}

#[test]
fn chart_rules_say_why() -> Result<()> {
    let text = Helm::offline()?.render(&["-f", path(&values_file("namespaced"))?])?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let rules: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with("- apiGroups:")).collect();
    ensure!(rules.len() > 10, "only {} rules", rules.len());
    // A rule follows its reason, or the rule that it belongs to by the same group and resource.
    for at in rules {
        let explained = lines[at - 1].starts_with('#') || lines[at - 1].starts_with("verbs:");
        ensure!(explained, "without a reason: {} {}", lines[at], lines[at + 1]);
    }
    Ok(())
}

#[test]
fn chart_stays_in_the_watched_namespaces() -> Result<()> {
    let objects = Helm::offline()?.objects(&["-n", "ground", "-f", path(&values_file("namespaced"))?])?;
    for kind in ["ClusterRole", "ClusterRoleBinding"] {
        let mut found: Vec<String> = of_kind(&objects, kind).into_iter().map(name).collect();
        // Definitions have no namespace.
        found.retain(|name| !name.ends_with("-operator-cluster"));
        ensure!(found.is_empty(), "asks for the whole cluster: {found:?}");
    }
    let namespaces: BTreeSet<&str> =
        of_kind(&objects, "Role").iter().filter_map(|role| role["metadata"]["namespace"].as_str()).collect();
    assert_eq!(namespaces, BTreeSet::from(["default", "ground", "team-a", "team-b"]));
    for (workload, template) in pods(&objects) {
        let arguments = template["spec"]["containers"][0]["args"].to_string();
        let confined = template["metadata"]["labels"]["app.kubernetes.io/component"] != "operator";
        let flags = ["--system-namespace=ground", "--watch-namespace=team-a", "--watch-namespace=team-b"];
        for flag in &flags[..if confined { 3 } else { 1 }] {
            ensure!(arguments.contains(flag), "{}: no {flag}", name(workload));
        }
    }
    Ok(())
}

#[test]
fn chart_bounds_whom_triggers_act_as() -> Result<()> {
    let helm = Helm::offline()?;
    let impersonation = |act_as: &str| -> Result<Vec<Value>> {
        let file = values_file("agent");
        let objects = helm.objects(&["-f", path(&file)?, "--set", act_as])?;
        let roles = of_kind(&objects, "ClusterRole");
        let rules = roles.iter().flat_map(|role| role["rules"].as_array().into_iter().flatten());
        Ok(rules.filter(|rule| rule["verbs"] == json!(["impersonate"])).cloned().collect())
    };
    assert_eq!(impersonation("actAs=null").err().map(|_| ()), Some(()), "unknown at the root");
    assert_eq!(impersonation("agent.actAs={deployer}")?[0]["resourceNames"], json!(["deployer"]));
    assert_eq!(impersonation("agent.actAs={*}")?[0]["resourceNames"], Value::Null);
    assert!(impersonation("agent.actAs=null")?.is_empty(), "nobody");
    Ok(())
}

#[test]
fn chart_parts_can_be_switched_off() -> Result<()> {
    let helm = Helm::offline()?;
    let file = values_file("namespaced");
    for part in ["hub", "agent", "operator"] {
        let objects = helm.objects(&["-f", path(&file)?, "--set", &format!("{part}.enabled=false")])?;
        let of_part = |object: &&Value| object["metadata"]["labels"]["app.kubernetes.io/component"] == part;
        let left: Vec<String> = objects.iter().filter(of_part).map(name).collect();
        ensure!(left.is_empty(), "{part} is off, but there are {left:?}");
    }
    for (switch, kind) in [
        ("networkPolicy.enabled=false", "NetworkPolicy"),
        (
            "hub.podDisruptionBudget.enabled=false,agent.podDisruptionBudget.enabled=false,operator.podDisruptionBudget.enabled=false",
            "PodDisruptionBudget",
        ),
    ] {
        ensure!(!of_kind(&helm.objects(&["-f", path(&file)?])?, kind).is_empty(), "no {kind}");
        let objects = helm.objects(&["-f", path(&file)?, "--set", switch])?;
        ensure!(of_kind(&objects, kind).is_empty(), "{kind} in spite of {switch}");
    }
    Ok(())
}

/// Two that apply the same definition would refuse each other's changes.
#[test]
fn chart_definitions_have_one_owner() -> Result<()> {
    let (helm, file) = (Helm::offline()?, values_file("namespaced"));
    for (set, shipped) in
        [("operator.enabled=true", 0), ("operator.enabled=false", 5), ("operator.enabled=false,crds.install=false", 0)]
    {
        let objects = helm.objects(&["-f", path(&file)?, "--set", set])?;
        let definitions = of_kind(&objects, "CustomResourceDefinition");
        assert_eq!(definitions.len(), shipped, "{set}");
        for definition in definitions {
            assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
            ensure!(definition["metadata"]["labels"]["roadstead.dev/version"].is_string(), "{}", name(definition));
        }
        let keeps = objects.iter().any(|object| object["rules"].to_string().contains("customresourcedefinitions"));
        assert_eq!(keeps, set == "operator.enabled=true", "{set}: rights to definitions");
    }
    Ok(())
}

#[test]
fn chart_denies_what_no_role_needs_on_the_network() -> Result<()> {
    for (values, objects) in all()? {
        let policies = of_kind(&objects, "NetworkPolicy");
        for (workload, template) in pods(&objects) {
            let labels = &template["metadata"]["labels"];
            let covers = |policy: &&&Value| {
                let selector = policy["spec"]["podSelector"]["matchLabels"].as_object();
                selector.is_some_and(|wanted| !wanted.is_empty() && wanted.iter().all(|(k, v)| labels[k] == *v))
            };
            let policy = policies.iter().find(covers);
            let Some(policy) = policy else { roadstead_e2e::bail!("{values}: {} has no policy", name(workload)) };
            assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
            let ports: BTreeSet<String> = policy["spec"]["ingress"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|rule| rule["ports"].as_array().into_iter().flatten())
                .map(|port| port["port"].to_string())
                .collect();
            let public = labels["app.kubernetes.io/component"] == "hub";
            let expected: &[&str] = match (public, values.as_str()) {
                (true, "proxied-values") => &["\"admin\"", "\"aggregate\"", "\"public\""],
                (true, _) => &["\"admin\"", "\"public\""],
                _ => &["\"admin\""],
            };
            assert_eq!(ports.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{values}");
        }
    }
    Ok(())
}

#[test]
fn chart_refuses_wrong_values_and_says_which() -> Result<()> {
    let (helm, hub, agent) = (Helm::offline()?, values_file("hub"), values_file("agent"));
    for (file, set, said) in [
        (&hub, "hub.publicUrl=ftp://hub", "/hub/publicUrl"),
        (&hub, "hub.publicUrl=", "hub.publicUrl is required"),
        (&hub, "hub.persistance.size=1Gi", "'persistance' not allowed"),
        (&hub, "hub.persistence.size=much", "/hub/persistence/size"),
        (&hub, "hub.persistence.accessModes={ReadWriteMany}", "/hub/persistence/accessModes"),
        (&hub, "hub.replicas=2", "'replicas' not allowed"),
        (&hub, "hub.tls.secretName=", "the hub needs TLS"),
        (&hub, "hub.tls.secretName=,hub.trustedProxies={10.0.0.0/8},hub.tls.privateCa=true", "hub.tls.privateCa says"),
        (&hub, "hub.trustedProxies={10.0.0.1}", "/hub/trustedProxies/0"),
        (&hub, "image.digest=abc", "/image/digest"),
        (&hub, "watchNamespaces={Team_A}", "/watchNamespaces/0"),
        (&hub, "operator.replicas=0", "/operator/replicas"),
        (&hub, "hub.enabled=false,operator.enabled=false", "nothing to install"),
        (&hub, "hub.serviceAccount.create=false", "hub.serviceAccount.name must name"),
        (&agent, "agent.hubs=null", "agent.hubs must name at least one hub"),
        (&agent, "agent.hubs[0].secret=x", "'secret' not allowed"),
    ] {
        let directory = chart();
        let said_by = helm.say(&["template", "x", path(&directory)?, "-f", path(file)?, "--set", set])?;
        ensure!(said_by.code != 0, "{set} is taken");
        ensure!(said_by.err.contains(said), "{set}: {}", said_by.err);
    }
    Ok(())
}

/// Fields that Kubernetes never lets change, for values that a user may well change.
#[test]
fn chart_upgrade_touches_no_immutable_field() -> Result<()> {
    let helm = Helm::offline()?;
    let hub = values_file("hub");
    let fixed = |text: &str| -> Result<BTreeMap<String, Value>> {
        Ok(parse(text)?
            .iter()
            .filter_map(|object| {
                let spec = &object["spec"];
                let fixed = match object["kind"].as_str()? {
                    "StatefulSet" => {
                        json!([
                            spec["selector"],
                            spec["serviceName"],
                            spec["podManagementPolicy"],
                            spec["volumeClaimTemplates"]
                        ])
                    }
                    "Deployment" => json!([spec["selector"]]),
                    "PersistentVolumeClaim" => {
                        json!([spec["accessModes"], spec["storageClassName"], spec["volumeName"]])
                    }
                    "RoleBinding" | "ClusterRoleBinding" => object["roleRef"].clone(),
                    _ => return None,
                };
                Some((name(object), fixed))
            })
            .collect())
    };
    let before = fixed(&helm.render(&["-f", path(&hub)?])?)?;
    ensure!(before.len() >= 6, "{before:?}");
    for change in [
        "hub.persistence.size=40Gi,hub.logQuota=36Gi",
        "image.tag=9.9.9,log.level=debug",
        "hub.publicUrl=https://other.example.com,hub.podLabels.a=b,hub.service.type=LoadBalancer",
        "agent.enabled=true,agent.hubs[0].name=main,agent.hubs[0].secretName=x,operator.replicas=1",
    ] {
        let after = fixed(&helm.render(&["-f", path(&hub)?, "--set", change])?)?;
        for (object, fields) in &before {
            ensure!(after.get(object) == Some(fields), "{change} changes {object}: {:?}", after.get(object));
        }
    }
    Ok(())
}
