{{/* What the Pods of all roles share. */}}

{{/* Fields of a Pod's spec, all of the level "restricted". In: (list $ "hub"). */}}
{{- define "roadstead.pod" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index $root.Values $component -}}
serviceAccountName: {{ include "roadstead.account" . }}
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  # The hub's own directory below the volume is private; it must not be opened to the group again at each start.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
# The hub takes deliveries for 5 s more, until every node has learnt that it leaves; ending what is under way takes up to 25 s.
terminationGracePeriodSeconds: 40
{{- if ne $component "hub" }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "roadstead.selector" . | nindent 8 }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Metadata of a Pod. In: (list $ "hub"). */}}
{{- define "roadstead.podMetadata" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
labels:
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- include "roadstead.labels" . | nindent 2 }}
{{- with $values.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Fields of a container, without its arguments, ports and mounts. In: (list $ "hub"). */}}
{{- define "roadstead.container" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) -}}
name: {{ index . 1 }}
image: {{ include "roadstead.image" $root | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
env:
  - {name: RUST_LOG, value: {{ $root.Values.log.level | quote }}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
# Recovering a large log, or an API server that is away, may take its time; being alive may not.
startupProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
  timeoutSeconds: 5
resources: {{- toYaml $values.resources | nindent 2 }}
{{- end -}}

{{/* Arguments that all roles take. In: (list $ "hub"). */}}
{{- define "roadstead.args" -}}
{{- $root := index . 0 -}}
- --admin-listen=0.0.0.0:7081
- --log-format={{ $root.Values.log.format }}
- --system-namespace={{ $root.Release.Namespace }}
{{- if ne (index . 1) "operator" }}
{{- range $root.Values.watchNamespaces }}
- --watch-namespace={{ . }}
{{- end }}
{{- end }}
{{- range (index $root.Values (index . 1)).extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}
