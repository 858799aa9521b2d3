{{/* What the schema cannot say: values that only together make no sense. Rendered once, by crds.yaml. */}}
{{- define "roadstead.checks" -}}
{{- if not (or .Values.hub.enabled .Values.agent.enabled .Values.operator.enabled) -}}
{{- fail "nothing to install: enable at least one of hub, agent and operator" -}}
{{- end -}}
{{- if .Values.hub.enabled -}}
{{- if not .Values.hub.publicUrl -}}
{{- fail "hub.publicUrl is required: the URL that senders and subscribers reach the hub by, for example https://hub.example.com (or set hub.enabled=false)" -}}
{{- end -}}
{{- if not (or (include "roadstead.tlsSecret" .) .Values.hub.trustedProxies) -}}
{{- fail "the hub needs TLS for subscribers' tokens: set hub.tls.secretName, hub.tls.certManager.enabled, or hub.trustedProxies if a proxy terminates it" -}}
{{- end -}}
{{- if and .Values.hub.tls.privateCa (not (include "roadstead.tlsSecret" .)) -}}
{{- fail "hub.tls.privateCa says what is in the hub's Secret: set hub.tls.secretName or hub.tls.certManager.enabled" -}}
{{- end -}}
{{- if and .Values.hub.tls.certManager.enabled (not .Values.hub.tls.certManager.issuerRef) -}}
{{- fail "hub.tls.certManager.issuerRef is required with hub.tls.certManager.enabled" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.agent.enabled (not .Values.agent.hubs) -}}
{{- fail "agent.hubs must name at least one hub, for example [{name: main, secretName: hub-main}]" -}}
{{- end -}}
{{- end -}}
