{{/* Names, labels and references to objects. */}}

{{/* Prefix of all names: 40 characters at most, so that what is added to it fits. */}}
{{- define "roadstead.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects a role's Pods; never changes. In: (list $ "hub"). */}}
{{- define "roadstead.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of every object. In: (list $ "hub"). */}}
{{- define "roadstead.labels" -}}
{{- $root := index . 0 -}}
{{ include "roadstead.selector" . }}
app.kubernetes.io/part-of: roadstead
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* A role's ServiceAccount. In: (list $ "hub"). */}}
{{- define "roadstead.account" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) -}}
{{- if $values.serviceAccount.create -}}
{{- default (printf "%s-%s" (include "roadstead.fullname" $root) (index . 1)) $values.serviceAccount.name -}}
{{- else -}}
{{- required (printf "%s.serviceAccount.name must name the ServiceAccount that is there, or set %s.serviceAccount.create" (index . 1) (index . 1)) $values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "roadstead.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* Secret with the hub's certificate; empty if it has none. */}}
{{- define "roadstead.tlsSecret" -}}
{{- if .Values.hub.tls.secretName -}}
{{ .Values.hub.tls.secretName }}
{{- else if .Values.hub.tls.certManager.enabled -}}
{{ include "roadstead.fullname" . }}-hub-tls
{{- end -}}
{{- end -}}

{{- define "roadstead.claim" -}}
{{- default (printf "%s-hub" (include "roadstead.fullname" .)) .Values.hub.persistence.existingClaim -}}
{{- end -}}

{{/* Host of the public URL, without port. */}}
{{- define "roadstead.host" -}}
{{- (split ":" (urlParse .Values.hub.publicUrl).host)._0 -}}
{{- end -}}

{{/* The authority of the listener for the API server, base64: the value, else what the hub has published; empty if it has not yet. */}}
{{- define "roadstead.aggregateCa" -}}
{{- if .Values.hub.apiService.caBundle -}}
{{ .Values.hub.apiService.caBundle }}
{{- else -}}
{{- $published := lookup "v1" "ConfigMap" .Release.Namespace "roadstead-hub" | default dict -}}
{{- with (get ($published.data | default dict) "aggregate-ca.crt") -}}
{{ . | b64enc }}
{{- end -}}
{{- end -}}
{{- end -}}
