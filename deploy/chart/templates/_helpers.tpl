{{/* Everything is called so: a cluster has one installation. */}}
{{- define "remora.name" -}}
remora-webhook
{{- end }}

{{- define "remora.labels" -}}
{{ include "remora.selector" . }}
app.kubernetes.io/part-of: remora
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "remora.selector" -}}
app.kubernetes.io/name: remora
app.kubernetes.io/component: webhook
{{- end }}

{{/* Whether the webhook speaks to the API server at all: only to keep its own certificate. */}}
{{- define "remora.selfSigned" -}}
{{- if eq .Values.webhook.certificate "self-signed" }}yes{{ end }}
{{- end }}

{{/* The namespaces on whose pods the cluster, or this webhook, depends. */}}
{{- define "remora.excluded" -}}
{{- $names := list "kube-system" "kube-public" "kube-node-lease" .Release.Namespace -}}
{{- concat $names .Values.webhook.excludedNamespaces | uniq | toJson -}}
{{- end }}

{{/* What both entries of the configuration have in common. */}}
{{- define "remora.entry" -}}
admissionReviewVersions: [v1]
clientConfig:
  {{- if eq .Values.webhook.certificate "provided" }}
  caBundle: {{ .Values.webhook.provided.caBundle }}
  {{- end }}
  service:
    name: {{ include "remora.name" . }}
    namespace: {{ .Release.Namespace }}
    path: /inject
    port: 443
rules:
- apiGroups: [""]
  apiVersions: [v1]
  operations: [CREATE]
  resources: [pods]
  scope: Namespaced
matchPolicy: Equivalent
failurePolicy: {{ .Values.webhook.failurePolicy }}
reinvocationPolicy: {{ .Values.webhook.reinvocationPolicy }}
sideEffects: None
timeoutSeconds: {{ .Values.webhook.timeoutSeconds }}
{{- end }}
