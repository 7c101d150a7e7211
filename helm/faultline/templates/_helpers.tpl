{{/* A name of at most so many characters; a cut one ends in a hash, so that two long ones stay two. Takes (list NAME LIMIT). */}}
{{- define "faultline.cut" -}}
{{- $name := index . 0 -}}
{{- $limit := index . 1 -}}
{{- if le (len $name) $limit -}}
{{ $name }}
{{- else -}}
{{ trunc (sub $limit 9 | int) $name | trimSuffix "-" }}-{{ sha256sum $name | trunc 8 }}
{{- end -}}
{{- end -}}

{{- define "faultline.name" -}}
{{ include "faultline.cut" (list (default .Chart.Name .Values.nameOverride) 45) }}
{{- end -}}

{{/* What release, chart and overrides make of the name, however long. */}}
{{- define "faultline.whole" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name }}
{{- else -}}
{{ .Release.Name }}-{{ $name }}
{{- end -}}
{{- end -}}

{{/* At most 52: Kubernetes appends a hash to a StatefulSet's name and wants a label out of it, and we append "-headless". */}}
{{- define "faultline.fullname" -}}
{{ include "faultline.cut" (list (include "faultline.whole" .) 52) }}
{{- end -}}

{{/* The name of a part of the release. Takes (list ROOT PART). */}}
{{- define "faultline.named" -}}
{{ include "faultline.cut" (list (printf "%s-%s" (include "faultline.whole" (index . 0)) (index . 1)) 52) }}
{{- end -}}

{{- define "faultline.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "faultline.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{/* Never changes over a release's life: selectors cannot. Takes (list ROOT PART), PART empty for all. */}}
{{- define "faultline.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "faultline.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "faultline.labels" -}}
{{- $root := index . 0 -}}
{{ include "faultline.selectorLabels" . }}
{{ include "faultline.commonLabels" $root }}
{{- end -}}

{{- define "faultline.commonLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: faultline
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The job that makes topics is none of the release's services: another name keeps it out of their selectors. */}}
{{- define "faultline.topicsLabels" -}}
app.kubernetes.io/name: {{ include "faultline.name" . }}-topics
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: topics
{{ include "faultline.commonLabels" . }}
{{- end -}}

{{/* Hooks in order: what the job needs (weight -10), then the job. */}}
{{- define "faultline.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ quote . }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{- define "faultline.image" -}}
{{- $image := .Values.image -}}
{{- $registry := default $image.registry .Values.global.imageRegistry -}}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end -}}
{{- end -}}

{{/*
The workloads as JSON, by name: kind, roles, whether they serve HTTP (`serves`), and their values over the defaults.
Sprig's own merge takes false and 0 for absent, so two levels are merged here.
*/}}
{{- define "faultline.workloads" -}}
{{- $workloads := dict -}}
{{- if eq .Values.mode "embedded" -}}
{{- $_ := set $workloads "embedded" (dict "kind" "StatefulSet" "roles" list "serves" true "given" .Values.embedded) -}}
{{- else -}}
{{- if .Values.gateway.enabled -}}
{{- $_ := set $workloads "gateway" (dict "kind" "Deployment" "roles" (list "gateway") "serves" true "given" .Values.gateway) -}}
{{- end -}}
{{- if .Values.views.enabled -}}
{{- $_ := set $workloads "views" (dict "kind" "StatefulSet" "roles" (list "views") "serves" true "given" .Values.views) -}}
{{- end -}}
{{- range $name, $given := .Values.stages -}}
{{- $_ := set $workloads $name (dict "kind" "StatefulSet" "roles" $given.roles "serves" false "given" $given) -}}
{{- end -}}
{{- end -}}
{{- range $name, $workload := $workloads -}}
{{- $values := deepCopy $.Values.defaults -}}
{{- range $key, $value := $workload.given -}}
{{- if and (kindIs "map" $value) (kindIs "map" (get $values $key)) -}}
{{- range $inner, $innerValue := $value -}}{{- $_ := set (get $values $key) $inner $innerValue -}}{{- end -}}
{{- else -}}
{{- $_ := set $values $key $value -}}
{{- end -}}
{{- end -}}
{{- $_ := set $workload "values" $values -}}
{{- $_ := unset $workload "given" -}}
{{- end -}}
{{- toJson $workloads -}}
{{- end -}}

{{/* The client Service of a workload: the release's plain name for the one that takes reports in. Takes (list ROOT PART). */}}
{{- define "faultline.serviceName" -}}
{{- if has (index . 1) (list "gateway" "embedded") -}}
{{ include "faultline.fullname" (index . 0) }}
{{- else -}}
{{ include "faultline.named" . }}
{{- end -}}
{{- end -}}

{{/* host:port,host:port as ports. */}}
{{- define "faultline.kafkaPorts" -}}
{{- $ports := list -}}
{{- range .Values.networkPolicy.kafkaPorts }}{{- $ports = append $ports (int .) }}{{- end -}}
{{- if not $ports -}}
{{- range splitList "," .Values.kafka.bootstrap }}{{- $ports = append $ports (splitList ":" . | last | int) }}{{- end -}}
{{- end -}}
{{- range $ports | uniq }}
- {port: {{ . }}, protocol: TCP}
{{- end -}}
{{- end -}}

{{- define "faultline.usesSasl" -}}
{{- if hasPrefix "SASL" .Values.kafka.securityProtocol }}true{{ end -}}
{{- end -}}

{{- define "faultline.usesKafkaTls" -}}
{{- if has .Values.kafka.securityProtocol (list "SSL" "SASL_SSL") }}{{ .Values.kafka.tls.existingSecret }}{{ end -}}
{{- end -}}

{{/* A size of Kubernetes (1Gi, 1.5G) or of the program (896MiB) in bytes; nothing where it is written in another way. */}}
{{- define "faultline.bytes" -}}
{{- if not (kindIs "string" .) -}}
{{ int64 . }}
{{- else -}}
{{- $factors := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 -}}
{{- $factors = merge $factors (dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776) -}}
{{- $unit := regexFind "[A-Za-z]*$" . | trimSuffix "B" -}}
{{- if and (regexMatch "^[0-9]+([.][0-9]+)?[A-Za-z]*$" .) (hasKey $factors $unit) -}}
{{ mulf (regexFind "^[0-9.]+" . | float64) (get $factors $unit | float64) | int64 }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A value as text, as it was written: a number of YAML is a float here and would print as 1e+06. */}}
{{- define "faultline.plain" -}}
{{- if kindIs "float64" . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}
