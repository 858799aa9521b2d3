//! Which fields of the built-in kinds kube-apiserver leaves out when they are zero.
//!
//! It decodes into Go values: an optional text that is empty is an absent one, unless Go holds a pointer to it; an optional
//! number or boolean is mostly a pointer, so that zero is a value, unless Go holds it directly. The published schemas do not
//! say which is which. Source: the fields' types in k8s.io/api 0.34.

/// Optional numbers and booleans that zero is absent for, by the last word of the definition's name.
const DROPPED: &[(&str, &[&str])] = &[
    ("DaemonSetSpec", &["minReadySeconds"]),
    ("DeploymentSpec", &["minReadySeconds", "paused"]),
    ("DaemonSetStatus", &["observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable"]),
    (
        "DeploymentStatus",
        &[
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
        ],
    ),
    ("ScaleSpec", &["replicas"]),
    ("StatefulSetSpec", &["minReadySeconds"]),
    ("StatefulSetStatus", &["observedGeneration", "readyReplicas", "currentReplicas", "updatedReplicas"]),
    ("Container", &["stdin", "stdinOnce", "tty"]),
    ("ContainerPort", &["hostPort"]),
    ("Event", &["count"]),
    ("EventSeries", &["count"]),
    ("PersistentVolumeClaimVolumeSource", &["readOnly"]),
    ("NFSVolumeSource", &["readOnly"]),
    ("PodSpec", &["hostNetwork", "hostPID", "hostIPC"]),
    ("Probe", &["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]),
    ("ServicePort", &["nodePort"]),
    ("ServiceSpec", &["healthCheckNodePort", "publishNotReadyAddresses"]),
    ("VolumeMount", &["readOnly"]),
    ("CustomResourceColumnDefinition", &["priority"]),
    ("CustomResourceDefinitionSpec", &["preserveUnknownFields"]),
    ("CustomResourceDefinitionVersion", &["deprecated"]),
    (
        "JSONSchemaProps",
        &[
            "exclusiveMaximum",
            "exclusiveMinimum",
            "uniqueItems",
            "nullable",
            "x-kubernetes-embedded-resource",
            "x-kubernetes-int-or-string",
        ],
    ),
    ("Condition", &["observedGeneration"]),
    ("ObjectMeta", &["generation"]),
];

/// Optional texts that may be empty.
const KEPT: &[(&str, &[&str])] = &[
    ("LeaseSpec", &["holderIdentity", "strategy", "preferredHolder"]),
    ("AppArmorProfile", &["localhostProfile"]),
    ("AzureDiskVolumeSource", &["cachingMode", "fsType", "kind"]),
    ("CSIVolumeSource", &["fsType"]),
    ("ClusterTrustBundleProjection", &["name", "signerName"]),
    ("Container", &["restartPolicy"]),
    ("GRPCAction", &["service"]),
    ("HostPathVolumeSource", &["type"]),
    ("ISCSIVolumeSource", &["initiatorName"]),
    ("Lifecycle", &["stopSignal"]),
    ("LoadBalancerIngress", &["ipMode"]),
    ("PersistentVolumeClaimSpec", &["storageClassName", "volumeMode", "volumeAttributesClassName"]),
    ("PersistentVolumeClaimStatus", &["currentVolumeAttributesClassName"]),
    ("PodDNSConfigOption", &["value"]),
    ("PodResourceClaim", &["resourceClaimName", "resourceClaimTemplateName"]),
    ("PodSecurityContext", &["supplementalGroupsPolicy", "fsGroupChangePolicy", "seLinuxChangePolicy"]),
    ("PodSpec", &["runtimeClassName", "preemptionPolicy", "hostnameOverride"]),
    ("PortStatus", &["error"]),
    ("SeccompProfile", &["localhostProfile"]),
    ("SecurityContext", &["procMount"]),
    ("ServicePort", &["appProtocol"]),
    ("ServiceSpec", &["ipFamilyPolicy", "loadBalancerClass", "internalTrafficPolicy", "trafficDistribution"]),
    ("StatefulSetSpec", &["serviceName"]),
    ("TopologySpreadConstraint", &["nodeAffinityPolicy", "nodeTaintsPolicy"]),
    ("TypedLocalObjectReference", &["apiGroup"]),
    ("TypedObjectReference", &["apiGroup", "namespace"]),
    ("VolumeMount", &["recursiveReadOnly", "mountPropagation"]),
    ("WindowsSecurityContextOptions", &["gmsaCredentialSpecName", "gmsaCredentialSpec", "runAsUserName"]),
    ("CustomResourceDefinitionVersion", &["deprecationWarning"]),
    ("CustomResourceSubresourceScale", &["labelSelectorPath"]),
    ("JSONSchemaProps", &["$ref", "x-kubernetes-list-type", "x-kubernetes-map-type"]),
    ("ServiceReference", &["path"]),
    ("ValidationRule", &["reason"]),
    ("WebhookClientConfig", &["url"]),
    ("Preconditions", &["resourceVersion"]),
    ("Event", &["reportingComponent", "reportingInstance"]),
];

fn lists(table: &[(&str, &[&str])], definition: &str, field: &str) -> bool {
    let name = definition.rsplit('.').next().unwrap_or_default();
    table.iter().any(|(of, fields)| *of == name && fields.contains(&field))
}

/// Whether the optional field of a definition is left out when it is zero. `text`: it is a text, else a number or a boolean.
pub(crate) fn dropped(definition: &str, field: &str, text: bool) -> bool {
    if text { !lists(KEPT, definition, field) } else { lists(DROPPED, definition, field) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_name_fields_that_there_are() {
        let definitions = crate::builtin::definitions();
        for (name, fields) in DROPPED.iter().chain(KEPT) {
            let found = definitions.iter().find(|(full, _)| full.rsplit('.').next() == Some(*name));
            let Some((_, schema)) = found else { panic!("no {name}") };
            for field in *fields {
                assert!(schema["properties"].get(field).is_some(), "no {name}.{field}");
            }
        }
        assert!(dropped("io.k8s.api.core.v1.EnvVar", "value", true));
        assert!(!dropped("io.k8s.api.apps.v1.DeploymentSpec", "replicas", false));
        assert!(dropped("io.k8s.api.apps.v1.DeploymentSpec", "paused", false));
    }
}
