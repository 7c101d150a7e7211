{{/* Whom any pod of ours calls: DNS, and the brokers. */}}
{{- define "faultline.egress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- if eq .Values.mode "kafka" }}
- ports:
    {{- include "faultline.kafkaPorts" . | trim | nindent 4 }}
  {{- with .Values.networkPolicy.kafkaTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end -}}
