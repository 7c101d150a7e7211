{{/* What a pod may: nothing. The "restricted" profile, and files of its own only in volumes. */}}
{{- define "faultline.podSecurity" -}}
{{- $security := .Values.security -}}
runAsNonRoot: true
{{- with $security.runAsUser }}
runAsUser: {{ int . }}
{{- end }}
{{- with $security.runAsGroup }}
runAsGroup: {{ int . }}
{{- end }}
{{- with $security.fsGroup }}
fsGroup: {{ int . }}
fsGroupChangePolicy: OnRootMismatch # a large folder of state takes long to walk
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "faultline.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* What a container is given in files. Takes the secrets, as "faultline.secrets" gives them. */}}
{{- define "faultline.mounts" -}}
- {name: config, mountPath: /etc/faultline/config, readOnly: true}
{{- if . }}
- {name: secrets, mountPath: /etc/faultline/secrets, readOnly: true}
{{- end }}
- {name: tmp, mountPath: /tmp}
{{- end -}}

{{/* Takes (list CONFIG-MAP SECRETS). */}}
{{- define "faultline.volumes" -}}
- name: config
  configMap: {name: {{ index . 0 }}}
{{- with index . 1 }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end }}
- name: tmp
  emptyDir: {}
{{- end -}}

{{/* The pod of a workload. No versions in its labels: they would replace every pod at each upgrade of the chart. Takes (dict root part workload). */}}
{{- define "faultline.pod" -}}
{{- $root := .root -}}
{{- $part := .part -}}
{{- $values := .workload.values -}}
{{- $takesReports := has $part (list "gateway" "embedded") -}}
{{- $secrets := include "faultline.secrets" (list $root .workload.serves $takesReports) | trim -}}
metadata:
  labels:
    {{- include "faultline.selectorLabels" (list $root $part) | nindent 4 }}
    app.kubernetes.io/part-of: faultline
    {{- with merge dict $values.podLabels $root.Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ print (include "faultline.config" $root) (toYaml $root.Values.http.roles) | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "faultline.serviceAccountName" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "faultline.podSecurity" $root | nindent 4 }}
  terminationGracePeriodSeconds: {{ int $values.terminationGracePeriodSeconds }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  containers:
    - name: faultline
      image: {{ include "faultline.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        - {{ ternary "up" "run" (eq $part "embedded") }}
        - --config=/etc/faultline/config/faultline.yaml
        {{- with .workload.roles }}
        - --role={{ join "," . }}
        {{- end }}
      env:
        {{- include "faultline.env" (list $root .workload.serves $takesReports) | trim | nindent 8 }}
        {{- with $values.memoryBudget }}
        - {name: FAULTLINE__MEMORY__BUDGET, value: {{ quote . }}}
        {{- end }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        {{- if .workload.serves }}
        - {name: https, containerPort: 8470, protocol: TCP}
        {{- end }}
        - {name: health, containerPort: 8471, protocol: TCP}
      startupProbe:
        httpGet: {path: /healthz, port: health}
        {{- toYaml $values.probes.startup | nindent 8 }}
      livenessProbe:
        httpGet: {path: /healthz, port: health}
        {{- toYaml $values.probes.liveness | nindent 8 }}
      readinessProbe:
        httpGet: {path: /readyz, port: health}
        {{- toYaml $values.probes.readiness | nindent 8 }}
      {{- if .workload.serves }}
      lifecycle:
        preStop:
          sleep: {seconds: 5} # endpoints lag behind: callers still come
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        {{- include "faultline.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        {{- include "faultline.mounts" $secrets | nindent 8 }}
        - {name: data, mountPath: /var/lib/faultline}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "faultline.volumes" (list (include "faultline.fullname" $root) $secrets) | nindent 4 }}
    {{- if not $values.persistence.enabled }}
    - name: data
      emptyDir: {sizeLimit: {{ $values.persistence.size }}}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- if $values.topologySpreadConstraints }}
    {{- toYaml $values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- $revision := ternary "pod-template-hash" "controller-revision-hash" (eq .workload.kind "Deployment") }}
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - topologyKey: {{ . }}
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      matchLabelKeys: [{{ $revision }}]
      labelSelector:
        matchLabels:
          {{- include "faultline.selectorLabels" (list $root $part) | nindent 10 }}
    {{- end }}
    {{- end }}
{{- end -}}
