{{- define "credreset.selector" -}}
app.kubernetes.io/name: credreset
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}
{{/* The Pod of helm test has not the operator's labels, which the Service and the NetworkPolicy select. */}}
{{- define "credreset.testSelector" -}}
app.kubernetes.io/name: credreset-test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}
{{- define "credreset.labels" -}}
{{ include "credreset.labelsAnd" (list . dict) }}
{{- end }}
{{/* The same and more of its own, which win over commonLabels: (list $ MORE). */}}
{{- define "credreset.labelsAnd" -}}
{{- $root := index . 0 -}}
{{ include "credreset.selector" $root }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- with merge dict (index . 1 | default dict) ($root.Values.commonLabels | default dict) }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{/* What every Pod has. It meets the strictest Pod security standard, "restricted". */}}
{{- define "credreset.pod" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- end }}
{{- define "credreset.container" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ with .Values.image.digest }}@{{ . }}{{ end }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
resources: {{ toJson .Values.resources }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}
