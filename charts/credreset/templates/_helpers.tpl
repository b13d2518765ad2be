{{- define "credreset.selector" -}}
app.kubernetes.io/name: credreset
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "credreset.labels" -}}
{{ include "credreset.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
