{{/*
The rights of each role: "rules" in the namespaces that are watched, "own" in the release's namespace, "cluster" everywhere, "default"
in the namespace of that name. Every rule says why.
*/}}

{{- define "roadstead.hub.rules" -}}
# Which webhooks there are, who may watch them.
- apiGroups: [roadstead.dev]
  resources: [webhookendpoints, subscribers]
  verbs: [get, list, watch]
# URL, counters and conditions; who is connected, and how far.
- apiGroups: [roadstead.dev]
  resources: [webhookendpoints/status, subscribers/status]
  verbs: [patch]
# Who is to be told when an image changes.
- apiGroups: [roadstead.dev]
  resources: [registrywebhooks]
  verbs: [get, list, watch]
# Whether that works, and which requests by annotation were acted on.
- apiGroups: [roadstead.dev]
  resources: [registrywebhooks/status]
  verbs: [patch]
# Secrets that endpoints and registry webhooks name, to verify signatures, to sign, and to ask registries; watched, so that a rotated
# one takes effect at once. No rule can be narrower: the names are in those objects.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
# Events that `kubectl describe` shows.
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- define "roadstead.hub.own" -}}
# Publishes where the hub is; `roadstead subscriber add` reads it there. Applied, which asks for a creation by name.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [roadstead-hub]
  verbs: [create, patch]
{{- end -}}

{{- define "roadstead.agent.rules" -}}
# What to do with which events, and what could not be done.
- apiGroups: [roadstead.dev]
  resources: [triggers, deadletters]
  verbs: [get, list, watch]
# Position and outcome; what became of a replay.
- apiGroups: [roadstead.dev]
  resources: [triggers/status, deadletters/status]
  verbs: [patch]
# Writes what it gave up on; removes what was replayed, and the oldest when there are too many.
- apiGroups: [roadstead.dev]
  resources: [deadletters]
  verbs: [create, delete]
# Secrets that forwards name: headers to add, authorities to trust.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
# Events that `kubectl describe` shows.
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.agent.actAs }}
# Acts for a Trigger as that Trigger's ServiceAccount, with that account's rights instead of its own.
- apiGroups: [""]
  resources: [serviceaccounts]
  {{- if not (has "*" .Values.agent.actAs) }}
  resourceNames: {{ toJson .Values.agent.actAs }}
  {{- end }}
  verbs: [impersonate]
{{- end }}
{{- end -}}

{{- define "roadstead.agent.own" -}}
{{ include "roadstead.lease" (printf "%s-agent" (include "roadstead.fullname" .)) }}
{{- end -}}

{{- define "roadstead.hub.cluster" -}}
{{- if not .Values.watchNamespaces }}
# Whether this is the cluster that the delivery log is of: its uid says so.
- apiGroups: [""]
  resources: [namespaces]
  resourceNames: [kube-system]
  verbs: [get]
{{- end }}
{{- if .Values.hub.apiService.enabled }}
# Asks whether a user whom the API server has authenticated may read events.
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end -}}
{{- end -}}

{{- define "roadstead.agent.cluster" -}}
{{- end -}}

{{/* Nothing in the namespaces that are watched: definitions belong to the cluster. */}}
{{- define "roadstead.operator.rules" -}}
{{- end -}}

{{- define "roadstead.operator.cluster" -}}
# Keeps our definitions current, and touches no others. Applied, which asks for a creation by name.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames:
    {{- range $path, $_ := .Files.Glob "files/crds/*.yaml" }}
    - {{ (fromYaml ($.Files.Get $path)).metadata.name }}
    {{- end }}
  verbs: [get, create, patch]
{{- end -}}

{{- define "roadstead.operator.default" -}}
# Events about definitions, which have no namespace: Kubernetes keeps such Events in the namespace default.
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- define "roadstead.operator.own" -}}
{{ include "roadstead.lease" (printf "%s-operator" (include "roadstead.fullname" .)) }}
{{- end -}}

{{/* In: the Lease's name. */}}
{{- define "roadstead.lease" -}}
# One replica acts: it holds this Lease. Kubernetes cannot restrict a creation by name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ . }}]
  verbs: [get, update]
# Events that tell who leads.
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* A Role and its binding. In: dict root component namespace suffix rules. */}}
{{- define "roadstead.role" -}}
{{- $me := list .root .component -}}
{{- $cluster := not .namespace -}}
{{- $name := printf "%s-%s%s" (include "roadstead.fullname" .root) .component .suffix -}}
{{- /* Outside of the release's namespace its name tells two releases apart. */}}
{{- if ne (toString .namespace) .root.Release.Namespace }}{{ $name = printf "%s:%s" .root.Release.Namespace $name }}{{ end -}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "ClusterRole" "Role" $cluster }}
metadata:
  name: {{ $name | quote }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "roadstead.labels" $me | nindent 4 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "ClusterRoleBinding" "RoleBinding" $cluster }}
metadata:
  name: {{ $name | quote }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "roadstead.labels" $me | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ ternary "ClusterRole" "Role" $cluster }}
  name: {{ $name | quote }}
subjects:
  - kind: ServiceAccount
    name: {{ include "roadstead.account" $me }}
    namespace: {{ .root.Release.Namespace }}
{{ end -}}
