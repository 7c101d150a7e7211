{{/* The configuration file. HTTP is not in it: only pods that serve it have its settings, in their environment. */}}
{{- define "faultline.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config "data" (dict "folder" "/var/lib/faultline") -}}
{{- $_ := set $config "health" (dict "listen" (printf "%s:8471" .Values.http.address)) -}}
{{- if eq .Values.mode "kafka" -}}
{{- $kafka := deepCopy (default dict $config.kafka) -}}
{{- $_ := set $kafka "bootstrap" .Values.kafka.bootstrap -}}
{{- with .Values.kafka.installation }}{{ $_ := set $kafka "installation" . }}{{ end -}}
{{- $_ := set $kafka "replicas" (int .Values.kafka.replicas) -}}
{{- $_ := set $kafka "client" (include "faultline.client" . | fromYaml) -}}
{{- $_ := set $config "kafka" $kafka -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Options of librdkafka, all as text. */}}
{{- define "faultline.client" -}}
{{- $client := dict -}}
{{- range $name, $value := .Values.kafka.client -}}
{{- $_ := set $client $name (include "faultline.plain" $value) -}}
{{- end -}}
{{- $_ := set $client "security.protocol" .Values.kafka.securityProtocol -}}
{{- if include "faultline.usesSasl" . -}}
{{- $_ := set $client "sasl.mechanisms" .Values.kafka.sasl.mechanism -}}
{{- end -}}
{{- if include "faultline.usesKafkaTls" . -}}
{{- $_ := set $client "ssl.ca.location" "/etc/faultline/secrets/kafka-ca.crt" -}}
{{- if .Values.kafka.tls.certificateKey -}}
{{- $_ := set $client "ssl.certificate.location" "/etc/faultline/secrets/kafka-client.crt" -}}
{{- $_ := set $client "ssl.key.location" "/etc/faultline/secrets/kafka-client.key" -}}
{{- end -}}
{{- end -}}
{{- toYaml $client -}}
{{- end -}}

{{/* Which keys of which Secrets a pod sees as files. Takes (list ROOT SERVES TAKES-REPORTS). */}}
{{- define "faultline.secrets" -}}
{{- $values := (index . 0).Values -}}
{{- $kafka := eq $values.mode "kafka" -}}
{{- if and $kafka (include "faultline.usesSasl" (index . 0)) }}
- secret:
    name: {{ $values.kafka.sasl.existingSecret }}
    items:
      - {key: {{ $values.kafka.sasl.usernameKey }}, path: kafka-username}
      - {key: {{ $values.kafka.sasl.passwordKey }}, path: kafka-password}
{{- end }}
{{- if and $kafka (include "faultline.usesKafkaTls" (index . 0)) }}
- secret:
    name: {{ $values.kafka.tls.existingSecret }}
    items:
      - {key: {{ $values.kafka.tls.caKey }}, path: kafka-ca.crt}
      {{- if $values.kafka.tls.certificateKey }}
      - {key: {{ $values.kafka.tls.certificateKey }}, path: kafka-client.crt}
      - {key: {{ $values.kafka.tls.privateKeyKey }}, path: kafka-client.key}
      {{- end }}
{{- end }}
{{- if index . 1 }}
- secret:
    name: {{ $values.http.tls.existingSecret }}
    items:
      - {key: {{ $values.http.tls.certificateKey }}, path: http.crt}
      - {key: {{ $values.http.tls.privateKeyKey }}, path: http.key}
- secret:
    name: {{ $values.http.token.existingSecret }}
    items:
      - {key: {{ $values.http.token.key }}, path: http-token}
{{- end }}
{{- if and (index . 2) $values.hashing.existingSecret }}
- secret:
    name: {{ $values.hashing.existingSecret }}
    items:
      - {key: {{ $values.hashing.key }}, path: hashing-key}
{{- end }}
{{- end -}}

{{/* The environment that belongs to these files. Takes the same. */}}
{{- define "faultline.env" -}}
{{- $values := (index . 0).Values -}}
{{- if eq $values.mode "kafka" }}
- name: FAULTLINE__KAFKA__INSTANCE # static membership: a pod that comes back takes its tasks up again
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- if include "faultline.usesSasl" (index . 0) }}
- {name: FAULTLINE__KAFKA__CLIENT__SASL__USERNAME__FILE, value: /etc/faultline/secrets/kafka-username}
- {name: FAULTLINE__KAFKA__CLIENT__SASL__PASSWORD__FILE, value: /etc/faultline/secrets/kafka-password}
{{- end }}
{{- end }}
{{- if index . 1 }}
- {name: FAULTLINE__HTTP__LISTEN, value: "{{ $values.http.address }}:8470"}
- {name: FAULTLINE__HTTP__TLS_CERTIFICATE, value: /etc/faultline/secrets/http.crt}
- {name: FAULTLINE__HTTP__TLS_KEY, value: /etc/faultline/secrets/http.key}
- {name: FAULTLINE__HTTP__TOKEN__FILE, value: /etc/faultline/secrets/http-token}
{{- if $values.http.roles }}
- {name: FAULTLINE__ACCESS__ROLES, value: /etc/faultline/config/access.yaml}
{{- end }}
{{- end }}
{{- if and (index . 2) $values.hashing.existingSecret }}
- {name: FAULTLINE__SECRETS__KEY__FILE, value: /etc/faultline/secrets/hashing-key}
{{- end }}
{{- end -}}
